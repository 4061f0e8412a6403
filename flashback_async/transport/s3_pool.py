"""The pool: one aioboto3 client per endpoint and key, and a bounded number of leases on each.

Clients are made in a thread of their own, as soon as an endpoint joins or a key is replaced, and are closed
when the endpoint has left, or the key is in use no more, and their last lease is back.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from flashback_async.errors import ClientClosedError
from flashback_async.routing import OperationKind
from flashback_async.transport.credentials import KeyRing
from flashback_async.transport.s3_client import S3Client, S3ClientFactory
from flashback_async.transport.s3_facade import BestSigners, S3Facade
from flashback_async.transport.s3_fast_client import FastLane
from flashback_async.transport.s3_http import HttpSession
from flashback_async.transport.s3_leases import EndpointClients

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Iterable

    from aiobotocore.client import AioBaseClient

    from flashback_async.config import Credentials, FlashbackSettings
    from flashback_async.routing import Endpoint, Router
    from flashback_async.transport.operation import Operation
    from flashback_async.transport.s3_facade import Calls
    from flashback_async.transport.s3_leases import PooledLease

logger = logging.getLogger("flashback_async.pool")


class S3Pool:
    """Hands out leases on the endpoints' clients. Belongs to the loop that opened it."""

    def __init__(
        self, settings: FlashbackSettings, *, tls: ssl.SSLContext | None, clock: Callable[[], float]
    ) -> None:
        self.keys = KeyRing(settings, clock=clock, on_replaced=self._retire)
        self._settings = settings
        self._clock = clock
        self._http = HttpSession(connect_timeout=settings.connect_timeout, tls=tls)
        self._lane = FastLane(settings, tls=tls, clock=clock) if settings.lane == "fast" else None
        self._factory: S3ClientFactory | None = None
        # One thread: botocore's sessions are not made for two at once.
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="flashback-client-maker")
        self._endpoints: dict[Endpoint, EndpointClients] = {}
        self._leaving: set[EndpointClients] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def clients(self) -> int:
        """Clients that exist now, or are being made."""
        return sum(clients.count for clients in (*self._endpoints.values(), *self._leaving))

    @property
    def leases(self) -> int:
        """Leases held now."""
        return sum(len(clients.leases) for clients in (*self._endpoints.values(), *self._leaving))

    async def open(self) -> None:
        """Make the HTTP session and load botocore, off the loop.

        Raises:
            ConfigurationError: no credentials.
        """
        await self.keys.open()
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

    def lease_now(self, endpoint: Endpoint, kind: OperationKind) -> PooledLease | None:
        """A connection that is free now; see `Leases`."""
        clients = self._endpoints.get(endpoint)
        return None if clients is None or self._closed else clients.lease_now(kind)

    async def lease(self, endpoint: Endpoint, kind: OperationKind, *, timeout: float) -> PooledLease:
        """Wait at most `timeout` seconds for a connection; see `Leases`.

        Raises:
            ClientClosedError: the pool is closed.
        """
        if self._closed:
            raise ClientClosedError("the client was closed while the operation ran")
        return await self._clients(endpoint).lease(kind, timeout=timeout)

    async def presign(self, endpoint: Endpoint, operation: Operation, *, expires: int) -> str:
        """A URL signed by the endpoint's client; see `Leases`.

        Raises:
            ClientClosedError: the pool is closed.
        """
        if self._closed:
            raise ClientClosedError("the client was closed while the operation ran")
        keyed = await self._clients(endpoint).client(operation.kind)
        return await keyed.client.presign(operation, expires=expires)

    async def client(self, endpoint: Endpoint, kind: OperationKind) -> S3Client:
        """The endpoint's client, for what needs no connection. Not to be called.

        Raises:
            ClientClosedError: the pool is closed.
        """
        if self._closed:
            raise ClientClosedError("the client was closed while the operation ran")
        return (await self._clients(endpoint).client(kind)).client

    async def facade(self, router: Router, calls: Calls) -> AioBaseClient:
        """One more client, taken over by the facade; see `Pool`."""
        # Only `meta.endpoint_url` shows which endpoint it was made for.
        endpoint = router.best(None, OperationKind.READ, now=self._clock())
        credentials = await self.keys.of(OperationKind.WRITE)
        made = await self.make(endpoint, credentials, self.signs_payload(endpoint))
        return S3Facade(made.boto, calls, BestSigners(router, self.client, self._clock)).client

    async def ready(self) -> None:
        """Wait for the clients that are being made, so that no request has to."""
        await asyncio.gather(*self._background, return_exceptions=True)

    def signs_payload(self, endpoint: Endpoint) -> bool:
        """Whether payloads are hashed and signed: over http by default, over https TLS protects them."""
        choice = self._settings.payload_signing
        return choice == "signed" or (choice == "auto" and endpoint.url.startswith("http:"))

    async def make(self, endpoint: Endpoint, credentials: Credentials, sign_payload: bool) -> S3Client:  # noqa: FBT001  # half of a key
        """Make a client in the maker's thread."""
        assert self._factory is not None, "opened before the first lease"
        factory, lane = self._factory, self._lane
        made = await asyncio.get_running_loop().run_in_executor(
            self._maker, lambda: factory.make(endpoint, credentials, sign_payload=sign_payload)
        )
        return made if lane is None else lane.client(made, endpoint, credentials, sign_payload=sign_payload)

    def forget(self, clients: EndpointClients) -> None:
        """Close the clients of an endpoint that left, in the background."""
        self._leaving.discard(clients)
        self.closing(clients.close())

    def closing(self, work: Coroutine[object, object, None]) -> None:
        """Close something in the background; `close` waits for it."""
        task = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close every client and connection, whatever is still leased."""
        self._closed = True
        await self.keys.close()
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for clients in (*self._endpoints.values(), *self._leaving):
            await clients.close()
        self._endpoints.clear()
        self._leaving.clear()
        await asyncio.gather(*self._closing)
        if self._lane is not None:
            self._lane.close()
        await self._http.close()
        self._maker.shutdown(wait=False, cancel_futures=True)

    def _clients(self, endpoint: Endpoint) -> EndpointClients:
        clients = self._endpoints.get(endpoint)
        if clients is None:
            clients = self._endpoints[endpoint] = EndpointClients(
                endpoint, self, self._settings.max_connections, self._clock
            )
        return clients

    def _retire(self, credentials: Credentials) -> None:
        """A key was replaced: let go of its clients, and make those of its successor."""
        for clients in self._leaving:
            clients.retire(credentials)
        for clients in self._endpoints.values():
            clients.retire(credentials)
            self._in_background(self._warm(clients))

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
