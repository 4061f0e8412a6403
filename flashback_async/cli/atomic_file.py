"""A local file that appears whole or not at all."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Self

from flashback_async.objects.shielding import finished

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

# Collected before a thread is troubled; bounds the memory of one download.
_PIECE = 1024 * 1024


class AtomicFile:
    """Writes to a temporary file beside `path`, and moves it there when the block ends well.

    Directories are made as needed. When the block ends with an error or a cancellation, what was there before
    is untouched and the temporary file is gone. Disk work happens in threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Not derived from the name, which may be as long as names can be already.
        self._part = path.with_name(f".flashback-{secrets.token_hex(8)}.part")
        self._file: IO[bytes] | None = None
        self._waiting: list[bytes] = []
        self._size = 0

    async def __aenter__(self) -> Self:
        """Begin; nothing is opened before there is something to write."""
        return self

    async def write(self, data: bytes) -> None:
        """Append `data`. Raises `OSError`."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _PIECE:
            await finished(asyncio.to_thread(self._flush))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Move the file to its place, or remove it."""
        try:
            if kind is None:
                await finished(asyncio.to_thread(self._commit))
        finally:
            # A file that is in its place has no temporary name any more.
            self._discard()

    def _flush(self) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("xb")
        self._file.writelines(self._waiting)
        self._waiting.clear()
        self._size = 0

    def _commit(self) -> None:
        self._flush()
        assert self._file is not None, "a flush opens it"
        self._file.close()
        os.replace(self._part, self._path)  # noqa: PTH105  # its error names both paths
        self._file = None

    def _discard(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # buffered bytes that do not fit on the disk either
                self._file.close()
            self._part.unlink(missing_ok=True)
