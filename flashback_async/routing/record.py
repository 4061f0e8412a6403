"""Everything the router keeps about one endpoint. Changed only under the router's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flashback_async.routing.breaker import Breaker, BreakerState
from flashback_async.routing.endpoint import OperationKind
from flashback_async.routing.latency import LatencyFigure, ThroughputFigure
from flashback_async.routing.limiter import Limiter
from flashback_async.routing.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flashback_async.routing.attempt import Attempt
    from flashback_async.routing.endpoint import EndpointReport
    from flashback_async.routing.policy import RoutingPolicy


class Expectation(NamedTuple):
    """What a first byte is expected to take, in seconds. `floor` is None while nothing is known."""

    floor: float | None
    excess: float
    deviation: float


class EndpointRecord:
    """Figures, breaker, limiter and counters of one endpoint, from joining the table to leaving it."""

    __slots__ = (
        "_bucket_figures",
        "_busy_since",
        "_figures",
        "_last_answer",
        "_policy",
        "_quick_in_flight",
        "_throughput",
        "breaker",
        "failures",
        "in_flight",
        "limiter",
        "probe_failed",
        "probe_rtt",
        "probed_at",
        "report",
        "requests",
        "streaming",
        "throttled",
    )

    def __init__(self, report: EndpointReport, policy: RoutingPolicy, random: Callable[[], float]) -> None:
        self.report = report
        self.breaker = Breaker(policy, random)
        self.limiter = Limiter(policy)
        self.in_flight = 0
        self.streaming = 0
        self.requests = 0
        self.failures = 0
        self.throttled = 0
        self.probe_rtt: float | None = None
        self.probe_failed = False
        self.probed_at: float | None = None
        self._policy = policy
        self._figures = {kind: LatencyFigure(policy) for kind in OperationKind}
        self._bucket_figures: dict[tuple[str, OperationKind], LatencyFigure] = {}
        self._throughput = {kind: ThroughputFigure(policy) for kind in OperationKind}
        self._quick_in_flight = 0
        self._busy_since = 0.0
        self._last_answer = float("-inf")

    @property
    def load(self) -> int:
        """Requests that wait for a first byte plus bodies being read."""
        return self.in_flight + self.streaming

    @property
    def probed_out(self) -> bool:
        """Whether the last probe failed and nothing was ever observed: better ask anybody else."""
        return self.probe_failed and all(figure.floor is None for figure in self._figures.values())

    def is_warm(self, kind: OperationKind) -> bool:
        """Whether it may get more than one request at a time."""
        return self.load == 0 or self._figures[kind].outcomes >= self._policy.warm_outcomes

    def outcomes(self, kind: OperationKind) -> int:
        """Attempts of that kind that were settled, cancelled ones excepted."""
        return self._figures[kind].outcomes

    def trial_due(self, now: float) -> bool:
        """Whether its breaker would make the next request a trial."""
        return self.breaker.state is not BreakerState.CLOSED and self.breaker.admits(now)

    def expected(self, bucket: str | None, kind: OperationKind, now: float) -> Expectation:
        """What a request of `kind` for `bucket` is expected to take here."""
        published = self.report.latency_of(bucket)
        figure = self._figures[kind]
        if bucket is not None:
            own = self._bucket_figures.get((bucket, kind))
            if own is not None and own.outcomes >= self._policy.bucket_outcomes and own.floor is not None:
                figure = own
        floor = figure.floor_for(published)
        if floor is None:
            floor = self._prior(published)
        # The open time was the punishment: a trial is ranked by distance, or it would wait for its turn
        # until the excess has faded, long after the endpoint recovered.
        excess = 0.0 if self.trial_due(now) else figure.excess(now)
        return Expectation(floor, excess, figure.deviation)

    def throughput(self, kind: OperationKind) -> float | None:
        """Bytes per second of large bodies; None while unknown."""
        return self._throughput[kind].rate

    def silence(self, now: float) -> float:
        """Seconds since anything completed while quick requests wait; 0 when none waits."""
        if not self._quick_in_flight:
            return 0.0
        return max(0.0, now - max(self._busy_since, self._last_answer))

    def enter(self, attempt: Attempt, now: float) -> None:
        """A request starts here."""
        self.limiter.take(now)
        self.in_flight += 1
        if attempt.is_quick:
            if not self._quick_in_flight:
                self._busy_since = now
            self._quick_in_flight += 1

    def leave(self, attempt: Attempt, outcome: Outcome, now: float) -> None:
        """A request has its answer, or will never have one."""
        self.in_flight -= 1
        if attempt.is_quick:
            self._quick_in_flight -= 1
        if outcome is not Outcome.CANCELLED:
            self._last_answer = now

    def learn(self, attempt: Attempt, outcome: Outcome, now: float, first_byte: float | None) -> None:
        """Count a settled attempt and take its figures."""
        if outcome is Outcome.CANCELLED:
            return
        self.requests += 1
        self.failures += outcome.is_fault
        self.throttled += outcome is Outcome.THROTTLED
        if self._is_late(attempt):
            return
        sample = first_byte if attempt.is_quick else None
        for figure in self._figures_of(attempt.bucket, attempt.kind):
            figure.outcomes += 1
            if outcome.is_fault:
                figure.penalise(now - attempt.started if first_byte is None else first_byte, now)
            elif outcome is Outcome.SUCCESS and sample is not None:
                figure.observe(sample, now, published=self.report.latency_of(attempt.bucket))
            elif outcome is Outcome.CALLER_FAULT and sample is not None:
                # A refusal may be quicker than the work it refuses: it can only make a node look slower.
                known = figure.floor
                figure.observe(
                    sample if known is None else max(sample, known + figure.excess(now)),
                    now,
                    published=self.report.latency_of(attempt.bucket),
                )

    def learn_body(self, attempt: Attempt, outcome: Outcome, now: float, size: int, seconds: float) -> None:
        """Count a body that ended and take its figures."""
        self.failures += outcome.is_fault
        if self._is_late(attempt):
            return
        if outcome.is_fault:
            for figure in self._figures_of(attempt.bucket, attempt.kind):
                figure.penalise(0.0, now)
        elif outcome is Outcome.SUCCESS:
            self._throughput[attempt.kind].observe(size, seconds)

    def observe(self, kind: OperationKind, first_byte: float, now: float) -> None:
        """Learn from a request that somebody else made with a client of their own."""
        self._figures[kind].observe(first_byte, now)
        self._figures[kind].outcomes += 1

    def penalise(self, kind: OperationKind, now: float) -> None:
        """Learn from a failure that somebody else saw with a client of their own."""
        self._figures[kind].penalise(0.0, now)
        self._figures[kind].outcomes += 1

    def forgive(self, now: float) -> None:
        """A trial went well: failures of before say nothing any more."""
        for figure in (*self._figures.values(), *self._bucket_figures.values()):
            figure.forgive(now)

    def _is_late(self, attempt: Attempt) -> bool:
        """Whether the breaker moved since: a timeout of before must not punish an endpoint that recovered."""
        return attempt.permit.generation != self.breaker.generation

    def _prior(self, published: float | None) -> float | None:
        """Round trip to the node plus the node's own leg to the bucket, as far as they are known."""
        if self.probe_failed or (self.probe_rtt is None and published is None):
            return None
        return (self.probe_rtt or 0.0) + (published or 0.0)

    def _figures_of(self, bucket: str | None, kind: OperationKind) -> Iterator[LatencyFigure]:
        yield self._figures[kind]
        if bucket is not None:
            figure = self._bucket_figures.pop((bucket, kind), None) or LatencyFigure(self._policy)
            while self._bucket_figures and len(self._bucket_figures) >= self._policy.bucket_limit:
                del self._bucket_figures[next(iter(self._bucket_figures))]
            self._bucket_figures[bucket, kind] = figure
            yield figure
