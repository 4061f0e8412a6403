"""The verbs for people who bring their own client: pick an endpoint, borrow it, tell how it went."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flashback_async.errors import OperationError
from flashback_async.objects.lease import EndpointLease, lend
from flashback_async.objects.names import checked_bucket
from flashback_async.routing import Endpoint, OperationKind, Outcome
from flashback_async.transport.operation import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from flashback_async.routing import Router
    from flashback_async.transport.discovery import Discovery
    from flashback_async.transport.monitor import Monitor


@dataclass(frozen=True, slots=True)
class Lending:
    """What these verbs need of a running client.

    Attributes:
        router: decides.
        discovery: is told of buckets and of trouble.
        monitor: logs what changes.
        clock: seconds of the client's loop.
        patience: seconds to wait where every endpoint is at its rate limit.
    """

    router: Router
    discovery: Discovery
    monitor: Monitor
    clock: Callable[[], float]
    patience: float

    def wanted(self, bucket: str | None) -> str | None:
        """Ask discovery for the figures of a bucket."""
        if bucket is not None:
            self.discovery.want_bucket(checked_bucket(bucket))
        return bucket


class EndpointVerbs(ABC):
    """Endpoints for clients of your own. See the methods."""

    @abstractmethod
    def _lending(self) -> Lending:
        """What is needed for it.

        Raises:
            ClientClosedError: the client is not running here.
        """

    async def pick_endpoint(
        self, bucket: str | None = None, *, kind: OperationKind = OperationKind.READ
    ) -> Endpoint:
        """The endpoint that is best now for that bucket and kind. Takes no permit and counts nothing.

        Raises:
            NoEndpointAvailableError: the table is empty.
        """
        lending = self._lending()
        return lending.router.best(lending.wanted(bucket), kind, now=lending.clock())

    def lease_endpoint(
        self,
        bucket: str | None = None,
        *,
        kind: OperationKind = OperationKind.READ,
        tried: Sequence[Endpoint | str] = (),
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[EndpointLease]:
        """Lend an endpoint to a client of your own, as one attempt of the router's.

        ```python
        async with client.lease_endpoint("bucket") as lease:
            await my_own_client.get(lease.endpoint.url)
        ```

        How the block ends is what the router learns: a normal end is a success, boto's and aiohttp's errors
        are classified as ours are, a cancellation and everything unknown (a bare `TimeoutError` too) says
        nothing. Set `lease.outcome` to say it yourself.

        Args:
            bucket: S3 bucket name, None for any.
            kind: read or write.
            tried: endpoints that already failed this request.
            timeout: seconds to wait where every endpoint is at its rate limit.

        Raises:
            NoEndpointAvailableError: the table is empty.
            ThrottledError: every endpoint stays at its rate limit for longer than `timeout`.
        """
        lending = self._lending()
        patience = lending.patience if timeout is None else timeout
        return lend(
            lending.router,
            lending.wanted(bucket),
            kind,
            tried=frozenset(_id_of(endpoint) for endpoint in tried),
            deadline=Deadline.after(patience, now=lending.clock()),
            clock=lending.clock,
            sleep=asyncio.sleep,
            classify=_outcome_of_foreign,
        )

    def report_failure(self, endpoint: Endpoint | str, error: BaseException | None = None) -> None:
        """Tell that a request of your own failed at `endpoint`.

        Counts only while its breaker is closed. An `error` that is not the endpoint's fault (a 404, say)
        counts as what it is; without one, the endpoint is taken to be at fault.
        """
        lending = self._lending()
        outcome = Outcome.ENDPOINT_FAULT
        if isinstance(error, TimeoutError) and not isinstance(error, OperationError):
            outcome = Outcome.TIMEOUT
        elif error is not None:
            outcome = _outcome_of_foreign(error)
        lending.router.report(_id_of(endpoint), outcome, now=lending.clock())
        if outcome.is_fault:
            lending.discovery.request_refresh()
        lending.monitor.drain()

    def report_success(self, endpoint: Endpoint | str, *, first_byte: float | None = None) -> None:
        """Tell that a request of your own succeeded at `endpoint`; `first_byte`: seconds to its headers."""
        lending = self._lending()
        lending.router.report(_id_of(endpoint), Outcome.SUCCESS, now=lending.clock(), first_byte=first_byte)


def _outcome_of_foreign(error: BaseException) -> Outcome:
    # boto's error classes are known once a client has started, and not needed before.
    from flashback_async.transport.s3_errors import outcome_of_foreign  # noqa: PLC0415

    return outcome_of_foreign(error, now=datetime.now(UTC))


def _id_of(endpoint: Endpoint | str) -> str:
    return endpoint.id if isinstance(endpoint, Endpoint) else endpoint
