"""What is still to come of a read, which is asked for elsewhere when the body of the moment breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flashback_async.errors import (
    ClientClosedError,
    DeadlineExceededError,
    IntegrityError,
    OperationError,
)
from flashback_async.objects.names import ByteRange
from flashback_async.routing.outcome import CALLER_FAULT, CANCELLED, SUCCESS
from flashback_async.transport.body import CONFIRMED
from flashback_async.transport.outcomes import outcome_of

if TYPE_CHECKING:
    from flashback_async.objects.checksums import Check
    from flashback_async.objects.read_answers import ReadAnswer, ReadAnswers
    from flashback_async.objects.runner import Runner
    from flashback_async.transport.body import LeasedBody
    from flashback_async.transport.operation import Journey

# Bytes that are dropped at a time, where an endpoint sends more than it was asked for.
_SCRATCH: Final = 256 * 1_024
# Bytes that are waited for at a time: few enough to be hashed, or counted, without holding up the loop.
_AT_ONCE: Final = 1_024 * 1_024


class Remainder:
    """The bytes of a read that were not handed on yet. Owns the body that they come from.

    Args:
        runner: counts what is read.
        answers: the answers to this read, each of them checked.
        journey: what it has been through.
        answer: the first one.
        wanted: which bytes of the object.
        retry: whether what breaks may go on elsewhere more than once.

    Attributes:
        body: of the endpoint that serves it now.
        start: offset of its first byte within the object.
        left: bytes that are still to come.
        check: what they are compared with, None: with nothing.
    """

    __slots__ = (
        "_answers",
        "_closed",
        "_first",
        "_fresh",
        "_identity",
        "_journey",
        "_retry",
        "_runner",
        "_skip",
        "_stop",
        "_wanted",
        "body",
        "check",
        "left",
        "start",
    )

    def __init__(  # private to reading
        self,
        runner: Runner,
        answers: ReadAnswers,
        journey: Journey,
        answer: ReadAnswer,
        wanted: ByteRange,
        *,
        retry: bool,
    ) -> None:
        self.body, position, self._identity = answer.body, answer.position, answer.identity
        self.check: Check | None = None
        self._runner = runner
        self._answers = answers
        self._journey = journey
        self._retry = retry
        self._closed = False
        self._fresh = 0
        self._first = position
        self._wanted = wanted
        self.start, stop = wanted.within(position.stop if position.total is None else position.total)
        self.left = max(0, stop - self.start)
        self._stop = self.start + self.left
        self._skip = self.start - position.start

    def begin(self) -> None:
        """See that the first answer has what is wanted.

        Raises:
            IntegrityError: it begins too late.
        """
        if not self.left:
            self.body.end(SUCCESS)
        elif self._skip < 0:
            self.body.end(CALLER_FAULT)
            raise self._answers.told(
                IntegrityError(f"asked for {self._wanted}, {self.body.endpoint_id} sent {self._first}")
            )

    def release(self) -> None:
        """Free the connection now: what was not read is not wanted. Idempotent."""
        self._closed = True
        self.body.end(CANCELLED)

    def at_hand(self) -> bytes | None:
        """The next bytes if they are here; None: `read_some` waits for them. Raises as that does."""
        data = self._readable().at_hand()
        return None if data is None else self._wanted_of(data) or None

    async def read_some(self) -> bytes:
        """See `ObjectStream.read_some`."""
        while self.left:
            body = self._readable()
            try:
                data = await body.read(self._journey.deadline)
            except (OperationError, TimeoutError) as error:
                await self._mend(body, error)
                continue
            if not data:
                await self._mend(body, self._too_short())
            elif data := self._wanted_of(data):
                return data
        return b""

    def _wanted_of(self, data: bytes) -> bytes:
        """What is handed on of bytes that came; may be none."""
        if self._skip:
            dropped = min(self._skip, len(data))
            self._skip -= dropped
            data = data[dropped:]
        if data:
            data = data[: self.left]
            self._count(data)
        return data

    async def read_into(self, memory: memoryview) -> int:
        """See `ObjectStream.read_into`."""
        while self.left:
            if self._skip:
                with memoryview(bytearray(min(self._skip, _SCRATCH))) as scratch:
                    dropped = await self._fill(scratch)
                # Not in one statement: another answer, with something else to skip, may have come meanwhile.
                self._skip -= dropped
                continue
            with memory[: min(self.left, self._at_once())] as room:
                if count := await self._fill(room):
                    with room[:count] as data:
                        self._count(data)
                    return count
        return 0

    def _at_once(self) -> int:
        """Bytes to wait for: more and more as long as they come, but few where they are looked at here."""
        return _AT_ONCE if self.check is not None else max(_AT_ONCE, self._fresh)

    async def _fill(self, memory: memoryview) -> int:
        """Put the next bytes of the body into `memory`; 0: it failed, and the rest comes from elsewhere."""
        body = self._readable()
        try:
            count = await body.read_into(memory, self._journey.deadline)
        except (OperationError, TimeoutError) as error:
            await self._mend(body, error)
            return 0
        if not count:
            await self._mend(body, self._too_short())
        return count

    def _too_short(self) -> IntegrityError:
        return IntegrityError(f"the body ended with {self.left} bytes missing")

    async def _mend(self, body: LeasedBody, error: OperationError | TimeoutError) -> None:
        if isinstance(error, OperationError):
            await self._resume(body, error)
        else:
            body.end(CANCELLED)
            raise self._answers.told(DeadlineExceededError(f"{self.left} bytes were still to come")) from None

    def _count(self, data: bytes | memoryview) -> None:
        """They are handed on."""
        self.left -= len(data)
        self._fresh += len(data)
        self._runner.monitor.bytes_read += len(data)
        if self.check is not None:
            self.check.update(data)
        if not self.left:
            self._complete(data)

    def _complete(self, last: bytes | memoryview) -> None:
        """Nothing is missing: let go, and compare."""
        # Longer than asked for: the rest is not worth a connection.
        self.body.end(SUCCESS)
        # Held against nobody: what was damaged in the store is damaged at every node, and the readers of one
        # such object would close them all.
        if self.check is not None and (wrong := self.check.error()) is not None:
            self._closed, self.left = True, len(last)
            raise self._answers.told(wrong)

    def _readable(self) -> LeasedBody:
        if self._closed:
            raise ClientClosedError("the stream was left; read it inside its block")
        return self.body

    async def _resume(self, body: LeasedBody, error: OperationError) -> None:
        """Go on at the next endpoint, at the first byte that is missing."""
        body.end(outcome_of(error))
        journey, executor = self._journey, self._runner.executor
        if self._fresh and self._retry:
            # What fails after progress is a new failure; only failures in a row use up the attempts. A few
            # bytes spare no delay: endpoints that break at once would be asked without end and pause.
            journey.renew(self._runner.attempts, hops=self._fresh < CONFIRMED)
        self._fresh = 0
        offset = self._stop - self.left
        rest = ByteRange(offset, self._stop)
        operation = self._answers.further(rest, self._identity)
        journey.note(error, body.endpoint_id, body.elapsed)
        await executor.recover(operation, journey, error)
        answer = await self._answers.go_on(operation, rest, self._identity)
        self.body = answer.body
        self._skip = offset - answer.position.start
        self._runner.monitor.resumed += 1
