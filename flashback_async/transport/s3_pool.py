"""The pool: one aioboto3 client per endpoint and key, and a bounded number of leases on each.

Clients are made in a thread of their own, as soon as an endpoint joins, and are closed when it has left and
its last lease is back.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from flashback_async.errors import ClientClosedError, PoolTimeoutError, ServiceError
from flashback_async.routing import OperationKind
from flashback_async.transport.s3_client import REFUSES_UNSIGNED, S3Client, S3ClientFactory
from flashback_async.transport.s3_facade import BestSigners, S3Facade
from flashback_async.transport.s3_http import HttpSession

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Iterable

    from aiobotocore.client import AioBaseClient

    from flashback_async.config import Credentials, FlashbackSettings
    from flashback_async.routing import Endpoint, Router
    from flashback_async.transport.operation import Operation
    from flashback_async.transport.s3_call import Progress, S3Answer
    from flashback_async.transport.s3_facade import Calls

logger = logging.getLogger("flashback_async.pool")


class PooledLease:
    """The right to one connection of an endpoint, until `release`."""

    __slots__ = ("_client", "_clients", "since")

    def __init__(self, clients: EndpointClients, client: S3Client, since: float) -> None:
        self._clients: EndpointClients | None = clients
        self._client = client
        self.since = since

    async def call(self, operation: Operation, *, progress: Progress) -> S3Answer:
        """Send `operation` once; an endpoint that refuses unsigned payloads gets a signed one at once."""
        clients = self._clients
        assert clients is not None, "a released lease is not used"
        try:
            return await self._client(operation, progress=progress)
        except ServiceError as error:
            if (
                error.code not in REFUSES_UNSIGNED
                or not operation.is_replayable
                or not clients.sign_payload()
            ):
                raise
        self._client = await clients.client(operation.kind)
        return await self._client(operation, progress=progress)

    def release(self) -> None:
        """Give it back. Idempotent."""
        clients, self._clients = self._clients, None
        if clients is not None:
            clients.give_back(self)


class EndpointClients:
    """One endpoint's clients and leases."""

    def __init__(self, endpoint: Endpoint, pool: S3Pool, size: int) -> None:
        self.endpoint = endpoint
        self.leases: set[PooledLease] = set()
        self.leaving = False
        self._pool = pool
        self._slots = asyncio.Semaphore(size)
        self._clients: dict[tuple[Credentials, bool], asyncio.Task[S3Client]] = {}
        self._signs_payload = pool.signs_payload(endpoint)

    async def lease(self, kind: OperationKind, *, timeout: float, now: Callable[[], float]) -> PooledLease:
        """Wait for a free connection, and for the client if it is new; the error names who holds them."""
        try:
            async with asyncio.timeout(timeout):
                await self._slots.acquire()
        except TimeoutError:
            oldest = now() - min((lease.since for lease in self.leases), default=now())
            raise PoolTimeoutError(
                f"no connection to {self.endpoint.id} became free in {timeout:.3g} s: {len(self.leases)} "
                f"leases are held, the oldest for {oldest:.1f} s; close bodies, or raise max_connections",
                endpoint=self.endpoint.id,
            ) from None
        try:
            client = await self.client(kind)
        except BaseException:
            self._slots.release()
            raise
        lease = PooledLease(self, client, now())
        self.leases.add(lease)
        return lease

    def give_back(self, lease: PooledLease) -> None:
        """A lease ended; the last one of an endpoint that left closes its clients."""
        self.leases.discard(lease)
        self._slots.release()
        if self.leaving and not self.leases:
            self._pool.forget(self)

    def sign_payload(self) -> bool:
        """Sign payloads from now on; False if that is what was done already."""
        if self._signs_payload:
            return False
        logger.info("endpoint %s refuses unsigned payloads; signing them", self.endpoint.id)
        self._signs_payload = True
        return True

    async def client(self, kind: OperationKind) -> S3Client:
        """The client for that kind, made once however many ask at the same time."""
        key = (await self._pool.credentials(kind), self._signs_payload)
        task = self._clients.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._clients[key] = asyncio.create_task(self._pool.make(self.endpoint, *key))
        return task.result() if task.done() else await asyncio.shield(task)

    async def close(self) -> None:
        """Close the clients; those still being made are closed as soon as they exist."""
        tasks, self._clients = list(self._clients.values()), {}
        for client in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(client, S3Client):
                await client.close()


class S3Pool:
    """Hands out leases on the endpoints' clients. Belongs to the loop that opened it."""

    def __init__(
        self, settings: FlashbackSettings, *, tls: ssl.SSLContext | None, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._http = HttpSession(connect_timeout=settings.connect_timeout, tls=tls)
        self._factory: S3ClientFactory | None = None
        # One thread: botocore's sessions are not made for two at once.
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="flashback-client-maker")
        self._endpoints: dict[Endpoint, EndpointClients] = {}
        self._leaving: set[EndpointClients] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def leases(self) -> int:
        """Leases held now."""
        return sum(len(clients.leases) for clients in (*self._endpoints.values(), *self._leaving))

    async def open(self) -> None:
        """Make the HTTP session and load botocore, off the loop.

        Raises:
            ConfigurationError: no credentials.
        """
        await self.credentials(OperationKind.WRITE)
        self._http.open()
        loop = asyncio.get_running_loop()
        self._factory = await loop.run_in_executor(self._maker, S3ClientFactory, self._settings, self._http)

    def track(self, endpoints: Iterable[Endpoint]) -> None:
        """Make clients for endpoints that joined, in the background; let go of those that left."""
        known = set(endpoints)
        for endpoint in [gone for gone in self._endpoints if gone not in known]:
            clients = self._endpoints.pop(endpoint)
            clients.leaving = True
            if clients.leases:
                self._leaving.add(clients)
            else:
                self.forget(clients)
        for endpoint in known:
            if endpoint not in self._endpoints:
                self._in_background(self._warm(self._clients(endpoint)))

    async def lease(self, endpoint: Endpoint, kind: OperationKind, *, timeout: float) -> PooledLease:
        """Wait at most `timeout` seconds for a connection; see `Leases`.

        Raises:
            ClientClosedError: the pool is closed.
        """
        if self._closed:
            raise ClientClosedError("the client was closed while the operation ran")
        return await self._clients(endpoint).lease(kind, timeout=timeout, now=self._clock)

    async def presign(self, endpoint: Endpoint, operation: Operation, *, expires: int) -> str:
        """A URL signed by the endpoint's client; see `Leases`.

        Raises:
            ClientClosedError: the pool is closed.
        """
        if self._closed:
            raise ClientClosedError("the client was closed while the operation ran")
        client = await self._clients(endpoint).client(operation.kind)
        return await client.presign(operation, expires=expires)

    async def client(self, endpoint: Endpoint, kind: OperationKind) -> S3Client:
        """The endpoint's client, for what needs no connection. Not to be called.

        Raises:
            ClientClosedError: the pool is closed.
        """
        if self._closed:
            raise ClientClosedError("the client was closed while the operation ran")
        return await self._clients(endpoint).client(kind)

    async def facade(self, router: Router, calls: Calls) -> AioBaseClient:
        """One more client, taken over by the facade; see `Pool`."""
        # Only `meta.endpoint_url` shows which endpoint it was made for.
        endpoint = router.best(None, OperationKind.READ, now=self._clock())
        credentials = await self.credentials(OperationKind.WRITE)
        made = await self.make(endpoint, credentials, self.signs_payload(endpoint))
        return S3Facade(made.boto, calls, BestSigners(router, self.client, self._clock)).client

    async def ready(self) -> None:
        """Wait for the clients that are being made, so that no request has to."""
        await asyncio.gather(*self._background, return_exceptions=True)

    async def credentials(self, kind: OperationKind) -> Credentials:
        """The key for that kind of operation.

        Raises:
            ConfigurationError: there is none.
        """
        settings = self._settings
        if settings.credentials_provider is not None:
            return await settings.credentials_provider()
        return settings.read_credentials() if kind is OperationKind.READ else settings.credentials()

    def signs_payload(self, endpoint: Endpoint) -> bool:
        """Whether payloads are hashed and signed: over http by default, over https TLS protects them."""
        choice = self._settings.payload_signing
        return choice == "signed" or (choice == "auto" and endpoint.url.startswith("http:"))

    async def make(self, endpoint: Endpoint, credentials: Credentials, sign_payload: bool) -> S3Client:  # noqa: FBT001  # half of a key
        """Make a client in the maker's thread."""
        assert self._factory is not None, "opened before the first lease"
        factory = self._factory
        return await asyncio.get_running_loop().run_in_executor(
            self._maker, lambda: factory.make(endpoint, credentials, sign_payload=sign_payload)
        )

    def forget(self, clients: EndpointClients) -> None:
        """Close the clients of an endpoint that left, in the background."""
        self._leaving.discard(clients)
        self._in_background(clients.close())

    async def close(self) -> None:
        """Close every client and connection, whatever is still leased."""
        self._closed = True
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for clients in (*self._endpoints.values(), *self._leaving):
            await clients.close()
        self._endpoints.clear()
        self._leaving.clear()
        await self._http.close()
        self._maker.shutdown(wait=False, cancel_futures=True)

    def _clients(self, endpoint: Endpoint) -> EndpointClients:
        clients = self._endpoints.get(endpoint)
        if clients is None:
            clients = self._endpoints[endpoint] = EndpointClients(
                endpoint, self, self._settings.max_connections
            )
        return clients

    async def _warm(self, clients: EndpointClients) -> None:
        for kind in OperationKind:
            await clients.client(kind)

    def _in_background(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._settle_background)

    def _settle_background(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # The next lease tries again and raises it where somebody can act on it.
            logger.warning("a client could not be made ahead of time: %s", task.exception())
