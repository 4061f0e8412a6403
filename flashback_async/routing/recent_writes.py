"""Which endpoint took the last write of a key, for as long as the others may not have it yet."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

# Keys that are remembered; beyond, those written longest ago are forgotten. About 8 MB.
REMEMBERED: Final = 32_768


class RecentWrites:
    """(bucket, key) -> the endpoint that took its last write. Pure; of one client, and one loop.

    Args:
        seconds: how long a write is remembered.
        remembered: how many of them at most.
    """

    def __init__(self, seconds: float, *, remembered: int = REMEMBERED) -> None:
        self._seconds = seconds
        self._remembered = remembered
        # In the order of the writes, which is that of their ends.
        self._writes: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._writes)

    def note(self, bucket: str, key: str, endpoint_id: str, *, now: float) -> None:
        """A write, or a deletion, was carried out."""
        writes = self._writes
        writes[bucket, key] = (endpoint_id, now + self._seconds)
        writes.move_to_end((bucket, key))
        while len(writes) > self._remembered or next(iter(writes.values()))[1] <= now:
            writes.popitem(last=False)

    def holder(self, bucket: str, key: str, *, now: float) -> str | None:
        """The endpoint that surely has what was written; None: nobody wrote lately."""
        found = self._writes.get((bucket, key))
        return None if found is None or now >= found[1] else found[0]
