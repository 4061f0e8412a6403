"""One attempt at its endpoint, from the lease to the headers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from flashback_async.errors import DeadlineExceededError, OperationError, ServiceError
from flashback_async.routing.outcome import CANCELLED, SUCCESS, THROTTLED
from flashback_async.transport.loop_lag import timeout_error
from flashback_async.transport.outcomes import outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashback_async.config import FlashbackSettings
    from flashback_async.routing import Attempt, Outcome, Router
    from flashback_async.transport.alarm import AlarmClock
    from flashback_async.transport.loop_lag import LoopLag
    from flashback_async.transport.monitor import Monitor
    from flashback_async.transport.operation import Journey, Operation
    from flashback_async.transport.s3_call import Lease, Leases, S3Answer


# Keys that one attempt may be refused with, one after the other: they may rotate while it is under way.
MOST_RENEWALS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The timers of one attempt, in seconds: waiting for a connection, for the headers, for progress."""

    pool: float
    first_byte: float
    stall: float

    @classmethod
    def of(cls, settings: FlashbackSettings) -> Self:
        """Those of a client."""
        return cls(
            pool=settings.pool_timeout,
            first_byte=settings.first_byte_timeout,
            stall=settings.stall_timeout,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What every exchange of a client works with.

    Attributes:
        router: takes what came of it.
        leases: hands out the endpoints' clients.
        monitor: counts.
        timeouts: timers of an attempt.
        clock: seconds of the running loop.
        alarms: of the running loop.
        lag: watches the loop; None: nobody does, and no lag is known.
    """

    router: Router
    leases: Leases
    monitor: Monitor
    timeouts: Timeouts
    clock: Callable[[], float]
    alarms: AlarmClock
    lag: LoopLag | None

    def waited(self, since: float) -> float:
        """Seconds since then, those excepted in which the loop was blocked."""
        now = self.clock()
        return max(0.0, now - since - (0.0 if self.lag is None else self.lag.between(since, now)))


class Exchange:
    """One attempt: leases its endpoint's client, calls under a timer of its own, settles exactly once.

    `run` it once. After a success the answer is the caller's, with the lease; after anything else, and after
    a cancellation, everything has been given back.

    Attributes:
        attempt: the router's.
        operation: what is asked.
        journey: of the operation; takes note of a failure.
        lease: held from a success on.
        answer: there from a success on.
        is_answered: whether it succeeded, and holds the answer and the lease.
        is_superseded: another attempt of the operation won, so that this one is cancelled for being late.
    """

    __slots__ = (
        "_means",
        "_sent",
        "_settled",
        "answer",
        "attempt",
        "is_answered",
        "is_superseded",
        "journey",
        "lease",
        "operation",
    )

    lease: Lease
    answer: S3Answer

    def __init__(self, means: Means, attempt: Attempt, operation: Operation, journey: Journey) -> None:
        self.attempt = attempt
        self.operation = operation
        self.journey = journey
        self.is_answered = False
        self.is_superseded = False
        self._means = means
        self._sent: float | None = None
        self._settled = False

    async def run(self) -> Self:
        """Do it.

        Raises:
            OperationError: what it failed with, and was settled with.
        """
        means, journey = self._means, self.journey
        journey.sent += 1
        means.monitor.attempts += 1
        outcome, first_byte, retry_after = CANCELLED, None, None
        lease: Lease | None = None
        try:
            lease = means.leases.lease_now(self.attempt.endpoint, self.operation.kind)
            if lease is None:
                patience = min(means.timeouts.pool, max(0.0, journey.deadline.remaining(means.clock())))
                lease = await means.leases.lease(self.attempt.endpoint, self.operation.kind, timeout=patience)
            renewals = 0
            while True:
                try:
                    self.answer, first_byte = await self._timed(lease)
                    break
                except ServiceError as refusal:
                    renewals += 1
                    if renewals > MOST_RENEWALS or not await self._has_new_key(lease, refusal):
                        raise
            self.lease = lease
            self.is_answered = True
            outcome = THROTTLED if self.answer.is_throttled else SUCCESS
        except OperationError as error:
            outcome, retry_after = outcome_of(error), error.retry_after
            journey.note(error, self.attempt.endpoint.id, means.clock() - self.attempt.started)
            raise
        finally:
            self._settle(outcome, first_byte, retry_after)
            if lease is not None and not self.is_answered:
                lease.release()
        return self

    def discard(self) -> None:
        """Give back an answer that nobody is going to read."""
        self.lease.release()
        if self.answer.body is not None:
            self.answer.body.close()
            self._means.router.finish(self.attempt, CANCELLED, now=self._means.clock())

    def abandon(self) -> None:
        """Settle what was never run: a task may be cancelled before its first step. Idempotent."""
        if not self._settled:
            self._settle(CANCELLED, None, None)

    def _settle(self, outcome: Outcome, first_byte: float | None, retry_after: float | None) -> None:
        now = self._means.clock()
        self._settled = True
        self._means.router.settle(
            self.attempt,
            outcome,
            now=now,
            first_byte=first_byte,
            retry_after=retry_after,
            streamed=self.operation.streamed,
            at_least=self._means.waited(self._sent)
            if self.is_superseded and self._sent is not None
            else None,
        )

    async def _has_new_key(self, lease: Lease, refusal: ServiceError) -> bool:
        """Whether the same endpoint may be asked once more, with another key: nobody is to blame for that."""
        if not self.operation.is_replayable:
            return False
        # What the provider takes is not the endpoint's, should another attempt win meanwhile.
        self._sent = None
        timer = asyncio.timeout_at(self.journey.deadline.at)
        try:
            async with timer:
                return await lease.renewed(refusal)
        except TimeoutError:
            if not timer.expired():
                raise
            raise DeadlineExceededError(
                f"the deadline passed while the credentials provider was asked, after {refusal.reason}"
            ) from refusal

    async def _timed(self, lease: Lease) -> tuple[S3Answer, float]:
        """The call under its own timer: progress while a body is sent, then the time to the headers.

        Returns:
            The answer, and the seconds that it took once everything was sent, those excepted in which the
            loop was blocked.
        """
        operation, deadline, clock = self.operation, self.journey.deadline, self._means.clock
        timeouts = self._means.timeouts
        in_slices = operation.upload is not None and operation.upload.in_slices
        first_byte = timeouts.first_byte
        if operation.patience:
            first_byte += min(
                operation.patience, max(0.0, deadline.remaining(clock()) - 2 * timeouts.first_byte)
            )
        patience = timeouts.stall if in_slices else first_byte
        sent = self._sent = clock()
        alarm = self._means.alarms.alarm(deadline.within(patience, now=sent))
        answered = False

        def progress(*, complete: bool) -> None:
            nonlocal patience, sent
            if answered or alarm.expired:
                return  # An upload may go on for a moment after the answer came.
            patience = first_byte if complete else timeouts.stall
            sent = clock()
            alarm.move(deadline.within(patience, now=sent))

        try:
            with alarm:
                return await lease.call(operation, progress=progress), self._means.waited(sent)
        except TimeoutError as error:
            if isinstance(error, OperationError):
                raise
            if not alarm.expired:
                # Not ours, so nothing is known of the endpoint.
                raise OperationError(f"an unexpected TimeoutError: {error}") from error
            # asyncio fires up to a clock tick early, so its own word counts too.
            moment = max(clock(), alarm.at)
            if deadline.remaining(moment) <= 0:
                raise DeadlineExceededError("the deadline passed while the endpoint was working") from None
            raise timeout_error(
                f"no answer and no progress within {patience:g} s",
                since=sent,
                patience=patience,
                lag=self._means.lag,
            ) from None
        finally:
            answered = True
