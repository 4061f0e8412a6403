"""The storage behind the in-memory endpoints: what S3 keeps, without how it is reached."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import TYPE_CHECKING

from flashback_async.testing.multipart import OpenUploads

if TYPE_CHECKING:
    from collections.abc import Mapping

# Last-Modified of the first write; each further write is a second later, so that tests see equal times.
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)

DEFAULT_TYPE = "binary/octet-stream"


@dataclass(frozen=True, slots=True)
class Version:
    """What one write stored under a key.

    Attributes:
        data: the bytes.
        etag: MD5 of the bytes in quotes, as S3 has it for plain puts; for what was written in parts that of
            the parts' MD5s, and their number.
        last_modified: when it was written; distinct for every write to the store.
        content_type: media type.
        metadata: user metadata.
        headers: what else was stored with it, in boto's names.
        tags: its tags.
        version_id: its version, None where the bucket keeps none.
        is_delete_marker: whether it only says that the object was deleted.
    """

    data: bytes = field(repr=False)
    etag: str
    last_modified: datetime
    content_type: str = DEFAULT_TYPE
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    version_id: str | None = None
    is_delete_marker: bool = False


class MemoryStore:
    """Buckets and objects in memory, for any number of endpoints in front of them.

    Args:
        buckets: names of buckets that exist from the start; `put` makes the others.
        versioned: buckets among them that keep every version.

    Attributes:
        uploads: multipart uploads that are neither completed nor aborted.
    """

    def __init__(self, *buckets: str, versioned: tuple[str, ...] = ()) -> None:
        self._buckets: dict[str, dict[str, Version]] = {name: {} for name in (*buckets, *versioned)}
        self._versioned = frozenset(versioned)
        # The versions that can be read, oldest first, where a bucket keeps them.
        self._kept: dict[tuple[str, str], list[Version]] = {}
        self._history: dict[tuple[str, str], list[Version]] = {}
        self._writes = 0
        self.uploads = OpenUploads()

    def __repr__(self) -> str:
        objects = sum(map(len, self._buckets.values()))
        return f"<MemoryStore: {len(self._buckets)} buckets, {objects} objects>"

    def __contains__(self, bucket: object) -> bool:
        """Whether there is a bucket of that name."""
        return bucket in self._buckets

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str = DEFAULT_TYPE,
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
        etag: str | None = None,
    ) -> Version:
        """Write one object, replacing what was there; a bucket that does not exist is made.

        `etag`: where it is not the MD5 of the bytes, as of an object that was written in parts.
        """
        version = Version(
            data=data,
            etag=f'"{md5(data, usedforsecurity=False).hexdigest()}"' if etag is None else etag,
            last_modified=EPOCH + timedelta(seconds=self._writes),
            content_type=content_type,
            metadata=dict(metadata or {}),
            headers=dict(headers or {}),
            tags=dict(tags or {}),
        )
        version = self._numbered(bucket, key, version)
        self._buckets.setdefault(bucket, {})[key] = version
        self._history.setdefault((bucket, key), []).append(version)
        return version

    def get(self, bucket: str, key: str, version_id: str | None = None) -> Version | None:
        """What is stored under a key, now or as the version named; None if nothing is."""
        if version_id is None:
            return self._buckets.get(bucket, {}).get(key)
        return next((each for each in self.versions(bucket, key) if each.version_id == version_id), None)

    def delete(self, bucket: str, key: str, version_id: str | None = None) -> Version | None:
        """Delete one object; one that is not there counts as deleted.

        Args:
            bucket: bucket name.
            key: object key.
            version_id: the version to delete for good, where the bucket keeps them.

        Returns:
            The mark that stands for the object now, where the bucket keeps versions and none was named.
        """
        if bucket not in self._versioned:
            self._buckets.get(bucket, {}).pop(key, None)
            return None
        if version_id is None:
            mark = Version(b"", "", EPOCH + timedelta(seconds=self._writes), is_delete_marker=True)
            self._buckets[bucket].pop(key, None)
            return self._numbered(bucket, key, mark)
        kept = [each for each in self._kept.get((bucket, key), []) if each.version_id != version_id]
        self._kept[bucket, key] = kept
        if kept and not kept[-1].is_delete_marker:
            self._buckets[bucket][key] = kept[-1]
        else:
            self._buckets[bucket].pop(key, None)
        return None

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """The keys under `prefix`, in the order of their UTF-8 bytes, as S3 lists them."""
        return sorted(
            (key for key in self._buckets.get(bucket, {}) if key.startswith(prefix)), key=str.encode
        )

    def versions(self, bucket: str, key: str) -> tuple[Version, ...]:
        """What can be read under a key, newest first, marks of deletions included.

        Where the bucket keeps no versions that is the object itself, as version `null`.
        """
        if bucket in self._versioned:
            return tuple(reversed(self._kept.get((bucket, key), ())))
        version = self.get(bucket, key)
        return () if version is None else (replace(version, version_id="null"),)

    def keys_of_versions(self, bucket: str, prefix: str = "") -> list[str]:
        """As `keys`, with those of which only old versions are left."""
        kept = {key for (name, key), versions in self._kept.items() if name == bucket and versions}
        return sorted(
            {key for key in kept if key.startswith(prefix)} | {*self.keys(bucket, prefix)}, key=str.encode
        )

    def history(self, bucket: str, key: str) -> tuple[Version, ...]:
        """Every version that was ever written under a key, oldest first; deletions leave no trace."""
        return tuple(self._history.get((bucket, key), ()))

    def _numbered(self, bucket: str, key: str, version: Version) -> Version:
        self._writes += 1
        if bucket not in self._versioned:
            return version
        version = replace(version, version_id=f"v{self._writes}")
        self._kept.setdefault((bucket, key), []).append(version)
        return version


__all__ = ["MemoryStore", "Version"]
