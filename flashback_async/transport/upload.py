"""A body to send, from memory or from a file, which tells how far it got and can be sent again."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from flashback_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from flashback_async.transport.s3_call import Progress

# One slice per call into the event loop: large enough to cost little, small enough to notice a stall.
SLICE = 256 * 1_024
# Bytes read, or read and hashed, per way to a thread and back: ~1 ms of hashing against ~0.1 ms of way.
READ_AT_ONCE = 1_024 * 1_024
# The same where they are in memory already, and need no more of it.
HASHED_IN_MEMORY = 8 * 1_024 * 1_024

Source = bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO


class Upload:
    """A body of known length. Opened anew for every attempt; nothing is open between attempts.

    Attributes:
        size: bytes.
        is_replayable: whether it can be sent again after a failed attempt.
        in_slices: whether it leaves in several pieces, each of which is progress.
    """

    __slots__ = ("_in_memory", "_open", "in_slices", "is_replayable", "size")

    def __init__(
        self, open_source: Callable[[], BinaryIO], size: int, *, in_memory: bytes | memoryview | None = None
    ) -> None:
        self._open = open_source
        self._in_memory = in_memory
        self.size = size
        self.is_replayable = True
        self.in_slices = in_memory is None or len(in_memory) > SLICE

    @classmethod
    async def of(cls, source: Source) -> Upload:
        """Take what a caller gave: bytes, a path, or an open binary file (from its current position).

        A file that cannot seek is read into memory, for it could not be sent again otherwise.

        Raises:
            ConfigurationError: not a source of bytes, or a path that cannot be read.
        """
        if isinstance(source, bytes | bytearray | memoryview):
            return cls.of_bytes(bytes(source))
        if isinstance(source, str | os.PathLike):
            return await asyncio.to_thread(cls._of_path, Path(source))
        if callable(getattr(source, "read", None)):
            return await asyncio.to_thread(cls._of_file, source)
        raise ConfigurationError(
            f"data={source!r:.80} is a {type(source).__name__}; give bytes, a path, an open binary file, or "
            "an iterable of bytes, async or not"
        )

    @classmethod
    def of_bytes(cls, data: bytes | memoryview) -> Upload:
        """Bytes that do not change, or a view of such."""
        if len(data) <= SLICE and not isinstance(data, bytes):
            data = bytes(data)
        return cls(lambda: io.BytesIO(data), len(data), in_memory=data)

    @classmethod
    def _of_path(cls, path: Path) -> Upload:
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise ConfigurationError(
                f"data={str(path)!r:.200} is the path of a file, and cannot be read: {error.strerror}; give "
                "bytes for what is in memory"
            ) from error
        return cls(lambda: path.open("rb"), size)

    @classmethod
    def _of_file(cls, file: BinaryIO) -> Upload:
        if not can_seek(file):
            data = file.read()
            if not isinstance(data, bytes):
                raise ConfigurationError(f"data={file!r:.80} yields text; open it in binary mode")
            return cls.of_bytes(data)
        start = file.tell()
        size = max(0, file.seek(0, os.SEEK_END) - start)
        file.seek(start)
        return cls(lambda: cast("BinaryIO", _Borrowed(file, start)), size)

    def open(self) -> BinaryIO:
        """The source, at its start; the caller closes it, which leaves a file of somebody else's open."""
        return self._open()

    def reader(self, progress: Progress) -> bytes | UploadReader:
        """The body for one attempt. Small ones are plain bytes, for they leave in one piece."""
        if isinstance(self._in_memory, bytes) and not self.in_slices:
            return self._in_memory
        return UploadReader(self._open, self.size, progress, in_memory=self._in_memory)


def can_seek(file: BinaryIO) -> bool:
    """Whether an open file can be read again.

    Raises:
        ConfigurationError: it is closed, or open in text mode.
    """
    if getattr(file, "closed", False):
        raise ConfigurationError(f"data={file!r:.80} is closed; open it, or give its path")
    if hasattr(file, "encoding"):
        raise ConfigurationError(f"data={file!r:.80} yields text; open it in binary mode")
    seekable = getattr(file, "seekable", None)
    return seekable is not None and bool(seekable())


class UploadReader:
    """The body of one attempt: a file for whoever signs it, an async iterator for whoever sends it.

    What is in memory is hashed and sent where it is.

    Attributes:
        memory: all of it, where it is in memory.
        progress: told of what was read, or sent.
        offset: of its first byte in the file that was opened.
    """

    def __init__(
        self,
        open_source: Callable[[], BinaryIO],
        size: int,
        progress: Progress,
        *,
        in_memory: bytes | memoryview | None = None,
    ) -> None:
        self.memory = None if in_memory is None else memoryview(in_memory)
        self.progress = progress
        self._open = open_source
        self._file: BinaryIO | None = None
        self.offset = 0
        self._size = size
        self._is_hashed = False

    def __len__(self) -> int:
        return self._size

    def __bool__(self) -> bool:
        return True

    def read(self, amount: int = -1) -> bytes:
        """Read synchronously, for a signature over the payload (plain http), or for a checksum behind it."""
        data = self._source().read(amount)
        if data:
            self.progress(complete=False)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as a file does."""
        file = self._source()
        base = self.offset if whence == os.SEEK_SET else 0
        return file.seek(base + offset, whence) - self.offset

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._source().tell() - self.offset

    def close(self) -> None:
        """Close what this attempt opened."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def sha256(self) -> str:
        """SHA-256 of the whole body in hex, computed in a thread; every piece is progress.

        Raises:
            ConfigurationError: the source became shorter, or cannot be read.
        """
        digest = hashlib.sha256()
        file = None if self.memory is not None else self._source()
        at_once = HASHED_IN_MEMORY if file is None else READ_AT_ONCE
        hashed = 0

        def step(wanted: int) -> int:
            data: bytes | memoryview = b""
            if self.memory is not None:
                data = self.memory[hashed : hashed + wanted]
            elif file is not None:
                data = file.read(wanted)
            digest.update(data)
            return len(data)

        try:
            if file is not None:
                self.seek(0)
            while hashed < self._size:
                read = await asyncio.to_thread(step, min(at_once, self._size - hashed))
                if not read:
                    raise ConfigurationError(
                        f"data ended after {hashed} of {self._size} bytes; did it change?"
                    )
                hashed += read
                self.progress(complete=False)
            if file is not None:
                self.seek(0)
            self._is_hashed = True
        except (OSError, ValueError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(f"data cannot be read after {hashed} bytes: {error}") from error
        return digest.hexdigest()

    async def __aiter__(self) -> AsyncGenerator[bytes | memoryview, None]:
        """Yield the body in slices, from its start; each call for the next one tells that the last one left.

        Raises:
            ConfigurationError: the source became shorter while it was being sent, or cannot be read.
        """
        if self.memory is not None:
            for start in range(0, self._size, SLICE):
                yield self.memory[start : start + SLICE]
                self.progress(complete=start + SLICE >= self._size)
            return
        sent = 0
        while sent < self._size:
            view = memoryview(await self.piece(sent, READ_AT_ONCE))
            for start in range(0, len(view), SLICE):
                piece = view[start : start + SLICE]
                sent += len(piece)
                yield piece
                self.progress(complete=sent == self._size)

    async def piece(self, start: int, size: int) -> bytes:
        """Bytes of the body from `start` on, read in a thread; `size` of them, unless it ends before.

        Raises:
            ConfigurationError: the source became shorter while it was being sent, or cannot be read.
        """
        file = self._source()
        try:
            self.seek(start)
            data = await asyncio.to_thread(file.read, min(size, self._size - start))
        except (OSError, ValueError) as error:
            # ValueError: somebody closed the file.
            raise ConfigurationError(f"data cannot be read after {start} bytes: {error}") from error
        if not data:
            raise ConfigurationError(f"data ended after {start} of {self._size} bytes; did it change?")
        return data

    @property
    def descriptor(self) -> int | None:
        """That of the file, if the kernel may send from it: a plain one, which was read a moment ago.

        What is not in memory yet would have to come from the disk, and the loop would wait for it.
        """
        file = self._file
        return file.fileno() if file is not None and self._is_hashed and _is_plain(file) else None

    def _source(self) -> BinaryIO:
        if self._file is None:
            try:
                self._file = self._open()
                self.offset = self._file.tell()
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"data cannot be read any more: {error}") from error
        return self._file


def _is_plain(file: BinaryIO | None) -> bool:
    """Whether it is what `open` returns for a file, and its bytes are those of the file."""
    return type(file) is io.BufferedReader and type(file.raw) is io.FileIO


class _Borrowed:
    """A caller's open file: read from where the caller left it, never closed by us."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        file.seek(start)
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell

    def close(self) -> None:
        """The file is its owner's to close."""
