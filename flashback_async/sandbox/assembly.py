"""Lays out a cluster: reserves its ports, issues its certificate, and describes every process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flashback_async.sandbox.admin import LOOPBACK
from flashback_async.sandbox.behaviour import Behaviour
from flashback_async.sandbox.certificates import issue
from flashback_async.sandbox.handles import ControlPlane, Node
from flashback_async.sandbox.registry import Figure, PublishedNode, Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashback_async.sandbox.child import Child
    from flashback_async.sandbox.identity import Identity
    from flashback_async.sandbox.nodes import NodeSpec
    from flashback_async.sandbox.ports import ReservedPort
    from flashback_async.sandbox.resources import Resources
    from flashback_async.sandbox.store import StoreKind


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts of a cluster, addresses known, not running yet."""

    nodes: tuple[Node, ...]
    control_plane: ControlPlane
    store: Child
    store_url: str
    ca_file: str | None


@dataclass(slots=True)
class Assembler:
    """Builds an `Assembly` out of `resources`, which own everything that must be given back.

    Args:
        resources: where ports, files and processes come from.
        identity: whose keys and tokens are accepted.
        registry: what the control plane knows, nodes excepted.
        seed: of all faults.
    """

    resources: Resources
    identity: Identity
    registry: Registry
    seed: int

    def assemble(
        self, specs: Sequence[NodeSpec], store: StoreKind, store_config: dict[str, Any], *, tls: bool
    ) -> Assembly:
        """Lay out one cluster. Raises `SandboxError` when ports or certificates cannot be had."""
        scheme = "https" if tls else "http"
        store_port = self.resources.reserve(LOOPBACK)
        control_port = self.resources.reserve(LOOPBACK)
        # An address for each node, because the API joins nodes by ip; and loopback itself for *.localhost.
        ports = [self.resources.reserve(f"127.0.0.{number}", LOOPBACK) for number, _ in enumerate(specs, 2)]
        ca_file, certificate = None, None
        if tls:
            addresses = [LOOPBACK, *(port.hosts[0] for port in ports)]
            ca_file, certificate = issue(self.resources.directory, addresses)
        rows = tuple(_row(spec, port, scheme) for spec, port in zip(specs, ports, strict=True))
        registry = self.registry.changed(nodes=rows)
        control_config = {
            **self._front(control_port, Behaviour(), 0.0, self.seed, certificate),
            "registry": registry.to_json(),
            "mint": self.identity.mint(),
            "user": self.identity.login(),
        }
        control_plane = ControlPlane(
            self.resources.child("control-plane", "control_plane", control_config),
            registry,
            url=f"{scheme}://{LOOPBACK}:{control_port.port}",
            ip=LOOPBACK,
            port=control_port.port,
        )
        nodes = []
        for index, (spec, port, row) in enumerate(zip(specs, ports, rows, strict=True), 1):
            config = self._front(port, spec.behaviour, spec.latency, self.seed + index, certificate)
            child = self.resources.child(spec.id, "gateway", {**config, "store": [LOOPBACK, store_port.port]})
            nodes.append(Node(child, spec, row, control_plane))
        return Assembly(
            nodes=tuple(nodes),
            control_plane=control_plane,
            store=self._store(store, store_config, store_port),
            store_url=f"http://{LOOPBACK}:{store_port.port}",
            ca_file=ca_file,
        )

    def _front(
        self,
        port: ReservedPort,
        behaviour: Behaviour,
        distance: float,
        seed: int,
        certificate: list[str] | None,
    ) -> dict[str, Any]:
        return {
            "admin_token": self.identity.admin_token,
            "hosts": port.hosts,
            "port": port.port,
            "tls": certificate,
            "behaviour": behaviour.to_json(),
            "distance": distance,
            "seed": seed,
        }

    def _store(self, kind: StoreKind, config: dict[str, Any], port: ReservedPort) -> Child:
        objects = self.resources.directory / "objects"
        objects.mkdir()
        full = {
            **config,
            "admin_token": self.identity.admin_token,
            "host": LOOPBACK,
            "port": port.port,
            "buckets": self.registry.buckets,
            "directory": str(objects),
            "key_id": self.identity.key_id,
            "key_secret": self.identity.key_secret,
        }
        return self.resources.child("store", f"{kind}_store", full)


def _row(spec: NodeSpec, port: ReservedPort, scheme: str) -> PublishedNode:
    return PublishedNode(
        id=spec.id,
        ip=port.hosts[0],
        port=port.port,
        scheme=scheme,
        region=spec.region,
        provider=spec.provider,
        figure=Figure(status=spec.status, latency=spec.reported),
        services=spec.services,
        private=spec.private,
    )
