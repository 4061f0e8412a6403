"""Telling a caller how far a transfer is, in increments."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable

OnProgress = Callable[[int], Awaitable[None] | None]
"""Called with every number of bytes that moved, one call at a time; may be async."""


class Advance:
    """Tells increments that never add up to more than the object has, whatever is sent again.

    Args:
        told: whom to tell, None for nobody.
    """

    def __init__(self, told: OnProgress | None) -> None:
        self._told = told
        self._turn = None if told is None else asyncio.Lock()
        self._now = 0
        self._known = 0

    def restart(self) -> None:
        """Everything is sent again from the start; the caller hears nothing before there is something new."""
        self._now = 0

    async def __call__(self, amount: int) -> None:
        """So many bytes more arrived. Raises what the caller's function raises."""
        self._now += amount
        if self._told is None or self._turn is None:
            return
        async with self._turn:
            fresh = self._now - self._known
            if fresh <= 0:
                return
            self._known += fresh
            result = self._told(fresh)
            if isawaitable(result):
                await result
