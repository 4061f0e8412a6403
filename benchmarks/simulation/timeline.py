"""Virtual time: a heap of moments, and the only clock of the simulation."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Timeline:
    """Runs callbacks in the order of their moments; equal moments in the order of their scheduling."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Run `action` at `moment` (seconds), which is not in the past."""
        self._count += 1
        heapq.heappush(self._heap, (max(moment, self.now), self._count, action))

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Run `action` after `delay` seconds."""
        self.at(self.now + delay, action)

    def run(self) -> None:
        """Run until nothing is left to do."""
        while self._heap:
            self.now, _, action = heapq.heappop(self._heap)
            action()
