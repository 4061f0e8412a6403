"""How long the event loop was blocked, so that its own lag is not taken for an endpoint's.

While a callback computes, no answer is read and no timer fires: every endpoint looks slow, and none of them
is. A timer that is due every 50 ms tells afterwards by how much it was late. Under load it is always a little
late, for thousands of callbacks take their turns; that is what a request costs here, whoever serves it. So
only what exceeds the usual lateness counts as lag, else a busy client would excuse every timeout and measure
nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from itertools import chain
from statistics import median_high
from typing import TYPE_CHECKING, NamedTuple

from flashback_async.errors import EndpointTimeoutError

if TYPE_CHECKING:
    import asyncio

TICK = 0.05
"""Seconds between two ticks: what a block may last unseen, and twenty wake-ups a second."""

USUAL_TICKS = 21
"""The median of so many ticks is the usual lateness: about a second of them."""

USUAL_LIMIT = 0.5
"""Seconds of lateness that can be usual. More is no load, it is one block after the other."""

USUAL_SHARE = 0.1
"""The same as a share of a timer: the loop turns ten times meanwhile at least, and an answer is seen."""

NEGLIGIBLE = 0.005
"""Seconds of lateness that are not worth a note: the noise of timers, far below that of latencies."""

LAGS_KEPT = 512
"""Lags remembered. One ends at most every 50 ms, so they reach back 25 s: beyond every default timer."""

WORST_WITHIN = 10.0
"""Seconds that `worst` looks back."""

EXCUSE = 0.25
"""A timer of which the loop was blocked for this share says nothing of the endpoint."""

WARN_FROM = 1.0
"""Seconds of one block from which on the user is told."""

WARN_EVERY = 60.0
"""Seconds between two warnings."""

_logger = logging.getLogger("flashback_async")


class _Lag(NamedTuple):
    """One late tick: when it was due, how late is usual, when it ran."""

    due: float
    usual: float
    end: float


class LoopLag:
    """Watches one event loop. Belongs to it; costs one timer.

    Life: `start()` begins to watch, `close()` ends it and leaves no timer behind. Before and after, no lag is
    seen. Times are seconds of the loop's clock.

    Args:
        loop: the loop to watch, and the clock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._lags: deque[_Lag] = deque(maxlen=LAGS_KEPT)
        self._lateness: deque[float] = deque(maxlen=USUAL_TICKS)
        self._usual = 0.0
        self._warned_at = float("-inf")

    def start(self) -> None:
        """Begin to watch. Idempotent; may be called again after `close`."""
        if self._timer is None:
            self._wind()

    def close(self) -> None:
        """End it. Idempotent."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def between(self, start: float, end: float, *, usual: float = USUAL_LIMIT) -> float:
        """Seconds of that interval in which the loop was blocked, as far as is known.

        A block that is under way counts up to now: who was woken before the tick needs to know of it, too. It
        counts from the tick that it delayed, so up to 50 ms of each are missing; lags that are older than the
        last 512 are forgotten.

        Args:
            start: beginning of the interval.
            end: its end.
            usual: seconds that are not counted of each lag where they are usual.
        """
        lags = self._lags
        if end <= self._due and not (lags and lags[-1].end > start):
            return 0.0  # As nearly always, and every request asks.
        blocked = 0.0
        for lag in chain((self._under_way(),), reversed(lags)):
            if lag.end <= start:
                break
            begin = lag.due + min(usual, lag.usual)
            blocked += max(0.0, min(end, lag.end) - max(start, begin))
        return blocked

    def worst(self) -> float:
        """Seconds by which the latest tick of the last 10 s was late; 0 if all were in time."""
        horizon = self._loop.time() - WORST_WITHIN
        return max(lag.end - lag.due for lag in (self._under_way(), *self._lags) if lag.end >= horizon)

    def _tick(self) -> None:
        lag = self._under_way()
        # First: without a next tick the loop would seem to be blocked for ever.
        self._wind()
        late = lag.end - lag.due
        if late:
            self._lags.append(lag)
        self._lateness.append(late)
        self._usual = median_high(self._lateness)
        if late > WARN_FROM:
            self._warn(late, lag.end)

    def _wind(self) -> None:
        self._due = self._loop.time() + TICK
        self._timer = self._loop.call_at(self._due, self._tick)

    def _under_way(self) -> _Lag:
        """The lag that the next tick will tell of; empty while that tick is not overdue."""
        now = self._loop.time()
        if self._timer is None or now - self._due <= NEGLIGIBLE:
            return _Lag(now, 0.0, now)
        return _Lag(self._due, self._usual, now)

    def _warn(self, late: float, now: float) -> None:
        if now - self._warned_at < WARN_EVERY:
            return
        self._warned_at = now
        _logger.warning(
            "the event loop was blocked for %.1f s, and every request waited; move long computations and "
            "blocking calls off it with asyncio.to_thread (PYTHONASYNCIODEBUG=1 logs which callback it is)",
            late,
        )


def timeout_error(reason: str, *, since: float, patience: float, lag: LoopLag | None) -> EndpointTimeoutError:
    """What to raise when a timer of ours fired: the endpoint's fault, unless the loop itself was away.

    Args:
        reason: what did not come.
        since: when the timer was set.
        patience: seconds of the timer. How late it fired does not matter, the endpoint's time was over.
        lag: watches the loop; None: nobody does, and no lag is known.
    """
    blocked = 0.0
    if lag is not None:
        blocked = lag.between(since, since + patience, usual=min(USUAL_LIMIT, USUAL_SHARE * patience))
    if blocked < EXCUSE * patience:
        return EndpointTimeoutError(reason)
    return EndpointTimeoutError(
        f"{reason}, but for {blocked:.2f} s of it our own event loop was blocked, and nobody is to blame",
        is_endpoint_fault=False,
    )


__all__ = ["LoopLag", "timeout_error"]
