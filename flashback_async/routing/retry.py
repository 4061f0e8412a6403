"""Whether and when a failed attempt is followed by another one. Values and one token bucket, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.routing.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashback_async.routing.policy import RoutingPolicy


class RetryBudget:
    """One bucket for all endpoints: retries may not multiply the load on a fleet that is failing.

    A retry takes `retry_cost` tokens (`throttle_cost` after a 429). Its success gives them back, and every
    success without a retry gives one back. The bucket grows with the requests in flight, so that one node
    that dies with hundreds of them cannot exhaust it. Numbers: botocore's retry quota, v2.1.
    """

    __slots__ = ("_policy", "_spent")

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self._spent = 0

    def capacity(self, in_flight: int) -> int:
        """Size of the bucket in tokens."""
        return max(self._policy.budget, self._policy.retry_cost * in_flight)

    def available(self, in_flight: int) -> int:
        """Tokens left."""
        return max(0, self.capacity(in_flight) - self._spent)

    def take(self, outcome: Outcome, in_flight: int) -> int | None:
        """Pay for one retry after `outcome`; the amount paid, or None when the budget is exhausted."""
        cost = self._policy.throttle_cost if outcome is Outcome.THROTTLED else self._policy.retry_cost
        if self._spent + cost > self.capacity(in_flight):
            return None
        self._spent += cost
        return cost

    def give_back(self, amount: int) -> None:
        """Return tokens after a success: what the retry had paid, or 1 if there was none."""
        if self._spent:
            self._spent = max(0, self._spent - amount)


def backoff(policy: RoutingPolicy, *, hop: int, elsewhere: bool, random: Callable[[], float]) -> float:
    """Seconds to wait before hop 1, 2, ...

    Args:
        policy: where `backoff` and `backoff_limit` come from.
        hop: number of the retry, from 1.
        elsewhere: whether an endpoint is left that was not tried yet; the first hop there needs no delay.
        random: returns [0, 1); full jitter (AWS, "Exponential backoff and jitter").
    """
    if hop == 1 and elsewhere:
        return 0.0
    doublings = max(0, hop - 2) if elsewhere else hop - 1
    return random() * min(policy.backoff_limit, policy.backoff * 2.0 ** min(doublings, 64))
