"""The pick: small functions from a list of endpoints to a shorter one, then one endpoint.

Each stage protects from something of its own; see `RoutingPolicy` for the numbers and their sources.

1. eligible   online and serving the bucket; if none, every endpoint as a last resort
2. untried    without those that this operation already tried; if none, all eligible ones
3. admitting  whose breaker admits; breakers are ignored when most are open (panic)
4. budgeted   with a token of their rate limit; if none, wait for the soonest. A retry prefers the calm ones
5. warm       proven ones, and new ones without a request in flight
6. score      floor + excess, the excess scaled with load; silence counts as latency
7. shortlist  as good as the best, within the noise (or within `read_slo`, if that is set)
8. choose     the less loaded of two at random
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flashback_async.routing.attempt import Wait
from flashback_async.routing.endpoint import OperationKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from flashback_async.routing.policy import RoutingPolicy
    from flashback_async.routing.record import EndpointRecord

Records = list["EndpointRecord"]


class Demand(NamedTuple):
    """What a pick is for.

    Attributes:
        bucket: S3 bucket name, None where the operation has none.
        kind: read or write.
        tried: ids of the endpoints that this operation already tried.
        size: bytes of the body, where known.
    """

    bucket: str | None
    kind: OperationKind
    tried: Collection[str] = ()
    size: int | None = None


class Scored:
    """An endpoint with what it is expected to cost in seconds: `base` when idle, `score` under its load.

    Both include `body`, what a large one takes once it flows.
    """

    __slots__ = ("base", "body", "deviation", "record", "score")

    def __init__(
        self, record: EndpointRecord, base: float, score: float, deviation: float, body: float = 0.0
    ) -> None:
        self.record = record
        self.base = base
        self.score = score
        self.deviation = deviation
        self.body = body


def pick(
    table: Sequence[EndpointRecord],
    demand: Demand,
    *,
    now: float,
    policy: RoutingPolicy,
    random: Callable[[], float],
) -> EndpointRecord | Wait:
    """All stages: the endpoint to ask, or how long to wait for the first rate limit to allow a request."""
    running = budgeted(candidates(table, demand, now, policy), now)
    if isinstance(running, Wait):
        return running
    running = calm(running, table, demand.tried, now)
    if len(running) == 1:
        return running[0]
    rows = shortlist(scored(warm(running, demand.kind), demand, now, policy), demand, policy)
    return choose([row.record for row in rows], random)


def best(
    table: Sequence[EndpointRecord], demand: Demand, *, now: float, policy: RoutingPolicy
) -> EndpointRecord:
    """The endpoint with the least score: what a pick would tend to, without chance."""
    rows = scored(candidates(table, demand, now, policy), demand, now, policy)
    return min(rows, key=_score).record


def candidates(table: Sequence[EndpointRecord], demand: Demand, now: float, policy: RoutingPolicy) -> Records:
    """Stages 1 to 3: who may be asked at all."""
    serving = eligible(table, demand.bucket)
    return admitting(serving, untried(serving, demand.tried), now, policy)


def eligible(records: Sequence[EndpointRecord], bucket: str | None) -> Records:
    """Stage 1: what discovery says."""
    return [record for record in records if record.report.serves(bucket)] or list(records)


def untried(records: Records, tried: Collection[str]) -> Records:
    """Stage 2: a node that just failed this operation is asked again only if nobody else is left."""
    if not tried:
        return records
    return [record for record in records if record.report.endpoint.id not in tried] or records


def admitting(records: Records, candidates: Records, now: float, policy: RoutingPolicy) -> Records:
    """Stage 3: breakers, unless so few of the eligible `records` admit that the fault is elsewhere."""
    open_to_calls = [record for record in records if record.breaker.admits(now)]
    if len(open_to_calls) < policy.panic_share * len(records):
        return candidates
    if candidates is records:
        return open_to_calls or candidates
    allowed = set(map(id, open_to_calls))
    return [record for record in candidates if id(record) in allowed] or open_to_calls or candidates


def budgeted(records: Records, now: float) -> Records | Wait:
    """Stage 4: those with a token, or the time until the first of them has one."""
    waits = [record.limiter.wait(now) for record in records]
    soonest = min(waits)
    if soonest > 0:
        return Wait(soonest)
    return [record for record, wait in zip(records, waits, strict=True) if wait <= 0]


def calm(records: Records, table: Sequence[EndpointRecord], tried: Collection[str], now: float) -> Records:
    """For a retry: those that answered no 429 lately. Others at our address may have taken what is left."""
    if not tried or not any(record.report.endpoint.id in tried for record in table):
        return records
    return [record for record in records if record.limiter.is_calm(now)] or records


def warm(records: Records, kind: OperationKind) -> Records:
    """Stage 5: an unknown endpoint gets one request at a time."""
    return [record for record in records if record.is_warm(kind)] or records


def scored(records: Records, demand: Demand, now: float, policy: RoutingPolicy) -> list[Scored]:
    """Stage 6: what each is expected to cost.

    An endpoint of which nothing is known costs as much as the best floor known, so that it gets its first
    requests; one whose last probe failed costs the most there is.
    """
    expectations = [record.expected(demand.bucket, demand.kind, now) for record in records]
    floors = [expected.floor for expected in expectations if expected.floor is not None]
    best_floor = min(floors) if floors else 0.0
    mean_load = sum(record.load for record in records) / len(records)
    size = demand.size if demand.size is not None and demand.size >= policy.large_body else 0
    rates = _rates(records, demand.kind) if size else {}
    rows = []
    for record, (floor, excess, deviation) in zip(records, expectations, strict=True):
        above = policy.penalty_limit if floor is None and record.probed_out else excess
        known = best_floor if floor is None else floor
        base = known + above
        score = known + above * max(1.0, (record.load + 1) / (mean_load + 1))
        silence = record.silence(now)
        if silence > max(policy.silence_minimum, policy.silence_factor * score):
            base = score = silence
        body = size / rates[id(record)] if rates else 0.0
        rows.append(Scored(record, base + body, score + body, deviation, body))
    return rows


def shortlist(rows: list[Scored], demand: Demand, policy: RoutingPolicy) -> list[Scored]:
    """Stage 7: those that meet the objective for first bytes, where one is set; else the window.

    Of large bodies the objective says only half: among those that meet it, the window decides.
    """
    slo = slo_of(demand.kind, policy)
    meeting = [row for row in rows if row.score - row.body <= slo]
    if meeting and not any(row.body for row in meeting):
        return meeting
    return window(meeting or rows, policy)


def shortlist_limit(rows: list[Scored], demand: Demand, policy: RoutingPolicy) -> float:
    """The highest score (seconds) that `shortlist` lets in."""
    slo = slo_of(demand.kind, policy)
    meeting = [row for row in rows if row.score - row.body <= slo]
    if meeting and not any(row.body for row in meeting):
        return slo
    return window_limit(meeting or rows, policy)


def slo_of(kind: OperationKind, policy: RoutingPolicy) -> float:
    """The objective for first bytes of that kind in seconds; below zero where there is none."""
    return policy.read_slo if kind is OperationKind.READ and policy.read_slo > 0 else -1.0


def window(rows: list[Scored], policy: RoutingPolicy) -> list[Scored]:
    """Stage 7: those that are as good as the best, as far as anybody can tell.

    The window stands on the best when idle. Its load can push an endpoint out, but must not widen the window:
    a burst on the near nodes would let far ones in, at the cost of a fifth of the 99th percentile.
    """
    limit = max(window_limit(rows, policy), min(row.score for row in rows))
    return [row for row in rows if row.score <= limit]


def window_limit(rows: list[Scored], policy: RoutingPolicy) -> float:
    """The highest score (seconds) that counts as equal to the best: the noise decides how far above it."""
    best = min(rows, key=_base)
    return best.base + width(best.base, best.deviation, policy)


def width(base: float, deviation: float, policy: RoutingPolicy) -> float:
    """Seconds above the best that count as equal to it."""
    return max(policy.window_minimum, policy.window_share * base, policy.window_deviations * deviation)


def choose(records: Records, random: Callable[[], float]) -> EndpointRecord:
    """Stage 8: power of two choices by load; a tie is decided by chance."""
    count = len(records)
    if count == 1:
        return records[0]
    first = min(int(random() * count), count - 1)
    second = min(int(random() * (count - 1)), count - 2)
    if second >= first:
        second += 1
    one, other = records[first], records[second]
    # The order of a random pair is itself random, so "first on a tie" favours nobody.
    return one if one.in_flight + one.streaming <= other.in_flight + other.streaming else other


def _rates(records: Records, kind: OperationKind) -> dict[int, float]:
    """Bytes per second of each; unknown ones count as the fastest known, to be found out."""
    known = {id(record): record.throughput(kind) for record in records}
    rates = [rate for rate in known.values() if rate]
    if not rates:
        return {}
    fastest = max(rates)
    return {key: rate or fastest for key, rate in known.items()}


def _base(row: Scored) -> float:
    return row.base


def _score(row: Scored) -> float:
    return row.score
