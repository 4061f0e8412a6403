"""Counts what one server of the sandbox did."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from typing import Any, Final

TIMES_KEPT: Final = 1_000_000
"""Arrival times remembered (8 bytes each); beyond it the older half is forgotten."""


class Meter:
    """Counters and arrival times; probes of `/health` are counted apart, so that they are no traffic."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything but what is in flight."""
        self._in_flight: int = getattr(self, "_in_flight", 0)
        self._health = 0
        self._methods: Counter[str] = Counter()
        self._paths: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._bytes_in = 0
        self._bytes_out = 0
        self._times = array("d")

    def arrived(self, method: str, path: str | None, now: float, *, health: bool) -> None:
        """A request's head was read at `now`; a path is given where paths are few enough to count."""
        self._in_flight += 1
        if health:
            self._health += 1
            return
        self._methods[method] += 1
        if path is not None:
            self._paths[path] += 1
        if len(self._times) >= TIMES_KEPT:
            del self._times[: TIMES_KEPT // 2]
        self._times.append(now)

    def ended(self, outcome: str, *, status: int | None, bytes_in: int, bytes_out: int, health: bool) -> None:
        """A request is over, well or badly; `status` is what was answered, if anything was."""
        self._in_flight -= 1
        if health:
            return
        self._outcomes[outcome] += 1
        if status is not None:
            self._statuses[status] += 1
        self._bytes_in += bytes_in
        self._bytes_out += bytes_out

    def count(self, since: float, until: float | None = None) -> int:
        """Requests that arrived in `since <= time < until`, in seconds of the machine's monotonic clock."""
        end = len(self._times) if until is None else bisect_left(self._times, until)
        return max(0, end - bisect_left(self._times, since))

    def to_json(self) -> dict[str, Any]:
        """All counters as plain data."""
        return {
            "requests": self._methods.total(),
            "health": self._health,
            "in_flight": self._in_flight,
            "by_method": dict(self._methods),
            "by_path": dict(self._paths),
            "by_outcome": dict(self._outcomes),
            "by_status": {str(status): count for status, count in self._statuses.items()},
            "bytes_in": self._bytes_in,
            "bytes_out": self._bytes_out,
        }
