"""botocore's retry quota and token bucket: its own tests as tables, and the real classes beside ours.

Source: github.com/boto/botocore, Apache-2.0, `tests/unit/retries/`: `test_quota.py` and `test_bucket.py` at
5f5b537, `test_standard_retry_v2_1.py` at 0719e79. `RetryQuota` and `TokenBucket` are imported from the
installed botocore.

Transcribed: what each acquisition and release leaves in the quota, with the old (5) and the new numbers
(14, and 5 after a throttling error); the back-off from 50 ms to 20 s; when a token is there at a given
rate. The differential tests give both sides the same numbers and the same random trace, and compare every
decision.

Differences:

- Our budget grows with the requests in flight; up to 35 of them (35 x 14 < 500) it is botocore's.
- An installed botocore may charge 10 for a timeout; v2.1 and we charge a timeout like any other fault.
- After a success botocore gives back what the last retry took; our executor, what all retries of the
  operation took.
- Its token bucket holds a second's worth of tokens, ours a tenth of a second's (and at least one): rates up
  to one a second are alike in both, above that it lets a burst through that ours spreads.
- Our first hop to another endpoint does not wait at all; theirs has only one endpoint to go to.
- A `Retry-After` closes the endpoint here; there it is the delay of one retry.
- Who told the rate: a setting there, the first 429 here. So a rate here is `limiter_minimum`, and
  nothing is cut.
"""

from __future__ import annotations

from random import Random

import pytest
from botocore.exceptions import CapacityNotAvailableError
from botocore.retries.bucket import TokenBucket
from botocore.retries.quota import RetryQuota

from flashback_async.routing import Router, RoutingPolicy
from flashback_async.routing.limiter import Limiter
from flashback_async.routing.retry import RetryBudget, backoff
from routing.fleet import FAULT, SUCCESS, THROTTLED, TIMEOUT, Fleet, chances

V2_1 = RoutingPolicy(budget=500, retry_cost=14, throttle_cost=5)
SMALL = RoutingPolicy(budget=50, retry_cost=5, throttle_cost=10)
"""`test_quota.py` has 50 tokens and takes 5 and 10 of them at a time."""

# (policy, [(a retry after an outcome, or a refund; whether it was granted; tokens left)])
QUOTA = {
    "can_acquire_amount": (SMALL, [(FAULT, True, 45)]),
    "can_release_amount": (SMALL, [(FAULT, True, 45), (5, None, 50)]),
    "cant_exceed_max_capacity": (SMALL, [(FAULT, True, 45), (10, None, 50)]),
    "noop_if_at_max_capacity": (SMALL, [(10, None, 50)]),
    "cant_go_below_zero": (
        RoutingPolicy(budget=50, retry_cost=49, throttle_cost=10),
        [(FAULT, True, 1), (THROTTLED, False, 1)],
    ),
    "v2.1 can_acquire_quota_for_throttling_error": (V2_1, [(THROTTLED, True, 495)]),
    "v2.1 can_acquire_quota_non_timeout_error": (V2_1, [(FAULT, True, 486)]),
    "v2.1 can_acquire_quota_for_timeout_error": (V2_1, [(TIMEOUT, True, 486)]),
    "v2.1 can_release_quota_based_on_context_value_on_success": (V2_1, [(FAULT, True, 486), (14, None, 500)]),
    "v2.1 can_release_quota_when_succeed_after_throttling_error": (
        V2_1,
        [(THROTTLED, True, 495), (5, None, 500)],
    ),
    "v2.1 can_release_default_quota_if_not_in_context": (V2_1, [(FAULT, True, 486), (1, None, 487)]),
    "v2.1 acquire_quota_fails": (
        RoutingPolicy(budget=14, retry_cost=14),
        [(FAULT, True, 0), (FAULT, False, 0)],
    ),
    "v2.1 quota_reached_adds_retry_metadata": (RoutingPolicy(budget=0), [(FAULT, False, 0)]),
    "v2.1 three attempts of one operation": (
        V2_1,
        [(FAULT, True, 486), (FAULT, True, 472), (FAULT, True, 458)],
    ),
}


@pytest.mark.parametrize(("policy", "steps"), QUOTA.values(), ids=QUOTA)
def test_quota(policy, steps):
    """What a retry takes, what a success gives back, and what is refused without taking anything."""
    alone, router = RetryBudget(policy), Router(policy=policy, random=chances(0.5))
    for number, (step, granted, left) in enumerate(steps):
        if isinstance(step, int):
            alone.give_back(step)
            router.refund_retry(step)
        else:
            assert (alone.take(step, 0) is not None) is granted, number
            assert (router.pay_for_retry(step) is not None) is granted, number
        assert alone.available(0) == left, number
        assert router.snapshot(now=0.0).retry_budget == left, number


COSTS = [(500, 14, 5), (500, 5, 5), (500, 10, 5), (50, 5, 10), (14, 14, 5), (0, 14, 5), (1_000, 1, 0)]


@pytest.mark.parametrize(("budget", "retry", "throttle"), COSTS)
@pytest.mark.parametrize("seed", range(5))
def test_budget_beside_retry_quota(budget, retry, throttle, seed):
    """Operations with up to two retries each, good days and bad ones: every grant and every balance is the same."""
    dice = Random(seed)
    ours = RetryBudget(RoutingPolicy(budget=budget, retry_cost=retry, throttle_cost=throttle))
    theirs = RetryQuota(budget)
    granted = refused = 0
    failing = 0.0
    for number in range(1_500):
        if number % 100 == 0:
            failing = dice.choice([0.01, 0.2, 0.5, 0.95])
        taken = 0
        for _ in range(3):
            if dice.random() >= failing:
                ours.give_back(taken or 1)
                theirs.release(taken or 1)
                break
            outcome, cost = dice.choice([(FAULT, retry), (TIMEOUT, retry), (THROTTLED, throttle)])
            paid = ours.take(outcome, dice.randrange(budget // max(retry, 1) + 1))
            assert (paid == cost) is theirs.acquire(cost)
            assert ours.available(0) == theirs.available_capacity
            if paid is None:
                refused += 1
                break
            granted += 1
            taken = cost
        assert ours.available(0) == theirs.available_capacity
    assert granted or not budget
    assert refused or not throttle


def test_difference_the_budget_grows_with_the_load():
    """With 35 requests in flight the budget is botocore's 500 tokens; with 100 it is what 100 retries cost."""
    assert [RetryBudget(V2_1).available(load) for load in (0, 35, 36, 100)] == [500, 500, 504, 1_400]
    fleet = Fleet("a", policy=V2_1)
    held = [fleet.ask("a", now=0.0) for _ in range(100)]
    assert fleet.router.snapshot(now=0.0).retry_budget == 1_400
    for attempt in held:
        fleet.router.settle(attempt, SUCCESS, now=0.0)
    assert fleet.router.snapshot(now=0.0).retry_budget == 500


# --- back-off ------------------------------------------------------------------------------------------------

BACKOFF = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0]


def test_range_of_exponential_backoff():
    """With chance at its end, retries 1 to 11 at the same endpoint wait 50 ms, doubled to the cap of 20 s."""
    waits = [backoff(V2_1, hop=hop, elsewhere=False, random=lambda: 1.0) for hop in range(1, 12)]
    assert waits == pytest.approx(BACKOFF)


def test_exponential_backoff_with_jitter():
    """The third retry waits anything up to 200 ms."""
    dice = Random(1)
    waits = [backoff(V2_1, hop=3, elsewhere=False, random=dice.random) for _ in range(1_000)]
    assert 0.0 <= min(waits) < 0.01
    assert 0.19 < max(waits) <= 0.2


def test_uniform_distribution_on_max_attempts():
    """The tenth retry waits each of the twenty seconds equally often, within a fifth."""
    dice = Random(1)
    waits = [backoff(V2_1, hop=10, elsewhere=False, random=dice.random) for _ in range(10_000)]
    seconds = [sum(second <= wait < second + 1 for wait in waits) for second in range(20)]
    assert sum(seconds) == 10_000
    assert all(400 <= count <= 600 for count in seconds)


def test_difference_the_first_hop_elsewhere_does_not_wait():
    """Where another endpoint is left, everything is one retry later: 0, 50 ms, 100 ms."""
    waits = [backoff(V2_1, hop=hop, elsewhere=True, random=lambda: 1.0) for hop in (1, 2, 3)]
    assert waits == pytest.approx([0.0, 0.05, 0.1])


# --- token bucket --------------------------------------------------------------------------------------------


def limiter(rate: float, *, now: float = 0.0) -> Limiter:
    """A limiter that was told by a 429 at `now` to admit `rate` a second, and has no token yet."""
    made = Limiter(RoutingPolicy(limiter_minimum=rate, limiter_search_share=1.0, limiter_hold_share=1.0))
    made.throttled(now, now)
    assert made.rate == rate
    return made


# (rate, [(when a token is asked for, how long it says to wait; 0 takes it)])
TOKENS = {
    "can_acquire_amount": (10.0, [(1.0, 0), (2.0, 0), (3.0, 0), (4.0, 0), (5.0, 0)]),
    "can_change_max_capacity_lower": (1.0, [(6.0, 0), (7.0, 0), (8.0, 0), (9.0, 0), (10.0, 0)]),
    "max_capacity_is_at_least_one": (0.5, [(100.0, 0), (100.0, 2.0), (102.0, 0)]),
    "acquire_fails_on_non_block_mode_returns_false": (10.0, [(0.0, 0.1)]),
    "can_retrieve_at_max_send_rate": (10.0, [(1.0 + number / 10, 0) for number in range(20)]),
    "acquiring_blocks_when_capacity_reached": (10.0, [(0.1, 0), (0.15, 0.05), (0.2, 0), (0.300001, 0)]),
}


@pytest.mark.parametrize(("rate", "requests"), TOKENS.values(), ids=TOKENS)
def test_token_bucket(rate, requests):
    """A token is there as soon as the rate has filled it, not before, and never more than may be held."""
    tested = limiter(rate)
    for now, wait in requests:
        assert tested.wait(now) == pytest.approx(wait, abs=1e-6), now
        if not wait:
            tested.take(now)


def test_rate_cant_go_below_min():
    """However many 429s ask for less, the rate stays at its minimum of one in five seconds."""
    tested = limiter(0.2)
    for now in (10.0, 20.0, 30.0):
        tested.take(now)
        tested.throttled(now, now)
    assert tested.rate == 0.2
    assert tested.wait(30.0) == pytest.approx(5.0)


class Clock:
    """The clock that a `TokenBucket` takes as an argument."""

    now = 0.0

    def current_time(self) -> float:
        return self.now


def may_go(theirs: TokenBucket) -> bool:
    try:
        return theirs.acquire(block=False)
    except CapacityNotAvailableError:
        return False


@pytest.mark.parametrize("rate", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_limiter_beside_token_bucket(rate, seed):
    """Up to one a second, requests at random times are admitted by both or by neither."""
    dice, clock = Random(seed), Clock()
    ours, theirs = limiter(rate), TokenBucket(max_rate=rate, clock=clock)
    decisions = []
    for _ in range(500):
        clock.now += dice.choice([0.1, 0.5, 1.0, 3.0]) * dice.random()
        admitted = ours.wait(clock.now) == 0.0
        if admitted:
            ours.take(clock.now)
        assert may_go(theirs) is admitted, clock.now
        decisions.append(admitted)
    assert 50 < sum(decisions) < 450


def test_difference_bursts():
    """After a quiet minute at 20 a second, theirs lets twenty go at once; ours two, for a tenth of a second."""
    clock = Clock()
    ours, theirs = limiter(20.0), TokenBucket(max_rate=20.0, clock=clock)
    clock.now = 60.0
    at_once = 0
    while ours.wait(60.0) == 0.0:
        ours.take(60.0)
        at_once += 1
    assert at_once == 2
    assert sum(may_go(theirs) for _ in range(30)) == 20
