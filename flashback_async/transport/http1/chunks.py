"""The body of an answer that comes in chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

from flashback_async.transport.http1.failures import MalformedAnswerError
from flashback_async.transport.http1.head import MAX_HEAD

if TYPE_CHECKING:
    from flashback_async.transport.http1.head import Head


class Chunks:
    """Takes bytes as they come off the wire, gives those of the body.

    Attributes:
        is_complete: whether the last chunk and its trailers have come.
        has_more: whether bytes came behind them, which belong to nobody.
    """

    __slots__ = ("_head", "_parser", "_wasted", "has_more", "is_complete")

    def __init__(self, head: Head, parser: httptools.HttpResponseParser) -> None:
        self._head = head
        self._parser = parser
        self._wasted = 0
        self.is_complete = False
        self.has_more = False

    def feed(self, data: memoryview) -> list[bytes]:
        """The pieces of body in `data`.

        Raises:
            MalformedAnswerError: not chunks, or endless extensions or trailers between them.
        """
        head = self._head
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not head.is_complete:
                raise MalformedAnswerError(f"the answer's chunks are malformed: {error}") from error
            self.has_more = True
        self.is_complete = head.is_complete
        pieces, head.pieces = head.pieces, []
        # The parser would collect a trailer without an end in memory, and skip an extension for ever.
        self._wasted = 0 if pieces else self._wasted + len(data)
        if self._wasted > MAX_HEAD and not self.is_complete:
            raise MalformedAnswerError("the answer's chunks hold nothing but extensions or trailers")
        return pieces
