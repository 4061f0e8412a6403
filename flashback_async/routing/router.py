"""The router: the shared table of endpoints, and the only object that changes it.

Life of a request: `acquire` picks an endpoint and takes its permit, `settle` gives the permit back with what
came of it, `finish` follows when a streamed body ends. Everything is synchronous, takes the time as an
argument, and holds one lock for the in-memory update only, so that threads and several loops may share it.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from flashback_async.routing import picker
from flashback_async.routing.attempt import FINISHED, OPEN, SETTLED, STREAMING, Attempt, Wait
from flashback_async.routing.breaker import BreakerState
from flashback_async.routing.endpoint import READ, OperationKind
from flashback_async.routing.explain import Explanation, explain
from flashback_async.routing.hedge import Hedges
from flashback_async.routing.journal import Journal
from flashback_async.routing.lineup import Lineups
from flashback_async.routing.outcome import CANCELLED, SUCCESS, THROTTLED
from flashback_async.routing.policy import RoutingPolicy
from flashback_async.routing.retry import RetryBudget, backoff
from flashback_async.routing.snapshot import EndpointSnapshot, RouterSnapshot
from flashback_async.routing.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from flashback_async.routing.breaker import Permit
    from flashback_async.routing.endpoint import Endpoint, EndpointReport
    from flashback_async.routing.events import Event
    from flashback_async.routing.outcome import Outcome
    from flashback_async.routing.record import EndpointRecord


class Router:
    """Answers "which endpoint now?" and learns from every answer.

    Args:
        policy: the numbers.
        random: returns floats in [0, 1); decides between equals and jitters.

    Times are seconds of one monotonic clock. Any thread may call; none blocks, none raises for a state of the
    world except `NoEndpointAvailableError`.
    """

    def __init__(self, *, policy: RoutingPolicy | None = None, random: Callable[[], float]) -> None:
        self.policy = policy if policy is not None else RoutingPolicy()
        self._random = random
        self._lock = Lock()
        self._table = Table({})
        self._budget = RetryBudget(self.policy)
        self._in_flight = 0
        self._streaming = 0
        self._hedges = Hedges(self.policy)
        self._journal = Journal()
        self._lineups = Lineups(self.policy, random)

    def apply_discovery(self, reports: Iterable[EndpointReport], *, now: float) -> None:
        """Swap in every endpoint known now; survivors keep their statistics, a missing one leaves."""
        news = tuple(reports)
        with self._lock:
            self._table, events = self._table.updated(news, now=now, policy=self.policy, random=self._random)
            self._journal.extend(events)
            self._lineups.clear()

    def record_probe(self, endpoint_id: str, rtt: float | None, *, now: float) -> None:
        """Take the round trip to an endpoint in seconds. None: the probe failed, the prior is dropped.

        A failure touches no breaker: it says less than a request that succeeds. The first success after one
        says that the endpoint is back: what its failures taught is void, and an open breaker admits its trial
        at once. Any success does so where errors opened it: a trial that fails fast costs little.
        """
        with self._lock:
            record = self._table.records.get(endpoint_id)
            if record is not None and record.probed(rtt, now):
                self._lineups.clear()

    def acquire(
        self,
        bucket: str | None,
        kind: OperationKind,
        tried: Collection[str] = (),
        size: int | None = None,
        *,
        now: float,
        only: str | None = None,
        prefer: str | None = None,
    ) -> Attempt | Wait:
        """Pick an endpoint and take its permit, in one step.

        Args:
            bucket: S3 bucket name, None where the operation has none.
            kind: read or write.
            tried: ids of the endpoints that this operation already tried.
            size: bytes of the body, where known.
            now: seconds.
            only: id of the one endpoint to use (a pinned call); breakers do not stop it, rate limits do.
            prefer: id of the one to use, whether tried or not, if it is at its best; see `Table.preferred`.

        Returns:
            An attempt, which must be settled; or the advice to wait, which consumed nothing.

        Raises:
            NoEndpointAvailableError: the table is empty, or `only` is not in it.
        """
        with self._lock:
            found = None if only is None else self._table.only(only, now)
            if prefer is not None and found is None:
                found = self._table.preferred(prefer, bucket, now, self.policy)
            if found is None:
                found = self._lineups.of(self._table, bucket, kind, now).pick(tried, size, now, self._random)
            return found if isinstance(found, Wait) else self._enter(found, bucket, kind, size, now)

    def hedge_delay(self, attempt: Attempt, *, now: float) -> float | None:
        """Seconds after which a hedge may race it, None: never. Ask once per attempt: the budget counts."""
        with self._lock:
            return self._hedges.delay(attempt, now)

    def hedge(self, late: Attempt, tried: Collection[str], size: int | None, *, now: float) -> Attempt | None:
        """Pick another endpoint for what `late` asked for and take its permit; see `acquire`.

        Returns:
            An attempt; None, which consumed nothing: no budget, or nobody with a closed breaker and a token.
        """
        with self._lock:
            demand = picker.Demand(late.bucket, late.kind, tried, size)
            found = self._hedges.pick(self._table.rows, late, demand, now=now, random=self._random)
            return None if found is None else self._enter(found, late.bucket, late.kind, size, now)

    def best(self, bucket: str | None, kind: OperationKind, *, now: float) -> Endpoint:
        """The endpoint with the lowest score now; takes nothing and changes nothing.

        Raises:
            NoEndpointAvailableError: the table is empty.
        """
        with self._lock:
            return self._lineups.of(self._table, bucket, kind, now).best(now=now).report.endpoint

    def settle(
        self,
        attempt: Attempt,
        outcome: Outcome,
        *,
        now: float,
        first_byte: float | None = None,
        retry_after: float | None = None,
        streamed: bool = False,
        at_least: float | None = None,
    ) -> None:
        """Give the permit back with what came of it. Exactly once.

        Args:
            attempt: from `acquire`.
            outcome: what came of it.
            now: seconds.
            first_byte: seconds from sending to the headers; None where it was not measured.
            retry_after: seconds that the endpoint asked us to stay away.
            streamed: a body follows; `finish` will tell how it ended, and a trial lasts until then.
            at_least: seconds that a cancelled attempt was waited for until another one won.

        Raises:
            RuntimeError: the attempt was settled before.
        """
        with self._lock:
            if attempt.state is not OPEN:
                raise RuntimeError(f"{attempt!r} is already settled; settle exactly once")
            body_follows = streamed and outcome is SUCCESS
            attempt.state = STREAMING if body_follows else SETTLED
            record = attempt.record
            record.leave(attempt, outcome, now)
            self._in_flight -= 1
            if body_follows:
                record.streaming += 1
                self._streaming += 1
            failing = self._table.failing(record, now) if outcome.is_fault else 1
            record.learn(attempt, outcome, now, first_byte, at_least, failing=failing)
            if attempt.kind is READ:
                self._hedges.learn(attempt, outcome, now, first_byte, at_least)
            is_new = outcome is THROTTLED and record.limiter.throttled(attempt.started, now, retry_after)
            if is_new and self._table.holds(record):
                self._journal.rate_learned(record, retry_after)
            if not (body_follows and attempt.permit.trial):
                said = CANCELLED if outcome.is_fault and record.is_outdated(attempt) else outcome
                self._record(record, attempt.permit, said, now)

    def confirm(self, attempt: Attempt, *, now: float) -> None:
        """Enough of a streamed body has arrived (1 MiB): a half-open trial has succeeded by now."""
        with self._lock:
            if attempt.state is STREAMING and attempt.permit.trial:
                breaker, before = attempt.record.breaker, attempt.record.breaker.generation
                self._record(attempt.record, attempt.permit, SUCCESS, now)
                if breaker.generation != before:  # The rest belongs to the generation that the trial began.
                    attempt.permit = breaker.permit(now)

    def finish(
        self, attempt: Attempt, outcome: Outcome, *, now: float, bytes_moved: int = 0, seconds: float = 0.0
    ) -> None:
        """A streamed body ended. Once, after `settle`; attempts without a streamed body need none.

        Args:
            attempt: from `acquire`, settled.
            outcome: SUCCESS: complete; ENDPOINT_FAULT: a stall, reset or truncation; CANCELLED: left early.
            now: seconds.
            bytes_moved: bytes of the body that arrived.
            seconds: what they took.

        Raises:
            RuntimeError: the attempt was not settled, or was finished before.
        """
        with self._lock:
            state, record = attempt.state, attempt.record
            if state is OPEN or state is FINISHED:
                raise RuntimeError(f"{attempt!r} cannot be finished; settle it first, finish it once")
            if state is STREAMING:
                record.streaming -= 1
                self._streaming -= 1
            attempt.state = FINISHED
            failing = self._table.failing(record, now) if outcome.is_fault else 1
            record.learn_body(attempt, outcome, now, bytes_moved, seconds, failing=failing)
            if outcome.is_fault or attempt.permit.trial:
                self._record(record, attempt.permit, outcome, now)

    def report(
        self, endpoint_id: str, outcome: Outcome, *, now: float, first_byte: float | None = None
    ) -> bool:
        """Take the outcome of a request that somebody made with a client of their own.

        Counts only while the breaker is closed: without a permit it cannot end a trial.

        Returns:
            Whether it counted; False also for an endpoint that is not in the table.
        """
        with self._lock:
            record = self._table.records.get(endpoint_id)
            if record is None or record.breaker.state is not BreakerState.CLOSED:
                return False
            if outcome.is_fault:
                record.penalise(OperationKind.READ, now, failing=self._table.failing(record, now))
            elif outcome is SUCCESS and first_byte is not None:
                record.observe(OperationKind.READ, first_byte, now)
            self._record(record, record.breaker.permit(now), outcome, now)
            return True

    def explain(
        self,
        bucket: str | None,
        kind: OperationKind = OperationKind.READ,
        *,
        tried: Collection[str] = (),
        size: int | None = None,
        now: float,
    ) -> tuple[Explanation, ...]:
        """Why each endpoint would or would not be chosen now; see `acquire`. Changes nothing."""
        with self._lock:
            rows, demand = self._table.rows, picker.Demand(bucket, kind, tried, size)
            serving = self._lineups.of(self._table, bucket, kind, now).serving if rows else ()
            return explain(rows, serving, demand, now, self.policy)

    def pay_for_retry(self, outcome: Outcome) -> int | None:
        """Take one retry after `outcome` from the shared budget: the amount, None when it is exhausted."""
        with self._lock:
            load = self._in_flight + self._streaming  # And the attempt that failed, which is settled by now.
            return self._budget.take(outcome, load and load + 1)

    def refund_retry(self, amount: int) -> None:
        """Give back what retries had paid, after a success; 1 after a success without any."""
        with self._lock:
            self._budget.give_back(amount)

    def backoff(self, hop: int, tried: Collection[str]) -> float:
        """Seconds to wait before retry number `hop` (from 1) of an operation that tried these endpoints."""
        elsewhere = any(key not in tried for key in self._table.records)
        return backoff(self.policy, hop=hop, elsewhere=elsewhere, random=self._random)

    def drain_events(self) -> list[Event]:
        """The state changes since the last call, oldest first."""
        with self._lock:
            return self._journal.drain()

    def snapshot(self, *, now: float) -> RouterSnapshot:
        """The whole table at `now`."""
        with self._lock:
            return RouterSnapshot(
                discovered_at=self._table.discovered_at,
                endpoints=tuple(EndpointSnapshot.of(record, now) for record in self._table.rows),
                in_flight=self._in_flight,
                streaming=self._streaming,
                retry_budget=self._budget.available(self._in_flight + self._streaming),
                hedge_budget=self._hedges.available(now),
            )

    def _enter(
        self, record: EndpointRecord, bucket: str | None, kind: OperationKind, size: int | None, now: float
    ) -> Attempt:
        before = record.breaker.state
        permit = record.breaker.permit(now)
        if permit.trial:
            self._moved(record, before, now)
        is_quick = kind is READ or size is None or size <= self.policy.small_body
        attempt = Attempt(record, permit, bucket, kind, is_quick, now)
        record.enter(attempt, now)
        self._in_flight += 1
        return attempt

    def _record(self, record: EndpointRecord, permit: Permit, outcome: Outcome, now: float) -> None:
        breaker = record.breaker
        before = breaker.state
        breaker.record(permit, outcome, now)
        if breaker.state is not before or permit.trial:
            if before is BreakerState.HALF_OPEN and breaker.state is BreakerState.CLOSED:
                record.forgive(now)
            self._moved(record, before, now)

    def _moved(self, record: EndpointRecord, before: BreakerState, now: float) -> None:
        """A breaker, or the trial of one, is not where it was."""
        self._lineups.clear()
        if record.breaker.state is not before and self._table.holds(record):
            self._journal.breaker_moved(record, before, now)
