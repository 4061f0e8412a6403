"""Bandwidth: everything that passes a server in one direction shares its rate."""

from __future__ import annotations

import asyncio
import time
from typing import Final

_PORTIONS_PER_SECOND: Final = 50
"""How finely a slow line divides what passes it."""


class Pacer:
    """Delays bytes so that they pass at a rate.

    Args:
        rate: bytes per second; None is unlimited.
    """

    def __init__(self, rate: float | None = None) -> None:
        self._rate = rate
        self._free_at = 0.0

    def portion(self, size: int) -> int:
        """How many of `size` bytes to pass on at a time."""
        if self._rate is None:
            return max(1, size)
        return max(1, int(self._rate / _PORTIONS_PER_SECOND))

    async def pass_on(self, size: int) -> None:
        """Wait until `size` bytes have had their time on the line, after those that came before."""
        if self._rate is None or not size:
            return
        self._free_at = max(self._free_at, time.monotonic()) + size / self._rate
        await asyncio.sleep(self._free_at - time.monotonic())
