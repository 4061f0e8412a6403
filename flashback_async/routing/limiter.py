"""A learned rate limit per endpoint.

Limits of gateways are unknown (a self-hosted node: 10 requests per second and client address), so nothing is
limited before the first 429. That sets the limit to a share of the rate that was admitted just before; from
there it grows by a little each second and shrinks with every further 429 (additive increase, multiplicative
decrease). 429s of requests that were already under way when the limit shrank say nothing new and only count
once. `Retry-After` closes the endpoint for that long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashback_async.routing.policy import RoutingPolicy

_SLICES = 8
# Who waited exactly as long as told must not be a rounding error short of a whole token, and wait for ever.
_WHOLE = 1.0 - 1e-6


class Limiter:
    """Token bucket of one endpoint: `wait` asks, `take` takes, `throttled` learns. Seconds throughout."""

    __slots__ = (
        "_admitted",
        "_blocked_until",
        "_policy",
        "_reduced_at",
        "_refilled_at",
        "_slot",
        "_throttled_at",
        "_tokens",
        "_width",
        "rate",
    )

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self.rate: float | None = None
        self._tokens = 0.0
        self._refilled_at = 0.0
        self._reduced_at = 0.0
        self._throttled_at = float("-inf")
        self._blocked_until = float("-inf")
        # Requests admitted in each slice of the window, used in turn; `_slot` is the latest slice.
        self._width = policy.limiter_window / _SLICES
        self._admitted = [0] * _SLICES
        self._slot = -1 << 62

    @property
    def is_active(self) -> bool:
        """Whether there ever was a reason to wait."""
        return self.rate is not None

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
        slot = int(now // self._width)
        if slot != self._slot:
            slot = self._turn(slot)
        self._admitted[slot % _SLICES] += 1
        if self.rate is not None:
            self._refill(now)
            self._tokens -= 1.0

    def throttled(self, admitted_at: float, now: float, retry_after: float | None = None) -> bool:
        """Learn from a 429 to a request that was admitted at `admitted_at`; True for the first one ever."""
        policy = self._policy
        self._throttled_at = now
        if retry_after is not None and retry_after > 0:
            self._blocked_until = max(self._blocked_until, now + min(retry_after, policy.retry_after_limit))
        is_new = self.rate is None
        if self.rate is None:
            self.rate = max(policy.limiter_minimum, policy.limiter_share * self._recent_rate(now))
        elif admitted_at > self._reduced_at:
            self._refill(now)
            self.rate = max(policy.limiter_minimum, policy.limiter_share * self.rate)
        else:
            return False
        self._reduced_at = self._refilled_at = now
        self._tokens = 0.0
        return is_new

    def _recent_rate(self, now: float) -> float:
        self._turn(int(now // self._width))
        return sum(self._admitted) / self._policy.limiter_window

    def _turn(self, slot: int) -> int:
        """Empty the slices that are used again by `slot`; what comes late counts as of the latest one."""
        for passed in range(max(self._slot + 1, slot - _SLICES + 1), slot + 1):
            self._admitted[passed % _SLICES] = 0
        self._slot = max(slot, self._slot)
        return self._slot

    def _refill(self, now: float) -> None:
        elapsed = now - self._refilled_at
        if self.rate is None or elapsed <= 0:
            return
        grown = self.rate + self._policy.limiter_growth * elapsed
        # The bucket holds a tenth of a second: enough to hide timer granularity, too little for a burst.
        capacity = max(1.0, 0.1 * grown)
        self._tokens = min(capacity, self._tokens + elapsed * (self.rate + grown) / 2)
        self.rate = grown
        self._refilled_at = now
