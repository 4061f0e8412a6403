"""What an endpoint is, and what discovery reports of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from flashback_async.errors import NoEndpointAvailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class OperationKind(Enum):
    """Reads and writes take different paths through a node, so they have figures of their own."""

    READ = "read"
    WRITE = "write"

    # Members are single objects; Enum's own hash is a Python function, called several times per request.
    __hash__ = object.__hash__


# For what runs with every request; see `outcome`.
READ: Final = OperationKind.READ
WRITE: Final = OperationKind.WRITE


class EndpointStatus(Enum):
    """What the control plane says of a node. Only ONLINE is eligible, the others are a last resort."""

    ONLINE = "online"
    OFFLINE = "offline"
    DISCONNECTED = "disconnected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One gateway that can serve every bucket of the table.

    Attributes:
        id: stable name of the node; statistics follow it as long as the URL stays the same.
        url: base URL of its S3 interface, `scheme://host[:port]`.
        region: region as reported, empty where unknown.
    """

    id: str
    url: str
    region: str = ""

    def __hash__(self) -> int:
        """Ids differ where endpoints do, nearly always; every request looks its endpoint up."""
        return hash(self.id)


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """One row of a discovery.

    Attributes:
        endpoint: whom the row is about.
        status: what the control plane says of the whole node.
        reported_latency: S3 bucket name -> seconds from the node to the bucket; the key None holds the
            node's own figure, used for buckets without one. Zero, negative and non-finite values mean
            unknown, never fastest (the control plane sends 0 for nodes that it lost).
        offline_buckets: buckets that the node cannot reach although it is online.
    """

    endpoint: Endpoint
    status: EndpointStatus = EndpointStatus.ONLINE
    reported_latency: Mapping[str | None, float] = field(default_factory=lambda: MappingProxyType({}))
    offline_buckets: frozenset[str] = frozenset()

    def latency_of(self, bucket: str | None) -> float | None:
        """Published seconds from the node to `bucket`, None while unknown."""
        latencies = self.reported_latency
        if not latencies:
            return None
        latency = latencies.get(bucket)
        if latency is None and bucket is not None:
            latency = latencies.get(None)
        return latency if latency is not None and 0.0 < latency < inf else None

    def serves(self, bucket: str | None) -> bool:
        """Whether the control plane thinks that a request for `bucket` can succeed here."""
        return self.status is EndpointStatus.ONLINE and bucket not in self.offline_buckets


def unlisted(endpoint_id: str, known: Iterable[str]) -> NoEndpointAvailableError:
    """The error for an id that is not in the table; it names those that are."""
    return NoEndpointAvailableError(
        f"endpoint {endpoint_id!r} is not in the table; known ones: {', '.join(known) or 'none'}",
        detail={endpoint_id: "not in the table"},
    )
