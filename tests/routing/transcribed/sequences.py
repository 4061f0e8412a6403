"""What the transcribed tests of breakers share: their settings as our policy, their sequences replayed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flashback_async.routing import RoutingPolicy
from flashback_async.routing.breaker import Breaker
from routing.fleet import CLOSED, FAULT, MIDDLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flashback_async.routing import BreakerState, Outcome

NEVER = 10**9
"""A threshold that nothing reaches: how a rule of ours is turned off."""

_FULL = 100


def settings(
    *,
    consecutive: int = NEVER,
    share: float = 1.0,
    minimum: int = NEVER,
    window: int = 10,
    open_time: float = 1.0,
    limit: float = 60.0,
    trial_limit: float = 60.0,
) -> RoutingPolicy:
    """A policy with exactly the rules that are named; the jitter is taken out by the chance of `replay`."""
    return RoutingPolicy(
        breaker_consecutive=consecutive,
        breaker_share=share,
        breaker_minimum=minimum,
        breaker_window=window,
        open_time=open_time,
        open_time_limit=limit,
        trial_limit=trial_limit,
    )


def replay(policy: RoutingPolicy, steps: Iterable[tuple[float, Outcome | None, BreakerState]]) -> Breaker:
    """A breaker after these steps: (seconds, how a call ended or None for "it was refused", state then)."""
    tested = Breaker(policy, MIDDLE)
    for number, (now, outcome, state) in enumerate(steps):
        assert tested.admits(now) is (outcome is not None), f"step {number} at {now} s"
        if outcome is not None:
            tested.record(tested.permit(now), outcome, now)
        assert tested.state is state, f"step {number} at {now} s"
    return tested


def counted(history: Iterable[tuple[float, Outcome]], *, window: int, now: float) -> tuple[int, int]:
    """(calls, faults) that a breaker with that window has counted at `now`, as it tells them when it opens.

    It is made to open by faults at `now`: it does when the window holds a hundred calls, and its reason says
    how many of them failed. What the added faults account for is taken off again.
    """
    tested = Breaker(settings(share=0.0, minimum=_FULL, window=window), MIDDLE)
    for when, outcome in history:
        tested.record(tested.permit(when), outcome, when)
    added = 0
    while tested.state is CLOSED:
        tested.record(tested.permit(now), FAULT, now)
        added += 1
    told = re.match(r"(\d+) of (\d+) calls", tested.reason)
    assert told, tested.reason
    return int(told[2]) - added, int(told[1]) - added
