"""Memory for bytes whose number is known before they come."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

# Bytes of a slab: as many as are waited for at a time.
_SLAB: Final = 1_024 * 1_024
# Slabs that are kept while nothing is read: enough for bodies of 8 MiB, one after the other.
_KEPT: Final = 8


class Memory:
    """So many bytes, written where they belong, which become `bytes` without a copy.

    `BytesIO` shares its buffer with whoever made it and with whoever takes its value, as long as nobody else
    has it. The kernel gives zeroed pages as they are touched, so that even a large one is made at once.

    Leave it, and let go of every room, before an error is passed on: an error keeps what was at work in a
    cycle, and to collect the lent buffer of a `BytesIO` with one crashes Python 3.12.0 and 3.12.1
    (gh-111049), and makes others complain of an exception that nobody can catch (gh-111331).

    Args:
        length: bytes.
    """

    __slots__ = ("_buffer", "_view")

    def __init__(self, length: int) -> None:
        self._buffer = io.BytesIO(bytes(length))
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
        """All of it; nothing can be written any more."""
        self._view.release()
        return self._buffer.getvalue()


class Slabs:
    """Memory that bodies arrive in before they are joined, used again and again. One per running client.

    Where several bodies of 8 MiB grow at the same time, each in memory of its own, hundreds of page faults
    come with each (glibc 2.36; none with its thresholds raised, so it gives pages back and asks for others),
    and what was kept is zeroed. That costs more than to copy the body once more, out of memory that stays.

    As many wait to be used again as are in use, and 8 MiB at least; what is above is freed.
    """

    def __init__(self) -> None:
        self._free: list[memoryview] = []
        self._lent = 0

    def gather(self) -> Gathering:
        """Room for one body, which is given back when its block is left."""
        return Gathering(self)

    @property
    def kept(self) -> int:
        """Bytes that wait to be used again."""
        return len(self._free) * _SLAB

    def take(self) -> memoryview:
        """For a gathering: one more slab, with whatever it was used for last."""
        self._lent += 1
        return self._free.pop() if self._free else memoryview(bytearray(_SLAB))

    def give_back(self, lent: int, slabs: list[memoryview]) -> None:
        """For a gathering: it took `lent`, of which `slabs` are fit to be used again."""
        self._lent -= lent
        self._free += slabs
        del self._free[max(_KEPT, self._lent) :]


class Gathering:
    """The bytes of one body, in the order in which they come."""

    __slots__ = ("_filled", "_slabs", "_taken")

    def __init__(self, slabs: Slabs) -> None:
        self._slabs = slabs
        self._taken: list[memoryview] = []
        self._filled = _SLAB

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the memory back; after an error for good: somebody may still have a view of it."""
        self._slabs.give_back(len(self._taken), [] if kind is not None else self._taken)
        self._taken = []

    def room(self) -> memoryview:
        """Memory for the next bytes, to be filled from its start."""
        if self._filled == _SLAB:
            self._taken.append(self._slabs.take())
            self._filled = 0
        return self._taken[-1][self._filled :]

    def wrote(self, count: int) -> None:
        """So many bytes are in the room, which is another one from now on."""
        self._filled += count

    def value(self) -> bytes:
        """All that was written."""
        if not self._taken:
            return b""
        *full, last = self._taken
        return b"".join((*full, last[: self._filled]))
