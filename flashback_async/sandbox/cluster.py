"""A whole local Flashback: one store, N gateways, one control plane, each in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from flashback_async.sandbox.assembly import Assembler, Assembly
from flashback_async.sandbox.errors import SandboxError, require
from flashback_async.sandbox.identity import Identity
from flashback_async.sandbox.nodes import node_specs
from flashback_async.sandbox.registry import Registry
from flashback_async.sandbox.resources import Resources
from flashback_async.sandbox.store import STORES, StoreKind, store_config_of
from flashback_async.sandbox.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from flashback_async.config import FlashbackSettings
    from flashback_async.sandbox.handles import ControlPlane, Node
    from flashback_async.sandbox.nodes import NodeSpec


class LocalFlashback:
    """A local Flashback for tests and demos: `async with LocalFlashback(nodes=4) as cluster:`.

    Life cycle: `start` (or `async with`) runs everything concurrently and returns when all of it serves;
    `aclose` ends it for good. Both may run in different tasks and loops, and everything in between works
    from any loop of this process. When the start fails or is cancelled, when `aclose` is cancelled, and when
    this process dies, no process and no port remains; temporary files remain only in the last case.

    Args:
        nodes: how many gateways, spread over regions and distances, or one `NodeSpec` each.
        latency: seconds of distance for all of them; only with a number of nodes.
        store: `moto` (broad; checks no signatures) or `rclone` (verifies SigV4).
        buckets: S3 names of the buckets created at the start.
        tls: serve https, with an authority of its own (`ca_file`).
        seed: of every chance in the faults.
        variant: how the control plane speaks.
        token_lifetime: seconds that access tokens live.
        extra_nodes: rows appended verbatim to `/node`.
        extra_stats: rows appended verbatim to `/stats/nodes/minute`.

    Attributes:
        key_id: S3 access key id.
        key_secret: S3 secret access key.
        token: a valid access token (JWT) for the control plane.
        refresh_token: a valid refresh token; it works once.
        org_id: the organization whose private nodes are listed.
        email: logs in, with `password`.
        password: goes with `email`.

    Raises:
        SandboxConfigurationError: a value cannot work; a `ValueError` that names the value and the remedy.
    """

    def __init__(
        self,
        nodes: int | Sequence[NodeSpec] = 4,
        *,
        latency: float | None = None,
        store: StoreKind = "moto",
        buckets: Sequence[str] = ("demo",),
        tls: bool = False,
        seed: int = 0,
        variant: Variant | None = None,
        token_lifetime: float = 3600.0,
        extra_nodes: Sequence[dict[str, Any]] = (),
        extra_stats: Sequence[dict[str, Any]] = (),
    ) -> None:
        require(store in STORES, f"store={store!r}: give one of {', '.join(map(repr, STORES))}")
        require(token_lifetime > 0, f"token_lifetime={token_lifetime!r}: give seconds above zero")
        require(not isinstance(buckets, str), f"buckets={buckets!r}: give a sequence, ({buckets!r},)")
        self._specs = node_specs(nodes, latency)
        self._store: StoreKind = store
        self._tls = tls
        self._seed = seed
        self._identity = Identity(token_lifetime)
        self.key_id = self._identity.key_id
        self.key_secret = self._identity.key_secret
        self.token = self._identity.access_token()
        self.refresh_token = self._identity.refresh_token()
        self.org_id = self._identity.org_id
        self.email = self._identity.email
        self.password = self._identity.password
        self._registry = Registry(
            org_id=self.org_id,
            key_id=self.key_id,
            nodes=(),
            buckets=tuple(buckets),
            variant=variant or Variant(),
            extra_nodes=tuple(extra_nodes),
            extra_stats=tuple(extra_stats),
        )
        self._resources: Resources | None = None
        self._assembly: Assembly | None = None

    async def start(self) -> None:
        """Run every process and wait until all of them serve.

        Raises:
            SandboxError: something needed is missing (the message says how to get it), or a process did
                not start (the message shows its log).
        """
        if self._resources is not None:
            raise SandboxError("a LocalFlashback starts once: create another one")
        store_config = await store_config_of(self._store)
        self._resources = Resources()
        try:
            assembler = Assembler(self._resources, self._identity, self._registry, self._seed)
            self._assembly = assembler.assemble(self._specs, self._store, store_config, tls=self._tls)
            await self._resources.start()
        except BaseException:
            self._resources.discard()
            raise

    async def aclose(self) -> None:
        """End every process and remove every trace; harmless when repeated, or before the start."""
        if self._resources is not None:
            await self._resources.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The gateways in the order given; nearest first when only their number was given."""
        return self._parts.nodes

    @property
    def control_plane(self) -> ControlPlane:
        """The control plane."""
        return self._parts.control_plane

    @property
    def store_url(self) -> str:
        """The store itself, without a gateway before it; always plain http."""
        return self._parts.store_url

    @property
    def ca_file(self) -> str | None:
        """Path of the authority's certificate (PEM) with `tls=True`, else None."""
        return self._parts.ca_file

    @property
    def bucket_ids(self) -> dict[str, str]:
        """S3 name -> the UUID under which the control plane knows the bucket; a name's UUID never changes."""
        registry = self.control_plane.registry
        return {name: registry.bucket_id(name) for name in registry.buckets}

    def node(self, id: str) -> Node:  # noqa: A002 - the attribute's name
        """The gateway with this id. Raises `SandboxError` when there is none."""
        for node in self.nodes:
            if node.id == id:
                return node
        raise SandboxError(f"there is no node {id!r}, only {', '.join(node.id for node in self.nodes)}")

    def environment(self) -> dict[str, str]:
        """The `FB_*` variables with which `FlashbackClient()` talks to this cluster. They hold secrets."""
        variables = {
            "FB_KEY_ID": self.key_id,
            "FB_KEY_SECRET": self.key_secret,
            "FB_JWT": self.token,
            "FB_BASE_URL": self.control_plane.url,
        }
        return variables if self.ca_file is None else {**variables, "FB_CA_FILE": self.ca_file}

    def settings(self, **overrides: Any) -> FlashbackSettings:
        """Settings with which `FlashbackClient(...)` talks to this cluster.

        Args:
            **overrides: further settings, or others than the cluster's.
        """
        # The sandbox knows the client's settings only here, and works without them.
        from flashback_async.config import FlashbackSettings  # noqa: PLC0415

        values: dict[str, Any] = {
            "key_id": self.key_id,
            "key_secret": self.key_secret,
            "jwt": self.token,
            "base_url": self.control_plane.url,
            "ca_file": self.ca_file,
        }
        return FlashbackSettings(**{**values, **overrides})

    async def create_bucket(self, name: str) -> str:
        """Create a bucket in the store, make it known to the control plane, and return its UUID."""
        await self._parts.store.call("create_bucket", name=name)
        registry = self.control_plane.registry
        if name not in registry.buckets:
            await self.control_plane.update(registry.changed(buckets=(*registry.buckets, name)))
        return registry.bucket_id(name)

    async def clear(self) -> None:
        """Remove every object, and every bucket but those of the start."""
        await self._parts.store.call("clear", buckets=self._registry.buckets)
        await self.control_plane.update(self.control_plane.registry.changed(buckets=self._registry.buckets))

    async def heal(self) -> None:
        """Make every server as it was after the start, its counters at zero; restart those that are dead.

        Objects and buckets stay: see `clear`.
        """
        for server in (self.control_plane, *self.nodes):
            await server.heal()
            await server.reset_stats()

    @property
    def _parts(self) -> Assembly:
        if self._assembly is None:
            raise SandboxError("this cluster was not started: use `async with`, or `await cluster.start()`")
        return self._assembly
