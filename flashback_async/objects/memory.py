"""Memory for bytes whose number is known before they come."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Self

from flashback_async.objects.blank import blank

if TYPE_CHECKING:
    from types import TracebackType


class Memory:
    """So many bytes, written where they belong, which become `bytes` without a copy.

    `BytesIO` shares its buffer with whoever made it and with whoever takes its value, as long as nobody else
    has it. The kernel gives pages as they are touched, so that even a large one is made at once.

    Leave it, and let go of every room, before an error is passed on: an error keeps what was at work in a
    cycle, and to collect the lent buffer of a `BytesIO` with one crashes Python 3.12.0 and 3.12.1
    (gh-111049), and makes others complain of an exception that nobody can catch (gh-111331).

    Args:
        length: bytes.
    """

    __slots__ = ("_buffer", "_view")

    def __init__(self, length: int) -> None:
        self._buffer = io.BytesIO(blank(length))
        self._view = self._buffer.getbuffer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the memory; `value` is what is left of it."""
        self._view.release()

    def room(self, start: int, stop: int) -> memoryview:
        """The place of a range; release it before `value`."""
        return self._view[start:stop]

    def value(self) -> bytes:
        """All of it, every byte of which was written; nothing can be written any more."""
        self._view.release()
        return self._buffer.getvalue()
