"""From boto's dictionaries to this package's values."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from flashback_async.models import ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

# Metadata by which a conditional write is told from another one with the same bytes.
WRITE_ID = "flashback-write-id"

_RARE = (
    ("VersionId", "version_id"),
    ("StorageClass", "storage_class"),
    ("CacheControl", "cache_control"),
    ("ContentEncoding", "content_encoding"),
    ("ContentDisposition", "content_disposition"),
)


def object_info(bucket: str, key: str, fields: Mapping[str, object], *, size: int) -> ObjectInfo:
    """What an answer says of one object; `size` is that of the whole object in bytes."""
    metadata = fields.get("Metadata")
    modified = fields.get("LastModified")
    # Most answers have none of these.
    rare = {name: text(fields, said) for said, name in _RARE if said in fields}
    return ObjectInfo(
        bucket=bucket,
        key=key,
        size=size,
        etag=text(fields, "ETag"),
        last_modified=modified if isinstance(modified, datetime) else None,
        content_type=text(fields, "ContentType"),
        metadata=without_write_id(metadata) if metadata and isinstance(metadata, dict) else {},
        **rare,
    )


def without_write_id(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata that is the caller's."""
    return {name: value for name, value in metadata.items() if name != WRITE_ID}


def text(fields: Mapping[str, object], name: str) -> str | None:
    """A field that is text, None where it is missing."""
    value = fields.get(name)
    return value if isinstance(value, str) else None


def number(fields: Mapping[str, object], name: str) -> int:
    """A field that is a whole number, 0 where it is missing."""
    value = fields.get(name)
    return value if isinstance(value, int) else 0
