"""Pieces of memory that are read as one file, without being copied into one."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Chain(io.RawIOBase):
    """Pieces in memory as one file, for a body that was collected piece by piece."""

    def __init__(self, pieces: Sequence[bytes | memoryview]) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))
        self._offset = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as a file does."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}[whence]
        self._offset = max(0, base + offset)
        return self._offset

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._offset

    def read(self, amount: int | None = -1) -> bytes:
        """Up to `amount` bytes; all that are left if it is negative or None."""
        stop = self._size if amount is None or amount < 0 else min(self._size, self._offset + amount)
        found, start = [], 0
        for piece in self._pieces:
            if start < stop and start + len(piece) > self._offset:
                found.append(piece[max(0, self._offset - start) : stop - start])
            start += len(piece)
        self._offset = max(self._offset, stop)
        return b"".join(found)
