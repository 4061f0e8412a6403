"""What a path on the command line names: an object, a prefix, a local file, or a standard stream."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from flashback_async.cli.exits import bad_argument
from flashback_async.errors import ConfigurationError
from flashback_async.objects.names import checked_bucket, checked_key

STANDARD_STREAM = "-"

_SCHEME = re.compile(r"(fb|s3)://", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Remote:
    """A bucket, with a key or the beginning of keys.

    Attributes:
        bucket: bucket name.
        key: key or prefix, empty for the whole bucket.
    """

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"fb://{self.bucket}/{self.key}"

    @property
    def is_folder(self) -> bool:
        """Whether it names a whole bucket or everything below a slash, rather than one object."""
        return not self.key or self.key.endswith("/")

    @property
    def folder(self) -> Remote:
        """The same with a slash at its end: `data` means `data/...`, not `database`."""
        return self if self.is_folder else Remote(self.bucket, f"{self.key}/")

    def joined(self, relative: str) -> Remote:
        """What lies below it."""
        return Remote(self.bucket, f"{self.key}{relative}")


def remote(text: str) -> Remote:
    """`fb://bucket/key`, `s3://bucket/key` or `bucket/key`; the key may be empty, or a prefix.

    Raises:
        CommandError: it names no bucket, or a key that cannot be one.
    """
    rest = _SCHEME.sub("", text, count=1) if _SCHEME.match(text) else text
    if rest is text and _OTHER_SCHEME.match(text):
        raise bad_argument(f"{text!r} is not a path of ours; write it like fb://bucket/key")
    bucket, _, key = rest.partition("/")
    try:
        return Remote(checked_bucket(bucket), checked_key(key) if key else "")
    except ConfigurationError as error:
        raise bad_argument(f"{text!r}: {error}; write it like fb://bucket/key") from error


def remote_object(text: str) -> Remote:
    """One object.

    Raises:
        CommandError: the key is missing as well as for what `remote` refuses.
    """
    found = remote(text)
    if not found.key:
        raise bad_argument(f"{text!r} names a bucket and no object: the key is empty; write fb://bucket/key")
    return found


def location(text: str) -> Remote | Path | None:
    """Where `cp` copies from or to: remote with a scheme, local otherwise, None for a standard stream.

    Raises:
        CommandError: it names nothing.
    """
    if text == STANDARD_STREAM:
        return None
    if _SCHEME.match(text):
        return remote(text)
    if _OTHER_SCHEME.match(text):
        raise bad_argument(f"{text!r} is neither local nor ours; write remote paths like fb://bucket/key")
    if not text or "\0" in text:
        raise bad_argument(f"{text!r} is not a path; give a file, a directory, fb://bucket/key, or -")
    return Path(text)


def local_name(key: str) -> PurePosixPath:
    """A key as a relative path that stays below the directory it is joined to.

    Raises:
        CommandError: it would leave that directory, or no file can have that name.
    """
    parts = key.split("/")
    if "\0" in key or any(part in {"", ".", ".."} for part in parts):
        raise bad_argument(
            f"the key {key!r} is refused: as a path it would leave the target directory or name no file in "
            "it; copy it alone, to a file name of your choice"
        )
    return PurePosixPath(*parts)


__all__ = [
    "STANDARD_STREAM",
    "Remote",
    "local_name",
    "location",
    "remote",
    "remote_object",
]
