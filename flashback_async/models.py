"""Public value types: what the verbs return and what the statistics are made of. All frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What the store says of one object.

    Attributes:
        bucket: bucket name.
        key: object key.
        size: length of the whole object in bytes.
        etag: entity tag with its quotes, None where the store gave none.
        last_modified: time of the last write, None where the store gave none (as after a put).
        content_type: media type, None where unknown (listings do not carry it).
        metadata: user metadata, lower-case names without the `x-amz-meta-` prefix.
        version_id: version of the object, where the bucket keeps versions.
        storage_class: storage class, where it is not the default.
    """

    bucket: str
    key: str
    size: int
    etag: str | None = None
    last_modified: datetime | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    version_id: str | None = None
    storage_class: str | None = None

    def __post_init__(self) -> None:
        """Copy the metadata: the value must not change under its holder."""
        object.__setattr__(self, "metadata", dict(self.metadata))


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object read whole, or the part of it that was asked for.

    Attributes:
        body: the bytes.
        info: what the store says of the object; `info.size` is that of the whole object.
        endpoint: id of the endpoint that served the last byte.
        attempts: attempts it took, 1 when nothing went wrong.
    """

    body: bytes = field(repr=False)
    info: ObjectInfo
    endpoint: str
    attempts: int


@dataclass(frozen=True, slots=True)
class EndpointView:
    """One endpoint as the router sees it, at the moment of the call.

    Attributes:
        id: stable name of the node.
        url: base URL of its S3 interface.
        region: region as reported, empty where unknown.
        status: ONLINE, OFFLINE, DISCONNECTED or UNKNOWN.
        breaker: closed, open or half-open.
        latency: seconds to the first byte that a read is expected to take, None while unknown.
        write_latency: the same for a small write.
        throughput: bytes per second of large bodies, None while unknown.
        in_flight: requests waiting for their first byte.
        streaming: bodies being read.
        requests: attempts settled since the endpoint joined.
        failures: attempts among them that were the endpoint's fault, timeouts included.
        throttled: attempts among them that were answered with 429 or SlowDown.
        opened: how often its breaker opened.
        retry_in: seconds until an open breaker admits a trial or a rate limit a request, 0 otherwise.
    """

    id: str
    url: str
    region: str
    status: str
    breaker: str
    latency: float | None
    write_latency: float | None
    throughput: float | None
    in_flight: int
    streaming: int
    requests: int
    failures: int
    throttled: int
    opened: int
    retry_in: float


@dataclass(frozen=True, slots=True)
class ClientStats:
    """Counters of one client since it started; gauges at the moment of the call.

    Attributes:
        operations: operations that ended, well or not.
        failed: operations that raised an error other than the service's own answer.
        attempts: attempts sent, first ones included.
        retries: attempts after a failed one of their operation.
        failovers: retries that moved to another endpoint, per cause: connect, timeout, server, throttled,
            body, and lag for timeouts while the event loop was blocked, which are held against nobody.
        hedges: attempts sent beside one that was late (`hedging`).
        hedges_won: hedges whose answer was the one that counted.
        resumed: bodies that went on from another endpoint in mid-stream.
        bytes_read: body bytes handed to callers.
        bytes_written: body bytes of successful puts.
        leases: leases held now, whether by operations, bodies or `lease_endpoint`.
        in_flight: operations running now.
        retry_budget: tokens left in the retry budget that all endpoints share.
        hedge_budget: hedges that may be sent now.
        table_age: seconds since the table of endpoints was last confirmed; None before the first time.
        table_stale: whether discovery has failed for so long that the table may be out of date.
        discoveries: discoveries that succeeded.
        discovery_failures: discoveries that failed.
        unmatched_rows: rows of statistics in the last discovery that fit no node.
        dropped_rows: rows in the last discovery that were malformed or named a host that is not allowed.
        loop_lag: seconds that the event loop was blocked at most in the last 10 s. More than a few
            hundredths slow every request down; move long computations to a thread.
    """

    operations: int = 0
    failed: int = 0
    attempts: int = 0
    retries: int = 0
    failovers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    hedges: int = 0
    hedges_won: int = 0
    resumed: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    leases: int = 0
    in_flight: int = 0
    retry_budget: int = 0
    hedge_budget: int = 0
    table_age: float | None = None
    table_stale: bool = False
    discoveries: int = 0
    discovery_failures: int = 0
    unmatched_rows: int = 0
    dropped_rows: int = 0
    loop_lag: float = 0.0


__all__ = ["ClientStats", "EndpointView", "ObjectInfo", "StoredObject"]
