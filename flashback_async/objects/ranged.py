"""Reading a large object in pieces, over several nodes at once.

The first answer goes on being read from the front, so that nothing of it is wasted, while others take pieces
from the back, each an operation of its own that is routed like any other and pinned to the first answer's
version. They meet where the speeds of the nodes have it.
"""

from __future__ import annotations

import asyncio
import io
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flashback_async.errors import IntegrityError
from flashback_async.objects.task_group import task_group

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flashback_async.objects.reading import ObjectStream
    from flashback_async.objects.runner import Runner

# Bytes of memory that are made at a time: zeroing more would hold the loop up for longer than a request may.
_STEP = 4 * 1_024 * 1_024


class Piece(NamedTuple):
    """A half-open range of an object's bytes."""

    start: int
    stop: int


class PieceSink(Protocol):
    """Where the bytes of one piece go, in their order."""

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""

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
    """

    def __init__(self, missing: Iterable[tuple[int, int]], size: int) -> None:
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
        concurrency: streams at once, the first one included.

    Raises:
        ObjectChangedError: a node has another version of the object.
        OperationError: a piece could not be read.
    """
    hindmost, endpoint, failures = 0, stream.endpoint, 0

    def note(source: ObjectStream, stop: int) -> None:
        nonlocal hindmost, endpoint
        if stop > hindmost:
            hindmost, endpoint = stop, source.endpoint

    async def from_the_front() -> None:
        nonlocal failures
        offset, rest = stream.start, b""
        while (piece := plan.at(offset)) is not None:
            rest = await _copy(stream, piece, sink, rest)
            note(stream, piece.stop)
            offset = piece.stop
        failures += stream.attempts - 1
        stream.release()
        await from_the_back()

    async def from_the_back() -> None:
        nonlocal failures
        while len(plan):
            async with runner.part_slots:
                piece = plan.last()
                if piece is None:
                    return
                async with stream.part(*piece) as source:
                    await _copy(source, piece, sink, b"")
                    note(source, piece.stop)
                    failures += source.attempts - 1

    async with task_group() as group:
        group.create_task(from_the_front())
        for _ in range(min(concurrency, len(plan)) - 1):
            group.create_task(from_the_back())
    return Course(endpoint, failures)


async def _copy(stream: ObjectStream, piece: Piece, sink: Sink, rest: bytes) -> bytes:
    """The bytes of one piece; returns what came with them of the next one."""
    writer = sink.begin(piece)
    left = piece.stop - piece.start
    while left:
        data, rest = rest or await stream.read_some(), b""
        if not data:
            raise IntegrityError(
                f"{left} bytes of the range {piece.start}-{piece.stop} were not sent",
                operation="GetObject",
                endpoint=stream.endpoint,
            )
        if len(data) > left:
            data, rest = data[:left], data[left:]
        await writer.write(data)
        left -= len(data)
    await writer.end()
    return rest


class Whole(NamedTuple):
    """An object, or a range of it, in memory."""

    body: bytes
    endpoint: str
    attempts: int


async def read_whole(runner: Runner, stream: ObjectStream, *, in_pieces: bool = True) -> Whole:
    """Everything that `stream` has, which is open and unread; in pieces if it is large and may be."""
    limits = runner.transfers
    is_large = stream.length > limits.whole
    if is_large:
        stream.lift_deadline()
    if not is_large or not in_pieces:
        body = await stream.read()
        return Whole(body, stream.endpoint, stream.attempts)
    memory = await _Memory.of(stream.start, stream.length)
    plan = Plan([(stream.start, stream.start + stream.length)], limits.part_size)
    course = await read_pieces(
        runner, stream, plan, memory, concurrency=readers(runner, stream, limits.concurrency)
    )
    return Whole(memory.value(), course.endpoint, 1 + course.failures)


def readers(runner: Runner, stream: ObjectStream, concurrency: int) -> int:
    """How many may read at once: one where two versions are too easily taken for one, as without an ETag."""
    return concurrency if runner.identity_rule.tells(stream.identity) else 1


class _Memory:
    """One buffer for an object, which becomes its bytes without a copy."""

    def __init__(self, buffer: io.BytesIO, start: int) -> None:
        self._buffer = buffer
        self._start = start
        self._view = buffer.getbuffer()

    @classmethod
    async def of(cls, start: int, length: int) -> _Memory:
        """Memory for so many bytes of an object, the first of which is at `start`."""
        buffer = io.BytesIO()
        for end in (*range(_STEP, length, _STEP), length):
            buffer.seek(end - 1)
            buffer.write(b"\0")
            await asyncio.sleep(0)
        return cls(buffer, start)

    def begin(self, piece: Piece) -> _MemoryPiece:
        """Where a piece goes."""
        return _MemoryPiece(self._view[piece.start - self._start : piece.stop - self._start])

    def value(self) -> bytes:
        """All of it; nothing can be written any more."""
        self._view.release()
        return self._buffer.getvalue()


class _MemoryPiece:
    """The place of one piece in memory."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._offset = 0

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._view[self._offset : self._offset + len(data)] = data
        self._offset += len(data)

    async def end(self) -> None:
        """Let go of the memory, which has to be free to become bytes."""
        self._view.release()
