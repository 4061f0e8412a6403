"""What we know of how long an endpoint takes, from first bytes that we observed ourselves.

The expected first byte is `floor + excess`. The floor (least of the last samples) is distance: it does not
change with load and must not be scaled by it. The excess is everything above it: queueing, a brownout, a
penalty. Only the excess is smoothed, fades when nobody confirms it, and is scaled with requests in flight. It
fades to the median of the last samples rather than to nothing: else an endpoint that is left alone looks
better than it ever was, and takes a few percent of the traffic for it.
"""

from __future__ import annotations

from collections import deque
from math import exp
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashback_async.routing.policy import RoutingPolicy


class LatencyFigure:
    """First-byte figures of one (endpoint, kind), or one (endpoint, bucket, kind). Seconds throughout.

    Each sample may carry the published latency of its bucket. The control plane's number is another leg
    (node to bucket), so it is never mixed into a sample; it only shifts what was learned on one bucket to
    another one that the node reaches faster or slower.
    """

    __slots__ = (
        "_excess",
        "_policy",
        "_samples",
        "_shifted_floor",
        "_updated",
        "_usual",
        "deviation",
        "floor",
        "outcomes",
    )

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self._samples: deque[tuple[float, float | None]] = deque(maxlen=policy.floor_samples)
        self._shifted_floor: float | None = None
        self._excess = 0.0
        self._usual = 0.0
        self._updated: float | None = None
        self.floor: float | None = None
        self.deviation = 0.0
        self.outcomes = 0

    def floor_for(self, published: float | None) -> float | None:
        """The floor for a bucket with that published latency; None while nothing was observed."""
        if published is None or self._shifted_floor is None:
            return self.floor
        return max(0.0, self._shifted_floor + published)

    def excess(self, now: float) -> float:
        """The excess at `now`: what was last known, faded to what is usual here."""
        if self._updated is None:
            return 0.0
        faded = exp(-max(0.0, now - self._updated) / self._policy.decay_time)
        return self._usual + (self._excess - self._usual) * faded

    def observe(self, first_byte: float, now: float, *, published: float | None = None) -> None:
        """Learn from one answer that took `first_byte` seconds to its headers."""
        policy = self._policy
        self._samples.append((first_byte, published))
        floor = self.floor = min(sample for sample, _ in self._samples)
        shifted = [sample - leg for sample, leg in self._samples if leg is not None]
        self._shifted_floor = min(shifted) if shifted else None
        excess = self.excess(now)
        elapsed = policy.smoothing_time if self._updated is None else max(0.0, now - self._updated)
        weight = self._weight(elapsed)
        error = first_byte - floor - excess
        self.deviation += weight * (abs(error) - self.deviation)
        self._excess = min(policy.penalty_limit, max(0.0, excess + weight * error))
        self._updated = now
        middle = sorted(sample for sample, _ in self._samples)[len(self._samples) // 2]
        self._usual = min(middle - floor, policy.usual_share * policy.window_minimum)

    def penalise(self, elapsed: float, now: float) -> None:
        """A failure after `elapsed` seconds: it must not look faster than an answer."""
        policy = self._policy
        least = min(policy.penalty_limit, max(policy.penalty, elapsed))
        self._excess = max(self.excess(now), least)
        self._updated = now

    def forgive(self, now: float) -> None:
        """The endpoint has proved healthy after a failure: what was learned from failures is void."""
        self._excess = self._usual
        self._updated = now

    def _weight(self, elapsed: float) -> float:
        """Weight of a sample: answers that arrive together share one, however many they are."""
        policy = self._policy
        if policy.smoothing_time <= 0:
            return policy.smoothing_limit
        return min(policy.smoothing_limit, 1 - exp(-elapsed / policy.smoothing_time))


class ThroughputFigure:
    """Bytes per second of large bodies, smoothed; None before the first one."""

    __slots__ = ("_policy", "rate")

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self.rate: float | None = None

    def observe(self, size: int, seconds: float) -> None:
        """Learn from a body of `size` bytes that took `seconds`; small ones tell nothing."""
        if size < self._policy.large_body or seconds <= 0:
            return
        rate = size / seconds
        self.rate = (
            rate if self.rate is None else self.rate + self._policy.smoothing_limit * (rate - self.rate)
        )
