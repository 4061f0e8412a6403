"""Which endpoint took the last write of a key, for as long as the others may not have it yet."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

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

    def holder(
        self, bucket: str, key: str, *, now: float, tried: Collection[str] = (), is_last: bool = False
    ) -> str | None:
        """The endpoint to prefer, for it surely has what was written.

        Args:
            bucket: bucket name.
            key: object key.
            now: seconds.
            tried: endpoints that failed this read.
            is_last: whether this is its last attempt; if the endpoint failed it, that one is for others.

        Returns:
            Its id; None: nobody wrote lately, or others are to be asked.
        """
        found = self._writes.get((bucket, key))
        if found is None or now >= found[1] or (is_last and found[0] in tried):
            return None
        return found[0]
