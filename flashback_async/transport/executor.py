"""Carries one operation through as many attempts as it is worth.

Every attempt: acquire an endpoint, then lease its client, call under a timer, classify, settle exactly once
(`exchange`), if asked so with a second attempt beside one that is late (`hedging`). Endpoint faults, our own
timeouts and throttling go on at the next endpoint while attempts, budget and deadline last; every other
answer is raised at once and never held against the endpoint. A cancellation is passed on untouched, and gives
everything back on its way.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashback_async.errors import (
    DeadlineExceededError,
    OperationError,
    ServiceError,
    ThrottledError,
)
from flashback_async.routing import OperationKind, Wait
from flashback_async.routing.recent_writes import RecentWrites
from flashback_async.transport.alarm import AlarmClock
from flashback_async.transport.body import LeasedBody
from flashback_async.transport.exchange import Exchange, Means
from flashback_async.transport.hedging import Hedging
from flashback_async.transport.operation import SHORTEST_WAIT
from flashback_async.transport.outcomes import cause_of, may_go_elsewhere, outcome_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flashback_async.routing import Attempt, Router
    from flashback_async.transport.exchange import Timeouts
    from flashback_async.transport.loop_lag import LoopLag
    from flashback_async.transport.monitor import Monitor
    from flashback_async.transport.operation import Journey, Operation
    from flashback_async.transport.s3_call import Leases


@dataclass(slots=True)
class Answered:
    """A successful answer that was read whole. Not to be changed."""

    fields: Mapping[str, object]
    status: int
    endpoint_id: str
    attempts: int


class Executor:
    """Runs operations against the router's endpoints. One per client; belongs to its loop.

    Args:
        router: decides.
        leases: hands out the endpoints' clients.
        monitor: counts.
        timeouts: timers of an attempt.
        clock: seconds of the running loop.
        sleep: waits that many seconds.
        on_trouble: called after a failure that calls for an early discovery.
        on_bucket: told the bucket of every operation, so that discovery asks for its figures.
        lag: watches the loop; None: nobody does, and no lag is known.
        hedging: whether a late read may be raced by a second attempt.
        read_your_writes: seconds for which the reads of a key prefer the endpoint that took its last write.
    """

    def __init__(
        self,
        router: Router,
        leases: Leases,
        monitor: Monitor,
        *,
        timeouts: Timeouts,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        on_trouble: Callable[[], None],
        on_bucket: Callable[[str], None],
        lag: LoopLag | None = None,
        hedging: bool = False,
        read_your_writes: float = 0.0,
    ) -> None:
        self.clock = clock
        self._router = router
        self._monitor = monitor
        self._timeouts = timeouts
        self._sleep = sleep
        self._on_trouble = on_trouble
        self._on_bucket = on_bucket
        self._lag = lag
        self._alarms = AlarmClock(asyncio.get_running_loop())
        self._means = Means(
            router=router,
            leases=leases,
            monitor=monitor,
            timeouts=timeouts,
            clock=clock,
            alarms=self._alarms,
            lag=lag,
        )
        self._hedging = Hedging(self._means, on_trouble=self._trouble) if hedging else None
        self._writes = RecentWrites(read_your_writes) if read_your_writes > 0 else None

    async def call(self, operation: Operation, journey: Journey) -> Answered:
        """Run an operation whose answer is read whole.

        Raises:
            OperationError: the last failure, with all attempts.
            NoEndpointAvailableError: nobody to ask.
        """
        exchange = await self._answered(operation, journey)
        exchange.lease.release()
        answer = exchange.answer
        return Answered(answer.fields, answer.status, exchange.attempt.endpoint.id, journey.sent)

    async def open(self, operation: Operation, journey: Journey) -> LeasedBody:
        """Run an operation up to its headers; the caller must `end` the body.

        Raises:
            OperationError: the last failure, with all attempts.
            NoEndpointAvailableError: nobody to ask.
        """
        exchange = await self._answered(operation, journey)
        answer = exchange.answer
        assert answer.body is not None, "streamed operations are answered with a body"
        return LeasedBody(
            answer.body,
            exchange.lease,
            exchange.attempt,
            self._router,
            fields=answer.fields,
            status=answer.status,
            clock=self.clock,
            stall_timeout=self._timeouts.stall,
            alarms=self._alarms,
            lag=self._lag,
        )

    def close(self) -> None:
        """Leave no timer behind. Once nothing runs any more."""
        self._alarms.close()

    async def recover(self, operation: Operation, journey: Journey, error: OperationError) -> None:
        """Wait until the next attempt may go, after one that `journey` has taken note of.

        Raises:
            OperationError: `error`, with all attempts, when there will be no next one.
        """
        delay = self._delay(error, operation, journey)
        if delay is None:
            try:
                raise self._final(error, operation, journey)
            finally:
                # Its traceback leads to this frame: a cycle, which would keep the body of a failed upload
                # until the next collection.
                del error
        if delay > 0:
            await self._sleep(delay)
        self._monitor.retries += 1
        if journey.pin is None:
            self._monitor.failovers[cause_of(error)] += 1

    async def presign(self, operation: Operation, pin: str | None, *, expires: int) -> str:
        """A URL that carries out `operation`, at the endpoint that is best now or at the one named.

        Takes no permit and no connection, counts for nothing.

        Raises:
            NoEndpointAvailableError: the table is empty, or has no such endpoint.
        """
        if operation.bucket is not None:
            self._on_bucket(operation.bucket)
        now = self.clock()
        if pin is None:
            endpoint = self._router.best(operation.bucket, operation.kind, now=now)
        else:
            endpoint = self._router.snapshot(now=now).named(pin)
        return await self._means.leases.presign(endpoint, operation, expires=expires)

    def _delay(self, error: OperationError, operation: Operation, journey: Journey) -> float | None:
        """Seconds to the next attempt, which is paid for; None: there will be none."""
        outcome = outcome_of(error)
        if not may_go_elsewhere(error):
            return None
        if outcome.is_retriable:
            self._on_trouble()
        self._monitor.drain()
        journey.attempts_left -= 1
        if journey.attempts_left <= 0 or not operation.is_replayable:
            return None
        paid = self._router.pay_for_retry(outcome)
        if paid is None:
            return None
        journey.paid += paid
        journey.hops += 1
        delay = self._router.backoff(journey.hops, journey.tried)
        return delay if delay < journey.deadline.remaining(self.clock()) else None

    def _trouble(self) -> None:
        self._on_trouble()
        self._monitor.drain()

    async def _answered(self, operation: Operation, journey: Journey) -> Exchange:
        if operation.bucket is not None:
            self._on_bucket(operation.bucket)
        while True:
            holder = None if self._writes is None else self._holder(self._writes, operation, journey)
            while isinstance(choice := self._acquire(operation, journey, holder), Wait):
                await self._sleep(max(SHORTEST_WAIT, choice.seconds))
            exchange = Exchange(self._means, choice, operation, journey)
            try:
                # A hedge would be answered by one of those that may not have it yet.
                exchange = await (exchange.run() if holder is not None else self._run(exchange))
            except OperationError as error:
                await self.recover(operation, journey, error)
            else:
                self._router.refund_retry(journey.paid or 1)
                journey.paid = 0
                if self._writes is not None and operation.kind is OperationKind.WRITE:
                    self._note(self._writes, operation, exchange.attempt.endpoint.id)
                return exchange

    def _run(self, exchange: Exchange) -> Awaitable[Exchange]:
        delay = None if self._hedging is None else self._hedging.delay(exchange)
        if self._hedging is None or delay is None:
            return exchange.run()
        return self._hedging.race(exchange, delay)

    def _holder(self, writes: RecentWrites, operation: Operation, journey: Journey) -> str | None:
        """The endpoint to prefer, for it took the last write."""
        if operation.kind is not OperationKind.READ or operation.bucket is None or operation.key is None:
            return None
        return writes.holder(
            operation.bucket,
            operation.key,
            now=self.clock(),
            tried=journey.tried,
            is_last=journey.attempts_left <= 1,
        )

    def _note(self, writes: RecentWrites, operation: Operation, endpoint_id: str) -> None:
        for key in operation.replaced_keys() if operation.bucket is not None else ():
            writes.note(operation.bucket or "", key, endpoint_id, now=self.clock())

    def _acquire(self, operation: Operation, journey: Journey, holder: str | None) -> Attempt | Wait:
        """An endpoint, or how long a rate limit lets none have the request; the deadline allows for that."""
        now = self.clock()
        remaining = journey.deadline.remaining(now)
        if remaining <= 0:
            raise self._final(DeadlineExceededError("no time left"), operation, journey)
        choice = self._router.acquire(
            operation.bucket,
            operation.kind,
            journey.tried,
            operation.size,
            now=now,
            only=journey.pin,
            prefer=holder,
        )
        if isinstance(choice, Wait) and choice.seconds >= remaining:
            error = ThrottledError(
                f"every endpoint is at its rate limit for another {choice.seconds:.2f} s, "
                f"and the deadline is in {remaining:.2f} s",
                retry_after=choice.seconds,
            )
            raise self._final(error, operation, journey)
        return choice

    def _final(self, error: OperationError, operation: Operation, journey: Journey) -> OperationError:
        """Complete an error that leaves for the caller."""
        error.operation = error.operation or operation.name
        error.bucket, error.key = operation.bucket, operation.key
        # A plain refusal at the first attempt has said everything itself.
        if len(journey.failures) > 1 or not isinstance(error, ServiceError):
            error.attempts = tuple(journey.failures)
        return error
