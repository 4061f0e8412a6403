"""The learned rate limit: nothing before the first 429, then additive growth and multiplicative decrease."""

from __future__ import annotations

from random import Random

import pytest

from flashback_async.routing import RoutingPolicy
from flashback_async.routing.limiter import Limiter

from .fleet import TINY

POLICY = RoutingPolicy()
STEADY = RoutingPolicy(limiter_growth=0.0)


def limited(rate: float, *, now: float = 100.0, policy: RoutingPolicy = POLICY) -> Limiter:
    """A limiter that learned `rate` at `now`: that many were admitted just before, over 0.7."""
    made = Limiter(policy)
    for _ in range(round(rate * policy.limiter_window / policy.limiter_share)):
        made.take(now)
    made.throttled(now, now)
    assert made.rate == pytest.approx(rate)
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


def test_nothing_is_limited_before_the_first_429():
    """Limits are unknown, so a million requests wait for nothing until somebody says 429."""
    tested = Limiter(POLICY)
    for _ in range(1_000):
        assert tested.wait(1.0) == 0.0
        tested.take(1.0)
    assert tested.rate is None


@pytest.mark.parametrize(("requests", "rate"), [(20, 7.0), (200, 70.0), (2, 0.7), (1, 0.5), (0, 0.5)])
def test_the_first_429_sets_seven_tenths_of_the_recent_rate(requests, rate):
    """The first limit is 0.7 x what was admitted in the last two seconds, and at least 0.5 a second."""
    tested = Limiter(POLICY)
    for index in range(requests):
        tested.take(10.0 + 1.75 * index / max(1, requests))
    tested.throttled(10.0, 11.8)
    assert tested.rate == pytest.approx(rate)


@pytest.mark.parametrize(("before", "rate"), [(10.5, 7.0), (10.75 - TINY, 7.0), (10.75, 357.0)])
def test_requests_of_longer_ago_do_not_count_as_recent(before, rate):
    """What was admitted two seconds ago or longer is no evidence of the rate, to an eighth of the window."""
    tested = Limiter(POLICY)
    for _ in range(1_000):
        tested.take(before)
    for _ in range(20):
        tested.take(12.5)
    tested.throttled(12.5, 12.5)
    assert tested.rate == pytest.approx(rate)


@pytest.mark.parametrize(("now", "rate"), [(12.25 - TINY, 350.0), (12.25, 0.5), (15.0, 0.5)])
def test_old_requests_are_forgotten_without_new_ones(now, rate):
    """A 429 that arrives long after the last request finds no rate, and starts at the least one."""
    tested = Limiter(POLICY)
    for _ in range(1_000):
        tested.take(10.25)
    tested.throttled(10.25, now)
    assert tested.rate == pytest.approx(rate)


def test_the_bucket_starts_empty():
    """After the first 429 the next request waits for a whole token."""
    tested = limited(7.0)
    assert tested.wait(100.0) == pytest.approx(1 / 7)


def test_the_limit_grows_by_a_fifth_each_second():
    """Additive growth: 0.2 requests per second more each second, however often somebody asks."""
    asked, silent = limited(7.0), limited(7.0)
    for tick in range(1_000):
        asked.wait(100.0 + tick / 100)
    asked.wait(110.0)
    silent.wait(110.0)
    assert asked.rate == pytest.approx(9.0)
    assert silent.rate == pytest.approx(9.0)


def test_a_further_429_takes_three_tenths_of_the_limit():
    """Multiplicative decrease: x 0.7, from where growth had brought the limit."""
    tested = limited(7.0)
    tested.take(104.9)
    tested.throttled(104.9, 105.0)
    assert tested.rate == pytest.approx((7.0 + 5 * 0.2) * 0.7)


@pytest.mark.parametrize(
    ("admitted_at", "counts"), [(99.0, False), (100.0, False), (100.0 + TINY, True), (100.1, True)]
)
def test_each_reduction_is_counted_once(admitted_at, counts):
    """429s of requests that were admitted before the limit shrank, or just then, say nothing new."""
    tested = limited(7.0, now=100.0)
    for _ in range(5):
        tested.throttled(admitted_at, 100.5)
    assert tested.rate == pytest.approx((7.0 + 0.5 * 0.2) * 0.7 if counts else 7.0)


def test_a_burst_of_429s_reduces_once():
    """Fifty requests under way that all come back with 429 make one reduction, not fifty."""
    tested = Limiter(POLICY)
    for _ in range(50):
        tested.take(1.0)
    for now in (1.0, 1.2):
        for _ in range(50):
            tested.throttled(1.0, now)
    assert tested.rate == pytest.approx(0.7 * 25)


def test_the_limit_never_falls_below_half_a_request():
    """It must be able to learn again: 0.5 requests per second is the least limit."""
    tested = limited(0.7)
    for second in range(101, 150):
        tested.throttled(float(second), float(second))
    assert tested.rate == 0.5


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [
        (None, 1 / 7),
        (0.0, 1 / 7),
        (-5.0, 1 / 7),
        (float("nan"), 1 / 7),
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
    tested = limited(7.0, now=100.0)
    tested.throttled(99.0, 100.0, 30.0)
    tested.throttled(99.0, 101.0, 5.0)
    assert tested.rate == pytest.approx(7.0)
    assert tested.wait(101.0) == pytest.approx(29.0)


@pytest.mark.parametrize(("rate", "burst"), [(0.7, 1), (7.0, 1), (35.0, 3), (140.0, 14)])
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
    tested = limited(7.0, policy=STEADY)
    for _ in range(5):
        tested.take(100.0)
    assert tested.wait(100.0) == pytest.approx(6 / 7)


def test_asking_takes_nothing():
    """Asking a hundred times leaves the token where it is."""
    tested = limited(7.0)
    assert [tested.wait(101.0) for _ in range(100)] == [0.0] * 100


def test_an_older_time_refills_nothing():
    """Threads may ask a little out of order: no token is created, none is lost."""
    tested = limited(7.0, policy=STEADY)
    tested.wait(101.0)
    tested.take(101.0)
    before = tested.wait(101.0)
    assert tested.wait(50.0) == before
    assert tested.wait(101.0) == before


def test_the_admitted_rate_follows_the_limit():
    """Over a minute as many get through as the growing limit allows: 60 x 7 + 0.2 x 60^2 / 2."""
    tested = limited(7.0)
    assert admitted(tested, start=100.0, end=160.0) == pytest.approx(420 + 360, abs=1)


@pytest.mark.parametrize("growth", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(20))
def test_who_waited_as_long_as_told_is_admitted(seed, growth):
    """The wait is exact: whoever comes back after it is admitted then, not a rounding error later."""
    dice = Random(seed)
    tested = Limiter(RoutingPolicy(limiter_growth=growth))
    now = dice.uniform(0.0, 1e6)
    for _ in range(dice.randrange(1, 60)):
        tested.take(now)
    tested.throttled(now, now)
    for _ in range(200):
        now += tested.wait(now)
        assert tested.wait(now) == 0.0
        tested.take(now)
