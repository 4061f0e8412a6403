"""Reading objects: a stream that survives its node, and whole objects on top of it.

A body that stalls, breaks or ends too early goes on at the next endpoint, at the exact byte, with `Range` and
`If-Match`. Gateways may ignore either (rclone does), so every answer says for itself what it is (`position`),
and its ETag, length and modification time must be those of the first. Bytes of two versions are never mixed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from flashback_async.errors import (
    ClientClosedError,
    DeadlineExceededError,
    IntegrityError,
    ObjectChangedError,
    OperationError,
    ServiceError,
)
from flashback_async.objects.identity import CHANGED_STATUS, gone_or_replaced, identity_of
from flashback_async.objects.info import object_info
from flashback_async.objects.locating import located
from flashback_async.objects.names import ByteRange
from flashback_async.objects.read_request import Pinned, ReadRequest
from flashback_async.routing import Outcome
from flashback_async.transport.body import CONFIRMED
from flashback_async.transport.operation import Deadline
from flashback_async.transport.outcomes import outcome_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from flashback_async.models import ObjectInfo
    from flashback_async.objects.identity import Identity
    from flashback_async.objects.position import Position
    from flashback_async.objects.runner import Runner
    from flashback_async.routing import Endpoint
    from flashback_async.transport.body import LeasedBody
    from flashback_async.transport.operation import Operation


class ObjectStream:
    """An object, or a range of it, as it arrives. `async with` opens and closes it; iterate or `read`.

    Leaving the block early closes the connection and frees the lease; nothing is drained. Cancellation does
    the same. Not for use by several tasks at once.

    Attributes:
        info: what the store says of the object; `info.size` is that of the whole object in bytes.
        endpoint: id of the endpoint that serves it now.
        attempts: attempts so far, 1 when nothing went wrong.
        start: offset of the first byte of the stream within the object.
        length: bytes that the stream will yield.
        identity: what tells the version that is read from others.
    """

    info: ObjectInfo
    identity: Identity
    start: int
    length: int

    def __init__(
        self,
        runner: Runner,
        request: ReadRequest,
        *,
        timeout: float | None,
        endpoint: Endpoint | str | None,
        retry: bool,
        streamed: bool = True,
        admit: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self._runner = runner
        self._rule = runner.identity_rule
        self._request = request
        self._pin = endpoint
        self._timeout = timeout
        self._retry = retry
        self._streamed = streamed
        self._admit = admit
        self._body: LeasedBody | None = None
        self._running: AbstractAsyncContextManager[None] | None = None
        self._closed = False
        self._skip = 0
        self._left = 0
        self._fresh = 0

    @property
    def endpoint(self) -> str:
        """Id of the endpoint that serves the stream now."""
        return self._opened().endpoint_id

    @property
    def attempts(self) -> int:
        """Attempts so far."""
        return self._journey.sent

    async def __aenter__(self) -> Self:
        """Ask for the object and wait for its headers.

        Raises:
            ObjectNotFoundError: there is none.
            OperationError: no endpoint could serve it.
        """
        if self._running is not None:
            raise ClientClosedError("a stream is opened once; ask for a new one")
        self._journey = self._runner.journey(
            timeout=self._timeout, endpoint=self._pin, retry=self._retry, streamed=self._streamed
        )
        part_of = self._request.part_of
        if part_of is not None and part_of.deadline is not None:
            self._journey.deadline = part_of.deadline
        else:
            running = self._runner.running(self._request.first(self._rule), self._journey.deadline)
            await running.__aenter__()
            self._running = running
        try:
            await self._begin()
            await self._wait_for_room()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the connection, whether the end was reached or not."""
        self.release()
        if self._running is not None:
            await self._running.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        """The stream is its own iterator: leaving a loop early leaves nothing behind."""
        return self

    async def __anext__(self) -> bytes:
        """The bytes as they arrive, in pieces of whatever size.

        Raises:
            ObjectChangedError: the object was replaced while it was being read.
            OperationError: the stream broke and no endpoint could continue it.
            ClientClosedError: the stream was left.
        """
        data = await self.read_some()
        if not data:
            raise StopAsyncIteration
        return data

    async def read(self) -> bytes:
        """Everything that is left. Raises what iteration raises."""
        pieces = [data async for data in self]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read_some(self) -> bytes:
        """The next bytes as they arrive; empty at the end. Raises what iteration raises."""
        while self._left:
            body = self._opened()
            if self._closed:
                raise ClientClosedError("the stream was left; read it inside its block")
            try:
                data = await body.read(self._journey.deadline)
            except OperationError as error:
                await self._resume(body, error)
                continue
            except TimeoutError:
                body.end(Outcome.CANCELLED)
                raise self._told(DeadlineExceededError(f"{self._left} bytes were still to come")) from None
            if not data:
                await self._resume(body, IntegrityError(f"the body ended with {self._left} bytes missing"))
                continue
            if self._skip:
                dropped = min(self._skip, len(data))
                self._skip -= dropped
                data = data[dropped:]
            data = data[: self._left]
            self._left -= len(data)
            self._fresh += len(data)
            self._runner.monitor.bytes_read += len(data)
            if not self._left:
                # Longer than asked for: the rest is not worth a connection.
                body.end(Outcome.SUCCESS)
            if data:
                return data
        return b""

    def _opened(self) -> LeasedBody:
        if self._body is None:
            raise ClientClosedError("the stream is not open; use `async with`")
        return self._body

    def part(self, start: int, stop: int) -> ObjectStream:
        """Another stream of this operation, over the same version, to be read beside this one."""
        part = replace(
            self._request,
            range=ByteRange(start, stop),
            part_of=Pinned(self.identity, self._journey.deadline),
        )
        return ObjectStream(self._runner, part, timeout=None, endpoint=self._pin, retry=self._retry)

    def release(self) -> None:
        """Free the connection now: what was not read is not wanted. Idempotent."""
        self._closed = True
        if self._body is not None:
            self._body.end(Outcome.CANCELLED)

    def lift_deadline(self) -> None:
        """Without a timeout of the caller's, go on as long as there is progress: the object is large."""
        if self._timeout is None:
            self._journey.deadline = Deadline()

    async def _wait_for_room(self) -> None:
        """Wait until the caller has room for the bytes. That time is not counted: it is the caller's."""
        if self._admit is not None:
            left = self._journey.deadline.remaining(self._runner.executor.clock())
            await self._admit(self.length)
            if left < float("inf"):
                self._journey.deadline = Deadline.after(left, now=self._runner.executor.clock())

    async def _begin(self) -> None:
        request = self._request
        pinned = None if request.part_of is None else request.part_of.identity
        body = await self._answered(request.first(self._rule), 0, is_pinned=pinned is not None)
        position = await self._position(body, request.range, None if pinned is None else pinned.total)
        total = position.total
        self.info = object_info(request.bucket, request.key, body.fields, size=total or 0)
        self.identity = identity_of(body.fields, total)
        if pinned is not None:
            self._check(body, pinned, self.identity)
        wanted = request.range or ByteRange()
        first, stop = wanted.within(position.stop if total is None else total)
        self.start, self.length = first, max(0, stop - first)
        self._left = self.length
        self._skip = first - position.start
        if not self._left:
            body.end(Outcome.SUCCESS)
        elif self._skip < 0:
            body.end(Outcome.CALLER_FAULT)
            raise self._told(IntegrityError(f"asked for {wanted}, {body.endpoint_id} sent {position}"))

    async def _resume(self, body: LeasedBody, error: OperationError) -> None:
        """Go on at the next endpoint, at the first byte that is missing."""
        body.end(outcome_of(error))
        journey, executor = self._journey, self._runner.executor
        if self._fresh and self._retry:
            # What fails after progress is a new failure; only failures in a row use up the attempts. A few
            # bytes spare no delay: endpoints that break at once would be asked without end and pause.
            journey.renew(self._runner.attempts, hops=self._fresh < CONFIRMED)
        self._fresh = 0
        stop = self.start + self.length
        offset = stop - self._left
        rest = ByteRange(offset, stop)
        operation = self._request.rest(rest, self.identity, self._rule)
        journey.note(error, body.endpoint_id, body.elapsed)
        await executor.recover(operation, journey, error)
        fresh = await self._answered(operation, offset, is_pinned=True)
        try:
            position = await self._position(fresh, rest, self.identity.total)
        except OperationError:
            fresh.end(Outcome.CANCELLED)
            raise
        self._check(fresh, self.identity, identity_of(fresh.fields, position.total), offset)
        if position.start > offset or position.stop < stop:
            fresh.end(Outcome.CALLER_FAULT)
            raise self._changed(f"{fresh.endpoint_id} has bytes {position} instead of {rest}", offset)
        self._skip = offset - position.start
        self._runner.monitor.resumed += 1

    async def _answered(self, operation: Operation, offset: int, *, is_pinned: bool) -> LeasedBody:
        """The answer to a read, which may be one of a version that was seen before."""
        try:
            body = self._body = await self._runner.executor.open(operation, self._journey)
        except ServiceError as refusal:
            if is_pinned and refusal.status in CHANGED_STATUS:
                raise self._changed(gone_or_replaced(refusal), offset) from refusal
            raise
        conditions = self._request.conditions
        try:
            (conditions.check_version if is_pinned else conditions.check)(body.fields)
        except ServiceError as refusal:
            body.end(Outcome.CALLER_FAULT)
            raise self._told(refusal)  # noqa: B904  # it is the same error
        return body

    async def _position(self, body: LeasedBody, asked: ByteRange | None, total: int | None) -> Position:
        try:
            return await located(
                body,
                asked,
                total,
                executor=self._runner.executor,
                head=self._request.head(),
                deadline=self._journey.deadline,
                attempts=self._runner.attempts if self._retry else 1,
            )
        except IntegrityError as error:
            raise self._told(error)  # noqa: B904  # it is the same error

    def _check(self, body: LeasedBody, first: Identity, now: Identity, offset: int = 0) -> None:
        """Refuse the bytes of another version."""
        if not self._rule.matches(first, now):
            body.end(Outcome.CANCELLED)
            way_out = self._rule.way_out(first, now)
            raise self._changed(f"it was {first}, {body.endpoint_id} has {now}{way_out}", offset)

    def _changed(self, how: str, offset: int = 0) -> OperationError:
        return self._told(
            ObjectChangedError(
                f"the object changed after {offset} bytes: {how}", code="ObjectChanged", status=412
            )
        )

    def _told(self, error: OperationError) -> OperationError:
        error.operation, error.bucket, error.key = "GetObject", self._request.bucket, self._request.key
        if self._body is not None:
            error.endpoint = self._body.endpoint_id
        error.attempts = tuple(self._journey.failures)
        return error
