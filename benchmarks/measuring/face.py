"""What every contestant can do, and what all of them are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

BUCKET = "bench"
KEY_ID, KEY_SECRET, REGION = "key", "secret", "us-east-1"
CONNECTIONS = 1_024
"""More than any benchmark has in flight: nobody waits for a connection."""


class UnavailableError(Exception):
    """This contestant cannot take part; the text tells why."""


class Contestant:
    """Loaded, opened, used, closed; in this order, by one loop."""

    name: ClassVar[str]
    hashes: ClassVar[bool] = True
    blocking: ClassVar[bool] = False

    def load(self) -> None:
        """Import what it needs."""

    async def open(self, urls: Sequence[str]) -> None:
        """Get ready to be asked."""
        raise NotImplementedError

    async def get(self, key: str) -> int:
        """Read an object to its end; the bytes it had."""
        raise NotImplementedError

    async def put(self, key: str, data: bytes) -> None:
        """Store an object."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of everything."""
