"""The conditions of S3's requests, as a healthy gateway understands them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashback_async.testing.store import Version


def refused_read(given: Mapping[str, object], version: Version, *, prefix: str = "") -> int | None:
    """The status with which a read of `version` is refused, None if its conditions hold (RFC 9110, 13.2.2).

    Args:
        given: parameters in boto's names.
        version: what would be read.
        prefix: what the names begin with, for the source of a copy.
    """
    match, none_match = given.get(f"{prefix}IfMatch"), given.get(f"{prefix}IfNoneMatch")
    unmodified, modified = given.get(f"{prefix}IfUnmodifiedSince"), given.get(f"{prefix}IfModifiedSince")
    if match is not None:
        if not _is_among(version, match):
            return 412
    elif isinstance(unmodified, datetime) and version.last_modified > unmodified:
        return 412
    if none_match is not None:
        if _is_among(version, none_match):
            return 412 if prefix else 304
    elif isinstance(modified, datetime) and version.last_modified <= modified:
        return 412 if prefix else 304
    return None


def refused_write(given: Mapping[str, object], there: Version | None) -> int | None:
    """The status with which a write over `there` is refused, None if its conditions hold."""
    if given.get("IfNoneMatch") == "*" and there is not None:
        return 412
    match = given.get("IfMatch")
    if match is None:
        return None
    if there is None:
        return 404
    return None if _is_among(there, match) else 412


def _is_among(version: Version, given: object) -> bool:
    tags = {part.strip().strip('"') for part in str(given).split(",")}
    return "*" in tags or version.etag.strip('"') in tags
