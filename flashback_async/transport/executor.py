"""Carries one operation through as many attempts as it is worth.

Every attempt: acquire an endpoint, lease its client, call under its own timer, classify, settle exactly once.
Endpoint faults, our own timeouts and throttling go on at the next endpoint while attempts, budget and
deadline last; every other answer is raised at once and never held against the endpoint. A cancellation is
passed on untouched, and gives everything back on its way.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashback_async.errors import (
    DeadlineExceededError,
    FailedAttempt,
    OperationError,
    ServiceError,
    ThrottledError,
)
from flashback_async.routing import Outcome, Wait
from flashback_async.transport.body import LeasedBody
from flashback_async.transport.loop_lag import timeout_error
from flashback_async.transport.operation import SHORTEST_WAIT
from flashback_async.transport.outcomes import cause_of, may_go_elsewhere, outcome_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flashback_async.routing import Attempt, Router
    from flashback_async.transport.loop_lag import LoopLag
    from flashback_async.transport.monitor import Monitor
    from flashback_async.transport.operation import Deadline, Journey, Operation
    from flashback_async.transport.s3_call import Lease, Leases, S3Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The timers of one attempt, in seconds: waiting for a connection, for the headers, for progress."""

    pool: float
    first_byte: float
    stall: float


@dataclass(frozen=True, slots=True)
class Answered:
    """A successful answer that was read whole."""

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
    ) -> None:
        self.clock = clock
        self._router = router
        self._leases = leases
        self._monitor = monitor
        self._timeouts = timeouts
        self._sleep = sleep
        self._on_trouble = on_trouble
        self._on_bucket = on_bucket
        self._lag = lag

    async def call(self, operation: Operation, journey: Journey) -> Answered:
        """Run an operation whose answer is read whole.

        Raises:
            OperationError: the last failure, with all attempts.
            NoEndpointAvailableError: nobody to ask.
        """
        attempt, lease, answer = await self._answered(operation, journey)
        lease.release()
        return Answered(answer.fields, answer.status, attempt.endpoint.id, journey.sent)

    async def open(self, operation: Operation, journey: Journey) -> LeasedBody:
        """Run an operation up to its headers; the caller must `end` the body.

        Raises:
            OperationError: the last failure, with all attempts.
            NoEndpointAvailableError: nobody to ask.
        """
        attempt, lease, answer = await self._answered(operation, journey)
        assert answer.body is not None, "streamed operations are answered with a body"
        return LeasedBody(
            answer.body,
            lease,
            attempt,
            self._router,
            fields=answer.fields,
            status=answer.status,
            clock=self.clock,
            stall_timeout=self._timeouts.stall,
            lag=self._lag,
        )

    async def recover(
        self,
        operation: Operation,
        journey: Journey,
        error: OperationError,
        endpoint_id: str,
        elapsed: float,
    ) -> None:
        """Take note of a failed attempt and wait until the next one may go.

        Raises:
            OperationError: `error`, with all attempts, when there will be no next one.
        """
        outcome = outcome_of(error)
        journey.failures.append(
            FailedAttempt(endpoint_id, elapsed, f"{type(error).__name__}: {error.reason}")
        )
        journey.tried.add(endpoint_id)
        if not may_go_elsewhere(error):
            raise self._final(error, operation, journey, endpoint_id)
        if outcome.is_retriable:
            self._on_trouble()
        self._monitor.drain()
        journey.attempts_left -= 1
        if journey.attempts_left <= 0 or not operation.is_replayable:
            raise self._final(error, operation, journey, endpoint_id)
        paid = self._router.pay_for_retry(outcome)
        if paid is None:
            raise self._final(error, operation, journey, endpoint_id)
        journey.paid += paid
        journey.hops += 1
        delay = self._router.backoff(journey.hops, journey.tried)
        if delay >= journey.deadline.remaining(self.clock()):
            raise self._final(error, operation, journey, endpoint_id)
        if delay > 0:
            await self._sleep(delay)
        self._monitor.retries += 1
        if journey.pin is None:
            self._monitor.failovers[cause_of(error)] += 1

    async def _answered(self, operation: Operation, journey: Journey) -> tuple[Attempt, Lease, S3Answer]:
        if operation.bucket is not None:
            self._on_bucket(operation.bucket)
        while True:
            attempt = await self._admitted(operation, journey)
            journey.sent += 1
            self._monitor.attempts += 1
            try:
                lease, answer = await self._attempt(attempt, operation, journey)
            except OperationError as error:
                elapsed = self.clock() - attempt.started
                await self.recover(operation, journey, error, attempt.endpoint.id, elapsed)
            else:
                self._router.refund_retry(journey.paid or 1)
                journey.paid = 0
                return attempt, lease, answer

    async def _admitted(self, operation: Operation, journey: Journey) -> Attempt:
        """An endpoint, now or as soon as a rate limit lets one have the request."""
        while True:
            now = self.clock()
            remaining = journey.deadline.remaining(now)
            if remaining <= 0:
                raise self._final(DeadlineExceededError("no time left"), operation, journey, None)
            choice = self._router.acquire(
                operation.bucket, operation.kind, journey.tried, operation.size, now=now, only=journey.pin
            )
            if not isinstance(choice, Wait):
                return choice
            if choice.seconds >= remaining:
                error = ThrottledError(
                    f"every endpoint is at its rate limit for another {choice.seconds:.2f} s, "
                    f"and the deadline is in {remaining:.2f} s",
                    retry_after=choice.seconds,
                )
                raise self._final(error, operation, journey, None)
            await self._sleep(max(SHORTEST_WAIT, choice.seconds))

    async def _attempt(
        self, attempt: Attempt, operation: Operation, journey: Journey
    ) -> tuple[Lease, S3Answer]:
        """One attempt: its lease and answer, or the error that it was settled with."""
        outcome, first_byte, retry_after = Outcome.CANCELLED, None, None
        lease: Lease | None = None
        try:
            now = self.clock()
            patience = min(self._timeouts.pool, max(0.0, journey.deadline.remaining(now)))
            lease = await self._leases.lease(attempt.endpoint, operation.kind, timeout=patience)
            answer, first_byte = await self._timed(lease, operation, journey.deadline)
            outcome = Outcome.SUCCESS
        except OperationError as error:
            outcome, retry_after = outcome_of(error), error.retry_after
            raise
        finally:
            self._router.settle(
                attempt,
                outcome,
                now=self.clock(),
                first_byte=first_byte,
                retry_after=retry_after,
                streamed=operation.streamed,
            )
            if lease is not None and outcome is not Outcome.SUCCESS:
                lease.release()
        return lease, answer

    async def _timed(self, lease: Lease, operation: Operation, deadline: Deadline) -> tuple[S3Answer, float]:
        """The call under its own timer: progress while a body is sent, then the time to the headers.

        Returns:
            The answer, and the seconds that it took once everything was sent, those excepted in which the
            loop was blocked.
        """
        in_slices = operation.upload is not None and operation.upload.in_slices
        patience = self._timeouts.stall if in_slices else self._timeouts.first_byte
        sent = self.clock()
        timer = asyncio.timeout_at(deadline.within(patience, now=sent))
        answered = False

        def progress(*, complete: bool) -> None:
            nonlocal patience, sent
            if answered or timer.expired():
                return  # An upload may go on for a moment after the answer came.
            patience = self._timeouts.first_byte if complete else self._timeouts.stall
            sent = self.clock()
            timer.reschedule(deadline.within(patience, now=sent))

        try:
            async with timer:
                answer = await lease.call(operation, progress=progress)
                now = self.clock()
                blocked = 0.0 if self._lag is None else self._lag.between(sent, now)
                return answer, max(0.0, now - sent - blocked)
        except TimeoutError as error:
            if isinstance(error, OperationError):
                raise
            if not timer.expired():
                # Not ours, so nothing is known of the endpoint.
                raise OperationError(f"an unexpected TimeoutError: {error}") from error
            # asyncio fires up to a clock tick early, so its own word counts too.
            moment = max(self.clock(), timer.when() or 0.0)
            if deadline.remaining(moment) <= 0:
                raise DeadlineExceededError("the deadline passed while the endpoint was working") from None
            raise timeout_error(
                f"no answer and no progress within {patience:g} s",
                since=sent,
                patience=patience,
                lag=self._lag,
            ) from None
        finally:
            answered = True

    def _final(
        self, error: OperationError, operation: Operation, journey: Journey, endpoint_id: str | None
    ) -> OperationError:
        """Complete an error that leaves for the caller."""
        error.operation = error.operation or operation.name
        error.bucket, error.key = operation.bucket, operation.key
        error.endpoint = error.endpoint or endpoint_id
        # A plain refusal at the first attempt has said everything itself.
        if len(journey.failures) > 1 or not isinstance(error, ServiceError):
            error.attempts = tuple(journey.failures)
        return error
