"""The pool that leads to scripted endpoints, and a client on top of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode
from weakref import WeakSet

from flashback_async.config import FlashbackSettings
from flashback_async.errors import ClientClosedError, PoolTimeoutError
from flashback_async.routing import EndpointReport
from flashback_async.testing.endpoint import Line, MemoryBody, ScriptedEndpoint
from flashback_async.testing.store import MemoryStore

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from flashback_async.client import FlashbackClient
    from flashback_async.errors import ServiceError
    from flashback_async.routing import Endpoint, OperationKind, Router
    from flashback_async.testing.script import Request
    from flashback_async.transport.operation import Operation
    from flashback_async.transport.s3_call import Progress, S3Answer
    from flashback_async.transport.s3_facade import Calls


class MemoryLease:
    """The right to one connection of an endpoint, as `Lease`."""

    __slots__ = ("_endpoint", "_pool", "_slot", "since")

    def __init__(self, endpoint: ScriptedEndpoint, pool: MemoryPool, slot: asyncio.Semaphore) -> None:
        self.since = asyncio.get_running_loop().time()
        self._endpoint = endpoint
        self._pool = pool
        self._slot: asyncio.Semaphore | None = slot

    @property
    def endpoint_id(self) -> str:
        """Whose connection it is."""
        return self._endpoint.endpoint.id

    async def call(self, operation: Operation, *, progress: Progress) -> S3Answer:
        """Send one operation; see `S3Call`."""
        line = Line()
        self._pool.lines.add(line)
        answer = await line.hold(self._endpoint(operation, progress=progress))
        if isinstance(answer.body, MemoryBody):
            self._pool.lines.add(answer.body.line)
        return answer

    async def renewed(self, refusal: ServiceError) -> bool:  # noqa: ARG002  # of the seam
        """There are no keys here; see `Lease`."""
        return False

    def release(self) -> None:
        """Give it back. Idempotent."""
        slot, self._slot = self._slot, None
        if slot is not None:
            self._pool.held.discard(self)
            slot.release()


class MemoryPool:
    """A bounded number of leases on each endpoint, as `Pool`.

    Attributes:
        held: leases that were not given back.
        lines: what runs or ran over its connections.
    """

    def __init__(self, endpoints: Mapping[str, ScriptedEndpoint], *, connections: int) -> None:
        self.held: set[MemoryLease] = set()
        self.lines: WeakSet[Line] = WeakSet()
        self._endpoints = endpoints
        self._connections = connections
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._closed = False

    @property
    def leases(self) -> int:
        """Leases held now."""
        return len(self.held)

    def lease_now(self, endpoint: Endpoint, kind: OperationKind) -> None:
        """Nothing at once: `lease` says everything; see `Leases`."""

    async def lease(self, endpoint: Endpoint, kind: OperationKind, *, timeout: float) -> MemoryLease:  # noqa: ARG002  # of the seam
        """Wait at most `timeout` seconds for a connection; see `Leases`.

        Raises:
            ClientClosedError: the pool is closed.
        """
        if self._closed:
            raise ClientClosedError("the client was closed while the operation ran")
        slot = self._slots.setdefault(endpoint.id, asyncio.Semaphore(self._connections))
        try:
            async with asyncio.timeout(timeout):
                await slot.acquire()
        except TimeoutError:
            since = [lease.since for lease in self.held if lease.endpoint_id == endpoint.id]
            oldest = asyncio.get_running_loop().time() - min(since)
            raise PoolTimeoutError(
                f"no connection to {endpoint.id} became free in {timeout:.3g} s: {len(since)} "
                f"leases are held, the oldest for {oldest:.1f} s",
                endpoint=endpoint.id,
            ) from None
        lease = MemoryLease(self._endpoints[endpoint.id], self, slot)
        self.held.add(lease)
        return lease

    async def presign(self, endpoint: Endpoint, operation: Operation, *, expires: int) -> str:
        """A URL that leads nowhere, and is the same whenever the same is asked; see `Leases`.

        Raises:
            ClientClosedError: the pool is closed.
        """
        if self._closed:
            raise ClientClosedError("the client was closed while the operation ran")
        names = {"operation": operation.name, "expires": str(expires)}
        names |= {name: str(value) for name, value in sorted(operation.parameters.items())}
        return f"{endpoint.url}/{operation.bucket}/{quote(operation.key or '')}?{urlencode(names)}"

    async def open(self) -> None:
        """Nothing to open: no sockets, no sessions."""

    def track(self, endpoints: Iterable[Endpoint]) -> None:
        """Nothing to make ahead of time."""

    async def ready(self) -> None:
        """Nothing to wait for."""

    async def facade(self, router: Router, calls: Calls) -> None:  # of the seam
        """There is no boto here."""

    async def close(self) -> None:
        """Break every connection off, whatever runs over it."""
        self._closed = True
        for line in list(self.lines):
            line.cut()


class MemoryEndpoints:
    """Scripted endpoints by their ids, the pools that lead to them, and a client on top.

    ```python
    endpoints = MemoryEndpoints.of("a", "b")
    endpoints["a"].script.extend([Step.refused(), Step.error(503)])
    endpoints.store.put("bucket", "key", b"data")
    async with endpoints.client() as fb:
        assert (await fb.get_object("bucket", "key")).body == b"data"
    assert endpoints.leases == endpoints.open_bodies == 0
    ```
    """

    def __init__(self, *endpoints: ScriptedEndpoint) -> None:
        self._endpoints = {endpoint.endpoint.id: endpoint for endpoint in endpoints}
        self._pools: list[MemoryPool] = []

    @classmethod
    def of(cls, *ids: str, store: MemoryStore | None = None) -> Self:
        """Healthy endpoints in front of one store with a bucket `bucket`; give them scripts afterwards."""
        shared = MemoryStore("bucket") if store is None else store
        return cls(*(ScriptedEndpoint(id, shared) for id in ids))  # noqa: A001  # what it is called everywhere

    def __repr__(self) -> str:
        return f"<MemoryEndpoints: {self.leases} leases, {self.open_bodies} open bodies>"

    def __getitem__(self, endpoint_id: str) -> ScriptedEndpoint:
        """The endpoint with that id."""
        return self._endpoints[endpoint_id]

    def __iter__(self) -> Iterator[ScriptedEndpoint]:
        """The endpoints, in the order given."""
        return iter(self._endpoints.values())

    @property
    def store(self) -> MemoryStore:
        """The store behind the first endpoint, which is usually that of all."""
        return next(iter(self._endpoints.values())).store

    @property
    def leases(self) -> int:
        """Leases held now, over all pools."""
        return sum(pool.leases for pool in self._pools)

    @property
    def open_bodies(self) -> int:
        """Bodies handed out and not closed."""
        return sum(len(endpoint.bodies) for endpoint in self._endpoints.values())

    @property
    def requests(self) -> list[Request]:
        """Every request to any of the endpoints, in the order of their times."""
        every = (request for endpoint in self._endpoints.values() for request in endpoint.requests)
        return sorted(every, key=lambda request: request.at)

    def reports(self) -> tuple[EndpointReport, ...]:
        """The endpoints as a discovery reports them, for `Router.apply_discovery`."""
        return tuple(EndpointReport(endpoint=endpoint.endpoint) for endpoint in self._endpoints.values())

    def pool(self, *, connections: int = 64) -> MemoryPool:
        """What leads to them, for whoever drives the seam without a client.

        Args:
            connections: leases per endpoint that can be held at once.
        """
        pool = MemoryPool(self._endpoints, connections=connections)
        self._pools.append(pool)
        return pool

    def client(self, *, router: Router | None = None, **settings: object) -> FlashbackClient:
        """A client on top of these endpoints, not started yet; the real one down to the seam `S3Call`.

        Args:
            router: a router to share, or one with a policy or chance of your own.
            settings: for `FlashbackSettings`; endpoints and credentials are filled in, and probes, which
                would need a network, are off.
        """
        from flashback_async.client import FlashbackClient  # noqa: PLC0415  # loads what only a client needs

        given: dict[str, Any] = {
            "endpoints": tuple(endpoint.endpoint.url for endpoint in self._endpoints.values()),
            "key_id": "memory",
            "key_secret": "memory",
            "probes": False,
            **settings,
        }
        return FlashbackClient(FlashbackSettings(**given), router=router, pool=self._pool_for)

    def _pool_for(
        self,
        settings: FlashbackSettings,
        *,
        tls: ssl.SSLContext | None,  # noqa: ARG002  # of `PoolFactory`
        clock: Callable[[], float],  # noqa: ARG002  # of `PoolFactory`
    ) -> MemoryPool:
        return self.pool(connections=settings.max_connections)


__all__ = ["MemoryEndpoints", "MemoryLease", "MemoryPool"]
