"""The learned rate limit: nothing before the first 429, then a curve back to what passed, and beyond."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest

from flashback_async.routing import RoutingPolicy
from flashback_async.routing.limiter import Limiter
from flashback_async.sandbox import RateLimit
from flashback_async.sandbox.limiter import LeakyBuckets

from .fleet import TINY

POLICY = RoutingPolicy()
STEADY = RoutingPolicy(limiter_search_share=1.0, limiter_hold_share=1.0)
"""Nothing is cut, so there is nothing to come back from."""


def limited(estimate: float, *, now: float = 100.0, policy: RoutingPolicy = POLICY) -> Limiter:
    """A limiter that learned at `now` from a burst of so many requests, which count as those of a second."""
    made = Limiter(policy)
    for _ in range(round(estimate)):
        made.take(now)
    made.throttled(now, now)
    assert made.rate == pytest.approx(estimate * policy.limiter_search_share)
    return made


def admitted(tested: Limiter, *, start: float, end: float) -> int:
    """How many get through when somebody always waits for the next token."""
    count, now = 0, start
    while now <= end:
        wait = tested.wait(now)
        if wait == 0.0:
            tested.take(now)
            count += 1
        now += wait
    return count


class Node:
    """A gateway with nginx's limit, which may change, and callers who ask it evenly and wait for their turn."""

    def __init__(self, *, rate: float = 10.0, burst: int = 20, latency: float = 0.02) -> None:
        self.limiter = Limiter(POLICY)
        self.now = 0.0
        self._limit = LeakyBuckets(RateLimit(rate=rate, burst=burst))
        self._latency = latency
        self._asked = 0.0
        self._answers: deque[tuple[float, float, bool]] = deque()

    def allow(self, rate: float, burst: int = 20) -> None:
        self._limit = LeakyBuckets(RateLimit(rate=rate, burst=burst))

    def run(self, seconds: float, *, demand: float) -> tuple[int, int]:
        """How many requests passed and how many were refused in that time."""
        passed = refused = 0
        for _ in range(round(seconds * 1_000)):
            self.now += 0.001
            self._asked += demand / 1_000
            while self._answers and self._answers[0][0] <= self.now:
                _, started, is_ok = self._answers.popleft()
                if not is_ok:
                    self.limiter.throttled(started, self.now)
            while self._asked >= 1 and self.limiter.wait(self.now) == 0.0:
                self._asked -= 1
                self.limiter.take(self.now)
                is_ok = self._limit.admit("us", self.now)
                self._answers.append((self.now + self._latency, self.now, is_ok))
                passed, refused = passed + is_ok, refused + (not is_ok)
        return passed, refused


def test_nothing_is_limited_before_the_first_429():
    """Limits are unknown, so a thousand requests wait for nothing until somebody says 429."""
    tested = Limiter(POLICY)
    for _ in range(1_000):
        assert tested.wait(1.0) == 0.0
        tested.take(1.0)
    assert tested.rate is None


# --- the first 429 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requests", "seconds", "rate"),
    [
        (20, 2.0, 6.0),
        (20, 4.0, 3.0),
        (20, 1.0, 12.0),
        (20, 0.1, 12.0),
        (20, 0.0, 12.0),
        (1, 0.5, 0.6),
        (0, 1.0, 0.5),
    ],
)
def test_the_first_429_sets_a_share_of_the_rate_since_traffic_began(requests, seconds, rate):
    """The first limit is 0.6 x what was admitted a second, in the time that there was traffic, 1 s or more."""
    tested = Limiter(POLICY)
    for index in range(requests):
        tested.take(10.0 + 0.99 * seconds * index / requests)
    tested.throttled(10.0, 10.0 + seconds)
    assert tested.rate == pytest.approx(rate)


def test_traffic_begins_anew_after_a_pause():
    """What passed before a pause longer than the window is forgotten, and so is the pause."""
    tested = Limiter(POLICY)
    for now in (10.0, 30.0, 31.0):
        for _ in range(10):
            tested.take(now)
    tested.throttled(31.0, 32.0)
    assert tested.rate == pytest.approx(0.6 * 20 / 2)


@pytest.mark.parametrize(("now", "rate"), [(16.0 - TINY, 0.6 * 1_060 / 6.0), (16.0, 0.6 * 60 / 5.5)])
def test_requests_of_longer_ago_do_not_count(now, rate):
    """What was admitted six seconds ago or longer is no evidence of the rate, to a twelfth of the window."""
    tested = Limiter(POLICY)
    for _ in range(1_000):
        tested.take(10.0)
    for _ in range(60):
        tested.take(14.0)
    tested.throttled(14.0, now)
    assert tested.rate == pytest.approx(rate)


@pytest.mark.parametrize(("now", "rate"), [(16.0 - TINY, 0.6 * 1_000 / 6.0), (16.0, 0.5), (25.0, 0.5)])
def test_old_requests_are_forgotten_without_new_ones(now, rate):
    """A 429 that arrives long after the last request finds no rate, and starts at the least one."""
    tested = Limiter(POLICY)
    for _ in range(1_000):
        tested.take(10.0)
    tested.throttled(10.0, now)
    assert tested.rate == pytest.approx(rate)


def test_the_bucket_starts_empty():
    """After the first 429 the next request waits for a whole token."""
    assert limited(10).wait(100.0) == pytest.approx(1 / 6)


# --- the curve -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "rate"), [(0.5, 8.3125), (1.0, 9.5), (1.5, 9.9375), (2.0, 10.0)])
def test_the_limit_is_back_at_the_estimate_after_two_seconds(age, rate):
    """10 x (1 - 0.4 x (1 - age / 2 s)^3): at first quickly, then carefully, whether or not it is used."""
    tested = limited(10)
    tested.take(100.0 + age)
    assert tested.rate == pytest.approx(rate)


def test_asking_does_not_move_the_limit():
    """The rate that somebody's wait was told by holds until a request goes."""
    tested = limited(10)
    for tick in range(1_000):
        tested.wait(100.0 + tick / 10)
    assert tested.rate == pytest.approx(6.0)


def test_an_older_time_moves_the_limit_nowhere():
    """Threads may take a little out of order: the limit neither goes back nor gets ahead."""
    tested = limited(10)
    for now, rate in [(101.0, 9.5), (100.5, 9.5), (101.5, 9.9375)]:
        tested.take(now)
        assert tested.rate == pytest.approx(rate)


@pytest.mark.parametrize(("age", "rate"), [(2.5, 10.0625), (3.0, 10.5), (4.0, 14.0)])
def test_a_limit_that_is_used_grows_ever_faster(age, rate):
    """Beyond the estimate it looks for more: 10 x (1 + 0.4 x (age / 2 s - 1)^3)."""
    tested = limited(10)
    admitted(tested, start=100.0, end=100.0 + age)
    assert tested.rate == pytest.approx(rate, rel=0.05)


@pytest.mark.parametrize(("demand", "most"), [(1, 10.0), (4, 10.0), (6, 15.0)])
def test_a_limit_that_is_hardly_used_stays(demand, most):
    """Who asks for less than half of it learns nothing about more, however long that takes."""
    tested = limited(10)
    for number in range(600 * demand):
        tested.take(100.0 + number / demand)
    assert tested.rate is not None
    assert 10.0 <= tested.rate <= most


def test_a_limit_outlives_a_pause():
    """An hour later the estimate is what it was, but 6 of 10 a second are 10 again."""
    tested = limited(10)
    tested.take(3_700.0)
    assert tested.rate == 10.0


def test_a_pause_is_no_time_of_growth():
    """One a second may have been half of what was asked for, and a day later it is hardly more."""
    tested = limited(1)
    admitted(tested, start=100.0, end=104.0)
    before = tested.rate
    assert before is not None
    tested.take(90_000.0)
    assert tested.rate is not None
    assert before < tested.rate < 2 * before


# --- further 429s --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requests", "estimate"), [(20, 19 / 2.1), (40, 10.0), (4, 8.5)], ids=["measured", "most", "least"]
)
def test_a_429_after_a_second_sets_what_passed_since_the_last_one(requests, estimate):
    """0.85 x what passed, which is no more than the limit was, and taken for no less than 0.85 of it."""
    tested = limited(10)
    for number in range(requests):
        tested.take(100.0 + 2.0 * (number + 1) / requests)
    tested.throttled(102.0, 102.1)
    assert tested.rate == pytest.approx(0.85 * estimate)


def test_then_the_limit_comes_back_more_slowly():
    """After a 429 that told what passed it takes six seconds: 10 x (1 - 0.15 x (1 - age / 6 s)^3)."""
    tested = limited(10)
    for number in range(40):
        tested.take(100.05 + number / 20)
    tested.throttled(102.0, 102.0)
    for age, rate in [(1.5, 10 - 1.5 * 0.75**3), (3.0, 10 - 1.5 / 8), (6.0, 10.0)]:
        tested.take(102.0 + age)
        assert tested.rate == pytest.approx(rate)


@pytest.mark.parametrize(("now", "share"), [(101.0 - TINY, 0.6), (101.0, 0.85)])
def test_a_429_within_a_second_cuts_deeply(now, share):
    """What passed in less than a second is no measure: 0.6 x the limit as it was."""
    tested = limited(10)
    for number in range(20):
        tested.take(100.045 * (1 - number / 20) + 100.9 * number / 20)
    tested.take(100.9)
    before = tested.rate
    assert before == pytest.approx(10 - 4 * 0.55**3)
    tested.throttled(100.9, now)
    assert tested.rate == pytest.approx(share * before)


@pytest.mark.parametrize(
    ("admitted_at", "counts"), [(99.0, False), (100.0, False), (100.0 + TINY, True), (100.1, True)]
)
def test_each_reduction_is_counted_once(admitted_at, counts):
    """429s of requests that were admitted before the limit shrank, or just then, say nothing new."""
    tested = limited(10)
    for _ in range(5):
        tested.throttled(admitted_at, 100.5)
    assert tested.rate == pytest.approx(3.6 if counts else 6.0)


def test_a_burst_of_429s_reduces_once():
    """Fifty requests under way that all come back with 429 make one reduction, not fifty."""
    tested = Limiter(POLICY)
    for _ in range(50):
        tested.take(1.0)
    for now in (1.0, 1.2):
        for _ in range(50):
            tested.throttled(1.0, now)
    assert tested.rate == pytest.approx(0.6 * 50)


@pytest.mark.parametrize("step", [0.1, 0.9, 1.0, 7.0])
def test_the_limit_never_falls_below_half_a_request(step):
    """It must be able to learn again: 0.5 requests per second is the least limit."""
    tested = limited(1)
    for number in range(1, 50):
        tested.throttled(100.0 + number * step, 100.0 + number * step)
    assert tested.rate == 0.5


def test_the_least_limit_grows_too():
    """Somebody who waits for one token after the other has a limit of 10 again after half a minute."""
    tested = Limiter(POLICY)
    tested.throttled(100.0, 100.0)
    admitted(tested, start=100.0, end=130.0)
    assert tested.rate is not None
    assert tested.rate > 10


@pytest.mark.parametrize("seed", range(20))
def test_the_limit_stays_within_bounds(seed):
    """Whatever happens: 0.5 at least, and no more than a few times what was ever asked for in a second."""
    dice, now, recent = Random(seed), 1e3 * seed, deque[float]()
    tested, peak = Limiter(POLICY), 1
    for _ in range(5_000):
        now += dice.choice([0.0, 0.01, 0.1, 0.1, 0.5, 3.0]) * dice.random()
        if tested.wait(now) == 0.0 or dice.random() < 0.01:
            tested.take(now)
            recent.append(now)
        while recent and recent[0] < now - 1:
            recent.popleft()
        peak = max(peak, len(recent))
        if dice.random() < 0.01:
            tested.throttled(now - dice.random(), now, dice.choice([None, 0.1]))
        assert tested.rate is None or 0.5 <= tested.rate <= 4 * peak


# --- against a node's limit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("latency", [0.005, 0.1])
@pytest.mark.parametrize("demand", [12.0, 60.0])
@pytest.mark.parametrize("burst", [1, 2, 5, 20])
def test_a_lone_client_gets_what_a_node_allows(burst, demand, latency):
    """10 a second allowed: 9 and more after 5 s, 9.5 and more in the minutes after, and 2 % 429s at most."""
    node = Node(rate=10.0, burst=burst, latency=latency)
    node.run(5, demand=demand)
    passed, refused = node.run(10, demand=demand)
    assert passed >= 90
    assert refused <= 0.1 * passed
    passed, refused = node.run(120, demand=demand)
    assert passed >= 9.5 * 120
    assert refused <= 0.02 * passed


def test_a_node_without_room_for_bursts_gives_most_of_it():
    """Where two requests within a tenth of a second are one too many, eight of ten still pass."""
    node = Node(rate=10.0, burst=0)
    node.run(10, demand=60.0)
    passed, refused = node.run(60, demand=60.0)
    assert passed >= 8 * 60
    assert refused <= 0.02 * passed


@pytest.mark.parametrize("rate", [1.0, 100.0])
def test_the_curve_fits_other_limits_too(rate):
    """One a second and a hundred a second are met as ten are."""
    node = Node(rate=rate)
    node.run(60, demand=6 * rate)
    passed, refused = node.run(60, demand=6 * rate)
    assert passed >= 0.95 * rate * 60
    assert refused <= max(0.02 * passed, 8)


def test_a_limit_that_rises_tenfold_is_found():
    """Within 30 s at the latest the client has nine tenths of a limit that went from 10 to 100."""
    node = Node(rate=10.0)
    node.run(20, demand=150.0)
    node.allow(100.0)
    node.run(30, demand=150.0)
    passed, refused = node.run(20, demand=150.0)
    assert passed >= 0.9 * 20 * 100
    assert refused <= 0.02 * passed


def test_a_limit_that_falls_is_obeyed():
    """A limit that falls to a tenth costs some ten 429s; two seconds later hardly any."""
    node = Node(rate=100.0)
    node.run(20, demand=150.0)
    node.allow(10.0)
    _, refused = node.run(2, demand=150.0)
    assert refused <= 20
    passed, refused = node.run(10, demand=150.0)
    assert passed >= 90
    assert refused <= 3


# --- Retry-After, and the bucket ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [
        (None, 1 / 12),
        (0.0, 1 / 12),
        (-5.0, 1 / 12),
        (float("nan"), 1 / 12),
        (2.0, 2.0),
        (300.0, 300.0),
        (301.0, 300.0),
        (float("inf"), 300.0),
    ],
)
def test_retry_after_is_honoured_up_to_300_seconds(retry_after, wait):
    """The endpoint is left alone for as long as it asked, at most 300 s; nonsense is ignored."""
    tested = Limiter(POLICY)
    for _ in range(20):
        tested.take(1.0)
    tested.throttled(1.0, 1.0, retry_after)
    assert tested.wait(1.0) == pytest.approx(wait, rel=1e-6)
    if wait > 1:
        assert tested.wait(1.0 + wait - 0.001) == pytest.approx(0.001)
        assert tested.wait(1.0 + wait) == 0.0


def test_a_shorter_retry_after_does_not_shorten_a_longer_one():
    """The longest wish counts, also one that comes with a 429 that reduces nothing."""
    tested = limited(10)
    tested.throttled(99.0, 100.0, 30.0)
    tested.throttled(99.0, 101.0, 5.0)
    assert tested.rate == pytest.approx(6.0)
    assert tested.wait(101.0) == pytest.approx(29.0)


@pytest.mark.parametrize(("rate", "burst"), [(1, 1), (7, 1), (35, 3), (140, 14)])
def test_the_bucket_holds_a_tenth_of_a_second(rate, burst):
    """After a pause a tenth of a second's worth may go at once, at least one request; not more."""
    tested = limited(rate, policy=STEADY)
    count = 0
    while tested.wait(1_000.0) == 0.0:
        tested.take(1_000.0)
        count += 1
    assert count == burst


def test_taking_without_a_token_goes_into_debt():
    """`take` never refuses: the debt is waited for by those who come later."""
    tested = limited(7, policy=STEADY)
    for _ in range(5):
        tested.take(100.0)
    assert tested.wait(100.0) == pytest.approx(6 / 7)


def test_asking_takes_nothing():
    """Asking a hundred times leaves the token where it is."""
    tested = limited(7)
    assert [tested.wait(101.0) for _ in range(100)] == [0.0] * 100


def test_an_older_time_refills_nothing():
    """Threads may ask a little out of order: no token is created, none is lost."""
    tested = limited(7, policy=STEADY)
    tested.wait(101.0)
    tested.take(101.0)
    before = tested.wait(101.0)
    assert tested.wait(50.0) == before
    assert tested.wait(101.0) == before


def test_the_admitted_rate_follows_the_limit():
    """Over a minute as many get through as a limit of 7 a second allows."""
    tested = limited(7, policy=STEADY)
    assert admitted(tested, start=100.0, end=160.0) == pytest.approx(420, abs=1)


@pytest.mark.parametrize("policy", [STEADY, POLICY], ids=["steady", "default"])
@pytest.mark.parametrize("seed", range(20))
def test_who_waited_as_long_as_told_is_admitted(seed, policy):
    """The wait is exact: whoever comes back after it is admitted then, not a rounding error later."""
    dice = Random(seed)
    tested = Limiter(policy)
    now = dice.uniform(0.0, 1e6)
    for _ in range(dice.randrange(1, 60)):
        tested.take(now)
    tested.throttled(now, now)
    for _ in range(200):
        now += tested.wait(now)
        assert tested.wait(now) == 0.0
        tested.take(now)
