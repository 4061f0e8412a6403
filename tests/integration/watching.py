"""Ways to look at a client from outside: which endpoint got which request when, and what it leaves behind."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from flashback_async.routing import Attempt, Router

if TYPE_CHECKING:
    from collections.abc import Callable

REST = 2.0
"""Seconds that tasks on their way out get."""


class Started(NamedTuple):
    """One attempt, as the router gave it out."""

    at: float
    endpoint: str


class RecordingRouter(Router):
    """The router itself, with a list of every attempt that it gave out."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.started: list[Started] = []

    @classmethod
    def seeded(cls, seed: int) -> RecordingRouter:
        """One whose choices between equals are the same in every run."""
        return cls(random=Random(seed).random)

    def acquire(self, *args, now: float, **options):
        choice = super().acquire(*args, now=now, **options)
        if isinstance(choice, Attempt):
            self.started.append(Started(now, choice.endpoint.id))
        return choice

    def per_second(self, origin: float, endpoint: str) -> dict[int, tuple[int, int]]:
        """Whole seconds from `origin` -> (attempts at `endpoint`, all attempts)."""
        everybody = Counter(int((row.at - origin) // 1) for row in self.started)
        bad = Counter(int((row.at - origin) // 1) for row in self.started if row.endpoint == endpoint)
        return {second: (bad[second], everybody[second]) for second in sorted(everybody)}

    def share(self, endpoint: str, since: float, until: float = float("inf")) -> tuple[int, int]:
        """(attempts at `endpoint`, all attempts) that started in `since <= time < until`."""
        chosen = [row for row in self.started if since <= row.at < until]
        return sum(row.endpoint == endpoint for row in chosen), len(chosen)


def open_sockets() -> set[str]:
    """Inodes of the sockets of this process."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith("socket:"):
                found.add(target)
    return found


def open_connections() -> set[str]:
    """The TCP sockets among them: the sandbox talks to its processes over others."""
    rows = [
        row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    return open_sockets() & {f"socket:[{row[9]}]" for row in rows if len(row) > 9}


async def settled(left: Callable[[], list[object]]) -> list[object]:
    """What is still left, without the task that asks, after those on their way out got time to end."""
    loop = asyncio.get_running_loop()
    end = loop.time() + REST
    while found := [item for item in left() if item is not asyncio.current_task()]:
        if loop.time() > end:
            return found
        await asyncio.sleep(0.01)
    return []


async def eventually(condition: Callable[[], object], *, within: float) -> None:
    """Wait until `condition` (a function, or one that is awaited) holds.

    Raises:
        TimeoutError: it did not within so many seconds.
    """
    async with asyncio.timeout(within):
        while True:
            holds = condition()
            if inspect.isawaitable(holds):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.01)
