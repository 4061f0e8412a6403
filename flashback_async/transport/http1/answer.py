"""An answer whose head has come, and its body as it arrives."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from flashback_async.errors import ClientClosedError, EndpointConnectError, FlashbackError
from flashback_async.transport.http1.failures import MalformedAnswerError, broken_off, malformed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from flashback_async.transport.http1.chunks import Chunks
    from flashback_async.transport.http1.head import Head

# How much may wait for its reader before the socket is left alone: one full read of it.
ENOUGH: Final = 256 * 1_024

_UNTIL_CLOSED: Final = -1


class Source(Protocol):
    """The connection, as its answer sees it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it lives."""

    def pause(self) -> None:
        """Leave what comes in the kernel."""

    def resume(self) -> None:
        """Go on reading. Idempotent."""

    def answered(self, *, is_clean: bool, is_quiet: bool) -> None:
        """The answer is complete.

        Args:
            is_clean: nothing came behind it.
            is_quiet: everything that had arrived was read.
        """

    def abort(self) -> None:
        """Close now."""


class Answer:
    """One answer. Its connection is free for others once all of it has arrived, read or not.

    One task reads. A cancelled read closes the connection.

    Attributes:
        status: HTTP status, 200 to 599.
        headers: values, as latin-1, by names in lower case; the last one where a name came several times.
        length: what Content-Length announced, for HEAD too; None where it did not.
        into: the reader's memory, for the connection to fill next; None while nobody waits with some.
    """

    is_direct = True

    __slots__ = (
        "_arrived",
        "_buffered",
        "_came",
        "_chunks",
        "_error",
        "_gathered",
        "_is_complete",
        "_pieces",
        "_remaining",
        "_source",
        "_waiter",
        "headers",
        "into",
        "length",
        "status",
    )

    def __init__(self, head: Head, source: Source, *, has_body: bool, chunks: Chunks | None) -> None:
        self.status = head.status
        self.headers = head.headers
        self.length = head.length
        self.into: memoryview | None = None
        self._source: Source | None = source
        self._chunks = chunks
        self._remaining = (_UNTIL_CLOSED if head.length is None else head.length) if has_body else 0
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._arrived = 0
        self._is_complete = False
        self._error: FlashbackError | None = None
        self._waiter: asyncio.Future[int] | None = None
        self._came: Callable[[], None] | None = None
        self._gathered = 0

    def __repr__(self) -> str:
        state = "complete" if self._is_complete else "broken" if self._error else "arriving"
        return f"<Answer {self.status}: {state}, {self._buffered} bytes unread>"

    # --- for the reader ------------------------------------------------------------------------------------

    async def read(self) -> bytes:
        """The next bytes as they arrive; empty at the end, which was verified.

        Raises:
            EndpointConnectError: the connection broke, the body ended too early, or makes no sense. What
                arrived before is handed out first.
            ClientClosedError: this answer, or the client, was closed.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._is_complete:
                return b""
            await self._more()
        piece = self._pieces.popleft()
        self._buffered -= len(piece)
        return piece

    def at_hand(self) -> bytes | None:
        """The next bytes if they are here, empty at the end; None: `read` waits for them, or raises."""
        if not self._pieces:
            return b"" if self.is_empty else None
        piece = self._pieces.popleft()
        self._buffered -= len(piece)
        return piece

    @property
    def is_empty(self) -> bool:
        """Whether the end of it is here, verified, and nothing before it that is unread."""
        return self._is_complete and not self._pieces and self._error is None

    async def read_into(self, view: memoryview, came: Callable[[], None] | None = None) -> int:
        """Put the next bytes into `view`, from its start; 0 at the end.

        What has not arrived yet goes from the kernel to `view` without a copy between.

        Args:
            view: contiguous bytes, not to be touched before this returns. Where it is exactly as long as the
                body, an empty rest of it fetches the verified end.
            came: called whenever bytes came and more are waited for, until `view` is full or the body ends or
                breaks; what came before is handed out first. None: the first bytes that come are enough.

        Raises:
            ValueError: `view` is empty, and this is not the end.
            EndpointConnectError: as `read`.
            ClientClosedError: as `read`.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._is_complete:
                return 0
            if not view:
                raise ValueError("view has no room, and more is to come")
            if self._chunks is None:
                self._came = came
                self.into = view[: self._remaining] if 0 <= self._remaining < len(view) else view
            if count := await self._more():
                return count
        if not view:
            raise ValueError("view has no room, and more is to come")
        piece = self._pieces[0]
        count = min(len(piece), len(view))
        view[:count] = piece[:count]
        if count == len(piece):
            self._pieces.popleft()
        else:
            self._pieces[0] = piece[count:]
        self._buffered -= count
        return count

    async def read_all(self, limit: int) -> bytes:
        """The whole body, where it is known to be small.

        Raises:
            EndpointConnectError: as `read`, or the body has more than `limit` bytes; then the connection is
                closed.
            ClientClosedError: as `read`.
        """
        if self._is_complete and len(self._pieces) == 1 and self._buffered <= limit:
            self._buffered = 0
            return self._pieces.popleft()
        pieces = []
        size = 0
        while piece := await self.read():
            size += len(piece)
            if size > limit:
                self.close()
                raise EndpointConnectError(f"the body has more than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Forget what was not read. Idempotent, does not wait.

        The connection is closed, unless the whole answer had arrived: then it is back in the pool already.
        """
        if self._pieces or not self._is_complete:
            self._pieces.clear()
            self._buffered = 0
            self._fail(ClientClosedError("the body was closed before its end"))
        source, self._source = self._source, None
        if source is not None:
            source.abort()

    async def _more(self) -> int:
        """Wait until something happened; bytes that went into the reader's memory."""
        if self._waiter is not None:
            raise RuntimeError("another task is reading this body")
        assert self._source is not None
        self._source.resume()
        self._waiter = self._source.loop.create_future()
        try:
            return await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = self.into = self._came = None
            self._gathered = 0

    # --- for the connection --------------------------------------------------------------------------------

    def received(self, data: memoryview, *, is_quiet: bool) -> None:
        """Bytes came behind the head, in memory that is used again. `is_quiet`: there are no more for now."""
        source = self._source
        assert source is not None
        is_clean = True
        if self._chunks is not None:
            try:
                pieces = self._chunks.feed(data)
            except MalformedAnswerError as error:
                self.broke(malformed(error))
                source.abort()
                return
            for piece in pieces:
                self._keep(piece)
            is_complete, is_clean = self._chunks.is_complete, not self._chunks.has_more
        else:
            remaining = self._remaining
            if 0 <= remaining < len(data):
                is_clean = False
                data = data[:remaining]
            if data:
                self._keep(bytes(data))
            if remaining >= 0:
                self._remaining = remaining = remaining - len(data)
            is_complete = not remaining
        if is_complete:
            self._complete(is_clean=is_clean, is_quiet=is_quiet)
        elif self._buffered > ENOUGH:
            source.pause()
        self._wake(0)

    def filled(self, count: int) -> None:
        """Bytes came into the reader's memory."""
        into = self.into
        assert into is not None
        is_quiet = count < len(into)
        self._arrived += count
        self._gathered += count
        if self._remaining > 0:
            self._remaining -= count
            if not self._remaining:
                self.into = None
                assert self._source is not None
                loop = self._source.loop
                self._complete(is_clean=True, is_quiet=is_quiet)
                if not is_quiet:
                    # It takes two rounds until the connection is free (`Connection.answered`); a reader that
                    # goes on sooner would open another one for its next request.
                    loop.call_soon(loop.call_soon, self._wake, self._gathered)
                    return
        if is_quiet and self._remaining and self._came is not None:
            self.into = into[count:]
            self._came()
            return
        self.into = None
        self._wake(self._gathered)

    def ended(self) -> None:
        """The endpoint will send no more."""
        if self._chunks is None and self._remaining == _UNTIL_CLOSED:
            self._is_complete = True
            self._source = None
            self._wake(self._gathered)
        else:
            self.broke(None)

    def broke(self, error: FlashbackError | BaseException | None) -> None:
        """The connection broke. No more calls follow."""
        self._source = None
        if not isinstance(error, FlashbackError):
            error = broken_off(self._arrived, self.length, error)
        self._fail(error)

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._buffered += len(piece)
        self._arrived += len(piece)

    def _complete(self, *, is_clean: bool, is_quiet: bool) -> None:
        source, self._source = self._source, None
        self._is_complete = True
        assert source is not None
        source.answered(is_clean=is_clean, is_quiet=is_quiet)

    def _fail(self, error: FlashbackError) -> None:
        if self._error is None:
            self._error = error
        self._wake(self._gathered)

    def _wake(self, count: int) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(count)
