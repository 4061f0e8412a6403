"""What the control plane knows: nodes with their published figures, buckets, rows injected verbatim."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from flashback_async.sandbox.variant import Variant

_NAMESPACE = uuid5(NAMESPACE_DNS, "sandbox.flashback.tech")


def stable_uuid(kind: str, name: str) -> str:
    """The UUID of a node, bucket or organization: the same name gives the same UUID in every sandbox."""
    return str(uuid5(_NAMESPACE, f"{kind}:{name}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A status and a latency in seconds (None: not reported) that a node reports."""

    status: str
    latency: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedNode:
    """One node as the control plane sees it.

    Attributes:
        figure: what it reports for every bucket.
        exceptions: bucket name -> what it reports for that one.
        services: bitmask; 1 is storage.
        private: listed for the organization only.
    """

    id: str
    ip: str
    port: int
    scheme: str
    region: str
    provider: str
    figure: Figure
    exceptions: dict[str, Figure] = field(default_factory=dict)
    services: int = 1
    private: bool = False

    @property
    def uuid(self) -> str:
        """The node's UUID."""
        return stable_uuid("node", self.id)

    @property
    def host(self) -> str:
        """Address and port."""
        return f"{self.ip}:{self.port}"

    def reported(self, bucket: str) -> Figure:
        """What the node reports for a bucket."""
        return self.exceptions.get(bucket, self.figure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All of it; replaced whole. Of two, the one with the higher `version` is the newer."""

    org_id: str
    key_id: str
    nodes: tuple[PublishedNode, ...]
    buckets: tuple[str, ...]
    variant: Variant = field(default_factory=Variant)
    extra_nodes: tuple[dict[str, Any], ...] = ()
    extra_stats: tuple[dict[str, Any], ...] = ()
    version: int = 0

    def bucket_id(self, name: str) -> str:
        """The UUID of a bucket."""
        return stable_uuid("bucket", name)

    @property
    def repository_id(self) -> str:
        """The UUID of the one repository."""
        return stable_uuid("repository", self.org_id)

    @property
    def key_uuid(self) -> str:
        """The UUID of the one S3 key."""
        return stable_uuid("key", self.key_id)

    def publish(self, node_id: str, bucket: str | None, **changes: Any) -> Registry:
        """A newer registry in which one node reports something else, for one bucket or for all."""
        nodes = []
        for node in self.nodes:
            if node.id != node_id:
                nodes.append(node)
            elif bucket is None:
                nodes.append(replace(node, figure=replace(node.figure, **changes), exceptions={}))
            else:
                figure = replace(node.reported(bucket), **changes)
                nodes.append(replace(node, exceptions={**node.exceptions, bucket: figure}))
        return self.changed(nodes=tuple(nodes))

    def as_first(self, first: Registry) -> Registry:
        """A newer registry that says what `first` said; only the buckets are those of now."""
        return replace(first, buckets=self.buckets, version=self.version + 1)

    def changed(self, **changes: Any) -> Registry:
        """A newer registry with other values."""
        return replace(self, version=self.version + 1, **changes)

    def to_json(self) -> dict[str, Any]:
        """The registry as plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Registry:
        """The inverse of `to_json`."""
        nodes = tuple(
            PublishedNode(
                **{
                    **node,
                    "figure": Figure(**node["figure"]),
                    "exceptions": {name: Figure(**one) for name, one in node["exceptions"].items()},
                }
            )
            for node in data["nodes"]
        )
        return cls(
            **{
                **data,
                "nodes": nodes,
                "variant": Variant(**data["variant"]),
                "buckets": tuple(data["buckets"]),
                "extra_nodes": tuple(data["extra_nodes"]),
                "extra_stats": tuple(data["extra_stats"]),
            }
        )
