"""Work that a cancellation must not interrupt half-way: it is finished first, then everybody leaves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


async def finished(work: Coroutine[object, object, T]) -> T:
    """Await `work` to its end. A cancellation in the meantime is raised when it is over, once.

    For work in threads, which nothing may touch behind its back, and for cleaning up; whoever gives it sees
    to it that it ends.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen: the cancellation is what counts
        raise
