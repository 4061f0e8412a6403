"""A file that grows in pieces beside its target and takes its place when it is whole.

What was loaded survives an interruption: the pieces that are complete are recorded, each with a checksum, in
a second file, and the next download of the same version goes on from them. Both names derive from the
target's alone. While somebody writes them they are locked; whoever comes second gets a file of its own, and
resumes nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from contextlib import suppress
from hashlib import sha256
from stat import S_ISREG
from typing import TYPE_CHECKING, Self
from zlib import crc32

from flashback_async.errors import ConfigurationError
from flashback_async.objects.checksums import check_blocks
from flashback_async.objects.resume_record import Done, Record
from flashback_async.objects.shielding import finished

if TYPE_CHECKING:
    from pathlib import Path

    from flashback_async.errors import IntegrityError
    from flashback_async.objects.advance import Advance
    from flashback_async.objects.checksums import Checksum
    from flashback_async.objects.ranged import Piece

# Collected before a thread is troubled, and read at once to compute a checksum.
_BATCH = 1_024 * 1_024


class PartialFile:
    """Life: `find`, `start` once the object is known, pieces, `commit`; and `close` in any case.

    Everything that touches the disk happens in threads, and is finished before a cancellation goes on. What
    the disk says no to is raised as `OSError`.

    Attributes:
        record: what an interrupted download left behind; None: nothing that is of use.
    """

    def __init__(self, path: Path, advance: Advance) -> None:
        # A hash: the name itself may be as long as names can be already.
        stem = f".flashback-{sha256(os.fsencode(path.name)).hexdigest()[:20]}"
        self.record: Record | None = None
        self._path = path
        self._advance = advance
        self._data_path = path.with_name(f"{stem}.part")
        self._record_path = path.with_name(f"{stem}.parts")
        self._data: int | None = None
        self._log: int | None = None
        self._keeps = False
        self._is_private = False

    @classmethod
    async def find(cls, path: Path, bucket: str, key: str, advance: Advance, *, resume: bool) -> Self:
        """Look for what an earlier download of `bucket/key` to `path` left behind.

        Raises:
            ConfigurationError: `path` is a directory.
        """
        found = cls(path, advance)
        try:
            await finished(asyncio.to_thread(found._find, bucket, key, resume=resume))
        except BaseException:
            await found.close()
            raise
        return found

    async def start(self, record: Record, *, keep: bool) -> None:
        """Get ready for the object that `record` describes, of which nothing is there.

        `keep`: what is complete stays for another try when this one fails.
        """
        self._keeps = keep
        self.record = record
        await finished(asyncio.to_thread(self._start, self.record))

    def begin(self, piece: Piece) -> PieceWriter:
        """Where the bytes of a piece go; see `Sink`."""
        return PieceWriter(self, piece)

    async def commit(self, *, fsync: bool) -> None:
        """Take the target's place. `fsync`: not before the disk has it."""
        await finished(asyncio.to_thread(self._commit, fsync=fsync))

    async def check(self, expected: Checksum) -> IntegrityError | None:
        """What is wrong with the bytes on the disk, in their order; None: nothing."""
        assert self.record is not None, "started before"
        return await check_blocks(expected, self._read, self.record.size)

    async def forget(self) -> None:
        """What is there is of no use: the object is another one by now."""
        self._keeps = False
        self.record = None

    async def close(self) -> None:
        """Let go: what is complete stays if that was asked for, everything else is removed."""
        await finished(asyncio.to_thread(self._close))

    def _find(self, bucket: str, key: str, *, resume: bool) -> None:
        if self._path.is_dir():
            raise ConfigurationError(f"path={str(self._path)!r} is a directory; name a file in it")
        if not self._data_path.parent.is_dir():
            return
        if not self._lock(os.O_RDWR):
            return
        record = Record.read(self._record_path, bucket, key) if resume else None
        if record is not None and self._is_intact(record):
            self.record, self._keeps = record, True
            self._log = os.open(self._record_path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            # A line that was being written when the process ended would spoil the next one.
            os.ftruncate(self._log, self._record_path.read_bytes().rfind(b"\n") + 1)

    def _lock(self, flags: int) -> bool:
        """Open the file under its well-known name, if it is ours alone; take another name if it is not."""
        while True:
            try:
                data = os.open(self._data_path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            except FileNotFoundError:
                return False
            except OSError:
                break  # a link, say, which somebody else has put there
            try:
                fcntl.flock(data, fcntl.LOCK_EX | fcntl.LOCK_NB)
                here = os.fstat(data)
                now = os.stat(self._data_path)  # noqa: PTH116  # beside fstat
            except FileNotFoundError:
                os.close(data)  # it has taken its target's place meanwhile
                continue
            except OSError:
                os.close(data)
                break
            if (here.st_ino, here.st_dev) != (now.st_ino, now.st_dev):
                os.close(data)
                continue
            if not S_ISREG(here.st_mode) or here.st_uid != os.geteuid() or here.st_nlink != 1:
                os.close(data)
                break
            self._data = data
            return True
        # Nobody would find it again, so nothing is kept of it.
        self._is_private = True
        stem = f".flashback-{secrets.token_hex(10)}"
        self._data_path = self._path.with_name(f"{stem}.part")
        self._record_path = self._path.with_name(f"{stem}.parts")
        return False

    def _is_intact(self, record: Record) -> bool:
        """Whether the bytes are those that were loaded: a crash of the machine may have lost some."""
        assert self._data is not None, "locked before"
        if os.fstat(self._data).st_size != record.size:
            return False
        for done in record.done:
            sum_, offset = 0, done.start
            while offset < done.stop:
                data = os.pread(self._data, min(_BATCH, done.stop - offset), offset)
                sum_, offset = crc32(data, sum_), offset + len(data)
                if not data:
                    return False
            if sum_ != done.checksum:
                return False
        return True

    def _start(self, record: Record) -> None:
        if self._data is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._lock(os.O_RDWR | os.O_CREAT):
                self._data = os.open(
                    self._data_path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666
                )
        os.ftruncate(self._data, 0)  # type: ignore[arg-type]  # opened by now
        os.ftruncate(self._data, record.size)  # type: ignore[arg-type]  # as above
        self._close_log()
        self._record_path.unlink(missing_ok=True)
        if self._keeps:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._log = os.open(self._record_path, flags, 0o600)
            os.write(self._log, record.header())

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` there. In a thread."""
        assert self._data is not None, "started before"
        view = memoryview(data)
        while view:
            written = os.pwrite(self._data, view, offset)
            view, offset = view[written:], offset + written

    def _read(self, amount: int, offset: int) -> bytes:
        assert self._data is not None, "started before"
        return os.pread(self._data, amount, offset)

    def note(self, done: Done) -> None:
        """A piece is complete. In a thread."""
        assert self.record is not None, "started before"
        self.record.done.append(done)
        if self._log is not None:
            os.write(self._log, done.line())

    async def moved(self, amount: int) -> None:
        """Tell that so many bytes arrived."""
        await self._advance(amount)

    def _commit(self, *, fsync: bool) -> None:
        assert self._data is not None, "started before"
        if fsync:
            os.fsync(self._data)
        os.replace(self._data_path, self._path)  # noqa: PTH105  # its error names both paths
        self._keeps = False
        if fsync:
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def _close(self) -> None:
        self._close_log()
        if self._data is None:
            return
        has_pieces = self.record is not None and bool(self.record.done)
        if self._is_private or not (self._keeps and has_pieces):
            self._record_path.unlink(missing_ok=True)
            # After a commit the name is free, or somebody else's already.
            with suppress(FileNotFoundError):
                if os.stat(self._data_path).st_ino == os.fstat(self._data).st_ino:  # noqa: PTH116  # as above
                    self._data_path.unlink()
        os.close(self._data)
        self._data = None

    def _close_log(self) -> None:
        if self._log is not None:
            os.close(self._log)
            self._log = None


class PieceWriter:
    """Writes one piece from its start to its end, in batches, as `PieceSink`."""

    def __init__(self, file: PartialFile, piece: Piece) -> None:
        self._file = file
        self._piece = piece
        self._offset = piece.start
        self._batch = memoryview(bytearray(min(_BATCH, piece.stop - piece.start)))
        self._size = 0
        self._checksum = 0

    @property
    def room(self) -> memoryview:
        """What is free of the batch."""
        return self._batch[self._size :]

    async def wrote(self, count: int) -> None:
        """So many bytes are in the batch; a full one is written, the last one by `end`. Raises `OSError`."""
        self._size += count
        if self._size == len(self._batch) and self._offset + self._size < self._piece.stop:
            await self._flush()

    async def end(self) -> None:
        """That was all of the piece."""
        await self._flush(is_last=True)

    async def _flush(self, *, is_last: bool = False) -> None:
        amount = self._size
        await finished(asyncio.to_thread(self._write, is_last=is_last))
        await self._file.moved(amount)

    def _write(self, *, is_last: bool) -> None:
        data = self._batch[: self._size]
        self._size = 0
        self._checksum = crc32(data, self._checksum)
        self._file.write(data, self._offset)
        self._offset += len(data)
        if is_last:
            self._file.note(Done(self._piece.start, self._piece.stop, self._checksum))
