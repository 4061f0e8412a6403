"""Waiting for what other processes do."""

from __future__ import annotations

import asyncio
import inspect


async def eventually(condition, *, within=5.0):
    """Wait until `condition()` (or what it returns, awaited) is true; its last value is returned."""
    async with asyncio.timeout(within):
        while True:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.01)
