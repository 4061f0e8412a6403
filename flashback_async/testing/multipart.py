"""Multipart uploads that are under way at in-memory endpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import md5
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class UploadInParts:
    """One upload that is neither completed nor aborted.

    Attributes:
        upload_id: its UploadId.
        bucket: its bucket.
        key: the key of the object that it is to become.
        parameters: what it was created with, in boto's names.
        parts: the bytes that arrived, by part number.
    """

    upload_id: str
    bucket: str
    key: str
    parameters: Mapping[str, object]
    parts: dict[int, bytes] = field(default_factory=dict)

    def put(self, part_number: int, data: bytes) -> str:
        """Take one part, replacing what was there; returns its ETag."""
        self.parts[part_number] = data
        return f'"{_digest(data).hex()}"'

    def joined(self, parts: list[tuple[int, str]]) -> tuple[bytes, str] | None:
        """The object made of parts (number, ETag), and its ETag; None if they are not those that came."""
        if not parts or [number for number, _ in parts] != sorted({number for number, _ in parts}):
            return None
        found = [self.parts.get(number) for number, _ in parts]
        data = [each for each in found if each is not None]
        if len(data) < len(parts) or any(
            _digest(each).hex() != etag.strip('"') for each, (_, etag) in zip(data, parts, strict=True)
        ):
            return None
        digests = b"".join(map(_digest, data))
        return b"".join(data), f'"{_digest(digests).hex()}-{len(parts)}"'


class OpenUploads:
    """Uploads under way, by UploadId. A store has one for all endpoints; an endpoint may have its own."""

    def __init__(self) -> None:
        self._open: dict[str, UploadInParts] = {}
        self._numbers = count(1)

    def __repr__(self) -> str:
        return f"<OpenUploads: {', '.join(self._open) or 'none'}>"

    def __len__(self) -> int:
        return len(self._open)

    def create(self, bucket: str, key: str, parameters: Mapping[str, object]) -> UploadInParts:
        """Open one."""
        upload = UploadInParts(f"upload-{next(self._numbers)}", bucket, key, parameters)
        self._open[upload.upload_id] = upload
        return upload

    def get(self, upload_id: object, bucket: object, key: object) -> UploadInParts | None:
        """The open upload of that id and object, None if there is none."""
        upload = self._open.get(str(upload_id))
        return upload if upload is not None and (upload.bucket, upload.key) == (bucket, key) else None

    def end(self, upload: UploadInParts) -> None:
        """It was completed or aborted."""
        del self._open[upload.upload_id]

    def ids(self) -> list[str]:
        """UploadIds of all that are open, oldest first."""
        return list(self._open)


def _digest(data: bytes) -> bytes:
    return md5(data, usedforsecurity=False).digest()


__all__ = ["OpenUploads", "UploadInParts"]
