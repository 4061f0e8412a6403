"""Public value types: what the verbs return and what the statistics are made of. All frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from flashback_async.errors import FlashbackError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

T = TypeVar("T")


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
        cache_control: how long caches may keep it, where that was stored.
        content_encoding: how the bytes are encoded, such as `gzip`; they are handed out as they are.
        content_disposition: how it is to be presented, such as a file name for downloads.
        checksum: what it was written with (`settings.checksum`), such as `sha256:` and 64 hexadecimal digits;
            None: it was written without.
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
    cache_control: str | None = None
    content_encoding: str | None = None
    content_disposition: str | None = None
    checksum: str | None = None

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
class CommonPrefix:
    """What a listing with a delimiter shows instead of all keys that go on behind it, as a directory.

    Attributes:
        bucket: bucket name.
        prefix: what those keys have in common, up to the delimiter and with it.
    """

    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object, or the mark of its deletion, in a bucket that keeps versions.

    Attributes:
        bucket: bucket name.
        key: object key.
        version_id: what tells it from other versions; `null` where it was written without versions.
        is_latest: whether it is what a read without a version gets.
        is_delete_marker: whether it only says that the object was deleted; then it has no bytes.
        size: length in bytes.
        etag: entity tag with its quotes, None where there is none.
        last_modified: when it was written.
        storage_class: storage class, where the store tells it.
    """

    bucket: str
    key: str
    version_id: str
    is_latest: bool
    is_delete_marker: bool = False
    size: int = 0
    etag: str | None = None
    last_modified: datetime | None = None
    storage_class: str | None = None


@dataclass(frozen=True, slots=True)
class DeletedObject:
    """What a deletion did.

    Attributes:
        bucket: bucket name.
        key: object key.
        version_id: version that was deleted for good, None where none was named.
        delete_marker: version id of the mark that now stands for the object, where the bucket keeps versions.
    """

    bucket: str
    key: str
    version_id: str | None = None
    delete_marker: str | None = None


@dataclass(frozen=True, slots=True)
class BulkResult(Generic[T]):
    """What became of one key of many.

    Attributes:
        key: the key, as it was given.
        outcome: what the verb for one object would have returned, or the error that it would have raised.
    """

    key: str
    outcome: T | FlashbackError

    @property
    def error(self) -> FlashbackError | None:
        """Why it failed; None: it did not."""
        return self.outcome if isinstance(self.outcome, FlashbackError) else None

    @property
    def value(self) -> T:
        """What came of it.

        Raises:
            FlashbackError: `error`, if it failed.
        """
        if isinstance(self.outcome, FlashbackError):
            raise self.outcome
        return self.outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageHeaders:
    """What is seldom said of an object that is written. Stores that do not know a header may refuse it.

    Attributes:
        content_language: language of the content, such as `de`.
        expires: when caches have to ask again; `cache_control` is the newer way.
        acl: canned access rule, such as `private` or `public-read`.
        server_side_encryption: how the store encrypts it: `AES256`, `aws:kms` or `aws:kms:dsse`.
        kms_key_id: the key to encrypt with, where the store's own is not wanted.
        bucket_key: whether the bucket's key is used, so that fewer calls go to the key service.
        website_redirect: where a website made of the bucket sends those who ask for the object.
    """

    content_language: str | None = None
    expires: datetime | None = None
    acl: str | None = None
    server_side_encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    kms_key_id: str | None = None
    bucket_key: bool | None = None
    website_redirect: str | None = None


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
            body, and, held against nobody, conflict for a 409 that passes and lag for timeouts while the
            event loop was blocked.
        hedges: attempts sent beside one that was late (`hedging`).
        hedges_won: hedges whose answer was the one that counted.
        resumed: bodies that went on from another endpoint in mid-stream.
        lost_uploads: multipart uploads that may be open and cost storage: the answers to their creation were
            lost, and with them their ids. A lifecycle rule with AbortIncompleteMultipartUpload removes them.
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
    lost_uploads: int = 0
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


__all__ = [
    "BulkResult",
    "ClientStats",
    "CommonPrefix",
    "DeletedObject",
    "EndpointView",
    "ObjectInfo",
    "ObjectVersion",
    "StorageHeaders",
    "StoredObject",
]
