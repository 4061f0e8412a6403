"""One endpoint's clients, one for each key in use, and the bounded number of leases on them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flashback_async.errors import PoolTimeoutError, ServiceError
from flashback_async.transport.s3_client import REFUSES_UNSIGNED, S3Client
from flashback_async.transport.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from flashback_async.config import Credentials
    from flashback_async.routing import Endpoint, OperationKind
    from flashback_async.transport.credentials import KeyRing
    from flashback_async.transport.operation import Operation
    from flashback_async.transport.s3_call import Progress, S3Answer, S3Call

logger = logging.getLogger("flashback_async.pool")


class Home(Protocol):
    """What the clients of an endpoint need of their pool."""

    @property
    def keys(self) -> KeyRing:
        """The keys in use."""

    def signs_payload(self, endpoint: Endpoint) -> bool:
        """Whether payloads are hashed and signed there from the start."""

    async def make(self, endpoint: Endpoint, credentials: Credentials, sign_payload: bool) -> S3Client:  # noqa: FBT001  # half of a key
        """Make a client."""

    def forget(self, clients: EndpointClients) -> None:
        """The last lease of an endpoint that left is back: close its clients."""

    def closing(self, work: Coroutine[object, object, None]) -> None:
        """Close something in the background; the pool waits for it when it closes."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyedClient:
    """A client, and what it was made with: `signs_payload`: whether it hashes and signs what it sends."""

    client: S3Client
    credentials: Credentials
    signs_payload: bool


class PooledLease:
    """The right to one connection of an endpoint, until `release`."""

    __slots__ = ("_clients", "keyed", "kind", "since")

    def __init__(
        self, clients: EndpointClients, keyed: KeyedClient, kind: OperationKind, since: float
    ) -> None:
        self._clients: EndpointClients | None = clients
        self.keyed = keyed
        self.kind = kind
        self.since = since

    @property
    def call(self) -> S3Call:
        """Sends an operation once; an endpoint that refuses unsigned payloads gets a signed one at once."""
        assert self._clients is not None, "a released lease is not used"
        keyed = self.keyed
        # The method: to call the client itself takes Python 3.11 four times as long.
        return keyed.client.__call__ if keyed.signs_payload else self._call_unsigned

    async def _call_unsigned(self, operation: Operation, *, progress: Progress) -> S3Answer:
        clients = self._clients
        assert clients is not None, "a released lease is not used"
        try:
            return await self.keyed.client(operation, progress=progress)
        except ServiceError as error:
            if error.code not in REFUSES_UNSIGNED or not operation.is_replayable:
                raise
        clients.sign_payload()
        self.keyed = await clients.client(self.kind)
        return await self.keyed.client(operation, progress=progress)

    async def renewed(self, refusal: ServiceError) -> bool:
        """Whether calls from now on go out with another key than the one that was refused; see `Lease`."""
        clients = self._clients
        assert clients is not None, "a released lease is not used"
        if not await clients.keys.replaced(self.keyed.credentials, refusal):
            return False
        self.keyed = await clients.client(self.kind)
        clients.sweep()
        return True

    def release(self) -> None:
        """Give it back. Idempotent."""
        clients, self._clients = self._clients, None
        if clients is not None:
            clients.give_back(self)


class EndpointClients:
    """One endpoint's clients and leases."""

    def __init__(self, endpoint: Endpoint, pool: Home, size: int, clock: Callable[[], float]) -> None:
        self.endpoint = endpoint
        self.keys = pool.keys
        self.leases: set[PooledLease] = set()
        self.leaving = False
        self._pool = pool
        self._slots = Slots(size)
        self._clock = clock
        self._clients: dict[tuple[Credentials, bool], asyncio.Task[S3Client]] = {}
        self._retired: list[asyncio.Task[S3Client]] = []
        # The one that was asked for last, nearly always the next one too: it costs no hash of a key.
        self._last: KeyedClient | None = None
        self._signs_payload = pool.signs_payload(endpoint)

    @property
    def count(self) -> int:
        """Clients that exist now, or are being made."""
        return len(self._clients) + len(self._retired)

    def lease_now(self, kind: OperationKind) -> PooledLease | None:
        """A lease if a connection is free, and the client is there."""
        credentials = self.keys.at_hand(kind)
        if credentials is None:
            return None
        last, signs = self._last, self._signs_payload
        if last is None or last.credentials is not credentials or last.signs_payload is not signs:
            task = self._clients.get((credentials, signs))
            if task is None or not task.done() or task.cancelled() or task.exception() is not None:
                return None
            last = self._last = KeyedClient(task.result(), credentials, signs)
        return self._leased(last, kind) if self._slots.take_now() else None

    async def lease(self, kind: OperationKind, *, timeout: float) -> PooledLease:
        """Wait for a free connection, and for the client if it is new; the error names who holds them.

        A key that has to be asked for first is waited for as long as a connection.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._slots.take()
        except TimeoutError:
            now = self._clock()
            oldest = now - min((lease.since for lease in self.leases), default=now)
            raise PoolTimeoutError(
                f"no connection to {self.endpoint.id} became free in {timeout:.3g} s: {len(self.leases)} "
                f"leases are held, the oldest for {oldest:.1f} s; close bodies, or raise max_connections",
                endpoint=self.endpoint.id,
            ) from None
        try:
            if self.keys.at_hand(kind) is None:
                await self._key(kind, timeout=timeout)
            keyed = await self.client(kind)
        except BaseException:
            self._slots.give_back()
            raise
        return self._leased(keyed, kind)

    def give_back(self, lease: PooledLease) -> None:
        """A lease ended; the last one of an endpoint that left closes its clients."""
        self.leases.discard(lease)
        self._slots.give_back()
        if self._retired:
            self.sweep()
        if self.leaving and not self.leases:
            self._pool.forget(self)

    def sign_payload(self) -> None:
        """Sign payloads from now on. Idempotent: many may be refused at the same time."""
        if not self._signs_payload:
            logger.info("endpoint %s refuses unsigned payloads; signing them", self.endpoint.id)
            self._signs_payload = True

    async def client(self, kind: OperationKind) -> KeyedClient:
        """The client for that kind, made once however many ask at the same time."""
        while True:
            credentials = self.keys.at_hand(kind)
            if credentials is None:
                await self.keys.of(kind)
                continue
            key = (credentials, self._signs_payload)
            task = self._clients.get(key)
            if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
                task = self._clients[key] = asyncio.create_task(self._pool.make(self.endpoint, *key))
            if task.done():
                return KeyedClient(task.result(), *key)
            client = await asyncio.shield(task)
            # Its key may have been replaced meanwhile; then it is closed by now.
            if self._clients.get(key) is task:
                return KeyedClient(client, *key)

    def retire(self, credentials: Credentials) -> None:
        """That key is in use no more: its clients are closed as soon as their last leases are back."""
        self._last = None
        for key in [key for key in self._clients if key[0] == credentials]:
            self._retired.append(self._clients.pop(key))
        self.sweep()

    def sweep(self) -> None:
        """Close the retired clients that nobody holds any more."""
        if not self._retired:
            return
        held = {lease.keyed.client for lease in self.leases}
        for task in list(self._retired):
            if not task.done() or task.cancelled() or task.exception() or task.result() not in held:
                self._retired.remove(task)
                self._pool.closing(_closed([task]))

    async def close(self) -> None:
        """Close the clients; those still being made are closed as soon as they exist."""
        tasks = [*self._clients.values(), *self._retired]
        self._clients, self._retired, self._last = {}, [], None
        await _closed(tasks)

    def _leased(self, keyed: KeyedClient, kind: OperationKind) -> PooledLease:
        lease = PooledLease(self, keyed, kind, self._clock())
        self.leases.add(lease)
        return lease

    async def _key(self, kind: OperationKind, *, timeout: float) -> None:
        timer = asyncio.timeout(timeout)
        try:
            async with timer:
                await self.keys.of(kind)
        except TimeoutError:
            raise PoolTimeoutError(
                f"the credentials provider gave no key within {timeout:.3g} s", endpoint=self.endpoint.id
            ) from None


async def _closed(tasks: list[asyncio.Task[S3Client]]) -> None:
    for client in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(client, S3Client):
            await client.close()
