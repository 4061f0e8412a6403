"""Races a second attempt against one that is late: the shell around `routing/hedge.py`.

In the manner of trio's `_highlevel_open_tcp_stream`: the winner cancels the loser, the loser is waited for,
and what both have failed with is told. But there are two attempts at most, and a failure starts none: that is
a retry, and the executor's business.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flashback_async.errors import OperationError
from flashback_async.routing import Outcome
from flashback_async.transport.exchange import Exchange
from flashback_async.transport.operation import SHORTEST_WAIT
from flashback_async.transport.outcomes import outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashback_async.transport.exchange import Means


# Turns of the loop in which an answer that has arrived becomes one. A loop that was busy finds the answer and
# the timer due together, and a hedge would be sent for nothing.
_TURNS = 2


class Hedging:
    """Runs exchanges that may be hedged. One per client; belongs to its loop.

    Args:
        means: of every exchange.
        on_trouble: called after a failure that calls for an early discovery and that nobody else tells of.
    """

    def __init__(self, means: Means, *, on_trouble: Callable[[], None]) -> None:
        self._means = means
        self._on_trouble = on_trouble

    def delay(self, first: Exchange) -> float | None:
        """Seconds after which `first` may be hedged; None: it may not be, or its own timer is shorter."""
        if not (first.journey.may_hedge and first.operation.is_hedgeable):
            return None
        delay = self._means.router.hedge_delay(first.attempt, now=self._means.clock())
        return delay if delay is not None and delay < self._means.timeouts.first_byte else None

    async def race(self, first: Exchange, delay: float) -> Exchange:
        """Run `first`, and from `delay` seconds on another one beside it; the one that succeeded.

        The first success ends the race, and so does an answer that no endpoint would give differently; after
        any other failure the remaining attempt is waited for. If both fail, it is as if the first had failed
        alone, except that both are listed.

        A cancellation cancels both and waits for them: neither lease, permit, body nor task is left.

        Raises:
            OperationError: the answer that ended the race, or what `first` failed with.
        """
        race = _Race(self._means, first, delay)
        try:
            winner = await race.run()
        finally:
            for _ in range(race.covered_up):
                self._on_trouble()
        if winner is not first:
            self._means.monitor.hedges_won += 1
        return winner


class _Race:
    """One exchange and the hedge beside it.

    The first one runs in the caller's task, as it would without hedging: so what comes of it is settled, and
    its retry paid for, in one step. With a task of its own, a node that dies under hundreds of requests would
    see all of them settled before the first retry is paid, and the retry budget, which grows with the
    requests in flight, would be at its smallest.

    Attributes:
        covered_up: failures of an endpoint that are not what the race ended with.
    """

    def __init__(self, means: Means, first: Exchange, delay: float) -> None:
        self.covered_up = 0
        self._delay = delay
        self._started = means.clock()
        self._means = means
        self._first = first
        self._second: Exchange | None = None
        self._task: asyncio.Task[Exchange] | None = None
        self._scope: asyncio.Timeout | None = None
        self._timer: asyncio.Handle

    async def run(self) -> Exchange:
        winner: Exchange | None = None
        is_over = False
        try:
            failure = await self._run_first()
            is_over = failure is None or not _may_go_on(failure)
            if failure is None:
                winner = self._first if self._first.is_answered else self._second_ran()
            elif not is_over and await self._second_decides():
                self.covered_up += _is_retriable(failure)
                winner = self._second_ran()
            else:
                raise failure
            return winner
        finally:
            await self._end(winner, is_over=is_over)

    async def _run_first(self) -> OperationError | None:
        """The first exchange, until it ends or the hedge ends the race; what it failed with."""
        self._timer = asyncio.get_running_loop().call_later(self._delay, self._late, _TURNS)
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scope = scope
                await self._first.run()
        except OperationError as error:
            return error
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._scope = None
            self._timer.cancel()
        return None

    def _late(self, turns: int) -> None:
        """The first is late: send the hedge, if the router grants one."""
        means, first, loop = self._means, self._first, asyncio.get_running_loop()
        if turns:
            self._timer = loop.call_soon(self._late, turns - 1)
            return
        left = self._delay - means.waited(self._started)
        if left > SHORTEST_WAIT:
            # The loop was blocked meanwhile, and that is not the endpoint's.
            self._timer = loop.call_later(left, self._late, _TURNS)
            return
        tried, size = first.journey.tried, first.operation.size
        attempt = means.router.hedge(first.attempt, tried, size, now=means.clock())
        if attempt is not None:
            self._second = Exchange(means, attempt, first.operation, first.journey)
            self._task = asyncio.create_task(self._run_second(self._second))
            self._task.add_done_callback(self._second_ended)

    async def _run_second(self, second: Exchange) -> Exchange:
        self._means.monitor.hedges += 1
        return await second.run()

    def _second_ended(self, task: asyncio.Task[Exchange]) -> None:
        if self._scope is not None and _decides(task):
            self._first.is_superseded = True
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def _second_decides(self) -> bool:
        """Whether the hedge, once it has ended, is what the race ends with."""
        if self._task is None:
            return False
        await asyncio.wait([self._task])
        return _decides(self._task)

    def _second_ran(self) -> Exchange:
        assert self._task is not None, "nobody else could have ended the race"
        return self._task.result()

    async def _end(self, winner: Exchange | None, *, is_over: bool) -> None:
        """Cancel and await the hedge if it still runs, and give back every answer but the winner's.

        It is not left before that is done, however often we are cancelled meanwhile; then the answer of the
        winner goes back as well.
        """
        task, second = self._task, self._second
        if task is None or second is None:
            return
        if not task.done():
            second.is_superseded = is_over
            task.cancel()
        interruption: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                interruption = error
        second.abandon()
        self.covered_up += not task.cancelled() and _is_retriable(task.exception())
        for exchange in (self._first, second):
            if exchange.is_answered and (exchange is not winner or interruption is not None):
                exchange.discard()
        if interruption is not None:
            raise interruption


def _decides(task: asyncio.Task[Exchange]) -> bool:
    return not task.cancelled() and not _may_go_on(task.exception())


def _may_go_on(error: BaseException | None) -> bool:
    """Whether the other attempt is worth waiting for: not after an answer of the service, nor a bug."""
    return isinstance(error, OperationError) and outcome_of(error) is not Outcome.CALLER_FAULT


def _is_retriable(error: BaseException | None) -> bool:
    return isinstance(error, OperationError) and outcome_of(error).is_retriable
