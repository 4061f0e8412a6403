"""Hedges: what is late, how many may be sent, where they go, and what a loser tells of its endpoint.

Facts marked "Finagle" are those of twitter/finagle at 4feb34cb949918c572a6152327212e062527bd62 (Apache-2.0):
`client/BackupRequestFilterTest.scala` and `service/RetryBudgetTest.scala` in finagle-core's tests. What they
say of a race is in `tests/executor/test_hedging.py`.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from flashback_async.errors import ConfigurationError
from flashback_async.routing import Endpoint, EndpointStatus, Router, RoutingPolicy
from flashback_async.routing.hedge import FirstBytes, HedgeBudget

from .fleet import (
    CALLER_FAULT,
    CANCELLED,
    CLOSED,
    FAULT,
    HALF_OPEN,
    OPEN,
    READ,
    SUCCESS,
    THROTTLED,
    TIMEOUT,
    TINY,
    WRITE,
    Fleet,
    report,
)

POLICY = RoutingPolicy()
# What one sample is enough for, so that a test can look at that sample.
ONE = RoutingPolicy(hedge_outcomes=1, hedge_samples=1, hedge_minimum=0.0)


def usual(*samples: float, policy: RoutingPolicy = POLICY) -> float | None:
    """What the first bytes of that many answers make usual."""
    tested = FirstBytes(policy)
    for sample in samples:
        tested.observe(sample)
    return tested.usual()


def delay(fleet: Fleet, name: str | None = None, *, now: float = 0.0, kind=READ) -> float | None:
    """What the next attempt is told; it leaves no trace but its deposit."""
    attempt = fleet.ask(name, now=now, kind=kind)
    told = fleet.router.hedge_delay(attempt, now=now)
    fleet.router.settle(attempt, CANCELLED, now=now)
    return told


def granted(fleet: Fleet, count: int, *, now: float = 0.0) -> None:
    """Let as many reads at `a` deposit as pay for `count` hedges."""
    before = fleet.router.snapshot(now=now).hedge_budget
    for _ in range(20 * count):
        delay(fleet, "a", now=now)
    assert fleet.router.snapshot(now=now).hedge_budget == before + count


# --- what is late ------------------------------------------------------------------------------------------


def test_nothing_is_late_before_twenty_answers():
    """Nineteen first bytes have no 95th percentile; twenty have."""
    assert usual(*[0.1] * 19) is None
    assert usual(*[0.1] * 20) == 0.1


@pytest.mark.parametrize(("slow", "told"), [(1, 0.05), (2, 2.0)])
def test_late_is_longer_than_nineteen_in_twenty(slow, told):
    """Of twenty first bytes one may lie above: the 95th percentile, by nearest rank."""
    samples = [0.05] * (20 - slow) + [2.0] * slow
    Random(1).shuffle(samples)
    assert usual(*samples) == told


def test_only_the_last_two_hundred_count():
    """An endpoint that was slow long ago makes nobody late today."""
    assert usual(*[3.0] * 200, *[0.1] * 189) == 3.0
    assert usual(*[3.0] * 200, *[0.1] * 190) == 0.1


def test_a_policy_without_memory_never_hedges():
    """More outcomes asked for than samples kept: nothing is ever late."""
    assert usual(*[0.1] * 500, policy=RoutingPolicy(hedge_samples=5, hedge_outcomes=6)) is None
    assert usual(policy=RoutingPolicy(hedge_outcomes=0)) is None


def test_a_share_of_one_makes_every_request_late():
    """Whoever allows as many hedges as requests sends them after the shortest first byte."""
    assert usual(*[0.3] * 50, 0.2, *[0.3] * 49, policy=RoutingPolicy(hedge_share=1.0)) == 0.2


def test_the_figure_follows_the_answers():
    """A new sample counts at once, asked before or not."""
    tested = FirstBytes(ONE)
    for sample in (0.1, 0.5, 0.2):
        tested.observe(sample)
        assert tested.usual() == sample


def test_a_lower_bound_counts_only_above_what_is_usual():
    """An answer that was given up early says nothing; one that was waited for says at least so much."""
    tested = FirstBytes(replace(ONE, hedge_samples=3, hedge_share=0.0))
    tested.observe_at_least(0.2)
    assert tested.usual() == 0.2
    for bound, told in [(0.1, 0.2), (0.2, 0.2), (0.2 + TINY, 0.2 + TINY), (0.9, 0.9)]:
        tested.observe_at_least(bound)
        assert tested.usual() == told


def test_finagle_percentile_and_balance():
    """Finagle: after 90 answers in 50 ms and 10 in 100 ms, a share of 1 % waits 100 ms and has one hedge,
    a share of 10 % waits 50 ms.
    """
    for share, told, balance in [(0.01, 0.1, 1), (0.1, 0.05, 10)]:
        policy = RoutingPolicy(hedge_share=share)
        assert usual(*[0.05] * 90, *[0.1] * 10, policy=policy) == told
        budget = HedgeBudget(policy)
        for _ in range(100):
            budget.deposit(0.0)
        assert budget.available(0.0) == balance


@pytest.mark.parametrize("minimum", [0.001, 0.010])
def test_finagle_minimum(minimum):
    """Finagle: after 100 answers in no time at all, a hedge waits for the minimum, whichever that is."""
    fleet = Fleet("a", policy=RoutingPolicy(hedge_minimum=minimum))
    fleet.run("a", now=0.0, times=100, first_byte=0.0)
    assert delay(fleet) == minimum


def test_the_minimum_is_ten_milliseconds():
    """In less, an event loop that is a little behind would look like a slow endpoint."""
    fleet = Fleet("a")
    fleet.run("a", now=0.0, times=20, first_byte=0.002)
    assert delay(fleet) == 0.010
    fleet.run("a", now=0.0, times=20, first_byte=0.011)
    assert delay(fleet) == 0.011


def settled(outcome, **details) -> float | None:
    """What is late after one attempt that was started at 0 and settled at 2."""
    fleet = Fleet("a", "b", policy=ONE)
    fleet.router.settle(fleet.ask("a", now=0.0), outcome, now=2.0, **details)
    return delay(fleet, "b", now=2.0)


def test_finagle_which_answers_count():
    """Finagle: a success, a timeout and an attempt that was superseded count with what they took; a failure
    does not, for failures are fast.
    """
    assert settled(SUCCESS, first_byte=0.1) == 0.1
    assert settled(TIMEOUT) == 2.0
    assert settled(CANCELLED, at_least=1.5) == 1.5
    assert settled(FAULT) is None
    assert settled(FAULT, first_byte=0.1) is None


def test_which_answers_do_not_count():
    """429s and refusals say nothing of how long the work takes, nor do cancelled callers or unmeasured ones."""
    assert settled(THROTTLED, first_byte=0.1) is None
    assert settled(CALLER_FAULT, first_byte=0.1) is None
    assert settled(CANCELLED) is None
    assert settled(SUCCESS) is None


def test_all_endpoints_tell_together_what_is_late():
    """A slow endpoint among fast ones is late by their measure, not by its own."""
    fleet = Fleet("a", "b")
    fleet.run("a", now=0.0, times=190, first_byte=0.03)
    fleet.run("b", now=0.0, times=10, first_byte=0.9)
    attempt = fleet.ask("b", now=0.0)
    assert fleet.router.hedge_delay(attempt, now=0.0) == 0.03


def test_writes_are_never_hedged():
    """A write is never late, tells nothing of reads, and deposits nothing."""
    fleet = Fleet("a", "b")
    fleet.run("a", now=0.0, times=50, first_byte=0.1, kind=WRITE)
    assert delay(fleet) is None
    fleet.run("a", now=0.0, times=50, first_byte=0.1)
    deposited = fleet.router.snapshot(now=0.0).hedge_budget
    for _ in range(100):
        assert delay(fleet, kind=WRITE) is None
    assert fleet.router.snapshot(now=0.0).hedge_budget == deposited
    assert delay(fleet) == 0.1


def test_a_trial_is_waited_for():
    """The request that decides about a half-open endpoint is not hedged; a hedge would end it undecided, and
    the next request would be the next trial.
    """
    fleet = Fleet("a", "b")
    fleet.know("b", 0.1)
    fleet.run("b", now=0.0, times=20, first_byte=0.1)
    fleet.trip("a", now=0.0)
    trial = fleet.ask("a", now=10.0)
    assert fleet.at("a", now=10.0).breaker is HALF_OPEN
    assert fleet.router.hedge_delay(trial, now=10.0) is None
    assert delay(fleet, now=10.0) == 0.1


# --- the budget --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [-5.0, 2.0])
def test_finagle_share_is_checked(share):
    """Finagle: extra load is neither negative nor more than 1."""
    with pytest.raises(ConfigurationError, match="hedge_share"):
        RoutingPolicy(hedge_share=share)


def test_finagle_no_extra_load():
    """Finagle: with a share of 0 the budget is empty, whatever is deposited."""
    tested = HedgeBudget(RoutingPolicy(hedge_share=0.0))
    for _ in range(1_000):
        tested.deposit(0.0)
    assert (tested.available(0.0), tested.take(0.0)) == (0, False)


def test_finagle_a_hundred_deposits():
    """Finagle: at 1 % a hundred requests deposit one hedge. There on top of a reserve of 300, which we and
    Finagle's own filter do without.
    """
    tested = HedgeBudget(RoutingPolicy(hedge_share=0.01))
    for count in range(1, 101):
        tested.deposit(0.0)
        assert tested.available(0.0) == (count == 100)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.25, 0.75, 0.99, 0.999, 0.9999, 0.01, 0.001, 0.0001])
def test_finagle_share_of_ten_thousand(share):
    """Finagle: of 10,000 requests that take whatever there is, exactly the share gets a hedge (give or take
    one), and whoever is refused finds nothing left.
    """
    tested = HedgeBudget(RoutingPolicy(hedge_share=share))
    assert not tested.take(0.0)
    taken = 0
    for _ in range(10_000):
        tested.deposit(0.0)
        if tested.take(0.0):
            taken += 1
        else:
            assert tested.available(0.0) == 0
    assert taken == pytest.approx(10_000 * share, abs=1)


def test_deposits_are_worth_nothing_after_ten_seconds():
    """A request counts for ten slices of one second; a hedge is forgotten as slowly."""
    tested = HedgeBudget(POLICY)
    for _ in range(40):
        tested.deposit(0.0)
    assert [tested.available(now) for now in (0.0, 5.0, 10.0 - TINY, 10.0, 99.0)] == [2, 2, 2, 0, 0]
    assert tested.take(9.0)
    assert [tested.available(now) for now in (9.0, 10.0 - TINY, 10.0)] == [1, 1, 0]
    for _ in range(20):
        tested.deposit(12.0)
    # The forty are gone, the hedge that they paid for is not.
    assert [tested.available(now) for now in (12.0, 19.0 - TINY, 19.0, 22.0)] == [0, 0, 1, 0]


@pytest.mark.parametrize("seed", range(20))
def test_in_the_last_ten_seconds_the_share_is_kept(seed):
    """However requests and hedges are spread in time: no hedge goes beyond the share of the last ten slices."""
    dice = Random(seed)
    tested = HedgeBudget(POLICY)
    now, requests, hedges = 0.0, [], []
    for _ in range(3_000):
        now += dice.choice([0.0, 0.0, 0.01, 0.3, 2.0])
        tested.deposit(now)
        requests.append(int(now))
        while dice.random() < 0.5 and tested.take(now):
            hedges.append(int(now))
            window = range(int(now) - 9, int(now) + 1)
            assert sum(at in window for at in hedges) <= 0.05 * sum(at in window for at in requests)
    assert hedges


def test_the_budget_is_shown_and_asking_takes_nothing():
    """A snapshot tells the hedges left, as often as one likes; refused hedges take none."""
    fleet = Fleet("a")
    granted(fleet, 2)
    late = fleet.ask("a", now=0.0)
    for _ in range(3):
        assert fleet.router.hedge(late, (), None, now=0.0) is None
        assert fleet.router.snapshot(now=0.0).hedge_budget == 2


def test_an_exhausted_budget_grants_nothing():
    """Each hedge takes one; when none is left, nobody is asked."""
    fleet = Fleet("a", "b")
    granted(fleet, 1)
    late = fleet.ask("a", now=0.0)
    hedge = fleet.router.hedge(late, (), None, now=0.0)
    assert hedge is not None
    assert fleet.router.snapshot(now=0.0).hedge_budget == 0
    fleet.router.settle(hedge, SUCCESS, now=0.0)
    assert fleet.router.hedge(late, (), None, now=0.0) is None
    assert fleet.at("b", now=0.0).in_flight == 0


def test_hedges_do_not_touch_the_budget_of_retries():
    """The two budgets are apart."""
    fleet = Fleet("a", "b")
    granted(fleet, 1)
    assert fleet.router.hedge(fleet.ask("a", now=0.0), (), None, now=0.0) is not None
    assert fleet.router.snapshot(now=0.0).retry_budget == 500


# --- where a hedge goes ------------------------------------------------------------------------------------


def hedged(fleet: Fleet, *, tried=(), now: float = 0.0, bucket: str | None = None) -> str | None:
    """Who is asked beside a late request at `a`; both are cancelled, and the budget is ample."""
    granted(fleet, 1, now=now)
    late = fleet.ask("a", now=now, bucket=bucket)
    hedge = fleet.router.hedge(late, tried, None, now=now)
    fleet.router.settle(late, CANCELLED, now=now)
    if hedge is None:
        return None
    assert (hedge.bucket, hedge.kind, hedge.started) == (bucket, READ, now)
    assert fleet.at(hedge.endpoint.id, now=now).in_flight == 1
    fleet.router.settle(hedge, CANCELLED, now=now)
    return hedge.endpoint.id


def test_a_hedge_goes_to_the_best_of_the_others():
    """Neither where the late request is, nor where the operation was before; of the rest, the best."""
    fleet = Fleet(*[report(name, published=0.01 * 8**place) for place, name in enumerate("abcd")])
    assert hedged(fleet) == "b"
    assert hedged(fleet, tried=("b",)) == "c"
    assert hedged(fleet, tried={"b", "c"}) == "d"
    assert hedged(fleet, tried=("b", "c", "d")) is None


def test_a_hedge_does_not_go_where_the_bucket_is_not_served():
    """There is no last resort for what is optional."""
    fleet = Fleet("a", report("b", status=EndpointStatus.OFFLINE), report("c", offline={"x"}))
    assert hedged(fleet, bucket="x") is None
    assert hedged(fleet, bucket="y") == "c"


def test_a_hedge_is_never_a_trial():
    """Only closed breakers are asked: neither an open one, nor one that waits for its trial, nor in panic."""
    fleet = Fleet("a", "b")
    fleet.trip("b", now=0.0)
    assert fleet.at("b", now=0.0).breaker is OPEN
    assert hedged(fleet, now=0.1) is None
    later = 0.1 + fleet.at("b", now=0.1).retry_in
    assert hedged(fleet, now=later) is None
    assert fleet.at("b", now=later).breaker is OPEN
    fleet.run("b", now=later)
    assert fleet.at("b", now=later).breaker is CLOSED
    assert hedged(fleet, now=later) == "b"


def test_a_hedge_never_presses_a_limited_endpoint():
    """Without a token there is no hedge; the first token is enough."""
    fleet = Fleet("a", "b", policy=RoutingPolicy(limiter_search_share=1.0))
    fleet.run("b", THROTTLED, now=0.0)
    until = fleet.at("b", now=0.0).retry_in
    assert hedged(fleet, now=0.0) is None
    assert hedged(fleet, now=until - 0.001) is None
    assert hedged(fleet, now=until) == "b"
    assert hedged(fleet, now=until) is None, "the token was taken"


def test_a_hedge_survives_a_table_that_was_swapped():
    """An endpoint that left cannot be hedged to; one that came back under another URL is another one."""
    fleet = Fleet("a", "b")
    granted(fleet, 2)
    late = fleet.ask("a", now=0.0)
    fleet.discover(now=0.0)
    assert fleet.router.hedge(late, (), None, now=0.0) is None
    fleet.discover(report("a", url="https://elsewhere.example"), now=0.0)
    hedge = fleet.router.hedge(late, (), None, now=0.0)
    assert hedge is not None
    assert hedge.endpoint == Endpoint(id="a", url="https://elsewhere.example")


def test_the_size_weighs_in_a_hedge_as_in_any_pick():
    """For a large body the endpoint with the throughput is asked, not the nearer one."""
    fleet = Fleet("a", "b", "c")
    for name, first_byte, rate in [("b", 0.01, 1e6), ("c", 0.3, 1e9)]:
        fleet.know(name, first_byte)
        attempt = fleet.ask(name, now=0.0)
        fleet.router.settle(attempt, SUCCESS, now=0.0, first_byte=first_byte, streamed=True)
        fleet.router.finish(attempt, SUCCESS, now=0.0, bytes_moved=10_000_000, seconds=10_000_000 / rate)
    granted(fleet, 2)
    late = fleet.ask("a", now=0.0)
    small, large = (fleet.router.hedge(late, (), size, now=0.0) for size in (None, 50_000_000))
    assert small is not None
    assert large is not None
    assert (small.endpoint.id, large.endpoint.id) == ("b", "c")


# --- what a loser tells ------------------------------------------------------------------------------------


def lost(fleet: Fleet, at_least: float | None, *, now: float, bucket: str | None = None) -> None:
    """A request at `a` is given up because another one answered."""
    fleet.router.settle(fleet.ask("a", now=now, bucket=bucket), CANCELLED, now=now, at_least=at_least)


def test_a_loser_raises_what_is_expected_like_any_sample():
    """Its elapsed time moves the expectation by a fifth of the difference, as an answer would: one slow
    answer must not throw a good endpoint out.
    """
    fleet = Fleet("a")
    fleet.know("a", 0.02)
    lost(fleet, 0.52, now=10.0)
    assert fleet.at("a", now=10.0).read_latency == pytest.approx(0.02 + 0.2 * 0.5)
    lost(fleet, 0.52, now=20.0)
    faded = 0.1 / 2.718281828459045
    assert fleet.at("a", now=20.0).read_latency == pytest.approx(0.02 + faded + 0.2 * (0.5 - faded))


@pytest.mark.parametrize("at_least", [None, 0.0, 0.01, 0.02])
def test_a_loser_never_lowers_what_is_expected(at_least):
    """A time within what is expected anyway says nothing: score, floor and freshness stay as they are."""
    fleet = Fleet("a")
    fleet.know("a", 0.02)
    fleet.run("a", now=5.0, first_byte=0.32)
    before = fleet.at("a", now=9.0)
    lost(fleet, at_least, now=9.0)
    assert fleet.at("a", now=9.0) == before
    untouched = Fleet("a")
    untouched.know("a", 0.02)
    untouched.run("a", now=5.0, first_byte=0.32)
    assert fleet.at("a", now=30.0).read_latency == untouched.at("a", now=30.0).read_latency


@pytest.mark.parametrize("seed", range(10))
def test_no_loser_ever_makes_an_endpoint_look_better(seed):
    """Whatever was known, a loser leaves the expectation where it was or higher, now and later."""
    dice = Random(seed)
    for _ in range(200):
        kicked, left = Fleet("a"), Fleet("a")
        now = 0.0
        for _ in range(dice.randrange(1, 20)):
            now += dice.choice([0.0, 0.1, 3.0])
            outcome, sample = dice.choice([SUCCESS, SUCCESS, FAULT]), dice.expovariate(10)
            for fleet in (kicked, left):
                fleet.run("a", outcome, now=now, first_byte=sample)
        lost(kicked, dice.expovariate(5), now=now)
        for later in (0.0, 0.5, 5.0, 50.0):
            one, other = (fleet.at("a", now=now + later).read_latency for fleet in (kicked, left))
            assert one == other is None or one >= other - TINY


def test_a_loser_of_an_unknown_endpoint_is_something_to_go_by():
    """Where nothing was observed yet, the bound still counts against the endpoint in the pick."""
    fleet = Fleet("a", "b", random=Random(1).random)
    fleet.know("b", 0.02)
    lost(fleet, 2.0, now=1.0)
    assert fleet.at("a", now=1.0).read_latency is None
    assert fleet.picks(20, now=1.0) == {"b": 20}


def test_a_bound_is_capped_like_every_excess():
    """However long somebody waited, the excess stays within its limit."""
    fleet = Fleet("a", policy=RoutingPolicy(smoothing_limit=1.0, smoothing_time=0.0))
    fleet.know("a", 0.02)
    lost(fleet, 1_000.0, now=0.0)
    assert fleet.at("a", now=0.0).read_latency == pytest.approx(5.02)


def test_a_loser_counts_nowhere_else():
    """No request, failure or outcome is counted, no breaker moves, the permit is back."""
    fleet = Fleet("a", "b")
    for _ in range(20):
        lost(fleet, 5.0, now=0.0, bucket="x")
    shown = fleet.at("a", now=0.0)
    assert (shown.requests, shown.failures, shown.throttled, shown.in_flight) == (0, 0, 0, 0)
    assert shown.breaker is CLOSED
    assert fleet.moves() == []


def test_a_loser_of_before_a_breaker_moved_is_void():
    """A request that was given up after its endpoint went out and came back says nothing of it now."""
    fleet = Fleet("a")
    fleet.know("a", 0.02)
    late = fleet.ask("a", now=0.0)
    fleet.trip("a", now=0.0)
    fleet.run("a", now=10.0, first_byte=0.02)
    before = fleet.at("a", now=10.0).read_latency
    fleet.router.settle(late, CANCELLED, now=10.0, at_least=10.0)
    assert fleet.at("a", now=10.0).read_latency == before


def test_a_bound_of_a_bucket_counts_for_the_bucket():
    """The figure of (endpoint, bucket) is raised as the endpoint's is."""
    fleet = Fleet("a", "b", random=Random(1).random)
    for name in "ab":
        fleet.run(name, now=0.0, times=5, first_byte=0.02, bucket="x")
    lost(fleet, 2.0, now=1.0, bucket="x")
    assert fleet.picks(20, now=1.0, bucket="x") == {"b": 20}


def test_other_outcomes_ignore_the_bound():
    """What ended on its own is judged by its own outcome."""
    told, silent = Fleet("a"), Fleet("a")
    for fleet, bound in ((told, 3.0), (silent, None)):
        fleet.know("a", 0.02)
        for outcome in (SUCCESS, FAULT, TIMEOUT, CALLER_FAULT):
            attempt = fleet.ask("a", now=1.0)
            fleet.router.settle(attempt, outcome, now=1.1, first_byte=0.1, at_least=bound)
    assert told.at("a", now=1.1) == silent.at("a", now=1.1)


def test_a_hedge_is_an_attempt_like_any_other():
    """It is settled once, and a second time is refused."""
    fleet = Fleet("a", "b")
    granted(fleet, 1)
    hedge = fleet.router.hedge(fleet.ask("a", now=0.0), (), None, now=0.0)
    assert hedge is not None
    fleet.router.settle(hedge, SUCCESS, now=0.1, first_byte=0.1)
    with pytest.raises(RuntimeError, match="settle exactly once"):
        fleet.router.settle(hedge, SUCCESS, now=0.1)
    assert fleet.at("b", now=0.1).requests == 1


def test_an_empty_table_has_no_budget_to_show():
    """A router that knows nobody yet shows no hedges."""
    assert Router(random=lambda: 0.5).snapshot(now=0.0).hedge_budget == 0
