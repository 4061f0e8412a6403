"""The circuit breaker of one endpoint.

CLOSED admits everything and counts. OPEN admits nothing until its time is up. HALF_OPEN admits exactly one
trial, which its owner must give back: success closes, failure opens for longer, anything neutral lets the
next caller try. The table below is the whole machine; an event without a row changes nothing.

Each transition starts a new generation. A result that belongs to an older one is dropped: what a request sent
before the breaker opened has to say was already said.

Sources of the rules: Envoy and Finagle (consecutive failures), Linkerd (share of failures, back-off),
resilience4j (buckets of one second), gobreaker (generations).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Final

from flashback_async.routing.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashback_async.routing.policy import RoutingPolicy


class BreakerState(Enum):
    """The three states, by their usual names."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class BreakerEvent(Enum):
    """What moves a breaker."""

    TRIPPED = "tripped"
    COOLED = "cooled"
    TRIAL_SUCCEEDED = "trial succeeded"
    TRIAL_FAILED = "trial failed"


# For what runs with every request; see `outcome`.
_CLOSED: Final = BreakerState.CLOSED

TRANSITIONS: Final = {
    (BreakerState.CLOSED, BreakerEvent.TRIPPED): BreakerState.OPEN,
    (BreakerState.OPEN, BreakerEvent.COOLED): BreakerState.HALF_OPEN,
    (BreakerState.HALF_OPEN, BreakerEvent.TRIAL_SUCCEEDED): BreakerState.CLOSED,
    (BreakerState.HALF_OPEN, BreakerEvent.TRIAL_FAILED): BreakerState.OPEN,
}


@dataclass(frozen=True, slots=True, eq=False)
class Permit:
    """The right to call an endpoint once. Identity counts: only its owner can end a trial.

    Attributes:
        generation: generation of the breaker when it was given out.
        trial: whether this is the one trial of a half-open breaker.
    """

    generation: int
    trial: bool


class FaultWindow:
    """Calls and faults of the last whole seconds, in exact buckets of one second."""

    __slots__ = ("_calls", "_faults", "_length", "_second", "_until")

    def __init__(self, length: int) -> None:
        self._length = length
        # One bucket per second, used in turn; `_second` is the latest one.
        self._calls = [0] * length
        self._faults = [0] * length
        self._second = -1 << 62
        # Where the latest one ends.
        self._until = -inf

    def add(self, now: float, fault: bool = False) -> None:  # noqa: FBT001, FBT002  # with every request
        """Count one call at `now` (seconds); what comes late counts as of the latest second."""
        if now >= self._until:
            self._turn(now)
        bucket = self._second % self._length
        self._calls[bucket] += 1
        if fault:
            self._faults[bucket] += 1

    def counts(self, now: float) -> tuple[int, int]:
        """(calls, faults) in the window that ends at `now`."""
        if now >= self._until:
            self._turn(now)
        return sum(self._calls), sum(self._faults)

    def _turn(self, now: float) -> None:
        """Empty the buckets that are used again by the second of `now`, which is a later one."""
        second = int(now // 1)
        for passed in range(max(self._second + 1, second - self._length + 1), second + 1):
            self._calls[passed % self._length] = self._faults[passed % self._length] = 0
        self._second = second
        self._until = second + 1.0


class Breaker:
    """The state of one endpoint's breaker. Synchronous and not locked: the router holds its lock.

    Life: `admits` asks, `permit` takes, `record` gives back. Time is an argument in seconds, randomness a
    function that returns [0, 1).

    Attributes:
        state: where it is.
        generation: counts the transitions.
        opened: how often it opened.
        reason: why it last opened, in words.
        fails_fast: whether an error opened it last, and not a timeout: a trial costs its request little.
        retry_at: when an open breaker admits its trial.
    """

    __slots__ = (
        "_consecutive",
        "_doublings",
        "_healthy_since",
        "_ordinary",
        "_policy",
        "_random",
        "_trial",
        "_trial_since",
        "_window",
        "fails_fast",
        "generation",
        "opened",
        "reason",
        "retry_at",
        "state",
    )

    def __init__(self, policy: RoutingPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self.state = BreakerState.CLOSED
        self.generation = 0
        self.opened = 0
        self.reason = ""
        self.fails_fast = False
        self.retry_at = 0.0
        self._window = FaultWindow(policy.breaker_window)
        self._consecutive = 0
        self._doublings = 0
        self._healthy_since = 0.0
        # All permits of a generation but its trial are alike.
        self._ordinary = Permit(0, trial=False)
        self._trial: Permit | None = None
        self._trial_since = 0.0

    def admits(self, now: float) -> bool:
        """Whether a call may be made now; asking changes nothing."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN:
            return now >= self.retry_at
        return self._trial is None or now - self._trial_since >= self._policy.trial_limit

    def moves_at(self, now: float) -> float:
        """When `admits` changes by itself (seconds); infinite where that takes an event."""
        moment = inf
        if self.state is BreakerState.OPEN:
            moment = self.retry_at
        elif self._trial is not None:
            moment = self._trial_since + self._policy.trial_limit
        return moment if moment > now else inf

    def permit(self, now: float) -> Permit:
        """Take a permit. Where the breaker does not admit (panic), its result will change nothing."""
        if self.state is _CLOSED or not self.admits(now):
            return self._ordinary
        self._move(BreakerEvent.COOLED)
        self._trial = Permit(self.generation, trial=True)
        self._trial_since = now
        return self._trial

    def record(self, permit: Permit, outcome: Outcome, now: float) -> None:
        """Give a permit back with what came of it."""
        if permit.generation != self.generation:
            return
        if permit is self._trial:
            self._end_trial(outcome, now)
        elif self.state is _CLOSED:
            if outcome.proves_alive:
                self._window.add(now)
                self._consecutive = 0
            elif outcome.is_fault:
                self._count_fault(outcome, now)

    def hasten(self, now: float) -> None:
        """Admit the trial of an open breaker at once: somebody else saw the endpoint come back."""
        if self.state is BreakerState.OPEN:
            self.retry_at = min(self.retry_at, now)

    def _end_trial(self, outcome: Outcome, now: float) -> None:
        self._trial = None
        if outcome.proves_alive:
            self._move(BreakerEvent.TRIAL_SUCCEEDED)
            self._window = FaultWindow(self._policy.breaker_window)
            self._consecutive = 0
            self._healthy_since = now
        elif outcome.is_fault:
            self._open(BreakerEvent.TRIAL_FAILED, f"trial failed ({outcome.value})", outcome, now)

    def _count_fault(self, outcome: Outcome, now: float) -> None:
        self._window.add(now, fault=True)
        self._consecutive += 1
        self._forgive(now)
        reason = self._trip_reason(now)
        if reason:
            self._open(BreakerEvent.TRIPPED, reason, outcome, now)

    def _trip_reason(self, now: float) -> str:
        policy = self._policy
        if self._consecutive >= policy.breaker_consecutive:
            return f"{self._consecutive} failures in a row"
        calls, faults = self._window.counts(now)
        if calls >= policy.breaker_minimum and faults >= policy.breaker_share * calls:
            return f"{faults} of {calls} calls failed in {policy.breaker_window} s"
        return ""

    def _forgive(self, now: float) -> None:
        """Take back one doubling per healthy stretch that ends with this fault."""
        if self._policy.healthy_time > 0:
            # Threads that share a router may report slightly out of order: time never runs backwards here.
            stretches = max(0, int((now - self._healthy_since) // self._policy.healthy_time))
            self._doublings = max(0, self._doublings - stretches)
        self._healthy_since = now

    def _open(self, event: BreakerEvent, reason: str, outcome: Outcome, now: float) -> None:
        policy = self._policy
        self._move(event)
        time = min(policy.open_time_limit, policy.open_time * 2.0 ** min(self._doublings, 64))
        spread = 1 + policy.open_time_jitter * (2 * self._random() - 1)
        self.retry_at = now + time * spread
        self._doublings += 1
        self.opened += 1
        self.fails_fast = outcome is Outcome.ENDPOINT_FAULT
        self.reason = reason

    def _move(self, event: BreakerEvent) -> None:
        state = TRANSITIONS.get((self.state, event))
        if state is not None:
            self.state = state
            self.generation += 1
            self._ordinary = Permit(self.generation, trial=False)
