"""From boto's dictionaries to this package's values."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from flashback_async.models import ObjectInfo
from flashback_async.objects.frozen import maker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashback_async.config import ChecksumAlgorithm

# Metadata by which a conditional write is told from another one with the same bytes.
WRITE_ID: Final = "flashback-write-id"
# Metadata that holds the checksum of the whole object, by its algorithm, and the digits that it has.
CHECKSUM_NAMES: Final[Mapping[ChecksumAlgorithm, str]] = {
    "crc32c": "flashback-crc32c",
    "sha256": "flashback-sha256",
    "md5": "flashback-md5",
}
_DIGITS: Final[Mapping[ChecksumAlgorithm, int]] = {"crc32c": 8, "sha256": 64, "md5": 32}
_OURS: Final = frozenset({WRITE_ID, *CHECKSUM_NAMES.values()})

# In the order of the attributes of ObjectInfo.
_IN_ORDER: Final = ("VersionId", "StorageClass", "CacheControl", "ContentEncoding", "ContentDisposition")
_RARE: Final = frozenset(_IN_ORDER)
_NO_RARE: Final = (None,) * len(_IN_ORDER)
_info = maker(ObjectInfo)


def object_info(bucket: str, key: str, fields: Mapping[str, object], *, size: int) -> ObjectInfo:
    """What an answer says of one object; `size` is that of the whole object in bytes."""
    modified, metadata = fields.get("LastModified"), fields.get("Metadata")
    checksum = None
    if metadata and isinstance(metadata, dict):
        checksum = stored_checksum(fields)
        metadata = callers_metadata(metadata)
    else:
        metadata = {}
    return _info(
        bucket,
        key,
        size,
        text(fields, "ETag"),
        modified if isinstance(modified, datetime) else None,
        text(fields, "ContentType"),
        metadata,
        # Most answers have none of these.
        *(_NO_RARE if _RARE.isdisjoint(fields) else [text(fields, name) for name in _IN_ORDER]),
        None if checksum is None else ":".join(checksum),
    )


def callers_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata that is the caller's."""
    return {name: value for name, value in metadata.items() if name not in _OURS}


def stored_checksum(fields: Mapping[str, object]) -> tuple[ChecksumAlgorithm, str] | None:
    """The checksum that an object was written with, and its algorithm; None: it was written without."""
    metadata = fields.get("Metadata")
    if not metadata or not isinstance(metadata, dict):
        return None
    for algorithm, name in CHECKSUM_NAMES.items():
        value = metadata.get(name)
        if isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{_DIGITS[algorithm]}}}", value):
            return algorithm, value
    return None


def text(fields: Mapping[str, object], name: str) -> str | None:
    """A field that is text, None where it is missing."""
    value = fields.get(name)
    return value if isinstance(value, str) else None


def number(fields: Mapping[str, object], name: str) -> int:
    """A field that is a whole number, 0 where it is missing."""
    value = fields.get(name)
    return value if isinstance(value, int) else 0
