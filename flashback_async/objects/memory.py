"""Memory for bytes whose number is known before they come."""

from __future__ import annotations

import io


class Memory:
    """So many bytes, written where they belong, which become `bytes` without a copy.

    `BytesIO` shares its buffer with whoever made it and with whoever takes its value, as long as nobody else
    has it. The kernel gives zeroed pages as they are touched, so that even a large one is made at once.

    Args:
        length: bytes.
    """

    __slots__ = ("_buffer", "_view")

    def __init__(self, length: int) -> None:
        self._buffer = io.BytesIO(bytes(length))
        self._view = self._buffer.getbuffer()

    def room(self, start: int, stop: int) -> memoryview:
        """The place of a range; release it before `value`."""
        return self._view[start:stop]

    def value(self) -> bytes:
        """All of it; nothing can be written any more."""
        self._view.release()
        return self._buffer.getvalue()
