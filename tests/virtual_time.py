"""An event loop whose clock jumps to the next timer as soon as nothing else is left to do.

Hours pass in milliseconds, every timeout fires exactly when it is due, and the order of events is the same in
every run. Only `time()` and the selector differ from asyncio's own loop.

```python
def test_something():
    async def scenario():
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert virtual_time.run(scenario()) == 3600.0


@virtual_time.scenario        # the same for a test that is a coroutine function; fixtures work as ever
async def test_something_else(): ...
```

Rules: fakes live inside the loop. A server in another process would not notice that hours went by. Work in
threads (`asyncio.to_thread`) is waited for in real time, while the virtual clock stands still.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")

PATIENCE = 30.0
"""Real seconds that work in a thread may take."""


class DeadlockError(AssertionError):
    """Everything waits and nothing will ever happen; the message lists who waits where."""


class RunawayError(AssertionError):
    """The clock passed its limit: something repeats for ever, and the test waits for something else."""


class LeftoverError(AssertionError):
    """The scenario ended and left tasks running; the message names them."""


class _JumpingSelector(selectors.BaseSelector):
    """Polls the real selector; when that is quiet, lets the clock jump instead of waiting."""

    def __init__(self, jump: Callable[[float | None], None], busy_threads: Callable[[], int]) -> None:
        self._real = selectors.DefaultSelector()
        self._jump = jump
        self._busy_threads = busy_threads

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0.0:
            return ready
        if self._busy_threads():
            ready = self._real.select(PATIENCE)
            if not ready:
                raise DeadlockError(f"work in a thread has taken longer than {PATIENCE:g} s")
            return ready
        self._jump(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """asyncio's selector loop with a clock of its own.

    Args:
        start: seconds on the clock at the beginning.
        limit: seconds that may pass before the run is given up.
    """

    def __init__(self, *, start: float = 0.0, limit: float = 100_000.0) -> None:
        self._now = start
        self._end = start + limit
        self._threads = 0
        super().__init__(_JumpingSelector(self._jump, lambda: self._threads))

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def block(self, seconds: float) -> None:
        """What a callback does that computes for so long: time passes, and nobody else gets a turn."""
        self._now = round(self._now + seconds, 9)

    def _jump(self, timeout: float | None) -> None:
        if timeout is None:
            raise DeadlockError(f"nothing will ever happen at t={self._now:g}; waiting: {_described(self)}")
        # Whole nanoseconds: 0.1 + 0.2 is 0.3 on this clock, and asyncio fires timers up to 1 ns early.
        self._now = round(self._now + timeout, 9)
        if self._now > self._end:
            raise RunawayError(f"the clock reached t={self._now:g}; waiting: {_described(self)}")

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        self._threads += 1  # joins the threads in one more thread
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._threads -= 1

    def _thread_done(self, _future: Any) -> None:
        self._threads -= 1


def run(
    main: Coroutine[Any, Any, T], *, start: float = 0.0, limit: float = 100_000.0, leftovers: bool = False
) -> T:
    """Run `main` to its end in a fresh loop with virtual time; returns its result.

    Args:
        main: the coroutine.
        start: seconds on the clock at the beginning.
        limit: seconds that may pass before the run is given up.
        leftovers: whether it may leave tasks running (they are cancelled).

    Raises:
        DeadlockError: everything waits for something that cannot happen.
        RunawayError: the clock passed `limit`.
        LeftoverError: tasks were left running.
    """

    async def watched() -> T:
        result = await main
        for _ in range(3):  # what is about to end may end
            await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others and not leftovers:
            raise LeftoverError(f"left running: {_described(asyncio.get_running_loop())}")
        return result

    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(start=start, limit=limit)) as runner:
        return runner.run(watched())


def scenario(
    function: Callable[..., Awaitable[None]] | None = None, *, start: float = 0.0, leftovers: bool = False
) -> Callable[..., Any]:
    """Decorator: run an async test in virtual time. Its fixtures must not be async."""

    def decorate(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        if not inspect.iscoroutinefunction(test):
            raise TypeError(f"{test!r} is no coroutine function")

        @functools.wraps(test)
        def in_virtual_time(*args: Any, **kwargs: Any) -> None:
            run(test(*args, **kwargs), start=start, leftovers=leftovers)

        return in_virtual_time

    return decorate(function) if function is not None else decorate


def _described(loop: asyncio.AbstractEventLoop) -> str:
    """Every unfinished task and the innermost line where it waits."""
    waiting = (f"{task.get_name()} at {_place(task.get_coro())}" for task in asyncio.all_tasks(loop))
    return "; ".join(sorted(waiting)) or "nobody"


def _place(coroutine: Any) -> str:
    frames = []
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        frames.append(f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}")
        coroutine = coroutine.cr_await
    return " > ".join(frames) or "its end"
