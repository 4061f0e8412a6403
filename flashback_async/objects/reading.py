"""Reading objects: a stream that survives its node, and whole objects on top of it.

A body that stalls, breaks or ends too early goes on at the next endpoint, at the exact byte, with `Range` and
`If-Match`. Gateways may ignore either (rclone does), so every answer is checked (`read_answers`): bytes of
two versions are never mixed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from flashback_async.errors import (
    ClientClosedError,
    DeadlineExceededError,
    IntegrityError,
    OperationError,
)
from flashback_async.objects.checksums import Check
from flashback_async.objects.info import object_info
from flashback_async.objects.names import ByteRange
from flashback_async.objects.read_answers import ReadAnswers
from flashback_async.objects.read_request import Pinned
from flashback_async.routing import Outcome
from flashback_async.transport.body import CONFIRMED
from flashback_async.transport.operation import Deadline
from flashback_async.transport.outcomes import outcome_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from flashback_async.models import ObjectInfo
    from flashback_async.objects.checksums import Checksum
    from flashback_async.objects.identity import Identity
    from flashback_async.objects.read_request import ReadRequest
    from flashback_async.objects.runner import Place, Runner
    from flashback_async.routing import Endpoint
    from flashback_async.transport.body import LeasedBody
    from flashback_async.transport.operation import Journey, Operation


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
        checksum: what the whole object should have, None where nothing tells, or it cannot be computed here.
    """

    info: ObjectInfo
    identity: Identity
    checksum: Checksum | None
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
        verifies: bool = False,
    ) -> None:
        self._runner = runner
        self._request = request
        self._pin = endpoint
        self._timeout = timeout
        self._retry = retry
        self._streamed = streamed
        self._admit = admit
        self._verifies = verifies
        self._check: Check | None = None
        self._before: Journey | None = None
        self._body: LeasedBody | None = None
        self._place: Place | None = None
        self._is_open = False
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
        if self._is_open:
            raise ClientClosedError("a stream is opened once; ask for a new one")
        self._is_open = True
        self._journey = self._runner.journey(
            timeout=self._timeout, endpoint=self._pin, retry=self._retry, streamed=self._streamed
        )
        if self._before is not None:
            self._journey.deadline = self._before.deadline
            self._journey.tried |= self._before.tried
        self._answers = ReadAnswers(
            self._runner,
            self._request,
            self._journey,
            attempts=self._runner.attempts if self._retry else 1,
        )
        part_of = self._request.part_of
        operation = self._request.first(self._runner.identity_rule)
        if part_of is not None and part_of.deadline is not None:
            self._journey.deadline = part_of.deadline
        else:
            self._place = await self._runner.place(operation, self._journey.deadline)
        try:
            await self._begin(operation)
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
        if self._place is not None:
            self._place.leave(error)

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
        pieces = []
        while self._left:
            pieces.append(await self.read_some())
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
                raise self.told(DeadlineExceededError(f"{self._left} bytes were still to come")) from None
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
            if self._check is not None:
                self._check.update(data)
            if not self._left:
                self._complete(body, data)
            if data:
                return data
        return b""

    def _complete(self, body: LeasedBody, last: bytes) -> None:
        """Nothing is missing: let go, and compare."""
        # Longer than asked for: the rest is not worth a connection.
        body.end(Outcome.SUCCESS)
        # Held against nobody: what was damaged in the store is damaged at every node, and the readers of one
        # such object would close them all.
        if self._check is not None and (wrong := self._check.error()) is not None:
            self._closed, self._left = True, len(last)
            raise self.told(wrong)

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

    def again(self, request: ReadRequest | None = None) -> ObjectStream:
        """The same read once more, or another one, elsewhere if possible, within the same time."""
        stream = ObjectStream(
            self._runner,
            self._request if request is None else request,
            timeout=self._timeout,
            endpoint=self._pin,
            retry=self._retry,
            streamed=self._streamed,
        )
        self._journey.tried.add(self.endpoint)
        stream._before = self._journey
        return stream

    @property
    def expected(self) -> Checksum | None:
        """What the bytes of this stream should have; None where that is unknown, as for a range."""
        return self.checksum if self._request.range is None else None

    def told(self, error: OperationError) -> OperationError:
        """`error`, with what it is about."""
        return self._answers.told(error)

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

    async def _begin(self, operation: Operation) -> None:
        request = self._request
        body, position, self.identity = await self._answers.first(operation)
        self._body = body
        total = position.total
        self.info = object_info(request.bucket, request.key, body.fields, size=total or 0)
        self.checksum = self._runner.checksums.expected_of(body.fields)
        if self._verifies and self.expected is not None:
            self._check = Check(self.expected)
        wanted = request.range or ByteRange()
        first, stop = wanted.within(position.stop if total is None else total)
        self.start, self.length = first, max(0, stop - first)
        self._left = self.length
        self._skip = first - position.start
        if not self._left:
            body.end(Outcome.SUCCESS)
        elif self._skip < 0:
            body.end(Outcome.CALLER_FAULT)
            raise self.told(IntegrityError(f"asked for {wanted}, {body.endpoint_id} sent {position}"))

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
        operation = self._answers.further(rest, self.identity)
        journey.note(error, body.endpoint_id, body.elapsed)
        await executor.recover(operation, journey, error)
        self._body, position, _ = await self._answers.go_on(operation, rest, self.identity)
        self._skip = offset - position.start
        self._runner.monitor.resumed += 1
