"""Rows of the control plane's answers, as tolerant as its documentation is contradictory.

Numbers may be text, names come in two spellings, times in several forms; what cannot be read is "unknown"
where a row makes sense without it, and costs the row where it does not.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ROWS = 10_000
"""Rows that are read of one answer: 200 nodes times 50 buckets."""

STORAGE = 1
"""The bit of `nodeServices` that says a node serves storage."""

IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$"
"""What can be one segment of a path and one item of a comma-joined list; UUIDs are."""

_LONGEST_TEXT = 2_048
_MILLISECONDS = 1e11  # as seconds since 1970 that would lie beyond the year 5000


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("is no text")  # noqa: TRY004  # pydantic counts ValueErrors as malformed
    text = str(value).strip()
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        raise ValueError("is too long or holds control characters")
    return text


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _latency(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0.0 else None


def _bits(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _time(value: object) -> datetime | None:
    number = _number(value)
    try:
        if number is not None:
            return datetime.fromtimestamp(number / 1000.0 if number > _MILLISECONDS else number, UTC)
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except (ValueError, OverflowError, OSError):
        return None
    if not isinstance(moment, datetime):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Text = Annotated[str, BeforeValidator(_text)]
Name = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
Identifier = Annotated[str, BeforeValidator(_text), Field(pattern=IDENTIFIER)]
Status = Annotated[str, BeforeValidator(lambda value: _text(value).upper())]
Milliseconds = Annotated[float | None, BeforeValidator(_latency)]
Bits = Annotated[int | None, BeforeValidator(_bits)]
Moment = Annotated[datetime | None, BeforeValidator(_time)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)


class Node(_Row):
    """One bridge node, as `GET /node` and `GET /organization/{id}/nodes` list it.

    Attributes:
        url: where it listens; a URL, a bare host, or a pattern such as `*-us-east-1-aws.flashback.tech`.
        id: its id, empty where the control plane gives none.
        ip: its address, empty where unknown.
        region: such as us-east-1.
        version: of its software.
        status: in capitals; ONLINE, OFFLINE, DISCONNECTED, or whatever else was sent.
        latency_ms: milliseconds from the node to its buckets; None while unknown (as 0 and null are).
        last_updated: when the node last reported; organization nodes always say "now".
        org_id: organization that owns it, empty for public nodes.
        services: bits of the services it offers, None where not told (then it serves storage).
    """

    url: Name
    id: Text = Field(default="", validation_alias=AliasChoices("id", "nodeId"))
    ip: Text = ""
    region: Text = ""
    version: Text = ""
    status: Status = ""
    latency_ms: Milliseconds = Field(default=None, validation_alias=AliasChoices("latencyMs", "latency_ms"))
    last_updated: Moment = Field(default=None, validation_alias="lastUpdated")
    org_id: Text = Field(default="", validation_alias=AliasChoices("id_org", "orgId", "idOrg"))
    services: Bits = Field(default=None, validation_alias="nodeServices")

    @property
    def serves_storage(self) -> bool:
        """Whether it speaks S3 at all."""
        return self.services is None or bool(self.services & STORAGE)


class NodeMinute(_Row):
    """What one node last said of one bucket: a row of `GET /stats/nodes/minute`.

    Attributes:
        node_id: names the node by its id, its address or its host; which one is not documented.
        bucket_id: Flashback's UUID of the bucket.
        status: of the bucket as seen from the node, in capitals; empty where not told.
        latency_ms: milliseconds from the node to the bucket; None while unknown (as 0 and null are).
        last_updated: when the node reported it.
    """

    node_id: Name = Field(validation_alias=AliasChoices("nodeId", "node_id"))
    bucket_id: Name = Field(validation_alias=AliasChoices("bucketId", "unitId"))
    status: Status = Field(default="", validation_alias=AliasChoices("nodeStatus", "status"))
    latency_ms: Milliseconds = Field(default=None, validation_alias=AliasChoices("latency_ms", "latencyMs"))
    last_updated: Moment = Field(default=None, validation_alias="lastUpdated")


class BucketNode(_Row):
    """What one node last said of the bucket that was asked for: a row of `GET /bucket/{id}/status`.

    Attributes:
        node_id: address of the node.
        region: such as us-east-1.
        version: of its software.
        status: of the bucket as seen from the node, in capitals; empty where not told.
        latency_ms: milliseconds from the node to the bucket; None while unknown (as 0 and null are).
        last_updated: when the node reported it.
    """

    node_id: Name = Field(validation_alias=AliasChoices("ip", "nodeId"))
    region: Text = ""
    version: Text = ""
    status: Status = Field(default="", validation_alias=AliasChoices("status", "nodeStatus"))
    latency_ms: Milliseconds = Field(default=None, validation_alias=AliasChoices("latency_ms", "latencyMs"))
    last_updated: Moment = Field(default=None, validation_alias="lastUpdated")


class Bucket(_Row):
    """One bucket of the account: a row of `GET /bucket`. Its provider's credentials are not kept.

    Attributes:
        id: Flashback's UUID.
        bucket: name of the bucket at its provider, which is its S3 name.
        name: name shown to people.
        storage_type: S3, GCS, BLOB, or whatever else was sent.
        endpoint: of the provider, not of a node.
        region: of the provider.
        status: in capitals.
        workspace_id: workspace that it belongs to.
    """

    id: Identifier
    bucket: Name
    name: Text = ""
    storage_type: Text = Field(default="", validation_alias="storageType")
    endpoint: Text = ""
    region: Text = ""
    status: Status = ""
    workspace_id: Text = Field(default="", validation_alias="workspaceId")


T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R", bound=_Row)


class Rows(tuple[T_co, ...]):  # noqa: SLOT001  # a tuple cannot have slots of its own
    """A tuple of rows that knows how many more there were.

    Attributes:
        dropped: rows left out because they were malformed or beyond the limit of 10,000.
    """

    dropped: int

    def __new__(cls, rows: Iterable[T_co] = (), *, dropped: int = 0) -> Rows[T_co]:
        """Make a tuple of `rows`."""
        made = super().__new__(cls, rows)
        made.dropped = dropped
        return made


def parsed_rows(kind: type[R], raw: list[object]) -> Rows[R]:
    """The rows that make sense; the others are counted."""
    rows = []
    for item in raw[:MAX_ROWS]:
        try:
            rows.append(kind.model_validate(item))
        except ValidationError:
            continue
    return Rows(rows, dropped=len(raw) - len(rows))


class BucketStatus(_Row):
    """What every node says of one bucket.

    Attributes:
        bucket_id: Flashback's UUID of the bucket.
        nodes: one row per node.
        dropped: rows left out because they were malformed.
    """

    bucket_id: str
    nodes: tuple[BucketNode, ...] = ()
    dropped: int = 0


__all__ = [
    "IDENTIFIER",
    "MAX_ROWS",
    "STORAGE",
    "Bucket",
    "BucketNode",
    "BucketStatus",
    "Node",
    "NodeMinute",
    "Rows",
    "parsed_rows",
]
