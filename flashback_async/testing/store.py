"""The storage behind the in-memory endpoints: what S3 keeps, without how it is reached."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    """

    data: bytes = field(repr=False)
    etag: str
    last_modified: datetime
    content_type: str = DEFAULT_TYPE
    metadata: Mapping[str, str] = field(default_factory=dict)


class MemoryStore:
    """Buckets and objects in memory, for any number of endpoints in front of them.

    Args:
        buckets: names of buckets that exist from the start; `put` makes the others.

    Attributes:
        uploads: multipart uploads that are neither completed nor aborted.
    """

    def __init__(self, *buckets: str) -> None:
        self._buckets: dict[str, dict[str, Version]] = {name: {} for name in buckets}
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
        )
        self._writes += 1
        self._buckets.setdefault(bucket, {})[key] = version
        self._history.setdefault((bucket, key), []).append(version)
        return version

    def get(self, bucket: str, key: str) -> Version | None:
        """What is stored under a key now, None if nothing is."""
        return self._buckets.get(bucket, {}).get(key)

    def delete(self, bucket: str, key: str) -> None:
        """Delete one object; one that is not there counts as deleted."""
        self._buckets.get(bucket, {}).pop(key, None)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """The keys under `prefix`, in the order of their UTF-8 bytes, as S3 lists them."""
        return sorted(
            (key for key in self._buckets.get(bucket, {}) if key.startswith(prefix)), key=str.encode
        )

    def history(self, bucket: str, key: str) -> tuple[Version, ...]:
        """Every version that was ever written under a key, oldest first; deletions leave no trace."""
        return tuple(self._history.get((bucket, key), ()))


__all__ = ["MemoryStore", "Version"]
