"""Reading a large object in pieces, over several nodes at once.

The first answer goes on being read from the front, so that nothing of it is wasted, while others take pieces
from the back, each an operation of its own that is routed like any other and pinned to the first answer's
version. They meet where the speeds of the nodes have it. As long as the first stream brings all that this
process can take, it stays alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from flashback_async.errors import IntegrityError
from flashback_async.objects.memory import Memory
from flashback_async.objects.task_group import task_group

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flashback_async.objects.reading import ObjectStream
    from flashback_async.objects.runner import Runner


# Bytes per second. A stream that brings so many keeps this process busy by itself: others beside it would
# cost 5 to 15 % more CPU (fast lane; aioboto3 lane: 45 %), and nothing would arrive sooner.
FAST: Final = 512 * 1_024 * 1_024


class Piece(NamedTuple):
    """A half-open range of an object's bytes."""

    start: int
    stop: int


class PieceSink(Protocol):
    """Where the bytes of one piece go, in their order."""

    @property
    def room(self) -> memoryview:
        """Memory for the next bytes, to be filled from its start."""

    async def wrote(self, count: int) -> None:
        """So many bytes are in the room, which is another one from now on."""

    async def end(self) -> None:
        """That was all of the piece."""


class Sink(Protocol):
    """Where the pieces of an object go, in any order."""

    def begin(self, piece: Piece) -> PieceSink:
        """A piece that is about to be read."""


class Plan:
    """What is still to be read. Whoever takes a piece reads it, and nobody else does.

    Args:
        missing: ranges of the object, in order.
        size: bytes of a piece at most.

    Attributes:
        size: see there.
    """

    def __init__(self, missing: Iterable[tuple[int, int]], size: int) -> None:
        self.size = size
        self._left = deque(
            Piece(at, min(at + size, stop)) for start, stop in missing for at in range(start, stop, size)
        )

    def __len__(self) -> int:
        return len(self._left)

    def at(self, offset: int) -> Piece | None:
        """The foremost piece, if it begins there."""
        return self._left.popleft() if self._left and self._left[0].start == offset else None

    def last(self) -> Piece | None:
        """The hindmost piece."""
        return self._left.pop() if self._left else None


class Course(NamedTuple):
    """How a reading went: who served the last byte, and how many attempts it took beyond one per request."""

    endpoint: str
    failures: int


async def read_pieces(
    runner: Runner, stream: ObjectStream, plan: Plan, sink: Sink, *, concurrency: int
) -> Course:
    """Read everything in `plan`, beginning with `stream`, which is open and stands at the first piece.

    Args:
        runner: its slots for parts bound what happens at once.
        stream: the first answer; its connection is free afterwards.
        plan: what is missing.
        sink: where it goes.
        concurrency: streams at once, the first one included, once that one is not fast enough alone.

    Raises:
        ObjectChangedError: a node has another version of the object.
        OperationError: a piece could not be read.
    """
    reading = _Reading(runner, stream, plan, sink)
    async with task_group() as group:
        front = group.create_task(reading.from_the_front())
        if concurrency > 1:
            await reading.until_slow(front)
            if not front.done():
                for _ in range(min(concurrency - 1, len(plan))):
                    group.create_task(reading.from_the_back())
    return Course(reading.endpoint, reading.failures)


class _Reading:
    """What those who read one object share: how far it got, and by whom."""

    def __init__(self, runner: Runner, stream: ObjectStream, plan: Plan, sink: Sink) -> None:
        self.endpoint = stream.endpoint
        self.failures = 0
        self._runner = runner
        self._stream = stream
        self._plan = plan
        self._sink = sink
        self._hindmost = 0

    async def from_the_front(self) -> None:
        """Read piece after piece from the first stream, as far as nobody else has; then help the others."""
        stream, offset = self._stream, self._stream.start
        while (piece := self._plan.at(offset)) is not None:
            await _copy(stream, piece, self._sink)
            self._note(stream, piece.stop)
            offset = piece.stop
        self.failures += stream.attempts - 1
        stream.release()
        await self.from_the_back()

    async def from_the_back(self) -> None:
        """Read the hindmost pieces that nobody has taken, each from whichever endpoint is best."""
        while len(self._plan):
            async with self._runner.part_slots:
                piece = self._plan.last()
                if piece is None:
                    return
                async with self._stream.part(*piece) as source:
                    await _copy(source, piece, self._sink)
                    self._note(source, piece.stop)
                    self.failures += source.attempts - 1

    async def until_slow(self, front: asyncio.Task[None]) -> None:
        """Wait for as long as the first stream needs no help: pieces come as fast as we can take them."""
        before = -1
        while before < self._hindmost and len(self._plan) and not front.done():
            before = self._hindmost
            await asyncio.wait({front}, timeout=self._plan.size / FAST)

    def _note(self, source: ObjectStream, stop: int) -> None:
        if stop > self._hindmost:
            self._hindmost, self.endpoint = stop, source.endpoint


async def _copy(stream: ObjectStream, piece: Piece, sink: Sink) -> None:
    """The bytes of one piece."""
    writer = sink.begin(piece)
    left = piece.stop - piece.start
    while left:
        with writer.room[:left] as room:
            count = await stream.read_into(room)
        if not count:
            raise IntegrityError(
                f"{left} bytes of the range {piece.start}-{piece.stop} were not sent",
                operation="GetObject",
                endpoint=stream.endpoint,
            )
        await writer.wrote(count)
        left -= count
    await writer.end()


class Whole(NamedTuple):
    """An object, or a range of it, in memory."""

    body: bytes
    endpoint: str
    attempts: int


async def read_in_pieces(runner: Runner, stream: ObjectStream) -> Whole:
    """Everything that `stream` has, which is open and unread, from several nodes at once."""
    limits = runner.transfers
    plan = Plan([(stream.start, stream.start + stream.length)], limits.part_size)
    with Memory(stream.length) as memory:
        pieces = _Pieces(memory, stream.start)
        course = await read_pieces(
            runner, stream, plan, pieces, concurrency=readers(runner, stream, limits.concurrency)
        )
        return Whole(memory.value(), course.endpoint, 1 + course.failures)


def readers(runner: Runner, stream: ObjectStream, concurrency: int) -> int:
    """How many may read at once: one where two versions are too easily taken for one, as without an ETag."""
    return concurrency if runner.identity_rule.tells(stream.identity) else 1


class _Pieces:
    """One piece of memory for all pieces of an object, the first byte of which is at `start`."""

    def __init__(self, memory: Memory, start: int) -> None:
        self._memory = memory
        self._start = start

    def begin(self, piece: Piece) -> _MemoryPiece:
        """Where a piece goes."""
        return _MemoryPiece(self._memory, piece.start - self._start, piece.stop - self._start)


class _MemoryPiece:
    """The place of one piece in memory. Keeps none of it: whoever fills it lets go of what it was given."""

    def __init__(self, memory: Memory, start: int, stop: int) -> None:
        self._memory = memory
        self._start = start
        self._stop = stop

    @property
    def room(self) -> memoryview:
        """What is free of it."""
        return self._memory.room(self._start, self._stop)

    async def wrote(self, count: int) -> None:
        """So many bytes are in the room."""
        self._start += count

    async def end(self) -> None:
        """That was all of the piece; it is where it belongs."""
