"""When a second attempt may race one that is late, and how many may. Values and counters, no clock.

A read whose first byte has not come after the time that 95 % of the reads take is sent once more, to another
endpoint, and the quicker answer counts (Dean and Barroso, "The Tail at Scale", hedged requests). What that
may cost is bounded by a budget of its own, in the manner of Finagle's `BackupRequestFilter`: every read
deposits a twentieth of a hedge, which is worth nothing after ten seconds. So an endpoint that slows down
cannot double the load on the others.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from flashback_async.routing import picker
from flashback_async.routing.attempt import Wait
from flashback_async.routing.breaker import BreakerState
from flashback_async.routing.endpoint import READ
from flashback_async.routing.outcome import CANCELLED, SUCCESS, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from flashback_async.routing.attempt import Attempt
    from flashback_async.routing.outcome import Outcome
    from flashback_async.routing.policy import RoutingPolicy
    from flashback_async.routing.record import EndpointRecord

_SLICES = 10


class FirstBytes:
    """The last first bytes of all endpoints, in seconds, and what most of them stay below."""

    __slots__ = ("_policy", "_samples", "_usual")

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self._samples: deque[float] = deque(maxlen=policy.hedge_samples)
        self._usual: float | None = None

    def observe(self, seconds: float) -> None:
        """An answer took so long."""
        self._samples.append(seconds)
        self._usual = None

    def observe_at_least(self, seconds: float) -> None:
        """An answer that nobody waited for would have taken longer than that.

        Left out where it says nothing (shorter than usual); else, the samples would be those of winners only,
        and what is usual would shrink with every hedge.
        """
        if seconds > (self.usual() or 0.0):
            self.observe(seconds)

    def usual(self) -> float | None:
        """What all but the share that may be hedged stay within; None before there are enough of them."""
        policy, count = self._policy, len(self._samples)
        if not count or count < policy.hedge_outcomes:
            return None
        if self._usual is None:
            self._usual = sorted(self._samples)[max(0, count - 1 - int(policy.hedge_share * count))]
        return self._usual


class HedgeBudget:
    """Hedges are at most a share of the requests of the last seconds, in ten slices of time.

    As Finagle's leaky bucket: no reserve for clients with few requests, and what was not used is gone with
    the requests that deposited it.
    """

    __slots__ = ("_policy", "_requests", "_taken", "_width")

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self._width = policy.hedge_window / _SLICES
        self._requests: dict[int, int] = {}
        self._taken: dict[int, int] = {}

    def deposit(self, now: float) -> None:
        """A request that may be hedged was sent."""
        self._add(self._requests, now)

    def take(self, now: float) -> bool:
        """Pay for one hedge; False, and nothing is taken, when the budget is exhausted."""
        if self.available(now) < 1:
            return False
        self._add(self._taken, now)
        return True

    def available(self, now: float) -> int:
        """Hedges that may be sent now. Asking changes nothing."""
        oldest = self._slice(now) - _SLICES
        requests = sum(count for slice_, count in self._requests.items() if slice_ > oldest)
        taken = sum(count for slice_, count in self._taken.items() if slice_ > oldest)
        return max(0, int(self._policy.hedge_share * requests) - taken)

    def _slice(self, now: float) -> int:
        return int(now // self._width)

    def _add(self, counts: dict[int, int], now: float) -> None:
        current = self._slice(now)
        if current not in counts:
            for old in [slice_ for slice_ in counts if slice_ <= current - _SLICES]:
                del counts[old]
            counts[current] = 0
        counts[current] += 1


class Hedges:
    """What the router knows of hedging: how late is late, and whether one more may be sent.

    Of reads only: a write that is sent twice at the same time could end as either. Changed only under the
    router's lock.
    """

    __slots__ = ("_budget", "_first_bytes", "_policy")

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self._first_bytes = FirstBytes(policy)
        self._budget = HedgeBudget(policy)

    def learn(
        self,
        attempt: Attempt,
        outcome: Outcome,
        now: float,
        first_byte: float | None,
        at_least: float | None,
    ) -> None:
        """Take the figure of a settled read. Failures say nothing, for they may be fast; timeouts do."""
        if outcome is SUCCESS and first_byte is not None:
            self._first_bytes.observe(first_byte)
        elif outcome is TIMEOUT:
            self._first_bytes.observe_at_least(now - attempt.started)
        elif outcome is CANCELLED and at_least is not None:
            self._first_bytes.observe_at_least(at_least)

    def delay(self, attempt: Attempt, now: float) -> float | None:
        """Seconds after which `attempt` is late; None: it is not to be hedged. Deposits it in the budget.

        A half-open trial is waited for: it decides about its endpoint, and one that is never waited for would
        be followed by the next, as long as the budget lasts.
        """
        if attempt.kind is not READ:
            return None
        self._budget.deposit(now)
        usual = self._first_bytes.usual()
        if usual is None or attempt.permit.trial:
            return None
        return max(self._policy.hedge_minimum, usual)

    def pick(
        self,
        table: Sequence[EndpointRecord],
        late: Attempt,
        demand: picker.Demand,
        *,
        now: float,
        random: Callable[[], float],
    ) -> EndpointRecord | None:
        """Where to send a hedge of `late`, paid for; None: there is nobody to ask, or no budget."""
        others = [record for record in table if _may_take(record, late, demand.tried, now)]
        if not others or not self._budget.take(now):
            return None
        found = picker.pick(others, demand, now=now, policy=self._policy, random=random)
        assert not isinstance(found, Wait), "all of them have a token"
        return found

    def available(self, now: float) -> int:
        """Hedges that the budget would pay for now."""
        return self._budget.available(now)


def _may_take(record: EndpointRecord, late: Attempt, tried: Collection[str], now: float) -> bool:
    """Whether a hedge may go there: it is optional, so nothing is risked and nobody is pressed for it."""
    return (
        record is not late.record
        and record.report.endpoint.id not in tried
        and record.report.serves(late.bucket)
        and record.breaker.state is BreakerState.CLOSED
        and record.limiter.wait(now) <= 0
    )
