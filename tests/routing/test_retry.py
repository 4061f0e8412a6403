"""The retry budget and the back-off: exact numbers, through injected chance."""

from __future__ import annotations

import pytest

from flashback_async.routing import Outcome, RoutingPolicy
from flashback_async.routing.retry import RetryBudget, backoff

from .fleet import FAULT, THROTTLED, TIMEOUT, chances

POLICY = RoutingPolicy()


@pytest.mark.parametrize(
    ("in_flight", "capacity"), [(0, 500), (1, 500), (35, 500), (36, 504), (100, 1_400), (1_024, 14_336)]
)
def test_the_budget_grows_with_the_requests_in_flight(in_flight, capacity):
    """max(500, 14 x in flight): a node that dies with hundreds of requests must not exhaust it."""
    tested = RetryBudget(POLICY)
    assert tested.capacity(in_flight) == capacity
    assert tested.available(in_flight) == capacity


@pytest.mark.parametrize(("outcome", "cost"), [(FAULT, 14), (TIMEOUT, 14), (THROTTLED, 5)])
def test_a_retry_costs_fourteen_and_five_after_a_429(outcome, cost):
    """A retry takes 14 tokens, after a 429 only 5, and says what it took."""
    tested = RetryBudget(POLICY)
    assert tested.take(outcome, 0) == cost
    assert tested.available(0) == 500 - cost


@pytest.mark.parametrize(("outcome", "retries"), [(FAULT, 35), (THROTTLED, 100)])
def test_an_exhausted_budget_refuses(outcome, retries):
    """500 tokens are 35 retries, or 100 after 429s; the next one is refused and takes nothing."""
    tested = RetryBudget(POLICY)
    assert [tested.take(outcome, 0) for _ in range(retries)].count(None) == 0
    left = tested.available(0)
    assert [tested.take(outcome, 0) for _ in range(10)] == [None] * 10
    assert tested.available(0) == left


def test_a_dead_node_with_250_requests_does_not_exhaust_it():
    """All 250 requests of a node that dies may be retried once."""
    tested = RetryBudget(POLICY)
    assert all(tested.take(FAULT, 250) for _ in range(250))
    assert tested.take(FAULT, 250) is None


def test_the_last_token_can_be_spent():
    """A retry that costs exactly what is left is allowed."""
    tested = RetryBudget(RoutingPolicy(budget=28))
    assert [tested.take(FAULT, 0) for _ in range(3)] == [14, 14, None]


def test_a_success_gives_back_what_its_retry_paid():
    """After a success the retry costs nothing; a success without a retry gives one token."""
    tested = RetryBudget(POLICY)
    paid = tested.take(FAULT, 0)
    tested.take(FAULT, 0)
    tested.give_back(paid)
    assert tested.available(0) == 486
    tested.give_back(1)
    assert tested.available(0) == 487


def test_it_is_never_more_than_full():
    """Refunds beyond the capacity are lost, so that a quiet day saves nothing up for a storm."""
    tested = RetryBudget(POLICY)
    tested.give_back(10_000)
    assert tested.available(0) == 500
    assert sum(tested.take(FAULT, 0) is not None for _ in range(100)) == 35


def test_fewer_requests_in_flight_leave_no_negative_budget():
    """When the load that allowed many retries has gone, nothing is left, not less."""
    tested = RetryBudget(POLICY)
    for _ in range(250):
        tested.take(FAULT, 250)
    assert tested.available(0) == 0
    assert tested.take(THROTTLED, 0) is None


# --- back-off ----------------------------------------------------------------------------------------------

HALF = chances(0.5)


@pytest.mark.parametrize(
    ("hop", "elsewhere", "seconds"),
    [
        (1, True, 0.0),
        (2, True, 0.05),
        (3, True, 0.1),
        (4, True, 0.2),
        (1, False, 0.05),
        (2, False, 0.1),
        (3, False, 0.2),
        (10, True, 12.8),
        (11, True, 20.0),
        (10, False, 20.0),
        (5_000, False, 20.0),
    ],
)
@pytest.mark.parametrize("chance", [0.0, 0.5, 1 - 2**-53])
def test_backoff_doubles_from_50_ms_with_full_jitter(hop, elsewhere, seconds, chance):
    """The first hop elsewhere needs no delay; then chance x 50 ms x 2^n, at most 20 s."""
    assert backoff(POLICY, hop=hop, elsewhere=elsewhere, random=chances(chance)) == pytest.approx(
        chance * seconds
    )


def test_the_first_hop_elsewhere_draws_no_chance():
    """Without a delay there is nothing to decide."""

    def never() -> float:
        raise AssertionError

    assert backoff(POLICY, hop=1, elsewhere=True, random=never) == 0.0


@pytest.mark.parametrize(
    ("outcome", "fault", "alive", "retriable"),
    [
        (Outcome.SUCCESS, False, True, False),
        (Outcome.ENDPOINT_FAULT, True, False, True),
        (Outcome.TIMEOUT, True, False, True),
        (Outcome.THROTTLED, False, False, True),
        (Outcome.CALLER_FAULT, False, True, False),
        (Outcome.CANCELLED, False, False, False),
    ],
)
def test_what_each_outcome_means(outcome, fault, alive, retriable):
    """Faults count against the endpoint, answers prove it alive, 429 and faults may do better elsewhere."""
    assert (outcome.is_fault, outcome.proves_alive, outcome.is_retriable) == (fault, alive, retriable)


def test_every_outcome_is_in_the_table():
    """There are six outcomes, and no seventh without a decision."""
    assert [outcome.name for outcome in Outcome] == [
        "SUCCESS",
        "ENDPOINT_FAULT",
        "TIMEOUT",
        "THROTTLED",
        "CALLER_FAULT",
        "CANCELLED",
    ]
