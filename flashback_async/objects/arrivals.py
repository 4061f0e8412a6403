"""Where bodies that are read whole arrive: in memory of their own, or in memory that is used again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, Self

from flashback_async.objects.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

# Bytes of a slab: as many as are waited for at a time.
_SLAB: Final = 1_024 * 1_024
# Slabs that are kept while nothing is read: enough for bodies of 8 MiB, one after the other.
_KEPT: Final = 8
# Seconds for which slabs are kept that nobody needs: bodies that begin together also end together, and the
# next ones come at once. To make their memory anew took 10 % of the CPU of reading them.
_IDLE: Final = 1.0
# Bytes above which a body always arrives where it ends: to hold it twice, to join it, would be too much.
MOST_JOINED: Final = 32 * 1_024 * 1_024


class Arrival(Protocol):
    """Where one body arrives, in the order of its bytes. Used with `with`, which gives memory back."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def room(self) -> memoryview:
        """Memory for the next bytes, to be filled from its start and released before `wrote`."""

    def wrote(self, count: int) -> None:
        """So many bytes are in the room, which is another one from now on."""

    def value(self) -> bytes:
        """All that was written."""


class Slabs:
    """Memory that bodies arrive in before they are joined, used again and again. One per running client.

    Where several bodies of 8 MiB grow at the same time, each in memory of its own, hundreds of page faults
    come with each (glibc 2.36; none with its thresholds raised, so it gives pages back and asks for others),
    and what was kept is zeroed. That costs more than to copy the body once more, out of memory that stays.
    One alone gets the same memory again and again without that, and arrives where it ends.

    So many slabs stay as the last second needed, and 8 MiB for good. Belongs to the loop in which bodies
    arrive; `close` leaves no timer there.
    """

    def __init__(self) -> None:
        self._free: list[memoryview] = []
        self._lent = 0
        self._most = 0
        self._bodies = 0
        self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Free what waits to be used again, and from now on keep nothing. Idempotent."""
        self._is_closed = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._free.clear()

    def arrival(self, length: int) -> Arrival:
        """Where a body of so many bytes is to arrive."""
        is_alone = not self._bodies
        return _InPlace(self, length) if is_alone or length > MOST_JOINED else _Gathering(self)

    @property
    def kept(self) -> int:
        """Bytes that wait to be used again."""
        return len(self._free) * _SLAB

    def enter(self) -> None:
        """For an arrival: it begins."""
        self._bodies += 1

    def leave(self, lent: int = 0, slabs: Sequence[memoryview] = ()) -> None:
        """For an arrival: it is over, and took `lent` slabs, of which `slabs` are fit to be used again."""
        self._bodies -= 1
        self._lent -= lent
        if self._is_closed:
            return
        self._free += slabs
        if len(self._free) > _KEPT and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_IDLE, self._trim)

    def _trim(self) -> None:
        """Free what nobody needed since the last time."""
        self._timer = None
        del self._free[max(_KEPT, self._most - self._lent) :]
        self._most = self._lent
        if len(self._free) > _KEPT:
            self._timer = asyncio.get_running_loop().call_later(_IDLE, self._trim)

    def take(self) -> memoryview:
        """For an arrival: one more slab, with whatever it was used for last."""
        self._lent += 1
        self._most = max(self._most, self._lent)
        return self._free.pop() if self._free else memoryview(bytearray(_SLAB))


class _InPlace:
    """An arrival in memory of its own."""

    __slots__ = ("_at", "_length", "_memory", "_slabs")

    def __init__(self, slabs: Slabs, length: int) -> None:
        self._slabs = slabs
        self._length = length
        self._at = 0
        self._memory = Memory(length)

    def __enter__(self) -> Self:
        self._slabs.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slabs.leave()
        self._memory.__exit__(kind, error, trace)

    def room(self) -> memoryview:
        return self._memory.room(self._at, self._length)

    def wrote(self, count: int) -> None:
        self._at += count

    def value(self) -> bytes:
        return self._memory.value()


class _Gathering:
    """An arrival in slabs."""

    __slots__ = ("_filled", "_slabs", "_taken")

    def __init__(self, slabs: Slabs) -> None:
        self._slabs = slabs
        self._taken: list[memoryview] = []
        self._filled = _SLAB

    def __enter__(self) -> Self:
        self._slabs.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error for good: somebody may still have a view of it.
        self._slabs.leave(len(self._taken), self._taken if kind is None else ())
        self._taken = []

    def room(self) -> memoryview:
        if self._filled == _SLAB:
            self._taken.append(self._slabs.take())
            self._filled = 0
        return self._taken[-1][self._filled :]

    def wrote(self, count: int) -> None:
        self._filled += count

    def value(self) -> bytes:
        if not self._taken:
            return b""
        *full, last = self._taken
        return b"".join((*full, last[: self._filled]))
