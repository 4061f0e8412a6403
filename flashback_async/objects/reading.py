"""Reading objects: a stream that survives its node, and whole objects on top of it.

A body that stalls, breaks or ends too early goes on at the next endpoint, at the exact byte, with `Range` and
`If-Match`. Gateways may ignore either (rclone does), so every answer is checked (`read_answers`): bytes of
two versions are never mixed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from flashback_async.errors import (
    ClientClosedError,
    OperationError,
)
from flashback_async.objects.checksums import Check
from flashback_async.objects.info import object_info
from flashback_async.objects.memory import Memory
from flashback_async.objects.names import EVERYTHING, ByteRange
from flashback_async.objects.read_answers import ReadAnswers
from flashback_async.objects.read_request import Pinned
from flashback_async.objects.remainder import Remainder
from flashback_async.transport.operation import Deadline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from flashback_async.models import ObjectInfo
    from flashback_async.objects.checksums import Checksum
    from flashback_async.objects.identity import Identity
    from flashback_async.objects.read_answers import ReadAnswer
    from flashback_async.objects.read_request import ReadRequest
    from flashback_async.objects.runner import Place, Runner
    from flashback_async.routing import Endpoint
    from flashback_async.transport.operation import Journey

# Bytes up to which a body comes with one or two reads of the socket, and is not worth memory made for it.
IN_PIECES: Final = 256 * 1_024


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

    __slots__ = (
        "__weakref__",
        "_admit",
        "_answers",
        "_before",
        "_is_open",
        "_journey",
        "_pin",
        "_place",
        "_request",
        "_rest",
        "_retry",
        "_runner",
        "_streamed",
        "_timeout",
        "_verifies",
        "checksum",
        "identity",
        "info",
        "length",
        "start",
    )

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
        self._before: Journey | None = None
        self._rest: Remainder | None = None
        self._place: Place | None = None
        self._is_open = False

    @property
    def endpoint(self) -> str:
        """Id of the endpoint that serves the stream now."""
        return self._opened().body.endpoint_id

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
            self._begin(await self._answers.first(operation))
            if self._admit is not None:
                await self._wait_for_room(self._admit)
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
        rest = self._opened()
        if rest.left > IN_PIECES and rest.body.is_direct:
            length = rest.left
            with Memory(length) as memory:
                while rest.left:
                    with memory.room(length - rest.left, length) as room:
                        await rest.read_into(room)
                return memory.value()
        pieces = []
        while rest.left:
            # A small body came with its head.
            pieces.append(rest.at_hand() or await rest.read_some())
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_some(self) -> Awaitable[bytes]:
        """The next bytes as they arrive; empty at the end. Raises what iteration raises."""
        return self._opened().read_some()

    def read_into(self, memory: memoryview) -> Awaitable[int]:
        """Put the next bytes into `memory`, as they arrive; how many, 0 at the end. Raises as `read_some`."""
        return self._opened().read_into(memory)

    def _opened(self) -> Remainder:
        if self._rest is None:
            raise ClientClosedError("the stream is not open; use `async with`")
        return self._rest

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
        if self._rest is not None:
            self._rest.release()

    def lift_deadline(self) -> None:
        """Without a timeout of the caller's, go on as long as there is progress: the object is large."""
        if self._timeout is None:
            self._journey.deadline = Deadline()

    async def _wait_for_room(self, admit: Callable[[int], Awaitable[None]]) -> None:
        """Wait until the caller has room for the bytes. That time is not counted: it is the caller's."""
        left = self._journey.deadline.remaining(self._runner.executor.clock())
        await admit(self.length)
        if left < float("inf"):
            self._journey.deadline = Deadline.after(left, now=self._runner.executor.clock())

    def _begin(self, answer: ReadAnswer) -> None:
        request = self._request
        wanted = request.range or EVERYTHING
        rest = self._rest = Remainder(
            self._runner, self._answers, self._journey, answer, wanted, retry=self._retry
        )
        fields, self.identity = answer.body.fields, answer.identity
        self.start, self.length = rest.start, rest.left
        self.info = object_info(request.bucket, request.key, fields, size=answer.position.total or 0)
        self.checksum = self._runner.checksums.expected_of(fields)
        if self._verifies and self.expected is not None:
            rest.check = Check(self.expected)
        rest.begin()
