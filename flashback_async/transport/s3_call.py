"""The seam between the executor and S3: what an endpoint's client looks like from above.

Above this line nobody knows boto, aiohttp or sockets. Tests put scripted endpoints behind it
(`flashback_async.testing`). An implementation raises the errors of `flashback_async.errors`, with the outcome
that they stand for, and leaves timers to its caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping

    # Where these types are not installed, type checkers see no more than with aioboto3 itself.
    from types_aiobotocore_s3 import S3Client

    from flashback_async.config import FlashbackSettings
    from flashback_async.errors import ServiceError
    from flashback_async.routing import Endpoint, OperationKind, Router
    from flashback_async.transport.operation import Operation
    from flashback_async.transport.s3_facade import Calls


class RawBody(Protocol):
    """The unread body of an answer."""

    @property
    def is_direct(self) -> bool:
        """Whether `read_into` spares a copy; else pieces are as good, and need no memory made for them."""

    async def read(self) -> bytes:
        """The next bytes as they arrive, empty at the end.

        Raises:
            EndpointConnectError: the connection broke, or the body ended too early.
        """

    async def read_into(self, memory: memoryview, came: Callable[[], None]) -> int:
        """Put the next bytes into `memory`, from its start; how many, 0 at the end. Raises as `read`.

        Where it is direct, it spares large bodies a copy, and a task switch for every piece.

        Args:
            memory: to be filled, as far as the body goes; less, but something, is allowed.
            came: called whenever bytes came, while more are waited for.
        """

    def at_hand(self) -> bytes | None:
        """What has arrived and was not read yet, without waiting: empty at the end, None if `read` must tell.

        It spares a timer for every piece, and a small body comes together with its head.
        """

    def close(self) -> None:
        """Give the connection back: to the pool after the end, else closed. Idempotent, does not wait."""


@dataclass(slots=True)
class S3Answer:
    """A successful answer. Not to be changed.

    Attributes:
        fields: what the operation returns, in boto's names, without the body.
        status: HTTP status.
        body: the unread body of a streamed operation, None otherwise.
        is_throttled: a part of what was asked for was throttled; the fields tell which.
    """

    fields: Mapping[str, object]
    status: int = 200
    body: RawBody | None = None
    is_throttled: bool = False


class Progress(Protocol):
    """Told whenever a piece of an upload, one slice or several, was handed to the connection."""

    def __call__(self, *, complete: bool) -> None:
        """`complete`: that was the last piece; what follows is waiting for the answer."""


class S3Call(Protocol):
    """One endpoint's client, reduced to the one thing the executor does with it."""

    async def __call__(self, operation: Operation, *, progress: Progress) -> S3Answer:
        """Send `operation` once, without retries and without timers.

        Args:
            operation: what to send.
            progress: called whenever a piece of the upload was handed to the connection.

        Raises:
            OperationError: in the subclass that tells the outcome.
        """


class Lease(Protocol):
    """The right to one connection of an endpoint. Whoever holds the body holds the lease."""

    @property
    def call(self) -> S3Call:
        """The endpoint's client; not to be used after `release`."""

    async def renewed(self, refusal: ServiceError) -> bool:
        """Whether `call` from now on goes out with another key than the one that `refusal` is about.

        Asks whoever gives keys, if the refusal is about the key at all. Not bounded here.

        Raises:
            ConfigurationError: no key was given.
        """

    def release(self) -> None:
        """Give it back. Idempotent, does not wait."""


class Leases(Protocol):
    """Hands out leases; the pool of clients."""

    def lease_now(self, endpoint: Endpoint, kind: OperationKind) -> Lease | None:
        """A connection to `endpoint` if one is free at once, as nearly always; None: `lease` waits for it."""

    async def lease(self, endpoint: Endpoint, kind: OperationKind, *, timeout: float) -> Lease:
        """Wait at most `timeout` seconds for a connection to `endpoint`.

        Raises:
            PoolTimeoutError: none became free.
        """

    async def presign(self, endpoint: Endpoint, operation: Operation, *, expires: int) -> str:
        """A URL that carries out `operation` at `endpoint` for `expires` seconds, without the caller's key.

        Takes no connection and sends nothing. The URL is a secret until it expires.
        """


class Pool(Leases, Protocol):
    """What leads to the endpoints, with a life as long as that of a started client."""

    @property
    def leases(self) -> int:
        """Leases held now."""

    async def open(self) -> None:
        """Get ready; `close` follows, even if it fails."""

    def track(self, endpoints: Iterable[Endpoint]) -> None:
        """Every endpoint known now; others may still be asked for."""

    async def ready(self) -> None:
        """Wait until a request to any tracked endpoint need not wait for preparations."""

    async def facade(self, router: Router, calls: Calls) -> S3Client | None:
        """The client behind `client.s3`, once endpoints are known; None where there is no boto.

        Args:
            router: knows which endpoint is best.
            calls: carries out what that client is asked for.
        """

    async def close(self) -> None:
        """Close every connection, whatever is still leased."""


class PoolFactory(Protocol):
    """Makes the pool of a client that starts."""

    def __call__(
        self, settings: FlashbackSettings, *, tls: ssl.SSLContext | None, clock: Callable[[], float]
    ) -> Pool:
        """A pool that is not open yet.

        Args:
            settings: the client's.
            tls: whom to trust, for all connections; None where nothing connects.
            clock: seconds of the running loop.
        """
