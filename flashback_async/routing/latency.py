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


# Seconds; a fine of less changes no pick.
_NOTHING = 1e-5


class LatencyFigure:
    """First-byte figures of one (endpoint, kind), or one (endpoint, bucket, kind). Seconds throughout.

    Each sample may carry the published latency of its bucket. The control plane's number is another leg
    (node to bucket), so it is never mixed into a sample; it only shifts what was learned on one bucket to
    another one that the node reaches faster or slower.

    Attributes:
        floor: least of the last samples, None before the first one.
        shifted_floor: the same without the published legs; None where no sample has one.
        raised: the excess when it was last updated, as far as it was measured.
        fine: the excess that the last failure was given, whatever it took; 0: none that matters.
        usual: what the excess fades to.
        updated: when the excess was last updated, None before the first time.
        deviation: mean deviation of a sample from what was expected.
        outcomes: attempts that it was judged by.
    """

    __slots__ = (
        "_fade_time",
        "_fined_at",
        "_legs",
        "_ordered",
        "_policy",
        "_same_leg",
        "_samples",
        "_usual_limit",
        "deviation",
        "fine",
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
        self.fine = 0.0
        self._fined_at = 0.0
        self._fade_time = policy.penalty_time
        self.usual = 0.0
        self._usual_limit = policy.usual_share * policy.window_minimum
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
        twin.fine, twin._fined_at = self.fine, self._fined_at  # its own class
        twin._fade_time = self._fade_time  # its own class
        twin.deviation, twin.outcomes = self.deviation, self.outcomes
        return twin

    def floor_for(self, published: float | None) -> float | None:
        """The floor for a bucket with that published latency; None while nothing was observed."""
        if published is None or self.shifted_floor is None:
            return self.floor
        return max(0.0, self.shifted_floor + published)

    def excess(self, now: float) -> float:
        """The excess at `now`: what was measured, faded to what is usual, or what is left of a fine."""
        excess = self._measured(now)
        if self.fine:
            left = self.fine * exp(-max(0.0, now - self._fined_at) / self._fade_time)
            return max(excess, left)
        return excess

    def observe(self, first_byte: float, now: float, published: float | None = None) -> None:
        """Learn from one answer that took `first_byte` seconds to its headers."""
        self._remember(first_byte, published)
        ordered = self._ordered
        floor = self.floor = ordered[0]
        excess = self._measured(now)
        weight = self._weight(now)
        error = first_byte - floor - excess
        self.deviation += weight * (abs(error) - self.deviation)
        raised, most = excess + weight * error, self._policy.penalty_limit
        self.raised = 0.0 if raised < 0.0 else raised if raised < most else most  # noqa: FURB136  # a call
        self.updated = now
        if self.fine:
            # Good answers wear it off, as they would an excess that was measured.
            left = self._fined(now) * (1.0 - weight)
            self.fine = left if left > _NOTHING else 0.0
            self._fined_at = now
        usual, most = ordered[len(ordered) // 2] - floor, self._usual_limit
        self.usual = usual if usual < most else most  # noqa: FURB136  # a call

    def observe_at_least(self, elapsed: float, now: float) -> None:
        """Learn from an answer that was given up after `elapsed` seconds: it raises the excess, or nothing.

        With the weight of any other sample: one slow answer says no more for having been given up.
        """
        policy = self._policy
        excess = self.excess(now)
        error = elapsed - (self.floor or 0.0) - excess
        if error > 0:
            self.raised = max(excess, min(policy.penalty_limit, excess + self._weight(now) * error))
            self.updated = now

    def penalise(self, elapsed: float, now: float, *, failing: int = 1) -> None:
        """A failure after `elapsed` seconds: it must not look faster than an answer.

        What it took is measured, and fades like any excess. The rest is a fine, which fades sooner: it stands
        for nothing but the wish to look elsewhere for a while. The more endpoints are `failing`, the longer:
        each time that one is asked again may cost a request, and those add up.
        """
        policy = self._policy
        self.raised = max(self._measured(now), min(policy.penalty_limit, elapsed))
        self.updated = now
        self.fine = min(policy.penalty_limit, policy.penalty)
        self._fined_at = now
        self._fade_time = policy.penalty_time * max(1.0, failing / 2)

    def fined_until(self) -> float:
        """When next to nothing is left of the fine: a twentieth (seconds)."""
        return self._fined_at + (3 * self._fade_time if self.fine else 0.0)

    def forgive(self, now: float) -> None:
        """The endpoint has proved healthy after a failure: what was learned from failures is void."""
        self.raised = self.usual
        self.updated = now
        self.fine = 0.0

    def _fined(self, now: float) -> float:
        return self.fine * exp(min(0.0, self._fined_at - now) / self._fade_time)

    def _measured(self, now: float) -> float:
        updated = self.updated
        if updated is None:
            return 0.0
        usual = self.usual
        if now <= updated:
            return usual + (self.raised - usual)
        return usual + (self.raised - usual) * exp((updated - now) / self._policy.decay_time)

    def _remember(self, first_byte: float, leg: float | None) -> None:
        samples, ordered, legs = self._samples, self._ordered, self._legs
        if len(ordered) == self._policy.floor_samples:
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

    def _weight(self, now: float) -> float:
        """Weight of a sample: answers that arrive together share one, however many they are."""
        policy, updated = self._policy, self.updated
        time, most = policy.smoothing_time, policy.smoothing_limit
        if time <= 0:
            return most
        elapsed = time if updated is None else now - updated
        weight = 1 - exp(-elapsed / time) if elapsed > 0.0 else 0.0
        return weight if weight < most else most  # noqa: FURB136  # a call


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
