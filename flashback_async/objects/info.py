"""From boto's dictionaries to this package's values."""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from flashback_async.models import ObjectInfo

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
# Sets the attributes one by one: a frozen class with so many takes twice as long to do it, for every answer.
_bucket, _key, _size, _etag, _modified, _content_type, _metadata, *_rare, _checksum = (
    getattr(ObjectInfo, field.name).__set__ for field in dataclasses.fields(ObjectInfo)
)


def object_info(bucket: str, key: str, fields: Mapping[str, object], *, size: int) -> ObjectInfo:
    """What an answer says of one object; `size` is that of the whole object in bytes."""
    info = object.__new__(ObjectInfo)
    _bucket(info, bucket)
    _key(info, key)
    _size(info, size)
    _etag(info, text(fields, "ETag"))
    modified = fields.get("LastModified")
    _modified(info, modified if isinstance(modified, datetime) else None)
    _content_type(info, text(fields, "ContentType"))
    metadata = fields.get("Metadata")
    if metadata and isinstance(metadata, dict):
        checksum = stored_checksum(fields)
        _metadata(info, callers_metadata(metadata))
        _checksum(info, None if checksum is None else ":".join(checksum))
    else:
        _metadata(info, {})
        _checksum(info, None)
    if _RARE.isdisjoint(fields):  # As in most answers.
        for put in _rare:
            put(info, None)
    else:
        for put, name in zip(_rare, _IN_ORDER, strict=True):
            put(info, text(fields, name))
    return info


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
