"""One router, many threads: no count is lost, and everything waits while a pick is made."""

from __future__ import annotations

import sys
from collections import Counter
from random import Random
from threading import Thread

import pytest

from flashback_async.routing import Attempt, Outcome, RoutingPolicy

from .fleet import CANCELLED, FAULT, READ, SUCCESS, WRITE, Fleet, report


@pytest.fixture
def eager_switches():
    """Threads that take turns as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_eight_threads_lose_no_count(eager_switches):
    """Eight threads use one router, discoveries and snapshots among them: every request is counted once."""
    # Nothing may leave the table, be throttled or trip here, or the sums would not be known.
    policy = RoutingPolicy(breaker_consecutive=10**9, breaker_minimum=10**9)
    fleet = Fleet("a", "b", "c", policy=policy, random=Random(1).random)
    rounds, failures = 600, []
    counts: list[Counter] = [Counter() for _ in range(8)]

    def work(number: int) -> None:
        dice, mine = Random(number), counts[number]
        try:
            for step in range(rounds):
                now = step / 100
                attempt = fleet.router.acquire("photos", dice.choice([READ, WRITE]), now=now)
                assert isinstance(attempt, Attempt)
                outcome = dice.choice([SUCCESS, FAULT, CANCELLED, Outcome.TIMEOUT, Outcome.CALLER_FAULT])
                streamed = dice.random() < 0.5
                fleet.router.settle(attempt, outcome, now=now, first_byte=0.01, streamed=streamed)
                if streamed:
                    fleet.router.finish(attempt, SUCCESS, now=now)
                if outcome is not CANCELLED:
                    mine["requests"] += 1
                mine["failures"] += outcome.is_fault
                paid = fleet.router.pay_for_retry(outcome)
                if paid is not None:
                    fleet.router.refund_retry(paid)
                if step % 50 == number:
                    fleet.discover("c", report("a", published=dice.random()), "b", now=now)
                    fleet.router.snapshot(now=now)
                    fleet.router.drain_events()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    shown = fleet.router.snapshot(now=100.0)
    assert (shown.in_flight, shown.streaming, shown.retry_budget) == (0, 0, 500)
    assert sum(row.requests for row in shown.endpoints) == sum(mine["requests"] for mine in counts)
    assert sum(row.failures for row in shown.endpoints) == sum(mine["failures"] for mine in counts)


def test_everything_waits_while_a_pick_is_made():
    """The pick holds the lock from the first look to the count: nobody comes in between."""
    threads: dict[str, Thread] = {}
    early: list[str] = []

    def chance() -> float:
        if threads and not early:
            for thread in threads.values():
                thread.start()
            for thread in threads.values():
                thread.join(timeout=0.02)
            early.extend(name for name, thread in threads.items() if not thread.is_alive())
            early.append("looked")
        return 0.5

    fleet = Fleet("a", "b", random=chance)
    router = fleet.router
    fleet.know("a", 0.010)
    fleet.know("b", 0.010)
    waiting, streaming, confirmed = (fleet.ask("a", now=0.0) for _ in range(3))
    for attempt in (streaming, confirmed):
        router.settle(attempt, SUCCESS, now=0.0, streamed=True)
    calls = {
        "acquire": lambda: router.acquire(None, READ, now=0.0, only="a"),
        "best": lambda: router.best(None, READ, now=0.0),
        "settle": lambda: router.settle(waiting, SUCCESS, now=0.0),
        "confirm": lambda: router.confirm(confirmed, now=0.0),
        "finish": lambda: router.finish(streaming, SUCCESS, now=0.0),
        "report": lambda: router.report("a", SUCCESS, now=0.0),
        "pay_for_retry": lambda: router.pay_for_retry(FAULT),
        "refund_retry": lambda: router.refund_retry(1),
        "record_probe": lambda: router.record_probe("a", 0.01, now=0.0),
        "apply_discovery": lambda: router.apply_discovery([report("a"), report("b")], now=0.0),
        "drain_events": router.drain_events,
        "explain": lambda: router.explain(None, READ, now=0.0),
        "snapshot": lambda: router.snapshot(now=0.0),
    }
    threads.update({name: Thread(target=call, daemon=True) for name, call in calls.items()})
    router.acquire(None, READ, now=0.0)
    for thread in threads.values():
        thread.join(timeout=10)
    assert early == ["looked"]
    assert not any(thread.is_alive() for thread in threads.values()), "and afterwards all of them go on"
