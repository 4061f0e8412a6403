"""A timer for what every request does: `asyncio.timeout` without its coroutines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Alarm:
    """Cancels the block that it guards at a moment that can be moved, and says so with `TimeoutError`.

    The rules are those of `asyncio.timeout`: a cancellation from elsewhere at the same time is passed on, and
    nothing is raised for a block that ended by itself. Used once, with `with`, in a task of `loop`.

    Args:
        loop: the running loop, and the clock.
        at: seconds of that clock.

    Attributes:
        at: when it goes off.
        expired: whether it went off.
    """

    __slots__ = ("_cancelling", "_handle", "_loop", "_set_to", "_task", "at", "expired")

    _handle: asyncio.TimerHandle | asyncio.Handle
    _task: asyncio.Task[object]
    _cancelling: int

    def __init__(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        self._loop = loop
        self.at = self._set_to = at
        self.expired = False

    def __enter__(self) -> Self:
        """Set it."""
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("an alarm guards a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._set()
        return self

    def move(self, at: float) -> None:
        """Let it go off at another time; no use once it has. To move it back costs nothing."""
        if self.expired:
            return
        self.at = at
        if at < self._set_to:
            self._handle.cancel()
            self._set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put it away.

        Raises:
            TimeoutError: it went off, and nobody else cancelled the task.
        """
        self._handle.cancel()
        if self.expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _set(self) -> None:
        self._set_to = self.at
        self._handle = self._loop.call_at(self.at, self._go_off)

    def _go_off(self) -> None:
        if self.at > self._set_to:
            self._set()
            return
        self.expired = True
        self._task.cancel()
