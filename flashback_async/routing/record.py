"""Everything the router keeps about one endpoint. Changed only under the router's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flashback_async.routing.breaker import Breaker, BreakerState
from flashback_async.routing.endpoint import READ
from flashback_async.routing.figures import Figures
from flashback_async.routing.limiter import Limiter
from flashback_async.routing.outcome import CALLER_FAULT, CANCELLED, SUCCESS, THROTTLED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flashback_async.routing.attempt import Attempt
    from flashback_async.routing.endpoint import EndpointReport, OperationKind
    from flashback_async.routing.latency import LatencyFigure
    from flashback_async.routing.outcome import Outcome
    from flashback_async.routing.policy import RoutingPolicy


class Expectation(NamedTuple):
    """What a first byte is expected to take, in seconds. `floor` is None while nothing is known."""

    floor: float | None
    excess: float
    deviation: float


class EndpointRecord:
    """Figures, breaker, limiter and counters of one endpoint, from joining the table to leaving it."""

    __slots__ = (
        "_policy",
        "back_at",
        "breaker",
        "failing_until",
        "failures",
        "in_flight",
        "limiter",
        "probe_failed",
        "probe_rtt",
        "probed_at",
        "quick_in_flight",
        "reads",
        "report",
        "requests",
        "silent_since",
        "streaming",
        "throttled",
        "weight",
        "writes",
    )

    def __init__(self, report: EndpointReport, policy: RoutingPolicy, random: Callable[[], float]) -> None:
        self.report = report
        self.breaker = Breaker(policy, random)
        self.limiter = Limiter(policy)
        self.in_flight = 0
        self.streaming = 0
        self.requests = 0
        self.failures = 0
        # Counts as failing so long, when others fail.
        self.failing_until = float("-inf")
        self.throttled = 0
        self.probe_rtt: float | None = None
        self.probe_failed = False
        self.back_at = float("-inf")
        # Its rank among the endpoints that a client draws, see `subset`.
        self.weight: int | None = None
        self.probed_at: float | None = None
        self._policy = policy
        self.reads = Figures(policy)
        self.writes = Figures(policy)
        self.quick_in_flight = 0
        # The later of the last answer and the moment at which waiting began.
        self.silent_since = float("-inf")

    @property
    def load(self) -> int:
        """Requests that wait for a first byte plus bodies being read."""
        return self.in_flight + self.streaming

    @property
    def probed_out(self) -> bool:
        """Whether the last probe failed and nothing was ever observed: better ask anybody else."""
        return self.probe_failed and self.reads.total.floor is None and self.writes.total.floor is None

    def figures(self, kind: OperationKind) -> Figures:
        """What it takes for that kind."""
        return self.reads if kind is READ else self.writes

    def is_warm(self, kind: OperationKind) -> bool:
        """Whether it may get more than one request at a time."""
        return self.load == 0 or self.figures(kind).total.outcomes >= self._policy.warm_outcomes

    def outcomes(self, kind: OperationKind) -> int:
        """Attempts of that kind that were settled, cancelled ones excepted."""
        return self.figures(kind).total.outcomes

    def trial_due(self, now: float) -> bool:
        """Whether its breaker would make the next request a trial."""
        return self.breaker.state is not BreakerState.CLOSED and self.breaker.admits(now)

    def expected(self, bucket: str | None, kind: OperationKind, now: float) -> Expectation:
        """What a request of `kind` for `bucket` is expected to take here."""
        published = self.report.latency_of(bucket)
        figure = self.figures(kind).latency_of(bucket)
        floor = figure.floor_for(published)
        if floor is None:
            floor = self.prior(published)
        # The open time was the punishment: a trial is ranked by distance, or it would wait for its turn
        # until the excess has faded, long after the endpoint recovered.
        excess = 0.0 if self.trial_due(now) else figure.excess(now)
        return Expectation(floor, excess, figure.deviation)

    def throughput(self, kind: OperationKind) -> float | None:
        """Bytes per second of large bodies; None while unknown."""
        return self.figures(kind).throughput.rate

    def silence(self, now: float) -> float:
        """Seconds since anything completed while quick requests wait; 0 when none waits."""
        return max(0.0, now - self.silent_since) if self.quick_in_flight else 0.0

    def enter(self, attempt: Attempt, now: float) -> None:
        """A request starts here."""
        self.limiter.take(now)
        self.in_flight += 1
        if attempt.is_quick:
            if not self.quick_in_flight and now > self.silent_since:
                self.silent_since = now
            self.quick_in_flight += 1

    def leave(self, attempt: Attempt, outcome: Outcome, now: float) -> None:
        """A request has its answer, or will never have one."""
        self.in_flight -= 1
        if attempt.is_quick:
            self.quick_in_flight -= 1
        if outcome is not CANCELLED and now > self.silent_since:
            self.silent_since = now

    def learn(
        self,
        attempt: Attempt,
        outcome: Outcome,
        now: float,
        first_byte: float | None,
        at_least: float | None = None,
        *,
        failing: int = 1,
    ) -> None:
        """Count a settled attempt and take its figures; `failing`: endpoints that fail at the moment."""
        if outcome is not CANCELLED:
            self.requests += 1
        elif at_least is None:
            return
        if outcome.is_fault:
            self.failures += 1
        elif outcome is THROTTLED:
            self.throttled += 1
        if self._is_late(attempt):
            return
        figures = (self.reads if attempt.kind is READ else self.writes).touched(attempt.bucket)
        if outcome.is_fault:
            elapsed = now - attempt.started if first_byte is None else first_byte
            self._penalise(figures, elapsed, now, failing)
        elif outcome is not CANCELLED:
            self._teach(figures, attempt, outcome, now, first_byte)
        else:
            for figure in figures:
                figure.observe_at_least(at_least or 0.0, now)

    def learn_body(
        self,
        attempt: Attempt,
        outcome: Outcome,
        now: float,
        size: int,
        seconds: float,
        *,
        failing: int = 1,
    ) -> None:
        """Count a body that ended and take its figures."""
        self.failures += outcome.is_fault
        if self._is_late(attempt):
            return
        figures = self.reads if attempt.kind is READ else self.writes
        if outcome.is_fault:
            for figure in figures.touched(attempt.bucket):
                figure.penalise(0.0, now, failing=failing)
            self.failing_until = figures.total.fined_until()
        elif outcome is SUCCESS:
            figures.throughput.observe(size, seconds)

    def observe(self, kind: OperationKind, first_byte: float, now: float) -> None:
        """Learn from a request that somebody else made with a client of their own."""
        (figure,) = self.figures(kind).touched(None)
        figure.observe(first_byte, now)
        figure.outcomes += 1

    def penalise(self, kind: OperationKind, now: float, *, failing: int = 1) -> None:
        """Learn from a failure that somebody else saw with a client of their own."""
        self._penalise(self.figures(kind).touched(None), 0.0, now, failing)

    def forgive(self, now: float) -> None:
        """A trial went well: failures of before say nothing any more."""
        for figure in (*self.reads.latencies, *self.writes.latencies):
            figure.forgive(now)

    def _teach(
        self,
        figures: Sequence[LatencyFigure],
        attempt: Attempt,
        outcome: Outcome,
        now: float,
        first_byte: float | None,
    ) -> None:
        for figure in figures:
            figure.outcomes += 1
        if outcome.proves_alive and attempt.is_quick and first_byte is not None:
            published = self.report.latency_of(attempt.bucket)
            for figure in figures:
                sample = first_byte
                if outcome is CALLER_FAULT and figure.floor is not None:
                    # A refusal may be quicker than the work it refuses: it can only make a node look slower.
                    sample = max(sample, figure.floor + figure.excess(now))
                figure.observe(sample, now, published)

    def _penalise(self, figures: Sequence[LatencyFigure], elapsed: float, now: float, failing: int) -> None:
        for figure in figures:
            figure.outcomes += 1
            figure.penalise(elapsed, now, failing=failing)
        self.failing_until = figures[0].fined_until()

    def probed(self, rtt: float | None, now: float) -> bool:
        """Take a probe; whether its breaker may admit a trial sooner for it. See `Router.record_probe`."""
        was_away, self.probe_failed = self.probe_failed, rtt is None
        self.probe_rtt = rtt
        self.probed_at = now
        if rtt is None:
            return False
        if was_away:
            self.forgive(now)
            self.back_at = now
        elif not self.breaker.fails_fast:
            return False
        self.breaker.hasten(now)
        return True

    def is_outdated(self, attempt: Attempt) -> bool:
        """Whether it was sent before the endpoint came back: its failure is one of before."""
        return attempt.started < self.back_at

    def _is_late(self, attempt: Attempt) -> bool:
        """Whether the world moved since: a timeout of before must not punish an endpoint that recovered."""
        return attempt.permit.generation != self.breaker.generation or attempt.started < self.back_at

    def prior(self, published: float | None) -> float | None:
        """Round trip to the node plus the node's own leg to the bucket, as far as they are known."""
        if self.probe_failed or (self.probe_rtt is None and published is None):
            return None
        return (self.probe_rtt or 0.0) + (published or 0.0)
