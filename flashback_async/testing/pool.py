"""The pool that leads to scripted endpoints, and a client on top of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from flashback_async.config import FlashbackSettings
from flashback_async.errors import PoolTimeoutError
from flashback_async.routing import EndpointReport
from flashback_async.testing.endpoint import ScriptedEndpoint
from flashback_async.testing.store import MemoryStore

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from flashback_async.client import FlashbackClient
    from flashback_async.routing import Endpoint, OperationKind, Router
    from flashback_async.testing.script import Request
    from flashback_async.transport.s3_call import S3Call


class MemoryLease:
    """The right to one connection of an endpoint, as `Lease`."""

    __slots__ = ("_pool", "call", "since")

    def __init__(self, endpoint: ScriptedEndpoint, pool: _Slots, since: float) -> None:
        self.call: S3Call = endpoint
        self.since = since
        self._pool: _Slots | None = pool

    def release(self) -> None:
        """Give it back. Idempotent."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.held.discard(self)
            pool.free.release()


class _Slots:
    """The connections of one endpoint."""

    __slots__ = ("free", "held")

    def __init__(self, size: int) -> None:
        self.free = asyncio.Semaphore(size)
        self.held: set[MemoryLease] = set()


class MemoryEndpoints:
    """The pool that leads to scripted endpoints, as `Pool`, and a client on top of them.

    ```python
    endpoints = MemoryEndpoints.of("a", "b")
    endpoints["a"].script.extend([Step.refused(), Step.error(503)])
    endpoints.store.put("bucket", "key", b"data")
    async with endpoints.client() as fb:
        assert (await fb.get_object("bucket", "key")).body == b"data"
    assert endpoints.leases == endpoints.open_bodies == 0
    ```

    Args:
        endpoints: where it leads to.
        connections: leases per endpoint that can be held at once.
    """

    def __init__(self, *endpoints: ScriptedEndpoint, connections: int = 64) -> None:
        self.connections = connections
        self._endpoints = {endpoint.endpoint.id: endpoint for endpoint in endpoints}
        self._slots: dict[str, _Slots] = {}

    @classmethod
    def of(cls, *ids: str, store: MemoryStore | None = None, connections: int = 64) -> Self:
        """Healthy endpoints in front of one store; give them scripts afterwards."""
        shared = MemoryStore("bucket") if store is None else store
        return cls(*(ScriptedEndpoint(id, shared) for id in ids), connections=connections)  # noqa: A001

    def __repr__(self) -> str:
        return f"<MemoryEndpoints: {self.leases} leases, {self.open_bodies} open bodies>"

    def __getitem__(self, endpoint_id: str) -> ScriptedEndpoint:
        """The endpoint with that id."""
        return self._endpoints[endpoint_id]

    @property
    def store(self) -> MemoryStore:
        """The store behind the first endpoint, which is usually that of all."""
        return next(iter(self._endpoints.values())).store

    @property
    def leases(self) -> int:
        """Leases held now."""
        return sum(len(slots.held) for slots in self._slots.values())

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

    def client(self, *, router: Router | None = None, **settings: object) -> FlashbackClient:
        """A client on top of these endpoints, not started yet; the real one down to the seam `S3Call`.

        Args:
            router: a router to share, or one with a policy or chance of your own.
            settings: for `FlashbackSettings`; endpoints and credentials are filled in.
        """
        from flashback_async.client import FlashbackClient  # noqa: PLC0415  # loads what only a client needs

        given: dict[str, Any] = {
            "endpoints": tuple(endpoint.endpoint.url for endpoint in self._endpoints.values()),
            "key_id": "memory",
            "key_secret": "memory",
            "max_connections": self.connections,
            **settings,
        }
        return FlashbackClient(FlashbackSettings(**given), router=router, pool=self._opened)

    async def lease(self, endpoint: Endpoint, kind: OperationKind, *, timeout: float) -> MemoryLease:  # noqa: ARG002  # of the seam
        """Wait at most `timeout` seconds for a connection; see `Leases`."""
        slots = self._slots.get(endpoint.id)
        if slots is None:
            slots = self._slots[endpoint.id] = _Slots(self.connections)
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(timeout if slots.free.locked() else None):
                await slots.free.acquire()
        except TimeoutError:
            oldest = now() - min((lease.since for lease in slots.held), default=now())
            raise PoolTimeoutError(
                f"no connection to {endpoint.id} became free in {timeout:.3g} s: {len(slots.held)} "
                f"leases are held, the oldest for {oldest:.1f} s",
                endpoint=endpoint.id,
            ) from None
        lease = MemoryLease(self._endpoints[endpoint.id], slots, now())
        slots.held.add(lease)
        return lease

    async def open(self) -> None:
        """Nothing to open: no sockets, no sessions."""

    def track(self, endpoints: Iterable[Endpoint]) -> None:
        """Nothing to make ahead of time."""

    async def close(self) -> None:
        """Close the bodies that are open, as a client does that is closed under its users."""
        for endpoint in self._endpoints.values():
            endpoint.bodies.clear()

    async def ready(self) -> None:
        """Nothing to wait for."""

    def _opened(
        self,
        settings: FlashbackSettings,
        *,
        tls: ssl.SSLContext | None,  # noqa: ARG002  # of `PoolFactory`
        clock: Callable[[], float],  # noqa: ARG002  # of `PoolFactory`
    ) -> Self:
        self.connections = settings.max_connections
        return self


__all__ = ["MemoryEndpoints", "MemoryLease"]
