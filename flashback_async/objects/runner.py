"""Runs one verb: bounds how many run at once, counts it, and gives its executor a journey."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flashback_async.errors import (
    ClientClosedError,
    ConfigurationError,
    DeadlineExceededError,
    FlashbackError,
    ServiceError,
)
from flashback_async.objects.checksums import Checksums
from flashback_async.objects.identity import STRICT, IdentityRule
from flashback_async.objects.limits import TransferLimits
from flashback_async.routing import Endpoint
from flashback_async.transport.operation import Deadline, Journey
from flashback_async.transport.slots import Slots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Self

    from flashback_async.config import FlashbackSettings
    from flashback_async.transport.executor import Answered, Executor
    from flashback_async.transport.monitor import Monitor
    from flashback_async.transport.operation import Operation


class Runner:
    """What every verb needs. One per running client; belongs to its loop.

    Args:
        executor: carries operations out.
        monitor: counts.
        attempts: attempts per operation.
        total_timeout: seconds for a whole object or a metadata call, unless the call says otherwise.
        max_in_flight: operations that may run at once.
        transfers: how large objects are moved.
        identity_rule: what the answers that make up one body have to agree on.
        checksums: what is computed of writes and compared on reads; None: what reads find.

    Attributes:
        part_slots: one for every part of a large object that may move at once, over all objects.
    """

    def __init__(
        self,
        executor: Executor,
        monitor: Monitor,
        *,
        attempts: int,
        total_timeout: float,
        max_in_flight: int,
        transfers: TransferLimits,
        identity_rule: IdentityRule = STRICT,
        checksums: Checksums | None = None,
    ) -> None:
        self.executor = executor
        self.monitor = monitor
        self.attempts = attempts
        self.transfers = transfers
        self.identity_rule = identity_rule
        self.checksums = Checksums("none") if checksums is None else checksums
        self.part_slots = asyncio.Semaphore(transfers.together)
        self._total_timeout = total_timeout
        self._slots = Slots(max_in_flight)
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @classmethod
    def of(cls, settings: FlashbackSettings, executor: Executor, monitor: Monitor) -> Self:
        """As a client's settings say; those that weaken something are logged.

        Raises:
            ConfigurationError: a setting needs what is not installed.
        """
        return cls(
            executor,
            monitor,
            attempts=settings.attempts,
            total_timeout=settings.total_timeout,
            max_in_flight=settings.max_in_flight,
            transfers=TransferLimits.of(settings),
            identity_rule=IdentityRule.of(settings.resume_identity),
            checksums=Checksums(settings.checksum),
        )

    def journey(
        self, *, timeout: float | None, endpoint: Endpoint | str | None, retry: bool, streamed: bool
    ) -> Journey:
        """The journey of one operation.

        Args:
            timeout: seconds for all of it; None: the default, which is none for streams; infinite: none.
            endpoint: the only endpoint to use, or its id.
            retry: whether a failed attempt may be followed by another one.
            streamed: whether the caller reads the body at its own pace.
        """
        if timeout is None:
            seconds = None if streamed else self._total_timeout
        elif isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0:
            seconds = None if timeout == float("inf") else float(timeout)
        else:
            raise ConfigurationError(f"timeout={timeout!r:.40} must be a number of seconds above 0")
        pin = None if endpoint is None else _pin(endpoint)
        return Journey(
            Deadline(None if seconds is None else self.executor.clock() + seconds),
            self.attempts if retry else 1,
            pin=pin,
            may_hedge=retry and pin is None,
        )

    async def call(
        self, operation: Operation, *, timeout: float | None, endpoint: Endpoint | str | None, retry: bool
    ) -> Answered:
        """Run an operation whose answer is read whole."""
        journey = self.journey(timeout=timeout, endpoint=endpoint, retry=retry, streamed=False)
        # Not `running`, which costs five times as much, and this is the way of every request.
        self.check_open()
        if not self._slots.take_now():
            await self._slot_in_time(operation, journey.deadline)
        self._enter()
        try:
            answered = await self.executor.call(operation, journey)
        except BaseException as error:
            self._leave(error)
            raise
        self._leave(None)
        return answered

    async def presign(self, operation: Operation, *, endpoint: Endpoint | str | None, expires: int) -> str:
        """A URL that carries `operation` out for `expires` seconds, at that endpoint or the best one now."""
        self.check_open()
        return await self.executor.presign(operation, _pin(endpoint), expires=expires)

    @asynccontextmanager
    async def running(self, operation: Operation, deadline: Deadline) -> AsyncIterator[None]:
        """Hold one of the places in flight, and count what comes of the operation in it.

        Raises:
            ClientClosedError: the client is closed.
            DeadlineExceededError: no place became free in time.
        """
        place = await self.place(operation, deadline)
        try:
            yield
        except BaseException as error:
            place.leave(error)
            raise
        place.leave()

    async def place(self, operation: Operation, deadline: Deadline) -> Place:
        """Take one of the places in flight; the caller must `leave` it.

        Raises:
            ClientClosedError: the client is closed.
            DeadlineExceededError: no place became free in time.
        """
        self.check_open()
        if not self._slots.take_now():
            await self._slot_in_time(operation, deadline)
        self._enter()
        return Place(self._leave)

    def check_open(self) -> None:
        """Raise ClientClosedError once the client is closed."""
        if self._closed:
            raise ClientClosedError("the client is closed; start() it again, or make a new one")

    async def close(self, *, drain: float) -> None:
        """Take no more operations, and wait at most `drain` seconds for those that run."""
        self._closed = True
        if drain > 0 and self.monitor.in_flight:
            try:
                async with asyncio.timeout(drain):
                    await self._idle.wait()
            except TimeoutError:
                # Their connections are about to be closed; they learn it as an error of their own.
                return

    async def _slot_in_time(self, operation: Operation, deadline: Deadline) -> None:
        try:
            async with asyncio.timeout_at(deadline.at):
                await self._slots.take()
        except TimeoutError:
            raise DeadlineExceededError(
                f"{self.monitor.in_flight} operations run and none ended in time; close streams, or raise "
                "max_in_flight",
                operation=operation.name,
                bucket=operation.bucket,
                key=operation.key,
            ) from None
        if self._closed:
            self._slots.give_back()
            self.check_open()

    def _enter(self) -> None:
        if not self.monitor.in_flight:
            self._idle.clear()
        self.monitor.in_flight += 1

    def _leave(self, error: BaseException | None) -> None:
        monitor = self.monitor
        if error is None or isinstance(error, FlashbackError):
            monitor.operations += 1
            # A refusal is an answer.
            monitor.failed += error is not None and not isinstance(error, ServiceError)
        monitor.in_flight -= 1
        if not monitor.in_flight:
            self._idle.set()
        self._slots.give_back()


class Place:
    """One of the places in flight, until `leave`."""

    __slots__ = ("_leave",)

    def __init__(self, leave: Callable[[BaseException | None], None]) -> None:
        self._leave: Callable[[BaseException | None], None] | None = leave

    def leave(self, error: BaseException | None = None) -> None:
        """Give it back and count what came of the operation. Idempotent; the first outcome counts.

        Args:
            error: what the operation ended with; None: it succeeded. Errors of others count for nothing.
        """
        leave, self._leave = self._leave, None
        if leave is not None:
            leave(error)


def _pin(endpoint: Endpoint | str | None) -> str | None:
    pin = endpoint.id if isinstance(endpoint, Endpoint) else endpoint
    if pin is not None and not isinstance(pin, str):
        raise ConfigurationError(f"endpoint={endpoint!r:.80} is neither an Endpoint nor the id of one")
    return pin
