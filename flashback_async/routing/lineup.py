"""The lineup: who may be asked for one (bucket, kind), kept from pick to pick while nothing changes.

The stages of `picker` say what is decided. Most picks find the same world as the one before: the same
endpoints serve the bucket, the same breakers are closed. So the outcome of stages 1 to 3 is kept until a
breaker moves or its time is up, and stages 6 and 7 are one pass over it. The results are those of the stages,
to the last bit (a differential test keeps both equal); only the work is less.
"""

from __future__ import annotations

from math import exp, inf
from typing import TYPE_CHECKING

from flashback_async.routing import picker
from flashback_async.routing.attempt import Wait
from flashback_async.routing.breaker import BreakerState
from flashback_async.routing.endpoint import READ
from flashback_async.routing.subset import subset

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from flashback_async.routing.endpoint import OperationKind
    from flashback_async.routing.figures import Figures
    from flashback_async.routing.policy import RoutingPolicy
    from flashback_async.routing.record import EndpointRecord
    from flashback_async.routing.table import Table

    Entry = tuple[EndpointRecord, Figures, float | None]


class Lineup:
    """Stages 1 to 3 of the pick for one (bucket, kind). Thrown away when a breaker or the table changes.

    Attributes:
        serving: stage 1: who is eligible, or this client's subset of them.
        until: when it is to be built anew, for a breaker admits a trial by then (seconds).
    """

    __slots__ = (
        "_bucket",
        "_cold",
        "_entries",
        "_has_trials",
        "_kind",
        "_limiters",
        "_policy",
        "_slo",
        "serving",
        "until",
    )

    def __init__(
        self,
        table: Sequence[EndpointRecord],
        bucket: str | None,
        kind: OperationKind,
        *,
        seed: int,
        now: float,
        policy: RoutingPolicy,
    ) -> None:
        self._bucket = bucket
        self._kind = kind
        self._policy = policy
        self._slo = picker.slo_of(kind, policy)
        eligible = picker.eligible(table, bucket)
        self.until = min((record.breaker.moves_at(now) for record in eligible), default=inf)
        self.serving = eligible
        if 0 < policy.subset_from <= len(eligible):
            self.serving = subset(eligible, bucket, kind, seed=seed, now=now, policy=policy)
            self.until = min(self.until, now + policy.subset_time)
        rows = picker.admitting(self.serving, self.serving, now, policy)
        self._has_trials = any(record.breaker.state is not BreakerState.CLOSED for record in rows)
        self._limiters = [record.limiter for record in rows]
        self._entries: list[Entry] = [
            (record, record.figures(kind), record.report.latency_of(bucket)) for record in rows
        ]
        # Those that are not warm yet. Outcomes are never forgotten: once there is none, there never is one.
        self._cold = self._entries

    def pick(
        self, tried: Collection[str], size: int | None, now: float, random: Callable[[], float]
    ) -> EndpointRecord | Wait:
        """The endpoint to ask, or how long to wait; `Router.acquire` tells the arguments."""
        if tried or (size is not None and size >= self._policy.large_body):
            demand = picker.Demand(self._bucket, self._kind, tried, size)
            return picker.pick(self.serving, demand, now=now, policy=self._policy, random=random)
        budgeted = self._budgeted(now)
        if isinstance(budgeted, Wait):
            return budgeted
        if len(budgeted) == 1:
            return budgeted[0][0]
        return picker.choose(self._inside(self._warm(budgeted), now), random)

    def best(self, *, now: float) -> EndpointRecord:
        """The endpoint with the least score: what a pick would tend to, without chance."""
        demand = picker.Demand(self._bucket, self._kind)
        return picker.best(self.serving, demand, now=now, policy=self._policy)

    def _budgeted(self, now: float) -> list[Entry] | Wait:
        """Stage 4. Most limiters have never seen a 429, and need not be asked."""
        entries = self._entries
        for limiter in self._limiters:
            if limiter.rate is not None:
                break
        else:
            return entries
        waits = [limiter.wait(now) for limiter in self._limiters]
        soonest = min(waits)
        if soonest > 0:
            return Wait(soonest)
        return [entry for entry, wait in zip(entries, waits, strict=True) if wait <= 0]

    def _warm(self, entries: list[Entry]) -> list[Entry]:
        """Stage 5."""
        least = self._policy.warm_outcomes
        if self._cold:
            self._cold = [entry for entry in self._cold if entry[1].total.outcomes < least]
        if not self._cold:
            return entries
        return [
            entry
            for entry in entries
            if entry[1].total.outcomes >= least or not (entry[0].in_flight or entry[0].streaming)
        ] or entries

    def _inside(self, entries: list[Entry], now: float) -> list[EndpointRecord]:
        """Stages 6 and 7 in one pass; by the stages themselves where nothing is known of an endpoint."""
        policy, bucket, has_trials = self._policy, self._bucket, self._has_trials
        decay, silent_from, silent_factor = policy.decay_time, policy.silence_minimum, policy.silence_factor
        mean = sum([row.in_flight + row.streaming for row, _, _ in entries]) / len(entries)
        scored: list[tuple[float, EndpointRecord]] = []
        lowest, least, deviation = inf, inf, 0.0
        for record, figures, published in entries:
            figure = figures.latency_of(bucket) if figures.is_mixed else figures.total
            floor = figure.floor if published is None else figure.floor_for(published)
            if floor is None and (floor := record.prior(published)) is None:
                return self._by_stages(entries, now)
            updated = figure.updated
            if updated is None or (has_trials and record.trial_due(now)):
                excess = 0.0
            elif figure.fine:
                excess = figure.excess(now)
            else:
                excess = figure.usual
                above = figure.raised - excess
                excess += above * exp((updated - now) / decay) if now > updated else above
            base = score = floor + excess
            load = record.in_flight + record.streaming
            if load > mean:
                score = floor + excess * ((load + 1) / (mean + 1))
            if record.quick_in_flight:
                silence = now - record.silent_since
                if silence > silent_from and silence > silent_factor * score:
                    base = score = silence
            scored.append((score, record))
            if score < lowest:  # noqa: PLR1730  # min() is a call
                lowest = score
            if base < least:
                least, deviation = base, figure.deviation
        limit = self._limit(lowest, least, deviation)
        return [record for score, record in scored if score <= limit]

    def _limit(self, lowest: float, least: float, deviation: float) -> float:
        """The highest score that counts as equal to the best."""
        if lowest <= self._slo:
            return self._slo
        return max(lowest, least + picker.width(least, deviation, self._policy))

    def _by_stages(self, entries: list[Entry], now: float) -> list[EndpointRecord]:
        demand = picker.Demand(self._bucket, self._kind)
        rows = picker.scored([entry[0] for entry in entries], demand, now, self._policy)
        return [row.record for row in picker.shortlist(rows, demand, self._policy)]


class Lineups:
    """The lineups of all (bucket, kind) that were asked for lately. Changed only under the router's lock."""

    __slots__ = ("_policy", "_random", "_reads", "_seed", "_writes")

    def __init__(self, policy: RoutingPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._reads: dict[str | None, Lineup] = {}
        self._writes: dict[str | None, Lineup] = {}
        self._seed: int | None = None

    def of(self, table: Table, bucket: str | None, kind: OperationKind, now: float) -> Lineup:
        """The lineup for a request at `now`.

        Raises:
            NoEndpointAvailableError: the table is empty.
        """
        known = self._reads if kind is READ else self._writes
        lineup = known.get(bucket)
        if lineup is None or now >= lineup.until:
            if len(known) >= self._policy.bucket_limit:
                known.clear()
            rows = table.all()
            seed = self._seed_for(rows)
            lineup = known[bucket] = Lineup(rows, bucket, kind, seed=seed, now=now, policy=self._policy)
        return lineup

    def clear(self) -> None:
        """Something changed that lineups are made of: discovery, or a breaker."""
        self._reads.clear()
        self._writes.clear()

    def _seed_for(self, rows: Sequence[EndpointRecord]) -> int:
        # Drawn when it is needed first: small fleets never do.
        if self._seed is None and len(rows) >= self._policy.subset_from:
            self._seed = int(self._random() * (1 << 53))
        return self._seed or 0
