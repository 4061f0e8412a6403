"""A clock that only moves when it is told to."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class ManualClock:
    """Seconds that stand still until `advance`. Call it for the time; pass `sleep` where a sleep is wanted.

    ```python
    clock = ManualClock()
    router.acquire("bucket", kind, now=clock())
    clock.advance(10)
    ```

    Timers of the running event loop (`asyncio.timeout`, and so a client's own) do not follow it.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        """The time in seconds."""
        return self._now

    def __repr__(self) -> str:
        return f"ManualClock({self._now!r})"

    @property
    def sleepers(self) -> int:
        """How many wait in `sleep`."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move on, and wake everybody whose time has come, in the order of their times.

        Raises:
            ValueError: `seconds` is negative; a monotonic clock never goes back.
        """
        if seconds < 0:
            raise ValueError(f"seconds={seconds!r} would turn a monotonic clock back")
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    async def sleep(self, seconds: float) -> None:
        """Wait until somebody has moved the clock on by that much. Gives way to others in any case."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken


__all__ = ["ManualClock"]
