"""What the transcribed tests of balancers share: requests that take the time of the endpoint they went to."""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from routing.fleet import SUCCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flashback_async.routing import Attempt
    from routing.fleet import Fleet


class Traffic:
    """Requests under way, in seconds of nobody's clock. `sent` counts them by endpoint."""

    def __init__(self, fleet: Fleet, latency: Mapping[str, float]) -> None:
        self.fleet = fleet
        self.latency = latency
        self.sent: Counter[str] = Counter()
        self._under_way: list[tuple[float, int, Attempt, float, Callable[[float], None] | None]] = []
        self._count = 0

    def send(self, now: float, *, then: Callable[[float], None] | None = None) -> str:
        """Send one request to whom the router picks; `then` is told the time of its answer."""
        attempt = self.fleet.ask(now=now)
        name = attempt.endpoint.id
        self.sent[name] += 1
        self._count += 1
        took = self.latency[name]
        heappush(self._under_way, (now + took, self._count, attempt, took, then))
        return name

    def until(self, now: float) -> None:
        """Let every answer arrive that is due by `now`, in order."""
        while self._under_way and self._under_way[0][0] <= now:
            end, _, attempt, took, then = heappop(self._under_way)
            self.fleet.router.settle(attempt, SUCCESS, now=end, first_byte=took)
            if then is not None:
                then(end)

    def one_by_one(self, count: int, *, start: float) -> float:
        """So many requests, each sent when the one before was answered; when the last one was."""
        now = start
        for _ in range(count):
            now += self.latency[self.send(now)]
            self.until(now)
        return now

    def every(self, pause: float, count: int, *, start: float = 0.0) -> float:
        """So many requests, `pause` apart, whatever their answers do; when the last one was sent."""
        now = start
        for number in range(count):
            now = start + number * pause
            self.until(now)
            self.send(now)
        return now
