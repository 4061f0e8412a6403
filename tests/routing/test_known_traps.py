"""The traps that other routers fell into, as far as they concern the pure core; numbers as in routing.md.

Missing numbers (12, 16 to 18, 21 to 24) belong to the shells that await, and are tested there; lag of the event
loop, number 24, in tests/executor/test_loop_lag.py.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from flashback_async.routing import Attempt, Outcome, RoutingPolicy
from flashback_async.routing.policy import MIB

from .fleet import (
    CANCELLED,
    CLOSED,
    FAULT,
    HALF_OPEN,
    READ,
    SUCCESS,
    THROTTLED,
    TIMEOUT,
    WRITE,
    Fleet,
    report,
)


def test_01_everyone_on_one_winner():
    """A hundred requests at once to ten equal nodes spread evenly, instead of all to the momentary winner."""
    names = [f"n{index}" for index in range(10)]
    fleet = Fleet(*names, random=Random(1).random)
    for name in names:
        fleet.know(name, 0.010)
    counts = Counter(fleet.ask(now=0.1).endpoint.id for _ in range(100))
    assert len(counts) == 10
    assert max(counts.values()) <= 13


def test_02_published_latency_is_not_mine():
    """The node that publishes the shorter way to the bucket is far from here: both legs count."""
    fleet = Fleet(
        report("here", published=0.050), report("overseas", published=0.010), random=Random(1).random
    )
    fleet.router.record_probe("here", 0.005, now=0.0)
    fleet.router.record_probe("overseas", 0.220, now=0.0)
    assert fleet.picks(20, now=0.0) == {"here": 20}
    fleet.know("here", 0.055)
    fleet.know("overseas", 0.230)
    assert fleet.picks(20, now=0.0) == {"here": 20}


@pytest.mark.parametrize(("outcome", "first_byte"), [(SUCCESS, 0.400), (FAULT, 0.001), (TIMEOUT, None)])
def test_03_probes_miss_brownouts_and_errors(outcome, first_byte):
    """A node whose probes are perfect but whose answers are slow or errors is left within two responses."""
    fleet = Fleet("best", "next", random=Random(1).random)
    fleet.know("best", 0.020)
    fleet.know("next", 0.040)
    for tick in range(2):
        now = 1.0 + tick / 10
        fleet.router.record_probe("best", 0.001, now=now)
        fleet.run("best", outcome, now=now, first_byte=first_byte)
    fleet.router.record_probe("best", 0.001, now=1.2)
    assert fleet.picks(50, now=1.2) == {"next": 50}


def test_04_a_fast_failure_looks_attractive():
    """A node that fails within a millisecond never looks faster than one that works in 100 ms."""
    fleet = Fleet("broken", "works", random=Random(1).random)
    fleet.know("works", 0.100)
    fleet.run("broken", FAULT, now=0.0, first_byte=0.001)
    assert fleet.picks(50, now=0.1) == {"works": 50}
    fleet.know("broken", 0.001, now=0.1)
    fleet.run("broken", FAULT, now=0.2, first_byte=0.001)
    assert fleet.picks(50, now=0.3) == {"works": 50}


def test_05_black_hole():
    """A node that swallows requests is left after 150 ms of silence, long before a timeout."""
    fleet = Fleet("hole", "next", random=Random(1).random)
    fleet.know("hole", 0.010)
    fleet.know("next", 0.050)
    swallowed = fleet.ask(now=1.0)
    assert swallowed.endpoint.id == "hole"
    assert fleet.picks(20, now=1.149)["hole"] == 20
    assert fleet.picks(50, now=1.151) == {"next": 50}
    fleet.router.settle(swallowed, TIMEOUT, now=3.0)
    assert fleet.picks(50, now=3.0) == {"next": 50}


def share_of_the_busier(policy: RoutingPolicy) -> float:
    """The largest share that one of two equal but noisy nodes gets of any 100 requests in a row."""
    dice = Random(6)
    fleet = Fleet("a", "b", policy=policy, random=dice.random)
    counts: list[str] = []
    for tick in range(3_000):
        now = tick / 20
        attempt = fleet.ask(now=now)
        counts.append(attempt.endpoint.id)
        first_byte = 0.010 + dice.lognormvariate(-4.0, 1.0)
        fleet.router.settle(attempt, SUCCESS, now=now, first_byte=first_byte)
    blocks = [Counter(counts[start : start + 100]) for start in range(500, 3_000, 100)]
    return max(max(block.values()) / 100 for block in blocks)


def test_06_window_narrower_than_noise():
    """Two equal, noisy nodes share the traffic; with a window narrower than the noise one gets nearly all."""
    assert share_of_the_busier(RoutingPolicy()) < 0.75
    assert share_of_the_busier(RoutingPolicy(window_minimum=0, window_share=0, window_deviations=0)) > 0.85


def test_07_two_choices_over_far_nodes():
    """One near node among nine far ones gets all the light traffic, not two tenths of it."""
    far = [f"far{index}" for index in range(9)]
    fleet = Fleet("near", *far, random=Random(1).random)
    fleet.know("near", 0.010)
    for name in far:
        fleet.know(name, 0.200)
    assert fleet.picks(500, now=0.1) == {"near": 500}


def test_08_in_flight_times_rtt():
    """A near node is not punished for being used: twenty requests in flight do not multiply its distance."""
    fleet = Fleet("near", "far", random=Random(1).random)
    fleet.know("near", 0.050)
    fleet.know("far", 0.100)
    assert [fleet.ask(now=0.01).endpoint.id for _ in range(20)] == ["near"] * 20


def test_09_half_open_stampede():
    """When the open time is up, one of a hundred waiting requests is let in, and the others go elsewhere."""
    fleet = Fleet("a", "b", "c", random=Random(1).random)
    fleet.know("a", 0.001)
    fleet.trip("a", now=0.0)
    counts = Counter(fleet.ask(now=10.0).endpoint.id for _ in range(100))
    assert counts["a"] == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_09_stuck_after_a_cancelled_trial(streamed):
    """A trial whose caller went away frees the place: the next request is the next trial."""
    fleet = Fleet("a", "b")
    fleet.trip("a", now=0.0)
    for now in (1.0, 1.1, 1.2):
        attempt = fleet.ask("a", now=now)
        if streamed:
            fleet.router.settle(attempt, SUCCESS, now=now, streamed=True)
            fleet.router.finish(attempt, CANCELLED, now=now)
        else:
            fleet.router.settle(attempt, CANCELLED, now=now)
        assert fleet.at("a", now=now).breaker is HALF_OPEN
    fleet.run("a", SUCCESS, now=1.3)
    assert fleet.at("a", now=1.3).breaker is CLOSED


@pytest.mark.parametrize("outcome", [FAULT, TIMEOUT])
def test_10_late_result_of_an_older_generation(outcome):
    """Fifty timeouts of before the trial neither reopen the breaker nor slow down the node that recovered."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.020)
    late = [fleet.ask("a", now=0.0) for _ in range(50)]
    fleet.trip("a", now=0.0)
    fleet.run("a", SUCCESS, now=1.0, first_byte=0.020)
    for attempt in late:
        fleet.router.settle(attempt, outcome, now=2.0)
    shown = fleet.at("a", now=2.0)
    assert (shown.breaker, shown.opened, shown.in_flight) == (CLOSED, 1, 0)
    assert shown.read_latency == pytest.approx(0.020)


def test_11_cancellation_is_neutral():
    """A thousand cancelled requests open no breaker, move no figure, and leave nothing in flight."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.020)
    before = fleet.router.snapshot(now=9.0)
    fleet.run("a", CANCELLED, now=5.0, times=1_000, first_byte=3.0)
    assert fleet.router.snapshot(now=9.0) == before
    assert fleet.moves() == []


def test_13_most_nodes_bad_means_fail_open():
    """With six of ten breakers open the fault is elsewhere: breakers are ignored, everybody is asked."""
    names = [f"n{index}" for index in range(10)]
    fleet = Fleet(*names, random=Random(1).random)
    for bad in range(5):
        fleet.trip(names[bad], now=0.0)
    assert not set(names[:5]) & fleet.picks(300, now=0.1).keys()
    fleet.trip(names[5], now=0.0)
    tried: list[str] = []
    for _ in names:
        tried.append(fleet.ask(now=0.1, tried=tried).endpoint.id)
    assert sorted(tried) == sorted(names)


@pytest.mark.parametrize(
    ("nodes", "bad", "asked"),
    [(2, 1, 1), (3, 1, 2), (3, 2, 3), (4, 1, 3), (4, 2, 2), (4, 3, 4), (5, 2, 3), (5, 3, 5)],
)
def test_14_rounding(nodes, bad, asked):
    """A share of few nodes is not rounded to none or all: one bad of four is avoided, two are, three not."""
    names = [f"n{index}" for index in range(nodes)]
    fleet = Fleet(*names, random=Random(1).random)
    for name in names:
        fleet.router.record_probe(name, 0.010, now=0.0)
    for name in names[:bad]:
        fleet.run(name, FAULT, now=0.0, times=5, kind=WRITE)
    # Reads: the failed writes left no trace in their figures, so that only the breakers decide.
    assert len(fleet.picks(200, now=0.1)) == asked


def decisions(start: float) -> list[tuple[str, float]]:
    """What a router decides on a fixed random trace that begins at `start`."""
    dice, chance = Random(15), Random(16)
    fleet = Fleet("a", "b", "c", random=chance.random, now=start)
    held: list[Attempt] = []
    made: list[tuple[str, float]] = []
    now = start
    for _ in range(2_000):
        now += dice.choice([0.0, 1 / 64, 1 / 16, 1.0])
        choice = fleet.router.acquire("photos", dice.choice([READ, WRITE]), now=now)
        if isinstance(choice, Attempt):
            held.append(choice)
            made.append((choice.endpoint.id, 0.0))
        else:
            made.append(("wait", choice.seconds))
        while held and dice.random() < 0.7:
            attempt = held.pop(dice.randrange(len(held)))
            bad = attempt.endpoint.id == "a" and dice.random() < 0.6
            outcome = dice.choice([FAULT, TIMEOUT, THROTTLED]) if bad else SUCCESS
            fleet.router.settle(attempt, outcome, now=now, first_byte=dice.random() / 8)
    return made


@pytest.mark.parametrize("start", [-4_096.0, 1_048_576.0])
def test_15_wall_clock_steps(start):
    """Only differences of times count: the same trace at another time makes the same decisions."""
    expected, found = decisions(0.0), decisions(start)
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [wait for _, wait in found] == pytest.approx([wait for _, wait in expected])
    assert len({name for name, _ in expected}) >= 3


def test_15_a_step_back_breaks_nothing():
    """Even if times go back by a second, nothing raises, no wait is negative, and nothing stays in flight."""
    dice = Random(15)
    fleet = Fleet("a", "b", random=dice.random)
    for tick in range(2_000):
        now = 100.0 + tick / 16 - dice.choice([0.0, 0.0, 1.0])
        choice = fleet.router.acquire(None, READ, now=now)
        if isinstance(choice, Attempt):
            outcome = dice.choice(list(Outcome))
            fleet.router.settle(choice, outcome, now=now - dice.choice([0.0, 0.5]), first_byte=0.01)
        else:
            assert choice.seconds > 0
        assert all(row.retry_in >= 0 for row in fleet.router.snapshot(now=now).endpoints)
    assert fleet.router.snapshot(now=300.0).in_flight == 0


def test_19_table_swap_keeps_surviving_statistics():
    """A discovery every ten seconds does not make the router forget whom it knows."""
    fleet = Fleet("near", "far", random=Random(1).random)
    fleet.know("near", 0.010)
    fleet.know("far", 0.200)
    for tick in range(10):
        fleet.discover("far", f"new{tick}", "near", now=10.0 * tick)
        assert fleet.at("near", now=10.0 * tick).read_latency == pytest.approx(0.010)
        assert fleet.at("far", now=10.0 * tick).requests == 5


def test_19_an_id_that_comes_back_with_another_url_starts_anew():
    """Statistics follow the address: behind a new URL nothing of the old node is believed."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.010)
    fleet.trip("a", now=0.0)
    fleet.discover(report("a", url="https://a2.example"), "b", now=0.5)
    shown = fleet.at("a", now=0.5)
    assert (shown.breaker, shown.read_latency, shown.requests) == (CLOSED, None, 0)


def test_20_body_size():
    """A large body is no latency: ten slow gigabytes leave the first byte of small requests where it was."""
    fleet = Fleet("a")
    fleet.know("a", 0.020)
    fleet.know("a", 0.030, kind=WRITE)
    for _ in range(10):
        upload = fleet.ask("a", now=1.0, kind=WRITE, size=1_024 * MIB)
        fleet.router.settle(upload, SUCCESS, now=61.0, first_byte=60.0)
        download = fleet.ask("a", now=1.0)
        fleet.router.settle(download, SUCCESS, now=1.02, first_byte=0.020, streamed=True)
        fleet.router.finish(download, SUCCESS, now=61.0, bytes_moved=1_024 * MIB, seconds=60.0)
    shown = fleet.at("a", now=61.0)
    assert shown.read_latency == pytest.approx(0.020)
    assert shown.write_latency == pytest.approx(0.030)
    assert shown.read_throughput == pytest.approx(1_024 * MIB / 60)


def test_20_a_long_upload_is_not_taken_for_a_black_hole():
    """While a large upload runs, its node is not silent: small requests keep going there."""
    fleet = Fleet("a", "b", random=Random(1).random)
    fleet.know("a", 0.010)
    fleet.know("b", 0.100)
    fleet.ask("a", now=1.0, kind=WRITE, size=100 * MIB)
    assert fleet.picks(20, now=30.0) == {"a": 20}


@pytest.mark.parametrize("seed", range(5))
def test_25_leaked_in_flight_counter(seed):
    """After 500 requests with every kind of end, mistakes of the caller included, every counter is zero."""
    dice = Random(seed)
    fleet = Fleet("a", "b", "c", random=dice.random)
    held: list[Attempt] = []
    bodies: list[Attempt] = []
    for step in range(500):
        now = step / 10
        choice = fleet.router.acquire(dice.choice([None, "photos"]), dice.choice([READ, WRITE]), now=now)
        if isinstance(choice, Attempt):
            held.append(choice)
        if held and dice.random() < 0.5:
            attempt = held.pop(dice.randrange(len(held)))
            outcome, streamed = dice.choice(list(Outcome)), dice.random() < 0.5
            fleet.router.settle(attempt, outcome, now=now, streamed=streamed)
            with pytest.raises(RuntimeError):
                fleet.router.settle(attempt, outcome, now=now)
            bodies.append(attempt)
        if bodies and dice.random() < 0.5:
            body = bodies.pop(dice.randrange(len(bodies)))
            fleet.router.finish(body, dice.choice(list(Outcome)), now=now)
            with pytest.raises(RuntimeError):
                fleet.router.finish(body, SUCCESS, now=now)
        if step % 100 == 99:
            fleet.discover("a", report("b", url=f"https://b{step}.example"), "c", now=now)
    for attempt in held:
        fleet.router.settle(attempt, CANCELLED, now=60.0)
    for body in bodies:
        fleet.router.finish(body, CANCELLED, now=60.0)
    shown = fleet.router.snapshot(now=60.0)
    assert (shown.in_flight, shown.streaming) == (0, 0)
    assert {(row.in_flight, row.streaming) for row in shown.endpoints} == {(0, 0)}


def test_every_trap_of_the_pure_core_has_a_test():
    """The numbers of the list that concern the pure core are all here, in order."""
    numbers = [int(name[5:7]) for name in globals() if name.startswith("test_") and name[5:7].isdigit()]
    assert all(first <= second for first, second in pairwise(numbers))
    assert set(numbers) == {*range(1, 12), 13, 14, 15, 19, 20, 25}
