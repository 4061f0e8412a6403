"""What is known of a download that was interrupted: of which version, and which pieces of it are complete.

One JSON value per line, so that a piece is noted by appending: the object first, then the pieces.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from flashback_async.objects.identity import Identity

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = 1


class Done(NamedTuple):
    """A piece that is complete, and the CRC-32 of its bytes."""

    start: int
    stop: int
    checksum: int

    def line(self) -> bytes:
        """As the record has it."""
        return json.dumps(self).encode() + b"\n"


@dataclass(slots=True)
class Record:
    """A version of an object, and what of it is on the disk.

    Attributes:
        bucket: its bucket.
        key: its key.
        etag: its ETag, None where the store gave none.
        last_modified: its time of modification.
        size: its bytes.
        version_id: the version that was asked for, None for whatever was there.
        done: pieces that are complete, in any order.
    """

    bucket: str
    key: str
    etag: str | None
    last_modified: object
    size: int
    version_id: str | None = None
    done: list[Done] = field(default_factory=list)

    @property
    def identity(self) -> Identity:
        """What the object has to agree with."""
        return Identity(self.etag, self.last_modified, self.size)

    @property
    def loaded(self) -> int:
        """Bytes that are complete."""
        return sum(done.stop - done.start for done in self.done)

    def missing(self) -> list[tuple[int, int]]:
        """The ranges between what is complete."""
        gaps, offset = [], 0
        for done in sorted(self.done):
            if offset < done.start:
                gaps.append((offset, done.start))
            offset = max(offset, done.stop)
        return [*gaps, (offset, self.size)] if offset < self.size else gaps

    def header(self) -> bytes:
        """The first line."""
        modified = self.last_modified
        told = {
            "flashback": _VERSION,
            "bucket": self.bucket,
            "key": self.key,
            "etag": self.etag,
            "last_modified": modified.isoformat() if isinstance(modified, datetime) else None,
            "size": self.size,
            "version_id": self.version_id,
        }
        return json.dumps(told).encode() + b"\n"

    @classmethod
    def read(cls, path: Path, bucket: str, key: str) -> Record | None:
        """The record of that object; None if there is none, or none that can be understood."""
        try:
            head, *lines = path.read_bytes().split(b"\n")
            told = json.loads(head)
            if (told["flashback"], told["bucket"], told["key"]) != (_VERSION, bucket, key):
                return None
            etag, size, modified = told["etag"], told["size"], told["last_modified"]
            version_id = told.get("version_id")
            if not isinstance(etag, str | None) or type(size) is not int:
                return None
            if not isinstance(version_id, str | None):
                return None
            moment = None if modified is None else datetime.fromisoformat(modified)
            record = cls(bucket, key, etag, moment, size, version_id)
            # What follows the last end of a line was being written when the process ended.
            record.done.extend(Done(*json.loads(line)) for line in lines[:-1])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if not record.done or any(type(number) is not int for done in record.done for number in done):
            return None
        in_order = sorted(record.done)
        is_sound = all(0 <= done.start < done.stop <= size for done in in_order) and all(
            one.stop <= other.start for one, other in pairwise(in_order)
        )
        return record if is_sound else None
