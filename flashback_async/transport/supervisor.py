"""A background task that survives its own bugs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Coroutine

FIRST_RESTART = 1.0
"""Seconds before the first restart: enough not to spin, little enough not to be missed."""

LONGEST_RESTART = 60.0
"""Seconds between restarts at most: a bug that stays costs one traceback's work a minute."""


class SupervisedTask:
    """Keeps one endless coroutine running: a crash is logged once and followed by a restart with back-off.

    Life: `start()` makes the task, `thriving()` says from inside that work gets done (the next crash is news
    again), `aclose()` cancels and awaits. Start and close may come from different tasks of one loop.

    Args:
        run: the endless coroutine function.
        name: name of the task, used in the log.
        random: returns floats in [0, 1), for the jitter.
        logger: where crashes are reported.
    """

    def __init__(
        self,
        run: Callable[[], Coroutine[object, object, None]],
        *,
        name: str,
        random: Callable[[], float],
        logger: logging.Logger,
    ) -> None:
        self._run = run
        self._name = name
        self._random = random
        self._logger = logger
        self._task: asyncio.Task[None] | None = None
        self._crashes = 0

    @property
    def running(self) -> bool:
        """Whether there is a task: started and not closed."""
        return self._task is not None

    def start(self) -> None:
        """Make the task in the running loop, unless there is one. The coroutine starts at once."""
        if self._task is None:
            self._task = asyncio.create_task(self._supervise(), name=self._name)

    def thriving(self) -> None:
        """Forget earlier crashes."""
        self._crashes = 0

    async def aclose(self) -> None:
        """Cancel the task and wait until it ended. Idempotent; may be called from any task but itself."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _supervise(self) -> None:
        while True:
            try:
                await self._run()
            except Exception as error:  # noqa: BLE001  # the supervisor's purpose: no bug ends the work
                self._report(error)
            await asyncio.sleep(self._restart_delay())

    def _report(self, error: Exception) -> None:
        if self._crashes == 0:
            self._logger.error("%s crashed and will be restarted", self._name, exc_info=error)

    def _restart_delay(self) -> float:
        delay = min(LONGEST_RESTART, FIRST_RESTART * 2.0 ** min(self._crashes, 16))
        self._crashes += 1
        return delay * (0.5 + self._random())


__all__ = ["FIRST_RESTART", "LONGEST_RESTART", "SupervisedTask"]
