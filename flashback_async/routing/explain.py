"""Why traffic goes where it goes: the stages of the pick, told for each endpoint. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashback_async.routing import picker
from flashback_async.routing.attempt import Wait
from flashback_async.routing.breaker import BreakerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashback_async.routing.endpoint import Endpoint
    from flashback_async.routing.picker import Demand, Scored
    from flashback_async.routing.policy import RoutingPolicy
    from flashback_async.routing.record import EndpointRecord


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one endpoint would or would not be chosen now. Times are seconds.

    Attributes:
        endpoint: whom it is about.
        in_the_running: whether the next pick may choose it.
        reason: why, or why not, in words.
        floor: least first byte of late, or the prior; None while nothing is known.
        excess: what is expected above the floor.
        deviation: mean deviation of its first bytes.
        score: what a request is expected to cost under its load; None if it was ruled out before.
        load: requests waiting for a first byte, and bodies being read.
        breaker: state of its breaker.
        rate_limit: learned requests per second, None while there is no limit.
        outcomes: attempts of that kind that it was judged by.
    """

    endpoint: Endpoint
    in_the_running: bool
    reason: str
    floor: float | None
    excess: float
    deviation: float
    score: float | None
    load: int
    breaker: BreakerState
    rate_limit: float | None
    outcomes: int


def explain(
    table: Sequence[EndpointRecord], demand: Demand, now: float, policy: RoutingPolicy
) -> tuple[Explanation, ...]:
    """One explanation per endpoint, in the order of the table, for a pick at `now`."""
    if not table:
        return ()
    serving = picker.eligible(table, demand.bucket)
    fresh = picker.untried(serving, demand.tried)
    admitted = picker.admitting(serving, fresh, now, policy)
    budgeted = picker.budgeted(admitted, now)
    running = [] if isinstance(budgeted, Wait) else budgeted
    warm = picker.warm(running, demand.kind) if running else []
    rows = picker.scored(warm, demand, now, policy) if warm else []
    inside = picker.window(rows, policy) if rows else []
    stages = _Stages(
        demand=demand,
        serving=_ids(serving),
        fresh=_ids(fresh),
        admitted=_ids(admitted),
        panic=any(not record.breaker.admits(now) for record in admitted),
        running=_ids(running),
        scores={id(row.record): row for row in rows},
        inside={id(row.record) for row in inside},
        limit=picker.window_limit(rows, policy) if rows else 0.0,
    )
    return tuple(_explanation(record, stages, now, policy) for record in table)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stages:
    demand: Demand
    serving: set[int]
    fresh: set[int]
    admitted: set[int]
    panic: bool
    running: set[int]
    scores: dict[int, Scored]
    inside: set[int]
    limit: float


def _explanation(record: EndpointRecord, stages: _Stages, now: float, policy: RoutingPolicy) -> Explanation:
    expected = record.expected(stages.demand.bucket, stages.demand.kind, now)
    row = stages.scores.get(id(record))
    return Explanation(
        endpoint=record.report.endpoint,
        in_the_running=id(record) in stages.inside,
        reason=_reason(record, stages, now, policy),
        floor=expected.floor,
        excess=expected.excess,
        deviation=expected.deviation,
        score=None if row is None else row.score,
        load=record.load,
        breaker=record.breaker.state,
        rate_limit=record.limiter.rate,
        outcomes=record.outcomes(stages.demand.kind),
    )


def _reason(record: EndpointRecord, stages: _Stages, now: float, policy: RoutingPolicy) -> str:  # noqa: PLR0911  # one stage, one answer
    key, kind = id(record), stages.demand.kind
    if key not in stages.serving:
        if record.report.status.value != "online":
            return f"the control plane says it is {record.report.status.value}"
        return f"the control plane says it cannot reach {stages.demand.bucket}"
    if key not in stages.fresh:
        return "this request already tried it"
    if key not in stages.admitted:
        breaker = record.breaker
        if breaker.state is BreakerState.HALF_OPEN:
            return "on trial: one request is deciding whether it is back"
        return f"out for another {max(0.0, breaker.retry_at - now):.1f} s: {breaker.reason}"
    if key not in stages.running:
        rate = record.limiter.rate
        limit = "" if rate is None else f" of {rate:.1f} requests/s, learned from its 429s"
        return f"at its rate limit{limit}; the next request may go in {record.limiter.wait(now):.2f} s"
    row = stages.scores.get(key)
    if row is None:
        known = record.outcomes(kind)
        return f"new, {known} of {policy.warm_outcomes} outcomes seen: one request at a time"
    if key in stages.inside:
        return _inside(record, row, stages, now)
    return _outside(record, row, stages, now, policy)


def _inside(record: EndpointRecord, row: Scored, stages: _Stages, now: float) -> str:
    others = len(stages.inside) - 1
    company = f"one of {others + 1} as good as the best" if others else "the best"
    text = f"{company}: {_ms(row.score)} expected, up to {_ms(stages.limit)} counts as equal"
    if record.trial_due(now):
        return f"{text}; its next request is the trial of its breaker"
    if stages.panic and not record.breaker.admits(now):
        return f"{text}; its breaker is open, but so are most: breakers are ignored"
    return text


def _outside(record: EndpointRecord, row: Scored, stages: _Stages, now: float, policy: RoutingPolicy) -> str:
    floor, excess, _ = record.expected(stages.demand.bucket, stages.demand.kind, now)
    silence = record.silence(now)
    if silence >= policy.silence_minimum and row.score >= silence:
        return f"silent for {silence:.2f} s with {record.in_flight} requests waiting"
    if floor is None:
        return "its last probe failed, and nothing else is known of it"
    parts = f"{_ms(floor)} distance + {_ms(excess)} on top"
    if row.score > floor + excess:
        parts += f", weighed with {record.load} requests there"
    return f"slower: {_ms(row.score)} expected ({parts}), {_ms(stages.limit)} would do"


def _ids(records: Sequence[EndpointRecord]) -> set[int]:
    return {id(record) for record in records}


def _ms(seconds: float) -> str:
    return f"{seconds * 1_000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
