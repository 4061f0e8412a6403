"""The unread body of one answer, together with the lease and the attempt that it occupies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from flashback_async.errors import EndpointConnectError, OperationError
from flashback_async.transport.loop_lag import timeout_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flashback_async.routing import Attempt, Outcome, Router
    from flashback_async.transport.alarm import AlarmClock
    from flashback_async.transport.loop_lag import LoopLag
    from flashback_async.transport.operation import Deadline
    from flashback_async.transport.s3_call import Lease, RawBody

T = TypeVar("T")

# A half-open trial is decided by so much of a body (design: the verified end, or 1 MiB).
CONFIRMED = 1_024 * 1_024


class LeasedBody:
    """Who holds the body holds the lease: end, error or close give it back, once, on every path.

    Attributes:
        fields: what the answer says of the object, in boto's names.
        status: HTTP status of the answer.
        length: bytes that the answer announced, None where it did not.
        received: bytes read so far.
    """

    __slots__ = (
        "_alarms",
        "_attempt",
        "_clock",
        "_ended",
        "_lag",
        "_lease",
        "_raw",
        "_router",
        "_stall_timeout",
        "_started",
        "fields",
        "length",
        "received",
        "status",
    )

    def __init__(
        self,
        raw: RawBody,
        lease: Lease,
        attempt: Attempt,
        router: Router,
        *,
        fields: Mapping[str, object],
        status: int,
        clock: Callable[[], float],
        stall_timeout: float,
        alarms: AlarmClock,
        lag: LoopLag | None,
    ) -> None:
        self.fields = fields
        self.status = status
        length = fields.get("ContentLength")
        self.length = length if isinstance(length, int) else None
        self.received = 0
        self._raw = raw
        self._lease = lease
        self._attempt = attempt
        self._router = router
        self._clock = clock
        self._stall_timeout = stall_timeout
        self._alarms = alarms
        self._lag = lag
        self._started = clock()
        self._ended = False

    @property
    def endpoint_id(self) -> str:
        """Who serves it."""
        return self._attempt.endpoint.id

    @property
    def is_direct(self) -> bool:
        """Whether `read_into` spares a copy."""
        return self._raw.is_direct

    @property
    def elapsed(self) -> float:
        """Seconds since its request was sent on its way."""
        return self._clock() - self._attempt.started

    def at_hand(self) -> bytes | None:
        """The next bytes if they are here; None: `read` waits for them, or tells of the end."""
        data = self._raw.at_hand()
        if not data:
            return None
        self._count(len(data))
        return data

    async def read(self, deadline: Deadline) -> bytes:
        """The next bytes as they arrive, empty at the verified end.

        Raises:
            EndpointTimeoutError: no byte came for the stall timeout.
            EndpointConnectError: the connection broke, or the body is shorter than announced.
            TimeoutError: the deadline passed; the endpoint is not to blame.
        """
        if data := self.at_hand():
            return data
        data = await self._awaited(lambda _came: self._raw.read(), deadline)
        self._count(len(data))
        return data

    async def read_into(self, memory: memoryview, deadline: Deadline) -> int:
        """Put the next bytes into `memory`; how many, 0 at the verified end. Raises what `read` raises."""
        count = await self._awaited(partial(self._raw.read_into, memory), deadline)
        self._count(count)
        return count

    def _count(self, count: int) -> None:
        if not count and self.length is not None and self.received < self.length:
            raise EndpointConnectError(f"the body ended after {self.received} of {self.length} bytes")
        before, self.received = self.received, self.received + count
        if before < CONFIRMED <= self.received:
            self._router.confirm(self._attempt, now=self._clock())

    async def _awaited(self, read: Callable[[Callable[[], None]], Awaitable[T]], deadline: Deadline) -> T:
        """What `read` gets; it tells of bytes that came while it waits for more."""
        asked_at = self._clock()
        alarm = self._alarms.alarm(deadline.within(self._stall_timeout, now=asked_at))

        def came() -> None:
            nonlocal asked_at
            asked_at = self._clock()
            alarm.move(deadline.within(self._stall_timeout, now=asked_at))

        try:
            with alarm:
                return await read(came)
        except TimeoutError as error:
            # Told apart out here only: inside, a cancellation from outside at the same moment would be lost.
            is_stall = deadline.at is None or asked_at + self._stall_timeout <= deadline.at
            if isinstance(error, OperationError) or not (alarm.expired and is_stall):
                raise
            raise timeout_error(
                f"no byte of the body for {self._stall_timeout:g} s, after {self.received} bytes",
                since=asked_at,
                patience=self._stall_timeout,
                lag=self._lag,
            ) from None

    def end(self, outcome: Outcome) -> None:
        """Tell how it ended and give everything back. Idempotent; the first outcome counts."""
        if self._ended:
            return
        self._ended = True
        now = self._clock()
        self._raw.close()
        self._lease.release()
        self._router.finish(
            self._attempt, outcome, now=now, bytes_moved=self.received, seconds=now - self._started
        )
