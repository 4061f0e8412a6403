"""HTTP/1.1 framing, and nothing else.

A gateway must pass on what a client signed. Heads are therefore kept as the bytes they came in: request
targets are never decoded and encoded again, and fields keep their order and spelling.
"""

from __future__ import annotations

from asyncio import IncompleteReadError, LimitOverrunError, StreamReader
from dataclasses import dataclass
from typing import Final, Protocol

HEAD_LIMIT: Final = 65_536
"""Bytes a head may have; also the buffer of a connection, so what one connection can hold in memory."""

_HOP_BY_HOP: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"expect"})


class WireError(Exception):
    """The peer broke HTTP: a malformed head, or a body that ended before its announced length."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request's or a response's head.

    Attributes:
        start: the first line, without its line end.
        lines: the field lines as they came, without line ends and without hop-by-hop fields.
        fields: lower-case name -> value (of the last line with that name), hop-by-hop ones included.
    """

    start: bytes
    lines: tuple[bytes, ...]
    fields: dict[bytes, bytes]

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self.fields.get(b"transfer-encoding", b"").lower().endswith(b"chunked")

    @property
    def length(self) -> int | None:
        """Bytes of the body as announced; None where nothing is announced."""
        text = self.fields.get(b"content-length")
        if text is None:
            return None
        if not text.isdigit():
            raise WireError(f"Content-Length is not a number: {text!r}")
        return int(text)

    @property
    def keeps_alive(self) -> bool:
        """Whether the sender means to use the connection again."""
        connection = self.fields.get(b"connection", b"").lower()
        if b"HTTP/1.0" in self.start:
            return connection == b"keep-alive"
        return connection != b"close"

    def encode(self, *extra: bytes, start: bytes | None = None) -> bytes:
        """The head as bytes to send: without hop-by-hop fields, with extra field lines."""
        return b"\r\n".join((self.start if start is None else start, *self.lines, *extra, b"", b""))


async def read_head(reader: StreamReader) -> Head | None:
    """Read one head; None when the peer closed the connection instead of sending one."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except IncompleteReadError as error:
        if error.partial:
            raise WireError("the connection ended within a head") from error
        return None
    except LimitOverrunError as error:
        raise WireError(f"a head of more than {HEAD_LIMIT} bytes") from error
    start, *lines = raw[:-4].split(b"\r\n")
    fields: dict[bytes, bytes] = {}
    kept = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise WireError(f"a field without a colon: {line[:40]!r}")
        name = name.lower()
        fields[name] = value.strip()
        if name not in _HOP_BY_HOP:
            kept.append(line)
    return Head(start, tuple(kept), fields)


class Body(Protocol):
    """Bytes of one message body, exactly as they are on the wire (chunk framing included)."""

    finished: bool
    """Whether the end was reached."""

    async def read(self) -> bytes:
        """The next piece; empty at the end. Raises `WireError` when the peer ends too early."""
        ...


class MemoryBody:
    """A body that is already here."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data
        self.finished = not data

    async def read(self) -> bytes:
        """All of it at once, then nothing."""
        data, self._data = self._data, b""
        self.finished = True
        return data


class SizedBody:
    """A body of a known length, or (None) one that ends with the connection."""

    def __init__(self, reader: StreamReader, length: int | None) -> None:
        self._reader = reader
        self._left = length
        self.finished = length == 0

    async def read(self) -> bytes:
        """The next piece, of at most 64 KiB."""
        if self.finished:
            return b""
        limit = HEAD_LIMIT if self._left is None else min(HEAD_LIMIT, self._left)
        piece = await self._reader.read(limit)
        if self._left is None:
            self.finished = not piece
            return piece
        if not piece:
            raise WireError(f"the connection ended {self._left} bytes before the end of the body")
        self._left -= len(piece)
        self.finished = self._left == 0
        return piece


class ChunkedBody:
    """A chunked body, framing and trailer included."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._left = 0  # bytes of the current chunk, its line end included
        self.finished = False

    async def read(self) -> bytes:
        """The next piece: a chunk's size line, a part of a chunk, or the end with its trailer."""
        if self.finished:
            return b""
        if self._left:
            piece = await self._reader.read(min(HEAD_LIMIT, self._left))
            if not piece:
                raise WireError("the connection ended within a chunk")
            self._left -= len(piece)
            return piece
        line = await self._line()
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError as error:
            raise WireError(f"not a chunk size: {line[:40]!r}") from error
        if size:
            self._left = size + 2
            return line
        trailer = [line]
        while trailer[-1] != b"\r\n":
            trailer.append(await self._line())
        self.finished = True
        return b"".join(trailer)

    async def _line(self) -> bytes:
        try:
            return await self._reader.readuntil(b"\r\n")
        except (IncompleteReadError, LimitOverrunError) as error:
            raise WireError("the connection ended within a chunked body") from error


def request_body(head: Head, reader: StreamReader) -> Body:
    """The body that follows a request's head."""
    return ChunkedBody(reader) if head.chunked else SizedBody(reader, head.length or 0)


def response_body(head: Head, reader: StreamReader, *, method: str, status: int) -> Body:
    """The body that follows a response's head."""
    if method == "HEAD" or status in (204, 304):
        return MemoryBody()
    return ChunkedBody(reader) if head.chunked else SizedBody(reader, head.length)
