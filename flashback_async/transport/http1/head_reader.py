"""Finds the head of the answer among the bytes that arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flashback_async.transport.http1.failures import MalformedAnswerError
from flashback_async.transport.http1.head import MAX_HEAD, parse_head

if TYPE_CHECKING:
    from httptools import HttpResponseParser

    from flashback_async.transport.http1.head import Head
    from flashback_async.transport.http1.landing import Landing

# 100 Continue, 103 Early Hints: a few are usual, hundreds are an attack.
MAX_INTERIM: Final = 16

_START: Final = b"HTTP/1."
_END: Final = b"\r\n\r\n"
_BARE_END: Final = b"\n\n"


class HeadReader:
    """Keeps a head that came in pieces; usually all of it comes at once, and a small body with it."""

    __slots__ = ("_interim", "_partial")

    def __init__(self) -> None:
        self._partial: bytearray | None = None
        self._interim = 0

    def feed(self, landing: Landing, count: int) -> tuple[Head, HttpResponseParser, memoryview] | None:
        """`count` bytes have landed.

        Returns:
            The head of the final answer, its parser, and what came behind it, in memory that may be used
            again; None while the head is not complete. Interim answers are skipped.

        Raises:
            MalformedAnswerError: no head, or one too large, or too many of them.
        """
        data: bytes | bytearray = landing.data
        view, size, partial = landing.view, count, self._partial
        if partial is not None:
            searched = max(0, len(partial) - len(_END) + 1)
            partial += view[:count]
            if partial.find(_END, searched) < 0:
                _check_unfinished(partial)
                return None
            self._partial = None
            data, size = bytes(partial), len(partial)
            view = memoryview(data)
        start = 0
        while (found := data.find(_END, start, size)) >= 0:
            end = found + len(_END)
            if end - start > MAX_HEAD:
                raise MalformedAnswerError(f"the answer's head has more than {MAX_HEAD} bytes")
            head, parser = parse_head(bytes(view[start:end]))
            if not head.is_interim:
                self._interim = 0
                return head, parser, view[end:size]
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise MalformedAnswerError(f"more than {MAX_INTERIM} interim answers came")
            start = end
        self._partial = bytearray(view[start:size])
        _check_unfinished(self._partial)
        return None


def _check_unfinished(head: bytearray) -> None:
    """Refuse early what no further byte can mend."""
    if not head.startswith(_START[: len(head)]):
        raise MalformedAnswerError("the answer is not HTTP/1.1")
    if _BARE_END in head:
        # Its author considers it finished, and would let us wait for ever.
        raise MalformedAnswerError("the answer's head holds a stray control character")
    if len(head) > MAX_HEAD:
        raise MalformedAnswerError(f"the answer's head has more than {MAX_HEAD} bytes")
