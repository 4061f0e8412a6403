"""Which nodes a cluster has, and how far away they are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from flashback_async.sandbox.behaviour import Behaviour
from flashback_async.sandbox.errors import require

if TYPE_CHECKING:
    from collections.abc import Sequence

REGIONS: Final = ("us-east-1", "eu-central-1", "ap-southeast-1")
PROVIDERS: Final = ("aws", "gcp", "azure")

_LATENCIES: Final = (0.002, 0.008, 0.025, 0.060)
"""Seconds; the first node is near, the fourth on another continent."""

MAX_NODES: Final = 200

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TAKEN: Final = ("store", "control-plane")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """One gateway.

    Attributes:
        id: its name in the cluster, of letters, digits, dots, dashes and underscores; empty: `node-1`, ...
        region: as published.
        provider: as published: aws, gcp or azure.
        latency: seconds that every request to it takes longer, probes included: its distance.
        published_latency: seconds from node to bucket that the control plane reports; `real`: the same as
            `latency`; None: not reported.
        status: as published: ONLINE, OFFLINE or DISCONNECTED.
        behaviour: how it treats requests; healing brings it back to this.
        services: bitmask of what it offers; 1 is storage.
        private: listed for the organization only.
    """

    id: str = ""
    region: str = REGIONS[0]
    provider: str = PROVIDERS[0]
    latency: float = 0.0
    published_latency: float | Literal["real"] | None = "real"
    status: str = "ONLINE"
    behaviour: Behaviour = field(default_factory=Behaviour)
    services: int = 1
    private: bool = False

    def __post_init__(self) -> None:
        require(
            not self.id or (_ID.fullmatch(self.id) is not None and self.id not in _TAKEN),
            f"id={self.id!r}: give letters, digits, dots, dashes and underscores, but not {_TAKEN}",
        )
        require(self.latency >= 0, f"latency={self.latency!r}: give seconds, zero or more")
        published = self.reported
        require(
            published is None or published >= 0,
            f"published_latency={published!r}: give seconds, zero or more",
        )

    @property
    def reported(self) -> float | None:
        """Seconds that the control plane reports."""
        return self.latency if isinstance(self.published_latency, str) else self.published_latency


def node_specs(nodes: int | Sequence[NodeSpec], latency: float | None) -> tuple[NodeSpec, ...]:
    """The nodes of a cluster: given, or as many as asked for, spread over regions and distances."""
    if isinstance(nodes, int):
        require(1 <= nodes <= MAX_NODES, f"nodes={nodes!r}: give a number from 1 to {MAX_NODES}")
        specs = tuple(
            NodeSpec(
                region=REGIONS[index % len(REGIONS)],
                provider=PROVIDERS[index // len(REGIONS) % len(PROVIDERS)],
                latency=_distance(index) if latency is None else latency,
            )
            for index in range(nodes)
        )
    else:
        specs = tuple(nodes)
        require(1 <= len(specs) <= MAX_NODES, f"nodes={nodes!r}: give 1 to {MAX_NODES} of NodeSpec")
        require(
            latency is None, "latency= spreads numbered nodes; with NodeSpec, set latency in each of them"
        )
    specs = tuple(replace(spec, id=spec.id or f"node-{index}") for index, spec in enumerate(specs, 1))
    names = [spec.id for spec in specs]
    require(len(set(names)) == len(names), f"node ids {names!r} are not unique: give each its own")
    return specs


def _distance(index: int) -> float:
    extra = max(0, index - len(_LATENCIES) + 1)
    return _LATENCIES[min(index, len(_LATENCIES) - 1)] + 0.02 * extra
