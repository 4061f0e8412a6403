"""A timer for what every request does: `asyncio.timeout` without its coroutines, and one timer for all."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

# Alarms that were put away leave the queue in its order. Behind one that stays, so many may pile up, or as
# many as there are others.
_LITTER: Final = 64


class AlarmClock:
    """Sets off the alarms of one event loop, nearly all of them with a single timer of the loop's.

    Requests have the same patience, so most alarms are set for a later moment than those before. They wait in
    a queue, and the loop knows of its head only; what does not fit in gets a timer of its own. One for each,
    nearly all of them cancelled, would cost a request more than twice as much.

    Args:
        loop: the running loop, and the clock.
    """

    __slots__ = ("_litter", "_queue", "_timer", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._queue: deque[tuple[float, Alarm]] = deque()
        self._litter = 0
        self._timer: asyncio.TimerHandle | None = None

    def alarm(self, at: float) -> Alarm:
        """One that goes off then, in seconds of the loop's clock."""
        return Alarm(self, at)

    def close(self) -> None:
        """Leave no timer behind. Once no alarm is set any more."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def put(self, at: float, alarm: Alarm) -> bool:
        """Have `alarm.due` called then, unless it was put away before; False: the queue is for later ones."""
        queue = self._queue
        if queue and at < queue[-1][0]:
            return False
        if not queue and self._timer is not None and at < self._timer.when():
            # It is left from an alarm that was put away.
            self.close()
        queue.append((at, alarm))
        if self._timer is None:
            self._timer = self.loop.call_at(at, self._ring, at)
        return True

    def tidy(self) -> None:
        """An alarm in the queue was put away."""
        queue = self._queue
        self._litter += 1
        while queue and queue[0][1].is_away:
            queue.popleft()
            self._litter -= 1
        if self._litter > _LITTER and self._litter > len(queue) // 2:
            self._queue = deque(entry for entry in queue if not entry[1].is_away)
            self._litter = 0

    def _ring(self, moment: float) -> None:
        queue = self._queue
        self._timer = None
        due = []
        while queue and (queue[0][0] <= moment or queue[0][1].is_away):
            alarm = queue.popleft()[1]
            if alarm.is_away:
                self._litter -= 1
            else:
                due.append(alarm)
        if queue:
            at = queue[0][0]
            self._timer = self.loop.call_at(at, self._ring, at)
        for alarm in due:
            alarm.due()


class Alarm:
    """Cancels the block that it guards at a moment that can be moved, and says so with `TimeoutError`.

    The rules are those of `asyncio.timeout`: a cancellation from elsewhere at the same time is passed on, and
    nothing is raised for a block that ended by itself. Used once, with `with`, in a task of the clock's loop.

    Args:
        clock: sets it off.
        at: seconds of the loop's clock.

    Attributes:
        at: when it goes off.
        expired: whether it went off.
        is_away: whether it can go off no more, for its block has ended.
    """

    __slots__ = (
        "_cancelling",
        "_clock",
        "_handle",
        "_in_queue",
        "_set_to",
        "_task",
        "at",
        "expired",
        "is_away",
    )

    _cancelling: int
    _in_queue: bool
    _task: asyncio.Task[object]

    def __init__(self, clock: AlarmClock, at: float) -> None:
        self._clock = clock
        self.at = self._set_to = at
        self.expired = False
        self.is_away = False
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        """Set it."""
        task = asyncio.current_task(self._clock.loop)
        if task is None:
            raise RuntimeError("an alarm guards a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._in_queue = self._clock.put(self.at, self)
        if not self._in_queue:
            self._set_alone()
        return self

    def move(self, at: float) -> None:
        """Let it go off at another time; no use once it has. To move it back costs nothing."""
        if self.expired:
            return
        self.at = at
        if at < self._set_to:
            self._set_alone()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put it away.

        Raises:
            TimeoutError: it went off, and nobody else cancelled the task.
        """
        self.is_away = True
        if self._handle is not None:
            self._handle.cancel()
        if self._in_queue:
            self._clock.tidy()
        task = self._task
        # What lies in the queue for a while shall not keep it.
        del self._task
        if self.expired and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def due(self) -> None:
        """For the clock: the moment that it was put in the queue for has come."""
        self._in_queue = False
        if self._handle is None:
            self._go_off()

    def _set_alone(self) -> None:
        """From now on with a timer of its own."""
        if self._handle is not None:
            self._handle.cancel()
        self._set_to = self.at
        self._handle = self._clock.loop.call_at(self.at, self._go_off)

    def _go_off(self) -> None:
        if self.at > self._set_to:
            self._set_alone()
            return
        self.expired = True
        self._task.cancel()
