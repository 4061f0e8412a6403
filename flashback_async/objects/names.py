"""Buckets, keys and ranges as callers give them: checked before anything is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from flashback_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

# botocore's own rule for bucket names, which stores with older names satisfy too.
_BUCKET = re.compile(r"[a-zA-Z0-9.\-_]{1,255}")
_KEY_LIMIT = 1_024


def checked_bucket(bucket: object) -> str:
    """Return `bucket` if it can name one.

    Raises:
        ConfigurationError: it cannot.
    """
    if isinstance(bucket, str) and _BUCKET.fullmatch(bucket):
        return bucket
    raise ConfigurationError(
        f"bucket={bucket!r:.80} is not a bucket name; it has letters, digits, dots, hyphens and underscores"
    )


def checked_key(key: object, *, what: str = "key") -> str:
    """Return `key` if it can name an object: 1 to 1,024 bytes of UTF-8.

    Raises:
        ConfigurationError: it cannot.
    """
    if not isinstance(key, str):
        raise ConfigurationError(f"{what}={key!r:.80} is a {type(key).__name__}; give a string")
    if not key:
        raise ConfigurationError(f"{what}='' is empty; an object's name has at least one character")
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{what}={key!r:.80} is not valid Unicode: {error.reason}") from error
    if size > _KEY_LIMIT:
        raise ConfigurationError(f"{what}={key[:40]!r}... has {size} bytes; S3 allows {_KEY_LIMIT}")
    return key


def checked_count(count: object, *, what: str, limit: int = 1_000) -> int:
    """Return `count` if it is a number of things that can be done at once.

    Raises:
        ConfigurationError: it is not.
    """
    if isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= limit:
        return count
    raise ConfigurationError(f"{what}={count!r:.40} must be 1 to {limit}")


def checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of user metadata if it is text of one line.

    Raises:
        ConfigurationError: a name or a value is not.
    """
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigurationError(f"metadata {name!r:.40}: {value!r:.40} must be text")
        # Both lanes would refuse it, and not both by its name.
        if any(sign in name + value for sign in "\r\n\0"):
            raise ConfigurationError(f"metadata {name!r:.40}: {value!r:.40} has a line break or NUL in it")
    return dict(metadata)


class ByteRange(NamedTuple):
    """A half-open range of bytes, like a slice. `stop` None: to the end; negative `start`: the last bytes."""

    start: int = 0
    stop: int | None = None

    @classmethod
    def of(cls, given: object) -> ByteRange | None:
        """Take what a caller gave: None for everything, or (start, stop).

        Raises:
            ConfigurationError: no such range, or an empty one, which S3 cannot express.
        """
        if given is None:
            return None
        match given:
            case (int(start), int(stop)) if 0 <= start < stop:
                return cls(start, stop)
            case (int(start), None):
                return cls(start, None)
        raise ConfigurationError(
            f"range={given!r:.80} is not a range of bytes; give (start, stop) with 0 <= start < stop, "
            "(start, None) for the rest, or (-n, None) for the last n bytes"
        )

    def within(self, total: int) -> tuple[int, int]:
        """Start and stop in an object of `total` bytes; start is beyond stop where nothing of it exists."""
        start = max(0, total + self.start) if self.start < 0 else self.start
        return start, total if self.stop is None else min(self.stop, total)

    def header(self) -> str:
        """As the HTTP header says it, with both ends included."""
        if self.start < 0:
            return f"bytes={self.start}"
        return f"bytes={self.start}-" if self.stop is None else f"bytes={self.start}-{self.stop - 1}"


EVERYTHING: Final = ByteRange()
