"""Why traffic goes where it goes: the stages of the pick, told for each endpoint. Changes nothing.

The words are for somebody on call at night: what is the matter, since when or for how long, and what ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from flashback_async.routing import picker
from flashback_async.routing.attempt import Wait
from flashback_async.routing.breaker import BreakerState
from flashback_async.routing.endpoint import EndpointStatus
from flashback_async.routing.policy import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashback_async.routing.endpoint import Endpoint
    from flashback_async.routing.picker import Demand, Scored
    from flashback_async.routing.policy import RoutingPolicy
    from flashback_async.routing.record import EndpointRecord


# Seconds. A part of less is not worth a word; what is shown with a digit, and what in milliseconds.
_SHOWN = 0.0005
_DIGIT_BELOW = 0.00995
_MILLISECONDS_BELOW = 0.9995


class Verdict(Enum):
    """What the pick makes of an endpoint, in a word; who is nearest to getting a request comes first."""

    PREFERRED = "preferred"
    SLOWER = "slower"
    NEW = "new"
    SILENT = "silent"
    PROBE_FAILED = "probe failed"
    SPARE = "spare"
    RATE_LIMITED = "rate limited"
    ON_TRIAL = "on trial"
    OUT = "out"
    TRIED = "tried"
    CUT_OFF = "cut off"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one endpoint would or would not be chosen now. Times are seconds.

    Attributes:
        endpoint: whom it is about.
        in_the_running: whether the next pick may choose it.
        verdict: why, or why not, in a word.
        reason: why, or why not, in words.
        floor: least first byte of late, or the prior; None while nothing is known.
        excess: what is expected above the floor.
        deviation: mean deviation of its first bytes.
        score: what a request is expected to cost under its load; None if it was ruled out before.
        load: requests waiting for a first byte, and bodies being read.
        breaker: state of its breaker.
        rate_limit: learned requests per second, None while there is no limit.
        retry_in: until an open breaker admits a trial, or a rate limit a request; 0 if nothing is waited for.
        outcomes: attempts of that kind that it was judged by.
    """

    endpoint: Endpoint
    in_the_running: bool
    verdict: Verdict
    reason: str
    floor: float | None
    excess: float
    deviation: float
    score: float | None
    load: int
    breaker: BreakerState
    rate_limit: float | None
    retry_in: float
    outcomes: int

    @property
    def expected(self) -> float | None:
        """Seconds that a request is expected to take under its load; None while its distance is unknown."""
        if self.floor is None:
            return None
        return self.floor + self.excess if self.score is None else self.score


def explain(
    table: Sequence[EndpointRecord],
    lineup: Sequence[EndpointRecord],
    demand: Demand,
    now: float,
    policy: RoutingPolicy,
) -> tuple[Explanation, ...]:
    """One explanation per endpoint, in the order of the table, for a pick at `now`.

    Args:
        table: every endpoint known.
        lineup: those that stage 1 leaves for this client.
        demand: what the pick is for.
        now: seconds.
        policy: the numbers.
    """
    if not table:
        return ()
    serving = list(lineup)
    fresh = picker.untried(serving, demand.tried)
    admitted = picker.admitting(serving, fresh, now, policy)
    budgeted = picker.budgeted(admitted, now)
    wait = budgeted.seconds if isinstance(budgeted, Wait) else 0.0
    affordable = [] if isinstance(budgeted, Wait) else budgeted
    running = picker.calm(affordable, serving, demand.tried, now)
    warm = picker.warm(running, demand.kind) if running else []
    rows = picker.scored(warm, demand, now, policy) if warm else []
    inside = picker.shortlist(rows, demand, policy) if rows else []
    stages = _Stages(
        demand=demand,
        now=now,
        policy=policy,
        serving=_ids(serving),
        last_resort=not any(record.report.serves(demand.bucket) for record in serving),
        fresh=_ids(fresh),
        admitted=_ids(admitted),
        wait=wait,
        affordable=_ids(affordable),
        running=_ids(running),
        scores={id(row.record): row for row in rows},
        inside={id(row.record) for row in inside},
        limit=picker.shortlist_limit(rows, demand, policy) if rows else 0.0,
    )
    return tuple(_explanation(record, stages) for record in table)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stages:
    demand: Demand
    now: float
    policy: RoutingPolicy
    serving: set[int]
    last_resort: bool
    fresh: set[int]
    admitted: set[int]
    wait: float
    affordable: set[int]
    running: set[int]
    scores: dict[int, Scored]
    inside: set[int]
    limit: float


def _explanation(record: EndpointRecord, stages: _Stages) -> Explanation:
    expected = record.expected(stages.demand.bucket, stages.demand.kind, stages.now)
    row = stages.scores.get(id(record))
    verdict, reason = _judged(record, stages)
    return Explanation(
        endpoint=record.report.endpoint,
        in_the_running=id(record) in stages.inside,
        verdict=verdict,
        reason=reason,
        floor=expected.floor,
        excess=expected.excess,
        deviation=expected.deviation,
        score=None if row is None else row.score,
        load=record.load,
        breaker=record.breaker.state,
        rate_limit=record.limiter.rate,
        retry_in=max(_open_for(record, stages.now), record.limiter.wait(stages.now)),
        outcomes=record.outcomes(stages.demand.kind),
    )


def _judged(record: EndpointRecord, stages: _Stages) -> tuple[Verdict, str]:
    """The first stage that drops an endpoint is the reason."""
    key = id(record)
    if key not in stages.serving:
        return _not_serving(record, stages)
    if key not in stages.fresh:
        return Verdict.TRIED, "this request failed here before; it comes back only if no other node is left"
    if key not in stages.admitted:
        return _not_admitted(record, stages)
    if key not in stages.running:
        return _rate_limited(record, stages)
    row = stages.scores.get(key)
    if row is None:
        return _cold(record, stages)
    return (_inside if key in stages.inside else _outside)(record, row, stages)


def _not_serving(record: EndpointRecord, stages: _Stages) -> tuple[Verdict, str]:
    status = record.report.status
    if record.report.serves(stages.demand.bucket):
        return Verdict.SPARE, _spare(record, stages)
    if status is EndpointStatus.ONLINE:
        text = f"the control plane says it cannot reach {stages.demand.bucket}"
        return Verdict.CUT_OFF, f"{text}; asked only if no node can"
    return Verdict.OFFLINE, f"the control plane says it is {status.value}; asked only if no node is online"


def _spare(record: EndpointRecord, stages: _Stages) -> str:
    text = f"not among the {len(stages.serving)} endpoints that this client uses"
    if not record.breaker.admits(stages.now):
        return f"{text}: it is out ({record.breaker.reason})"
    return f"{text}: others are nearer, or were drawn; it steps in when one of them fails"


def _not_admitted(record: EndpointRecord, stages: _Stages) -> tuple[Verdict, str]:
    reason = record.breaker.reason
    if record.breaker.state is BreakerState.HALF_OPEN:
        return Verdict.ON_TRIAL, f"was out ({reason}); one request is there now to see if it is back"
    wait = _time(_open_for(record, stages.now))
    return Verdict.OUT, f"out: {reason}; one request will try it in {wait}"


def _rate_limited(record: EndpointRecord, stages: _Stages) -> tuple[Verdict, str]:
    if id(record) in stages.affordable:
        return Verdict.RATE_LIMITED, "it answered 429 (asked for less) lately; a retry goes where nobody did"
    rate = record.limiter.rate
    limit = "" if rate is None else f", so it gets {rate:.1f} requests/s for now"
    wait = record.limiter.wait(stages.now)
    text = f"it answered 429 (asked for less){limit}; the next one may go in {_time(wait)}"
    if stages.wait:
        first = "here first" if wait <= stages.wait else f"elsewhere first, in {_time(stages.wait)}"
        text += f". Every node that could serve is limited, so requests wait; they go {first}"
    return Verdict.RATE_LIMITED, text


def _cold(record: EndpointRecord, stages: _Stages) -> tuple[Verdict, str]:
    seen = f"{record.outcomes(stages.demand.kind)} of {stages.policy.warm_outcomes} requests seen"
    return Verdict.NEW, f"new, {seen}: it gets one at a time until then, and has one now"


def _inside(record: EndpointRecord, row: Scored, stages: _Stages) -> tuple[Verdict, str]:
    company = f"one of {len(stages.inside)} that share the traffic" if len(stages.inside) > 1 else "the best"
    text = f"{company}: {_figure(record, row, stages)}; up to {_time(stages.limit)} counts as equal"
    if record.trial_due(stages.now):
        text += f". It was out ({record.breaker.reason}): its next request is the trial"
    elif not record.breaker.admits(stages.now):
        text += f". It is out ({record.breaker.reason}), but so are most, and all are asked"
    if stages.last_resort:
        status = record.report.status
        online = status is EndpointStatus.ONLINE
        says = f"it cannot reach {stages.demand.bucket}" if online else f"it is {status.value}"
        text += f". The control plane says {says}, but no node is better off: last resort"
    return Verdict.PREFERRED, text


def _outside(record: EndpointRecord, row: Scored, stages: _Stages) -> tuple[Verdict, str]:
    floor, excess, _ = record.expected(stages.demand.bucket, stages.demand.kind, stages.now)
    silence = record.silence(stages.now)
    if silence >= stages.policy.silence_minimum and row.score >= silence:
        waiting = _requests(record.in_flight)
        return Verdict.SILENT, f"silent: nothing came back for {_time(silence)}, with {waiting} waiting"
    if record.probed_out:
        return Verdict.PROBE_FAILED, "its last probe failed and no request was answered yet: it comes last"
    parts = [] if floor is None else [f"{_time(floor)} distance"]
    causes = []
    if excess >= _SHOWN:
        parts.append(f"{_time(excess)} for slow or failed answers of late")
        causes += [f"{_requests(record.load)} under way"] if record.load else []
    if stages.demand.size is not None and stages.demand.size >= stages.policy.large_body:
        causes.append(f"a body of {stages.demand.size / MIB:.0f} MiB")
    # The size and, as a factor of the excess, the load: nothing else can be in a score.
    if floor is not None and row.score - floor - excess >= _SHOWN:
        parts.append(f"{_time(row.score - floor - excess)} for {' and '.join(causes)}")
    text = f"slower: {_figure(record, row, stages, made_of=parts)}; {_time(stages.limit)} would do"
    return Verdict.SLOWER, text


def _figure(record: EndpointRecord, row: Scored, stages: _Stages, *, made_of: Sequence[str] = ()) -> str:
    """What a request is expected to take, what that consists of, and where it comes from if nobody saw it."""
    bucket, kind = stages.demand.bucket, stages.demand.kind
    is_known = record.expected(bucket, kind, stages.now).floor is not None
    notes = [" + ".join(made_of)] if len(made_of) > is_known else []
    if record.outcomes(kind):
        notes += ["its last probe failed"] if record.probe_failed else []
    elif is_known:
        published = record.report.latency_of(bucket)
        legs = [] if record.probe_rtt is None else [f"{_time(record.probe_rtt)} round trip"]
        legs += [] if published is None else [f"{_time(published)} published"]
        notes.append(f"nothing observed yet: {' + '.join(legs)}")
    text = f"{_time(row.score)} expected" if is_known else "nothing known of its distance yet"
    return f"{text} ({'; '.join(notes)})" if notes else text


def _requests(count: int) -> str:
    return f"{count} request" if count == 1 else f"{count} requests"


def _open_for(record: EndpointRecord, now: float) -> float:
    """Seconds until its breaker admits a trial."""
    return 0.0 if record.breaker.admits(now) else max(0.0, record.breaker.retry_at - now)


def _ids(records: Sequence[EndpointRecord]) -> set[int]:
    return {id(record) for record in records}


def _time(seconds: float) -> str:
    if seconds < _DIGIT_BELOW:
        return f"{seconds * 1_000:.1f} ms"
    return f"{seconds * 1_000:.0f} ms" if seconds < _MILLISECONDS_BELOW else f"{seconds:.1f} s"
