"""What a test holds in its hands: one object per server of a running cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from flashback_async.sandbox.behaviour import Behaviour
from flashback_async.sandbox.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flashback_async.sandbox.child import Child
    from flashback_async.sandbox.nodes import NodeSpec
    from flashback_async.sandbox.registry import PublishedNode, Registry


@dataclass(frozen=True, slots=True)
class ServerStats:
    """What a server counted since it started or since `reset_stats`; `/health` is counted apart.

    Attributes:
        requests: requests that arrived, probes excluded.
        health: probes.
        in_flight: requests that are not over, probes included.
        by_method: requests per HTTP method.
        by_path: requests per path; the control plane only.
        by_outcome: finished requests per outcome: `served`, the name of a fault, `rate_limit`, `max_body`,
            `writes_disabled`, `client_gone`, `bad_gateway` (no store), `store_failed` (in mid-body).
        by_status: finished requests per HTTP status answered.
        bytes_in: bytes of request bodies.
        bytes_out: bytes of response bodies.
    """

    requests: int
    health: int
    in_flight: int
    by_method: Mapping[str, int]
    by_path: Mapping[str, int]
    by_outcome: Mapping[str, int]
    by_status: Mapping[int, int]
    bytes_in: int
    bytes_out: int


class Server:
    """A server process of the cluster. Every method works from any event loop.

    Attributes:
        id: its name in the cluster.
        url: where it serves, without a slash at the end.
        ip: its own loopback address.
        port: its port, the same after a restart.
    """

    def __init__(self, child: Child, initial: Behaviour, *, url: str, ip: str, port: int) -> None:
        self.id = child.name
        self.url = url
        self.ip = ip
        self.port = port
        self._child = child
        self._initial = initial

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._child.alive

    async def heal(self) -> None:
        """Behave as at the start of the cluster; a dead process is restarted."""
        await self._behave(self._initial)
        if not self.alive:
            await self.restart()

    async def kill(self) -> None:
        """End the process with SIGKILL; its port refuses connections from now on."""
        self._child.kill()

    async def restart(self) -> None:
        """Start the process again on its port, with its last behaviour and new counters; kills it first."""
        await self._child.start()

    async def stats(self) -> ServerStats:
        """All counters."""
        data = await self._child.call("stats")
        by_status = {int(status): count for status, count in data.pop("by_status").items()}
        return ServerStats(by_status=by_status, **data)

    async def reset_stats(self) -> None:
        """Start counting anew."""
        await self._child.call("reset_stats")

    async def requests_since(self, since: float, until: float | None = None) -> int:
        """Requests, probes excluded, that arrived in `since <= time < until`.

        Args:
            since: seconds of `time.monotonic()`, which is also the clock of asyncio's loops.
            until: likewise; None: now.
        """
        return int(await self._child.call("count", since=since, until=until))

    async def _behave(self, behaviour: Behaviour) -> None:
        self._child.config["behaviour"] = behaviour.to_json()
        if self.alive:
            await self._child.call("behave", behaviour=behaviour.to_json())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.url} {'alive' if self.alive else 'dead'}>"


class Node(Server):
    """A gateway.

    Attributes:
        region: as published.
        provider: as published.
        latency: seconds of its distance.
        uuid: as published where a variant publishes UUIDs.
    """

    def __init__(self, child: Child, spec: NodeSpec, row: PublishedNode, control_plane: ControlPlane) -> None:
        super().__init__(child, spec.behaviour, url=f"{row.scheme}://{row.host}", ip=row.ip, port=row.port)
        self.region = spec.region
        self.provider = spec.provider
        self.latency = spec.latency
        self.uuid = row.uuid
        self._control_plane = control_plane

    async def set(self, behaviour: Behaviour) -> None:
        """Behave like this from now on, for new requests on open connections too.

        What already hangs goes on hanging until its client leaves. A dead node behaves so when restarted.
        """
        await self._behave(behaviour)

    async def publish(
        self,
        *,
        latency: float | Literal["unchanged"] | None = "unchanged",
        status: str | None = None,
        bucket: str | None = None,
    ) -> None:
        """Change what the control plane reports about this node, whatever the node really does.

        Args:
            latency: seconds from node to bucket; None: not reported.
            status: ONLINE, OFFLINE or DISCONNECTED; None: unchanged.
            bucket: S3 name; None: for every bucket.
        """
        changes: dict[str, Any] = {}
        if latency != "unchanged":
            changes["latency"] = latency
        if status is not None:
            changes["status"] = status
        await self._control_plane.update(self._control_plane.registry.publish(self.id, bucket, **changes))


class ControlPlane(Server):
    """The control plane.

    Attributes:
        registry: what it publishes; changed through `update`, kept over restarts.
    """

    def __init__(self, child: Child, registry: Registry, *, url: str, ip: str, port: int) -> None:
        super().__init__(child, Behaviour(), url=url, ip=ip, port=port)
        self.registry = registry
        self._first = registry

    async def set(self, change: Behaviour | Variant) -> None:
        """Behave like this (a `Behaviour`), or speak like this (a `Variant`), from now on."""
        if isinstance(change, Variant):
            await self.update(self.registry.changed(variant=change))
        else:
            await self._behave(change)

    async def inject(
        self, *, nodes: Iterable[Mapping[str, Any]] = (), stats: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        """Append rows verbatim to `/node` and `/stats/nodes/minute`, instead of those injected before."""
        extra_nodes, extra_stats = tuple(map(dict, nodes)), tuple(map(dict, stats))
        await self.update(self.registry.changed(extra_nodes=extra_nodes, extra_stats=extra_stats))

    async def update(self, registry: Registry) -> None:
        """Publish another registry; a dead control plane learns it when it is restarted."""
        self.registry = registry
        self._child.config["registry"] = registry.to_json()
        if self.alive:
            await self._child.call("describe", registry=registry.to_json())

    async def requests(self) -> dict[str, int]:
        """Requests per path, `/health` included."""
        stats = await self.stats()
        return {**stats.by_path, **({"/health": stats.health} if stats.health else {})}

    async def revoke_tokens(self) -> None:
        """Answer 401 to every access token issued so far; refreshing goes on working."""
        await self._child.call("revoke_tokens")

    async def heal(self) -> None:
        """Behave, publish and accept tokens as at the start; buckets created since then stay."""
        await self.update(self.registry.as_first(self._first))
        await super().heal()
        await self._child.call("restore_tokens")
