"""A learned rate limit per endpoint.

Limits of gateways are unknown (a self-hosted node: 10 requests per second and client address), so nothing is
limited before the first 429. From then on the limit follows a cubic curve, like TCP (CUBIC, RFC 9438) and
botocore's adaptive retries: a 429 takes it to a share of what the endpoint is estimated to allow; after some
seconds it is back at the estimate, stays near it, and then looks for more, ever faster:

    limit(age) = estimate * (1 + (1 - share) * (age / time - 1) ** 3)

An endpoint that lets bursts through refuses nothing until its bucket is full, so the rate at which a 429
comes is no good estimate. But between two 429s, with the bucket full at both, as many requests pass as leak
out of it: that is the estimate, where there was time to measure it. Then the limit holds: a shallow cut, a
slow return. A 429 sooner than that tells no more than that it is still too much, and the limit searches: a
deep cut, a quick return.

The curve is given by its time and not, as TCP's, by its steepness, so that it has the same shape at 1 and at
1,000 requests a second. Beyond the estimate it goes on only while at least half of the limit is used (as in
botocore): an idle client learns nothing, and forgets nothing.

429s of requests that were already under way when the limit shrank say nothing new and only count once.
`Retry-After` closes the endpoint for that long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashback_async.routing.policy import RoutingPolicy

_SLICES = 12
# Who waited exactly as long as told must not be a rounding error short of a whole token, and wait for ever.
_WHOLE = 1.0 - 1e-6


class Limiter:
    """Token bucket of one endpoint: `wait` asks, `take` takes, `throttled` learns. Seconds throughout."""

    __slots__ = (
        "_admitted",
        "_age",
        "_blocked_until",
        "_counted_from",
        "_depth",
        "_estimate",
        "_grown_at",
        "_policy",
        "_reduced_at",
        "_refilled_at",
        "_slot",
        "_throttled_at",
        "_time",
        "_tokens",
        "_until",
        "_width",
        "rate",
    )

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self.rate: float | None = None
        self._tokens = 0.0
        self._refilled_at = 0.0
        self._reduced_at = float("-inf")
        self._throttled_at = float("-inf")
        self._blocked_until = float("-inf")
        # The curve: what it comes back to, how deep below it began, in what time, and how far it is.
        self._estimate = 0.0
        self._depth = 0.0
        self._time = 1.0
        self._age = 0.0
        self._grown_at = 0.0
        # Requests admitted in each slice of the window, used in turn, less those that a 429 came for;
        # `_slot` is the latest slice and ends at `_until`; nothing was counted before `_counted_from`.
        self._width = policy.limiter_window / _SLICES
        self._admitted = [0] * _SLICES
        self._slot = -1 << 62
        self._until = float("-inf")
        self._counted_from = 0.0

    def is_calm(self, now: float) -> bool:
        """Whether the last 429 is long ago, if there ever was one."""
        return self.rate is None or now - self._throttled_at > self._policy.calm_time

    def wait(self, now: float) -> float:
        """Seconds until a request may go; 0 means now. Asking changes nothing but the refill."""
        blocked = max(0.0, self._blocked_until - now)
        if self.rate is None:
            return blocked
        self._refill(now)
        return max(blocked, (1.0 - self._tokens) / self.rate if self._tokens < _WHOLE else 0.0)

    def take(self, now: float) -> None:
        """Admit one request. Never refuses: who takes without a token goes into debt."""
        if now >= self._until:
            self._turn(now)
        self._admitted[self._slot % _SLICES] += 1
        if self.rate is not None:
            self._refill(now)
            self._tokens -= 1.0
            self._grow(now, self.rate)

    def throttled(self, admitted_at: float, now: float, retry_after: float | None = None) -> bool:
        """Learn from a 429 to a request that was admitted at `admitted_at`; True for the first one ever."""
        policy = self._policy
        self._throttled_at = now
        if retry_after is not None and retry_after > 0:
            self._blocked_until = max(self._blocked_until, now + min(retry_after, policy.retry_after_limit))
        is_new = self.rate is None
        if self.rate is None:
            self._reduce(self._measured(now), now, is_sure=False)
        elif admitted_at > self._reduced_at:
            self._turn(now)
            self._admitted[self._slot % _SLICES] -= 1
            is_sure = now - self._reduced_at >= policy.limiter_sample
            # What was asked for may be less than what is allowed, so the limit is not cut to any measure.
            least = policy.limiter_hold_share * self.rate
            estimate = min(self.rate, max(least, self._measured(now))) if is_sure else self.rate
            self._reduce(estimate, now, is_sure=is_sure)
        return is_new

    def _reduce(self, estimate: float, now: float, *, is_sure: bool) -> None:
        """Begin the curve, and the measurement, anew."""
        policy = self._policy
        share = policy.limiter_hold_share if is_sure else policy.limiter_search_share
        self._time = policy.limiter_hold if is_sure else policy.limiter_search
        self._estimate = max(policy.limiter_minimum, estimate)
        self._depth = 1.0 - share
        self.rate = max(policy.limiter_minimum, share * self._estimate)
        self._age = self._tokens = 0.0
        self._reduced_at = self._refilled_at = self._grown_at = self._counted_from = now
        self._admitted = [0] * _SLICES

    def _grow(self, now: float, rate: float) -> None:
        """Go on along the curve. Only here, where a request goes: the rate that a wait was told by holds."""
        elapsed = now - self._grown_at
        if elapsed <= 0:
            return
        self._grown_at = now
        if self._age < self._time:
            self._age = min(self._time, self._age + elapsed)
        elif rate <= 2 * self._measured(now):
            self._age += min(elapsed, self._policy.limiter_sample)
        curve = 1.0 + self._depth * (self._age / self._time - 1.0) ** 3
        self.rate = max(self._policy.limiter_minimum, self._estimate * curve)

    def _measured(self, now: float) -> float:
        """Requests per second that passed lately; less time than the least sample is no rate."""
        self._turn(now)
        since = max(self._counted_from, (self._slot - _SLICES + 1) * self._width)
        return sum(self._admitted) / max(self._policy.limiter_sample, now - since)

    def _turn(self, now: float) -> None:
        """Empty the slices that are used again by `now`; what comes late counts as of the latest one."""
        slot = int(now // self._width)
        if slot - self._slot >= _SLICES:
            self._counted_from = now
        for passed in range(max(self._slot + 1, slot - _SLICES + 1), slot + 1):
            self._admitted[passed % _SLICES] = 0
        self._slot = max(slot, self._slot)
        self._until = (self._slot + 1) * self._width

    def _refill(self, now: float) -> None:
        elapsed = now - self._refilled_at
        if self.rate is None or elapsed <= 0:
            return
        # The bucket holds a tenth of a second: enough to hide timer granularity, too little for a burst.
        self._tokens = min(max(1.0, 0.1 * self.rate), self._tokens + elapsed * self.rate)
        self._refilled_at = now
