"""Where the buckets of an endpoint are: in the path, or in front of the host."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")
# Directory buckets and aliases of access points, which are signed and addressed otherwise, end like this.
_SPECIAL_BUCKET: Final = re.compile(r".*--.*-s3")
# Can stand before a host, under a certificate for `*.host`.
_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
# Buckets whose place is remembered, at every endpoint; few programs use more.
_BUCKETS: Final = 64


class UncoveredError(Exception):
    """Only boto knows what to make of it; it may well refuse it."""


class Place:
    """Where an endpoint's buckets are: in the path, or in front of the host."""

    __slots__ = ("_found", "_host", "_is_address", "_virtual")

    def __init__(self, url: str, *, addressing: str = "path") -> None:
        """`url`: `scheme://host[:port]`, as `checked_url` returns it."""
        parts = urlsplit(url)
        default = {"http": 80, "https": 443}.get(parts.scheme)
        host = parts.netloc.lower()
        self._host = host.removesuffix(f":{default}") if parts.port == default else host
        self._virtual = addressing == "virtual"
        self._is_address = _is_address(parts.hostname or "")
        self._found: dict[str, tuple[str, str]] = {}

    def of(self, bucket: str) -> tuple[str, str]:
        """Host, and the path before the key."""
        found = self._found.get(bucket)
        if found is None:
            found = self._find(bucket)
            if len(self._found) < _BUCKETS:
                self._found[bucket] = found
        return found

    def _find(self, bucket: str) -> tuple[str, str]:
        if not _BUCKET.fullmatch(bucket) or _SPECIAL_BUCKET.fullmatch(bucket):
            raise UncoveredError
        # Boto puts some other buckets before an address all the same; that is left to it.
        if self._virtual and not _LABEL.fullmatch(bucket):
            raise UncoveredError
        if not self._virtual or self._is_address:
            return self._host, f"/{bucket}"
        return f"{bucket}.{self._host}", ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
