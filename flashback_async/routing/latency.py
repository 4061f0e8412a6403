"""What we know of how long an endpoint takes, from first bytes that we observed ourselves.

The expected first byte is `floor + excess`. The floor (least of the last samples) is distance: it does not
change with load and must not be scaled by it. The excess is everything above it: queueing, a brownout, a
penalty. Only the excess is smoothed, fades when nobody confirms it, and is scaled with requests in flight. It
fades to the median of the last samples rather than to nothing: else an endpoint that is left alone looks
better than it ever was, and takes a few percent of the traffic for it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
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

    Attributes:
        floor: least of the last samples, None before the first one.
        shifted_floor: the same without the published legs; None where no sample has one.
        raised: the excess when it was last updated.
        usual: what the excess fades to.
        updated: when the excess was last updated, None before the first time.
        deviation: mean deviation of a sample from what was expected.
        outcomes: attempts that it was judged by.
    """

    __slots__ = (
        "_legs",
        "_ordered",
        "_policy",
        "_same_leg",
        "_samples",
        "deviation",
        "floor",
        "outcomes",
        "raised",
        "shifted_floor",
        "updated",
        "usual",
    )

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self._samples: deque[float] = deque(maxlen=policy.floor_samples)
        self._legs: deque[float | None] = deque(maxlen=policy.floor_samples)
        # The samples in order: floor and median are looked up, not searched for, with every answer.
        self._ordered: list[float] = []
        # How many of the latest samples have the same leg. Mostly it is all of them.
        self._same_leg = 0
        self.shifted_floor: float | None = None
        self.raised = 0.0
        self.usual = 0.0
        self.updated: float | None = None
        self.floor: float | None = None
        self.deviation = 0.0
        self.outcomes = 0

    def copy(self) -> LatencyFigure:
        """A figure with the same past and a future of its own."""
        twin = LatencyFigure(self._policy)
        twin._samples, twin._legs = self._samples.copy(), self._legs.copy()  # its own class
        twin._ordered, twin._same_leg = self._ordered.copy(), self._same_leg  # its own class
        twin.shifted_floor, twin.floor = self.shifted_floor, self.floor
        twin.raised, twin.usual, twin.updated = self.raised, self.usual, self.updated
        twin.deviation, twin.outcomes = self.deviation, self.outcomes
        return twin

    def floor_for(self, published: float | None) -> float | None:
        """The floor for a bucket with that published latency; None while nothing was observed."""
        if published is None or self.shifted_floor is None:
            return self.floor
        return max(0.0, self.shifted_floor + published)

    def excess(self, now: float) -> float:
        """The excess at `now`: what was last known, faded to what is usual here."""
        if self.updated is None:
            return 0.0
        faded = exp(-max(0.0, now - self.updated) / self._policy.decay_time)
        return self.usual + (self.raised - self.usual) * faded

    def observe(self, first_byte: float, now: float, *, published: float | None = None) -> None:
        """Learn from one answer that took `first_byte` seconds to its headers."""
        policy = self._policy
        self._remember(first_byte, published)
        ordered = self._ordered
        floor = self.floor = ordered[0]
        updated = self.updated
        if updated is None:
            elapsed, excess = policy.smoothing_time, 0.0
        else:
            elapsed = now - updated if now > updated else 0.0
            excess = self.usual + (self.raised - self.usual) * exp(-elapsed / policy.decay_time)
        weight = self._weight(elapsed)
        error = first_byte - floor - excess
        self.deviation += weight * (abs(error) - self.deviation)
        raised = excess + weight * error
        self.raised = 0.0 if raised < 0.0 else min(policy.penalty_limit, raised)
        self.updated = now
        usual, most = ordered[len(ordered) // 2] - floor, policy.usual_share * policy.window_minimum
        self.usual = min(usual, most)

    def observe_at_least(self, elapsed: float, now: float) -> None:
        """Learn from an answer that was given up after `elapsed` seconds: it raises the excess, or nothing.

        With the weight of any other sample: one slow answer says no more for having been given up.
        """
        policy = self._policy
        excess = self.excess(now)
        error = elapsed - (self.floor or 0.0) - excess
        if error > 0:
            since = policy.smoothing_time if self.updated is None else max(0.0, now - self.updated)
            self.raised = max(excess, min(policy.penalty_limit, excess + self._weight(since) * error))
            self.updated = now

    def penalise(self, elapsed: float, now: float) -> None:
        """A failure after `elapsed` seconds: it must not look faster than an answer."""
        policy = self._policy
        least = min(policy.penalty_limit, max(policy.penalty, elapsed))
        self.raised = max(self.excess(now), least)
        self.updated = now

    def forgive(self, now: float) -> None:
        """The endpoint has proved healthy after a failure: what was learned from failures is void."""
        self.raised = self.usual
        self.updated = now

    def _remember(self, first_byte: float, leg: float | None) -> None:
        samples, ordered, legs = self._samples, self._ordered, self._legs
        if len(samples) == samples.maxlen:
            del ordered[bisect_left(ordered, samples[0])]
        self._same_leg = self._same_leg + 1 if legs and legs[-1] == leg else 1
        samples.append(first_byte)
        legs.append(leg)
        insort(ordered, first_byte)
        if self._same_leg >= len(legs):
            self.shifted_floor = None if leg is None else ordered[0] - leg
        else:
            shifted = [sample - own for sample, own in zip(samples, legs, strict=True) if own is not None]
            self.shifted_floor = min(shifted) if shifted else None

    def _weight(self, elapsed: float) -> float:
        """Weight of a sample: answers that arrive together share one, however many they are."""
        policy = self._policy
        if policy.smoothing_time <= 0:
            return policy.smoothing_limit
        weight = 1 - exp(-elapsed / policy.smoothing_time)
        return min(policy.smoothing_limit, weight)


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
