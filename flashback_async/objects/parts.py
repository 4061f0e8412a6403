"""Sources of bytes, cut into parts one after the other, so that only a few parts are in memory.

A source that cannot be read twice (a pipe, a generator) is never asked for more than the next part.
"""

from __future__ import annotations

import asyncio
import io
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, BinaryIO, cast

from flashback_async.errors import ConfigurationError
from flashback_async.objects.shielding import finished
from flashback_async.transport.upload import Source, Upload, can_seek

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Chunk = bytes | bytearray | memoryview
Part = bytes | memoryview
"""Bytes that do not change."""

PutSource = Source | Iterable[Chunk] | AsyncIterable[Chunk]
"""What an object can be written from: bytes, a path, a binary file, an iterable of bytes, async or not."""


class PartSource(ABC):
    """Bytes that are taken from the front. One reader at a time.

    Attributes:
        size: bytes in it, None while unknown.
        is_replayable: whether it can be read again from its start.
        given: what the caller gave.
    """

    def __init__(self, given: PutSource, size: int | None, *, is_replayable: bool) -> None:
        self.given = given
        self.size = size
        self.is_replayable = is_replayable
        self._ahead: deque[Part] = deque()

    async def take(self, amount: int) -> Part:
        """The next `amount` bytes, which do not change; fewer, or none, only at the end.

        Raises:
            ConfigurationError: the source yields no bytes, cannot be read, or became shorter.
            Exception: what a caller's iterable raises.
        """
        return self._ahead.popleft() if self._ahead else await self._take(amount)

    async def look_ahead(self, amount: int, parts: int) -> list[Part] | None:
        """All of it, in parts of `amount` bytes, if it has no more than so many; None if it has.

        What was looked at is taken again by `take`, with the same `amount`.
        """
        while len(self._ahead) <= parts:
            data = await self._take(amount)
            if data:
                self._ahead.append(data)
            if len(data) < amount:
                return list(self._ahead) if len(self._ahead) <= parts else None
        return None

    async def rewind(self) -> None:
        """Begin again from the start; only where `is_replayable`."""
        self._ahead.clear()
        await self._rewind()

    async def close(self) -> None:  # noqa: B027  # most have nothing to let go of
        """Let go of what was opened. Idempotent."""

    @abstractmethod
    async def _take(self, amount: int) -> Part:
        """See `take`."""

    async def _rewind(self) -> None:
        """See `rewind`; only those that are replayable have one."""
        raise AssertionError("it is read once")


async def source_of(given: PutSource) -> PartSource:
    """Take what a caller gave. Nothing is read but the length of a file.

    Raises:
        ConfigurationError: not a source of bytes, or a file that cannot be read.
    """
    if isinstance(given, bytes | bytearray | memoryview):
        return _Memory(given)
    if isinstance(given, str | os.PathLike):
        return _File(given, await Upload.of(given))
    if isinstance(given, AsyncIterable):
        return _AsyncChunks(given)
    is_file = callable(getattr(given, "read", None))
    # The order of sets and dictionaries is nobody's idea of an object.
    if isinstance(given, Iterable) and not is_file and not isinstance(given, AbstractSet | Mapping):
        return _Chunks(given)
    file = cast("BinaryIO", given)
    if is_file and not await asyncio.to_thread(can_seek, file):
        return _Pipe(file)
    return _File(file, await Upload.of(file))  # which also says why it is none


class _Memory(PartSource):
    """Bytes that are there already. Where they can change, each part is a copy, made in its turn."""

    def __init__(self, given: Chunk) -> None:
        self._view = _view(given)
        self._offset = 0
        super().__init__(given, len(self._view), is_replayable=True)

    async def _take(self, amount: int) -> Part:
        start, self._offset = self._offset, min(self._offset + amount, len(self._view))
        part = self._view[start : self._offset]
        return part if isinstance(self._view.obj, bytes) else bytes(part)

    async def _rewind(self) -> None:
        self._offset = 0


class _File(PartSource):
    """A file on disk: a path, or a caller's open file from its position."""

    def __init__(self, given: PutSource, upload: Upload) -> None:
        super().__init__(given, upload.size, is_replayable=True)
        self._upload = upload
        self._file: BinaryIO | None = None
        self._left = upload.size

    async def _take(self, amount: int) -> bytes:
        # Files on disk answer soon, so a cancellation waits: the caller may use the file right after it.
        return await finished(asyncio.to_thread(self._read, min(amount, self._left)))

    def _read(self, amount: int) -> bytes:
        sent = self._upload.size - self._left
        try:
            if self._file is None:
                self._file = self._upload.open()
            data = _read_exactly(self._file, amount)
        except (OSError, ValueError) as error:
            # ValueError: somebody closed the file.
            raise ConfigurationError(f"data cannot be read after {sent} bytes: {error}") from error
        if len(data) < amount:
            raise ConfigurationError(
                f"data ended after {sent + len(data)} of {self._upload.size} bytes; did it change?"
            )
        self._left -= amount
        return data

    async def _rewind(self) -> None:
        await self.close()
        self._left = self._upload.size

    async def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            await finished(asyncio.to_thread(file.close))


class _Pipe(PartSource):
    """A file that cannot seek, read once. A cancellation does not wait for it: nothing may ever come."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, None, is_replayable=False)
        self._file = file

    async def _take(self, amount: int) -> bytes:
        try:
            return await asyncio.to_thread(_read_exactly, self._file, amount)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"data cannot be read any more: {error}") from error


class _Chunks(PartSource):
    """An iterable of bytes, advanced in threads: generators may read files, or compute."""

    def __init__(self, given: Iterable[Chunk]) -> None:
        # Only sequences are known to begin anew: an iterable may well be a view of something that moves on.
        super().__init__(given, None, is_replayable=isinstance(given, Sequence))
        self._given = given
        self._chunks: Iterator[Chunk] = iter(given)
        self._rest = memoryview(b"")
        self._stopped = False

    async def _take(self, amount: int) -> bytes:
        return await asyncio.to_thread(self._collect, amount)

    def _collect(self, amount: int) -> bytes:
        block = _Block(amount)
        self._rest = block.add(self._rest)
        while block.room and not self._stopped:
            try:
                chunk = next(self._chunks)
            except StopIteration:
                break
            self._rest = block.add(_checked(chunk))
        return block.value()

    async def _rewind(self) -> None:
        self._chunks = iter(self._given)
        self._rest = memoryview(b"")

    async def close(self) -> None:
        # A thread that is left behind by a cancellation takes no further chunk.
        self._stopped = True


class _AsyncChunks(PartSource):
    """An async iterable of bytes, read once."""

    def __init__(self, given: AsyncIterable[Chunk]) -> None:
        super().__init__(given, None, is_replayable=False)
        self._chunks: AsyncIterator[Chunk] = aiter(given)
        self._rest = memoryview(b"")

    async def _take(self, amount: int) -> bytes:
        block = _Block(amount)
        self._rest = block.add(self._rest)
        while block.room:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                break
            self._rest = block.add(_checked(chunk))
        return block.value()


class _Block:
    """Collects chunks up to an amount, without a second copy of them."""

    def __init__(self, amount: int) -> None:
        self._buffer = io.BytesIO()
        self.room = amount

    def add(self, chunk: memoryview) -> memoryview:
        """Take what fits; returns the rest."""
        taken = chunk[: self.room]
        self._buffer.write(taken)
        self.room -= len(taken)
        return chunk[len(taken) :]

    def value(self) -> bytes:
        # CPython hands the buffer itself out.
        return self._buffer.getvalue()


def _view(data: Chunk) -> memoryview:
    view = memoryview(data)
    return view.cast("B") if view.c_contiguous else memoryview(bytes(view))


def _checked(chunk: object) -> memoryview:
    if not isinstance(chunk, bytes | bytearray | memoryview):
        raise ConfigurationError(f"data yields {chunk!r:.40}, a {type(chunk).__name__}; it must yield bytes")
    # What can change may be filled again by its owner while the rest of it waits here.
    return memoryview(chunk if isinstance(chunk, bytes) else bytes(chunk))


def _read_exactly(file: BinaryIO, amount: int) -> bytes:
    """`amount` bytes; fewer only at the end. A file may return fewer at any time."""
    data: object = file.read(amount)
    if isinstance(data, bytes) and len(data) == amount:
        return data
    block = _Block(amount)
    while data:
        if not isinstance(data, bytes):
            raise ConfigurationError(f"data={file!r:.80} yields text; open it in binary mode")
        block.add(memoryview(data))
        if not block.room:
            break
        data = file.read(block.room)
    return block.value()
