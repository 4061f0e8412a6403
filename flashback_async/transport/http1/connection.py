"""One connection: an asyncio protocol that carries one request and its answer at a time.

Its life: connecting, then in turns idle (in the pool) and busy, then closed. While it is busy, first a waiter
stands for the head of the answer, then the `Answer` takes what comes. Nothing here starts a task or a timer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

from flashback_async.transport.http1.answer import Answer
from flashback_async.transport.http1.chunks import Chunks
from flashback_async.transport.http1.failures import MalformedAnswerError, closed, malformed, unanswered
from flashback_async.transport.http1.head_reader import HeadReader
from flashback_async.transport.http1.sending import Outlet, send_in_slices

if TYPE_CHECKING:
    from httptools import HttpResponseParser

    from flashback_async.errors import FlashbackError
    from flashback_async.transport.http1.head import Head
    from flashback_async.transport.http1.landing import Landing
    from flashback_async.transport.upload import UploadReader

    Waiter = asyncio.Future[Answer | FlashbackError]

# Up to here copying a body behind its head costs less than a second write.
SMALL: Final = 128 * 1_024
_FAILED: Final = 300


class Home(Protocol):
    """Where connections come from and go back to."""

    def put(self, connection: Connection) -> None:
        """It is free for the next request."""

    def forget(self, connection: Connection) -> None:
        """It is closed. Idempotent."""


class Connection(asyncio.BufferedProtocol):
    """One connection. `exchange` is for one task at a time; the pool sees to that.

    Attributes:
        loop: where it lives.
        is_closed: whether it is closed, or about to.
        is_silent: whether no byte has come since the last request was sent.
        idle_since: for the pool: when it came back.
    """

    __slots__ = (
        "_answer",
        "_expects_body",
        "_head_reader",
        "_home",
        "_is_connected",
        "_is_early",
        "_is_paused",
        "_is_persistent",
        "_is_sending",
        "_landing",
        "_outlet",
        "_transport",
        "_waiter",
        "idle_since",
        "is_closed",
        "is_silent",
        "loop",
    )

    _transport: asyncio.Transport
    _outlet: Outlet

    def __init__(self, home: Home, landing: Landing, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.is_closed = False
        self.is_silent = True
        self.idle_since = 0.0
        self._home = home
        self._landing = landing
        self._waiter: Waiter | None = None
        self._answer: Answer | None = None
        self._expects_body = True
        self._head_reader = HeadReader()
        self._is_persistent = True
        self._is_sending = self._is_early = False
        self._is_connected = self._is_paused = False

    async def exchange(
        self, head: bytes, body: bytes | UploadReader | None = None, *, expects_body: bool = True
    ) -> Answer:
        """Send one request and wait for the head of its answer. Cancelled, it closes the connection.

        Raises:
            EndpointConnectError: the connection broke, or what came is not an answer.
            ClientClosedError: the pool was closed.
            FlashbackError: whatever reading `body` raises.
        """
        if self.is_closed:
            # It was closed as soon as it was made.
            raise unanswered(None)
        self._expects_body = expects_body
        self.is_silent = True
        waiter = self._waiter = self.loop.create_future()
        try:
            if body is None:
                self._transport.write(head)
            elif isinstance(body, bytes) and len(body) <= SMALL:
                self._transport.write(head + body)
            else:
                await self._send(head, body, waiter)
            outcome = await waiter
        except BaseException:
            self._abandon(waiter)
            raise
        if isinstance(outcome, Answer):
            return outcome
        try:
            raise outcome
        finally:
            # The error knows this frame: a circle that would keep the body in memory until it is collected.
            del outcome, waiter

    def close(self) -> None:
        """Close, whatever runs."""
        self._fail(closed())

    def abort(self) -> None:
        """Close now; nothing is flushed, and a TLS peer gets no farewell that it could delay."""
        self._answer = None
        if not self.is_closed:
            self.is_closed = True
            self._home.forget(self)
            if self._is_connected:
                self._transport.abort()

    # --- sending -------------------------------------------------------------------------------------------

    async def _send(self, head: bytes, body: bytes | UploadReader, waiter: Waiter) -> None:
        """Send head and body, until an answer other than a success makes the rest pointless.

        A success that comes before the body is complete does not stand for a part of it: the rest is sent.
        """
        self._is_sending = True
        self._transport.write(head)

        async def pass_on(data: bytes | memoryview) -> int:
            if self._is_over(waiter):
                return 0
            count = await self._outlet.pass_on(data)
            return 0 if self._is_over(waiter) else count

        async def hand_over(descriptor: int, start: int, size: int) -> int:
            return 0 if self._is_over(waiter) else await self._outlet.hand_over(descriptor, start, size)

        await send_in_slices(body, pass_on, hand_over)
        if waiter.done():
            # Who answers early may not read the rest, so no other request can follow it here.
            self._is_persistent = False
            while self._outlet.is_blocked and not self._is_over(waiter):
                await self._outlet.change()
            self._is_early = not self._is_over(waiter)
        self._is_sending = False
        if waiter.done() and self._answer is None:
            self._part()

    def _part(self) -> None:
        """End it. TLS may have 64 KiB left of a body that was answered early; `abort` drops it."""
        if self._is_early and not self.is_closed:
            self._transport.close()
        else:
            self.abort()

    def _is_over(self, waiter: Waiter) -> bool:
        if waiter.done():
            outcome = waiter.result()
            if not isinstance(outcome, Answer) or outcome.status >= _FAILED:
                return True
            if self.is_closed:
                # Succeeded, says the endpoint, but it cannot have got everything.
                raise unanswered(None)
        return False

    def _abandon(self, waiter: Waiter) -> None:
        """The request failed on our side, or nobody waits for its answer any more."""
        if self._waiter is waiter:
            self._waiter = None
            self.abort()
            return
        # The head came at the same moment. If all of the answer did, the connection may be another's by now.
        if not waiter.cancelled() and isinstance(answer := waiter.result(), Answer):
            answer.close()
        if self._is_sending:
            self.abort()

    # --- receiving -----------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's signature
        """asyncio: where to put what comes next."""
        if self._answer is not None and self._answer.into is not None:
            return self._answer.into
        return self._landing.view

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio: it is there."""
        answer, waiter = self._answer, self._waiter
        if answer is not None:
            if answer.into is not None:
                answer.filled(nbytes)
            else:
                answer.received(self._landing.view[:nbytes], is_quiet=nbytes < self._landing.size)
        elif waiter is not None and not waiter.done():
            self.is_silent = False
            try:
                found = self._head_reader.feed(self._landing, nbytes)
            except MalformedAnswerError as error:
                self._fail(malformed(error))
            else:
                if found is not None:
                    self._begin(*found, waiter, is_quiet=nbytes < self._landing.size)
        else:
            # Nobody asked for it: the next request would take it for its answer.
            self.abort()

    def _begin(
        self, head: Head, parser: HttpResponseParser, rest: memoryview, waiter: Waiter, *, is_quiet: bool
    ) -> None:
        """The head is there, and what came behind it."""
        has_body = self._expects_body and head.may_have_body
        chunks = Chunks(head, parser) if has_body and head.is_chunked else None
        self._answer = answer = Answer(head, self, has_body=has_body, chunks=chunks)
        self._is_persistent = self._is_persistent and head.is_persistent
        self._waiter = None
        waiter.set_result(answer)
        self._outlet.wake()
        if rest or not has_body or head.length == 0:
            answer.received(rest, is_quiet=is_quiet)

    def pause(self) -> None:
        """Leave what comes in the kernel, which then slows the endpoint down."""
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on reading. Idempotent."""
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def answered(self, *, is_clean: bool, is_quiet: bool) -> None:
        """The answer is complete: back to the pool, if the connection is fit for another request."""
        self._answer = None
        if not is_clean:
            self._is_persistent = False
        if self._is_sending:
            return  # `_send` closes it.
        if not self._is_persistent or self._transport.is_closing():
            self._part()
        elif is_quiet and not self._is_paused:
            self._home.put(self)
        else:
            # More may lie in the kernel, of which the next request must not get a byte. What a callback
            # schedules runs before the sockets of that round, so it takes two rounds to know.
            self.resume()
            self.loop.call_soon(self.loop.call_soon, self._settle)

    def _settle(self) -> None:
        if not self.is_closed:
            self._home.put(self)

    # --- the transport's word ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected, and TLS agreed on."""
        self._is_connected = True
        # uvloop's transports are no subclasses.
        self._transport = cast("asyncio.Transport", transport)
        self._outlet = Outlet(self._transport, self.loop)
        self._outlet.open()
        if self.is_closed:
            self._transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """asyncio: closed, by whomever."""
        self._over(exc)

    def eof_received(self) -> None:
        """asyncio: the endpoint sends no more; with TLS it has said so, and nobody cut the connection."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.ended()
        self._over(None)

    def pause_writing(self) -> None:
        """asyncio: the kernel does not take everything."""
        self._outlet.block()

    def resume_writing(self) -> None:
        """asyncio: it has taken it."""
        self._outlet.unblock()

    def _over(self, error: BaseException | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.broke(error)
        self._fail(unanswered(error))

    def _fail(self, failure: FlashbackError) -> None:
        answer, waiter = self._answer, self._waiter
        self._waiter = None
        self.abort()
        if answer is not None:
            answer.broke(failure)
        if waiter is not None and not waiter.done():
            waiter.set_result(failure)
        if self._is_connected:
            self._outlet.wake()
