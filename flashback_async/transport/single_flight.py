"""One run of a coroutine, shared by everyone who asks while it runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from flashback_async.errors import ClientClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiters: int = 0


class SingleFlight(Generic[T]):
    """Runs a coroutine function at most once at a time; callers that come meanwhile share the run.

    The run is a task of its own, so that the cancellation of one caller never reaches another one's result.
    When the last caller is gone, the run is cancelled too, unless it must not be torn in half (`detached`).

    Args:
        run: what to run, without arguments.
        name: says in messages and task names what is running.
        detached: let the run end even if nobody waits any more.
    """

    def __init__(
        self, run: Callable[[], Coroutine[object, object, T]], *, name: str, detached: bool = False
    ) -> None:
        self._run = run
        self._name = name
        self._detached = detached
        self._flight: _Flight[T] | None = None
        self._closed = False

    async def join(self) -> T:
        """The result of the run under way, or of a new one.

        A caller's cancellation ends its own waiting only; the last one to go takes the run along and waits
        for its end, unless `detached`.

        Raises:
            ClientClosedError: closed before or during the run.
        """
        if self._closed:
            raise ClientClosedError(f"{self._name} is closed")
        flight = self._flight
        if flight is None or flight.task.done():
            flight = self._flight = _Flight(asyncio.create_task(self._run(), name=self._name))
            flight.task.add_done_callback(_retrieve)
        flight.waiters += 1
        try:
            await asyncio.wait({flight.task})
        except asyncio.CancelledError:
            if flight.waiters == 1 and not self._detached:
                if self._flight is flight:
                    self._flight = None  # whoever comes now starts anew instead of joining a dying run
                await _cancelled(flight.task)
            raise
        finally:
            flight.waiters -= 1
        if flight.task.cancelled():
            raise ClientClosedError(f"{self._name} was closed while it ran")
        return flight.task.result()

    async def aclose(self, *, grace: float = 0.0) -> None:
        """Give a run under way `grace` seconds to end, then cancel and await it. Idempotent."""
        self._closed = True
        if self._flight is not None:
            if grace > 0.0:
                await asyncio.wait({self._flight.task}, timeout=grace)
            await _cancelled(self._flight.task)


async def _cancelled(task: asyncio.Task[T]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _retrieve(task: asyncio.Task[T]) -> None:
    # The callers raise it; a run that nobody waits for any more must not warn that nobody looked.
    if not task.cancelled():
        task.exception()


__all__ = ["SingleFlight"]
