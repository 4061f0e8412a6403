"""The head of an answer: parsed by httptools, and refused where two readers could read it differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httptools

from flashback_async.transport.http1.failures import MalformedAnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Gateways send a dozen headers; S3 allows 2 KiB of user metadata, doubled by its encoding.
MAX_HEAD: Final = 64 * 1_024
MAX_HEADERS: Final = 200

# All but NUL and what ends lines.
_TEXT: Final = bytes(set(range(256)) - set(b"\0\r\n"))
# The first and the empty one.
_OTHER_LINES: Final = 2
# Names that are kept, and their longest; gateways send fewer and shorter ones.
_KEPT_NAMES: Final = 1_024
_KEPT_LENGTH: Final = 64
_BODILESS: Final = frozenset({204, 304})
_SWITCHING_PROTOCOLS: Final = 101
# Of a Content-Length: what fits into 63 bits.
_MAX_DIGITS: Final = 18


class _Names(dict[bytes, str]):
    """Names of headers in small letters. Answers have the same ones again and again, so they are kept."""

    def __missing__(self, raw: bytes) -> str:
        name = raw.decode("latin-1").lower()
        if len(self) < _KEPT_NAMES and len(raw) <= _KEPT_LENGTH:
            self[raw] = name
        return name


_NAMES: Final = _Names()


class Head:
    """Status, headers and framing of one answer. Also what httptools reports to.

    Attributes:
        status: 100 to 599.
        headers: values by names in lower case; the last one where a name came several times.
        length: what Content-Length announced.
        is_chunked: whether the body comes in chunks.
        is_persistent: whether the connection may be used again.
        is_parsed: whether the empty line was there.
        is_complete: whether the message has ended, in the parser's eyes; means something for chunks only.
        lines: names in lower case and values, in the order in which they came.
        pieces: of a chunked body, for `Chunks` to fetch.
    """

    __slots__ = (
        "headers",
        "is_chunked",
        "is_complete",
        "is_parsed",
        "is_persistent",
        "length",
        "lines",
        "pieces",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.lines: list[tuple[str, str]] = []
        self.length: int | None = None
        self.is_chunked = False
        self.is_persistent = False
        self.is_parsed = False
        self.is_complete = False
        self.pieces: list[bytes] = []

    @property
    def is_interim(self) -> bool:
        """Whether another head follows."""
        return self.status < 200  # noqa: PLR2004  # 1xx

    @property
    def may_have_body(self) -> bool:
        """Whether an answer of this status has a body at all."""
        return self.status not in _BODILESS

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: a header, or a trailer, of which we know none worth keeping."""
        if not self.is_parsed:
            self.lines.append((_NAMES[name], value.decode("latin-1").rstrip(" \t")))

    def on_headers_complete(self) -> None:
        """httptools: the empty line."""
        self.is_parsed = True

    def on_body(self, data: bytes) -> None:
        """httptools: a piece of a chunk."""
        self.pieces.append(data)

    def on_message_begin(self) -> None:
        """httptools: a message begins. After the end of ours, that is more than we asked for."""
        if self.is_complete:
            raise MalformedAnswerError("more than one answer came")

    def on_message_complete(self) -> None:
        """httptools: the last chunk and its trailers are over."""
        self.is_complete = True


def parse_head(raw: bytes) -> tuple[Head, httptools.HttpResponseParser]:
    """Parse one head, from the status line to its empty line.

    Returns:
        The head, and the parser, which stands at the first byte of the body.

    Raises:
        MalformedAnswerError: not a head, or one that readers understand differently: then somebody between us
            and the endpoint could slip an answer in.
    """
    breaks = raw.translate(None, _TEXT)
    if breaks != b"\r\n" * (len(breaks) // 2):
        raise MalformedAnswerError("the answer's head holds a stray control character")
    if not raw.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
        raise MalformedAnswerError("the answer is not HTTP/1.1")
    head = Head()
    parser = httptools.HttpResponseParser(head)
    try:
        parser.feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        raise MalformedAnswerError(f"the answer's head is malformed: {error}") from error
    head.status = status = parser.get_status_code()
    if not head.is_parsed or not 100 <= status <= 599 or status == _SWITCHING_PROTOCOLS:  # noqa: PLR2004  # HTTP's range
        raise MalformedAnswerError(f"the answer's head is malformed: status {status}")
    # Every line is a header: where httptools accepts a folded one, it joins two lines.
    if len(breaks) != 2 * (len(head.lines) + _OTHER_LINES):
        raise MalformedAnswerError("the answer folds a header over two lines")
    if len(head.lines) > MAX_HEADERS:
        raise MalformedAnswerError(f"the answer has {len(head.lines)} headers, more than {MAX_HEADERS}")
    told = head.headers = dict(head.lines)
    framing = told if len(told) == len(head.lines) else _joined(head.lines)
    _frame(head, framing, is_current=raw.startswith(b"HTTP/1.1"))
    return head, parser


def _joined(lines: list[tuple[str, str]]) -> dict[str, str]:
    """Values by names; those of a name that came several times are joined, as RFC 9110 5.3 reads them."""
    told: dict[str, str] = {}
    for name, value in lines:
        told[name] = f"{told[name]}, {value}" if name in told else value
    return told


def _frame(head: Head, told: Mapping[str, str], *, is_current: bool) -> None:
    """How the body ends, and whether the connection outlives it: that of HTTP/1.0 does not.

    httptools has refused a length that is repeated, or stands beside an encoding.
    """
    head.is_persistent = is_current and "close" not in told.get("connection", "").lower()
    length, encoding = told.get("content-length"), told.get("transfer-encoding")
    if length is not None:
        # Of latin-1, only 0 to 9 are decimals to Python.
        if not length.isdecimal() or len(length) > _MAX_DIGITS:
            raise MalformedAnswerError("the answer's Content-Length makes no sense")
        head.length = int(length)
    if encoding is not None:
        if encoding.lower() != "chunked" or not is_current:
            raise MalformedAnswerError("the answer's Transfer-Encoding is not understood")
        head.is_chunked = True
