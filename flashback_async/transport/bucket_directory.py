"""S3 bucket names to Flashback's UUIDs, which the statistics are kept by."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flashback_async.errors import DiscoveryError
from flashback_async.transport.control_plane import checked_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from flashback_async.transport.control_plane import Bucket

KNOWN_FOR = 3600.0
"""Seconds that a resolved name is believed: a bucket may be made anew under the same name."""

UNKNOWN_FOR = 300.0
"""Seconds before an unknown name is asked for again."""

RETRY_AFTER = 30.0
"""Seconds before the next question after one that failed."""

_logger = logging.getLogger("flashback_async.discovery")


class BucketLister(Protocol):
    """The part of the control plane that knows the buckets."""

    async def list_buckets(self) -> Sequence[Bucket]:
        """Every bucket the user may see."""


@dataclass(slots=True)
class _Entry:
    bucket_id: str | None
    asked_at: float


class BucketDirectory:
    """Remembers ids, and asks `GET /bucket` only for names that it does not know.

    Args:
        control_plane: asked for the buckets.
        given: S3 name -> UUID, from the settings; never asked for.
        clock: monotonic seconds.

    Raises:
        ConfigurationError: an id in `given` cannot be one.
    """

    def __init__(
        self, control_plane: BucketLister, given: Mapping[str, str], *, clock: Callable[[], float]
    ) -> None:
        self._control_plane = control_plane
        self._given = {name: checked_id(bucket_id, "bucket_ids") for name, bucket_id in given.items()}
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._resting_until = float("-inf")

    def known(self, names: Collection[str]) -> dict[str, str]:
        """S3 name -> UUID for those of `names` that have one, asking nobody."""
        entries = {name: entry.bucket_id for name, entry in self._entries.items()}
        found = {name: self._given.get(name) or entries.get(name) for name in names}
        return {name: bucket_id for name, bucket_id in found.items() if bucket_id is not None}

    async def learn(self, names: Collection[str]) -> None:
        """Ask for `names` if one of them is new, or was asked for long ago. At most one request.

        Raises:
            DiscoveryError: it failed; for 30 s nobody will be asked again (nor after a cancellation).
        """
        now = self._clock()
        if now < self._resting_until or not any(self._is_due(name, now) for name in names):
            return
        self._resting_until = now + RETRY_AFTER  # in case the answer never comes and the caller gives up
        try:
            buckets = await self._control_plane.list_buckets()
        except DiscoveryError as error:
            self._resting_until = self._clock() + max(RETRY_AFTER, error.retry_after or 0.0)
            raise
        self._resting_until = float("-inf")
        self._remember(names, buckets)

    def _is_due(self, name: str, now: float) -> bool:
        if name in self._given:
            return False
        entry = self._entries.get(name)
        if entry is None:
            return True
        return now - entry.asked_at >= (UNKNOWN_FOR if entry.bucket_id is None else KNOWN_FOR)

    def _remember(self, names: Collection[str], buckets: Sequence[Bucket]) -> None:
        ids: dict[str, set[str]] = {}
        for bucket in buckets:
            ids.setdefault(bucket.bucket, set()).add(bucket.id)
        now = self._clock()
        for name in names:
            if name in self._given:
                continue
            found = ids.get(name, set())
            if len(found) != 1 and name not in self._entries:
                _logger.info(
                    "the control plane knows %s buckets called %r: no published latency for it; name its id "
                    "in FB_BUCKET_IDS",
                    len(found) or "no",
                    name,
                )
            self._entries[name] = _Entry(min(found) if len(found) == 1 else None, now)


__all__ = ["BucketDirectory", "BucketLister"]
