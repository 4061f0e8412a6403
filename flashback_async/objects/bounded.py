"""Works through an input of any length, with a bounded number of items, and of their bytes, in hand.

The consumer drives it: input is taken and work begun only while it waits for a result, so that a slow
consumer slows everything down instead of filling the memory.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from flashback_async.objects.budget import ByteBudget, Share

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
R = TypeVar("R")

Input = Iterable[T] | AsyncIterable[T]
"""What many verbs take: anything that yields items one after the other, async or not."""

UNBOUNDED: Final = sys.maxsize


async def bounded(
    source: Input[T],
    work: Callable[[T, Share], Coroutine[object, object, R]],
    *,
    concurrency: int,
    ordered: bool = False,
    max_bytes: int = UNBOUNDED,
    size_of: Callable[[T], int | None] = lambda _item: None,
) -> AsyncGenerator[R, None]:
    """Yield what `work` makes of each item, as it is ready or, `ordered`, in the order of the input.

    Ended early, by an error, a cancellation or its consumer, it leaves no task: whatever runs is cancelled
    and awaited, and the input is closed if it is a generator. A failing input ends it as well, but only after
    the results of the items before.

    Args:
        source: the input.
        work: makes one result; what it raises ends everything.
        concurrency: items begun whose results were not handed out yet.
        ordered: whether results keep the order of the input.
        max_bytes: bytes in hand; a larger item comes alone.
        size_of: bytes of an item where they are known beforehand; else `work` takes them from its share. The
            share of an item ends when its result is handed out, unless `work` ends it earlier.
    """
    budget = ByteBudget(max_bytes, ordered=ordered)
    feed = each(source)
    pulling: asyncio.Task[tuple[T] | None] | None = None
    running: dict[asyncio.Task[R], Share] = {}
    trouble: Exception | None = None
    is_open = True
    try:
        while True:
            if is_open and pulling is None and len(running) < concurrency and not budget.is_full:
                pulling = asyncio.create_task(_next(feed))
            if pulling is not None and pulling.done():
                pulled, pulling = _pulled(pulling), None
                if isinstance(pulled, tuple):
                    [item] = pulled
                    share = _share_of(budget, size_of(item))
                    running[asyncio.create_task(work(item, share))] = share
                else:
                    is_open, trouble = False, pulled
                continue
            ready = _ready(running, ordered=ordered)
            if ready is not None:
                running.pop(ready).end()
                yield ready.result()
                continue
            waiting: set[asyncio.Task[object]] = {task for task in running if not task.done()}
            if pulling is not None:
                waiting.add(pulling)
            if not waiting:
                break
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if trouble is not None:
            raise trouble
    finally:
        await _ended([*running, *([] if pulling is None else [pulling])])
        await feed.aclose()


def _pulled(pulling: asyncio.Task[tuple[T] | None]) -> tuple[T] | Exception | None:
    """What came of asking for an item: it, in a tuple; what the input raised; None at its end."""
    failure = pulling.exception()
    return failure if isinstance(failure, Exception) else pulling.result()


def _share_of(budget: ByteBudget, size: int | None) -> Share:
    share = budget.share()
    if size is not None:
        share.ask(size)
    return share


def _ready(running: dict[asyncio.Task[R], Share], *, ordered: bool) -> asyncio.Task[R] | None:
    for task in running:
        if task.done():
            return task
        if ordered:
            return None
    return None


async def each(source: Input[T]) -> AsyncGenerator[T, None]:
    """The items one by one; a generator, of either kind, is closed with this one."""
    try:
        if isinstance(source, AsyncIterable):
            async for item in source:
                yield item
        else:
            for item in source:
                yield item
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
        elif isinstance(source, Generator):
            source.close()


async def _next(feed: AsyncIterator[T]) -> tuple[T] | None:
    """The next item, in a tuple for it may be None itself; None at the end."""
    try:
        return (await anext(feed),)
    except StopAsyncIteration:
        return None


async def _ended(tasks: list[asyncio.Task[object]]) -> None:
    """Cancel and await what still runs; what it raises on the way out is nobody's any more."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()
