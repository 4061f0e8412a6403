"""Listings of a `MemoryStore`, page by page, in boto's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flashback_async.testing.store import MemoryStore, Version
    from flashback_async.transport.operation import Operation

_MANY = 1_000


def page_of_objects(store: MemoryStore, operation: Operation) -> dict[str, object]:
    """What ListObjectsV2 answers."""
    bucket, given = str(operation.bucket), operation.parameters
    prefix, delimiter, limit = _asked(given)
    # The token is the last row told, so that writes between two pages move nothing.
    after = str(given.get("ContinuationToken") or given.get("StartAfter", ""))
    rows = [
        row
        for row in _summed_up(store.keys(bucket, prefix), prefix, delimiter)
        if row.encode() > after.encode()
        and not (_is_common(row, prefix, delimiter) and after.startswith(row))
    ]
    page = rows[:limit]
    fields: dict[str, object] = {
        "Name": bucket,
        "Prefix": prefix,
        "MaxKeys": limit,
        "KeyCount": len(page),
        "IsTruncated": len(page) < len(rows),
    }
    common = [row for row in page if _is_common(row, prefix, delimiter)]
    objects = [row for row in page if row not in common]
    if objects:
        fields["Contents"] = [_object_row(store, bucket, key) for key in objects]
    if common:
        fields["CommonPrefixes"] = [{"Prefix": row} for row in common]
    if len(page) < len(rows):
        fields["NextContinuationToken"] = page[-1]
    return fields


def page_of_versions(store: MemoryStore, operation: Operation) -> dict[str, object]:
    """What ListObjectVersions answers."""
    bucket, given = str(operation.bucket), operation.parameters
    prefix, _, limit = _asked(given)
    rows = [
        (key, version, number == 0)
        for key in store.keys_of_versions(bucket, prefix)
        for number, version in enumerate(store.versions(bucket, key))
    ]
    key_marker, version_marker = given.get("KeyMarker"), given.get("VersionIdMarker")
    if key_marker is not None:
        places = [
            place
            for place, (key, version, _) in enumerate(rows)
            if key == key_marker and version_marker in {None, version.version_id}
        ]
        rows = rows[max(places) + 1 :] if places else [row for row in rows if row[0] > str(key_marker)]
    page = rows[:limit]
    fields: dict[str, object] = {
        "Name": bucket,
        "Prefix": prefix,
        "MaxKeys": limit,
        "IsTruncated": len(page) < len(rows),
    }
    for name, is_marker in (("Versions", False), ("DeleteMarkers", True)):
        found = [
            _version_row(key, version, is_latest=is_latest)
            for key, version, is_latest in page
            if version.is_delete_marker is is_marker
        ]
        if found:
            fields[name] = found
    if len(page) < len(rows):
        last_key, last, _ = page[-1]
        fields |= {"NextKeyMarker": last_key, "NextVersionIdMarker": last.version_id}
    return fields


def _asked(given: Mapping[str, object]) -> tuple[str, str, int]:
    limit = given.get("MaxKeys", _MANY)
    assert isinstance(limit, int), "boto refuses anything else"
    return str(given.get("Prefix", "")), str(given.get("Delimiter", "")), min(limit, _MANY)


def _summed_up(keys: Sequence[str], prefix: str, delimiter: str) -> list[str]:
    """The keys, those that go on behind a delimiter as what they have in common; each once."""
    if not delimiter:
        return list(keys)
    rows = []
    for key in keys:
        head, found, _ = key[len(prefix) :].partition(delimiter)
        rows.append(prefix + head + found)
    return list(dict.fromkeys(rows))


def _is_common(row: str, prefix: str, delimiter: str) -> bool:
    return bool(delimiter) and delimiter in row[len(prefix) :]


def _object_row(store: MemoryStore, bucket: str, key: str) -> dict[str, object]:
    version = store.get(bucket, key)
    assert version is not None, "it was listed a moment ago"
    return {
        "Key": key,
        "Size": len(version.data),
        "ETag": version.etag,
        "LastModified": version.last_modified,
        "StorageClass": version.headers.get("StorageClass", "STANDARD"),
    }


def _version_row(key: str, version: Version, *, is_latest: bool) -> dict[str, object]:
    row: dict[str, object] = {
        "Key": key,
        "VersionId": version.version_id,
        "IsLatest": is_latest,
        "LastModified": version.last_modified,
    }
    if not version.is_delete_marker:
        row |= {"Size": len(version.data), "ETag": version.etag, "StorageClass": "STANDARD"}
    return row
