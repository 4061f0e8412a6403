"""Finagle's balancer of two choices by peak EWMA, and its retry budget.

Source: github.com/twitter/finagle at 4feb34c, Apache-2.0,
`finagle-core/src/test/scala/com/twitter/finagle/`: `loadbalancer/p2c/P2CPeakEwmaTest.scala` with
`P2CSuite.scala`, and `service/RetryBudgetTest.scala`.

Transcribed: even load on identical nodes, one request for a node that never answers, the share of a node
that is twice as slow; the empty, the infinite and the refused budget, and how many of 10,000 requests may
be retried. A tick of theirs is a millisecond. Theirs are 100 nodes and 100,000 requests, ours 10 and
10,000: a thousand for each, with their tolerance of a tenth (50 on a mean load of 500). A share of requests
that may be retried is one over our `retry_cost`, and a reserve of retries is that many times the cost as
`budget`.

Differences:

- Their pick weighs latency x load, so that a far node always gets its part. Here nodes within the window
  are equal and the others get nothing: 5 ms more are noise, 45 ms more are not.
- A deposit there comes with every request, expires, and has no ceiling; here it comes with every success,
  does not expire, and is lost when the budget is full. In an outage nothing comes back.
- A retry that succeeds gives back what it took; there it does not.
- Shares above a half, and of nothing at all, cannot be said with whole costs.
"""

from __future__ import annotations

from random import Random

import pytest

from flashback_async.errors import ConfigurationError
from flashback_async.routing import RoutingPolicy
from flashback_async.routing.retry import RetryBudget
from routing.fleet import FAULT, Fleet
from routing.transcribed.traffic import Traffic

TICK = 0.001
NODES = [f"n{number}" for number in range(10)]
REQUESTS = 10_000


def run(latency: dict[str, int], *, requests: int = REQUESTS) -> dict[str, int]:
    """One request a tick, answered after the ticks of its node; how many each node got."""
    fleet = Fleet(*latency, random=Random(12_345).random)
    traffic = Traffic(fleet, {name: ticks * TICK for name, ticks in latency.items()})
    traffic.every(TICK, requests)
    assert traffic.sent.total() == requests
    return dict(traffic.sent)


def assert_even(sent: dict[str, int]) -> None:
    """Nobody is further than a tenth from what the equal ones got on average (theirs: from what the first got)."""
    equal = sum(sent[name] for name in NODES) / len(NODES)
    for name in NODES:
        assert abs(sent[name] - equal) < equal / 10, (name, sent)


def test_balances_evenly_across_identical_nodes():
    """Nodes that all take five ticks get the same number of requests."""
    assert_even(run(dict.fromkeys(NODES, 5)))


def test_probe_a_node_without_latency_history_at_most_once():
    """A node that has not answered yet has got one request, and the others share the rest evenly."""
    sent = run({**dict.fromkeys(NODES, 1), "silent": 2 * REQUESTS})
    assert sent["silent"] == 1
    assert_even(sent)


def test_balances_proportionally_across_nodes_with_varying_latencies():
    """A node that takes ten ticks instead of five gets at least half of what the others get, and not more."""
    sent = run({**dict.fromkeys(NODES, 5), "slow": 10})
    assert_even(sent)
    assert sent[NODES[0]] / 2 <= sent["slow"] < min(sent[name] for name in NODES)


def test_difference_a_far_node_gets_no_share():
    """At ten times the latency theirs still gets its part; here it gets what it takes to know it, once."""
    assert run({**dict.fromkeys(NODES, 5), "far": 50}, requests=2_000)["far"] == 1


# --- RetryBudgetTest -----------------------------------------------------------------------------------------


def test_an_empty_budget():
    """With nothing in it there is no retry, and a deposit does not change that."""
    tested = RetryBudget(RoutingPolicy(budget=0))
    assert tested.available(0) == 0
    assert tested.take(FAULT, 0) is None
    tested.give_back(1)
    assert tested.available(0) == 0
    assert tested.take(FAULT, 0) is None


def test_an_infinite_budget():
    """With retries that cost nothing, its balance is always a hundred, and there is always one more."""
    tested = RetryBudget(RoutingPolicy(budget=100, retry_cost=0))
    assert tested.available(0) == 100
    assert tested.take(FAULT, 0) == 0
    tested.give_back(1)
    assert tested.available(0) == 100
    assert tested.take(FAULT, 0) == 0


@pytest.mark.parametrize("setting", ["budget", "retry_cost", "throttle_cost"])
def test_bounds_are_checked(setting):
    """A negative reserve and a negative share are refused."""
    with pytest.raises(ConfigurationError, match=f"{setting}=-1"):
        RoutingPolicy(**{setting: -1})


# (share that can be retried, our cost of a retry, reserve of retries, retries of 10,000 requests)
SHARES = [
    (0.5, 2, 0, 5_000),
    (0.25, 4, 0, 2_500),
    (0.1, 10, 0, 1_000),
    (0.01, 100, 0, 100),
    (0.001, 1_000, 0, 10),
    (0.0001, 10_000, 0, 1),
    (0.1, 10, 10, 1_010),
    (0.5, 2, 10, 5_010),
]


@pytest.mark.parametrize(
    ("cost", "reserve", "retries"),
    [case[1:] for case in SHARES],
    ids=[f"{share:.2%} and {reserve}" for share, _, reserve, _ in SHARES],
)
def test_share_of_requests_that_can_be_retried(cost, reserve, retries):
    """Of 10,000 deposits, each followed by a try, that share and the reserve are retries, give or take one."""
    tested = RetryBudget(RoutingPolicy(budget=cost * max(1, reserve), retry_cost=cost))
    if not reserve:
        # A bucket that can hold no retry at all would never allow one: it begins empty instead.
        assert tested.take(FAULT, 0) == cost
    assert tested.available(0) == cost * reserve
    allowed = 0
    for _ in range(10_000):
        tested.give_back(1)
        if tested.take(FAULT, 0) is not None:
            allowed += 1
        else:
            assert tested.available(0) < cost
    assert allowed == pytest.approx(retries, abs=1)


def test_a_reserve_without_deposits():
    """`maxPercentOver=0`: ten in reserve are ten retries, and there they end; here that is an outage."""
    tested = RetryBudget(RoutingPolicy(budget=140, retry_cost=14))
    assert sum(tested.take(FAULT, 0) is not None for _ in range(10_000)) == 10


def test_difference_nothing_is_saved_up():
    """10,000 deposits are 20,000 retries there with a share of 2.0; a full budget here keeps none of them."""
    tested = RetryBudget(RoutingPolicy(budget=14, retry_cost=14))
    for _ in range(10_000):
        tested.give_back(1)
    assert sum(tested.take(FAULT, 0) is not None for _ in range(100)) == 1


def test_difference_a_retry_that_succeeds_costs_nothing():
    """Retries that succeed give back what they took: with room for a single one, a thousand in turn go through."""
    tested = RetryBudget(RoutingPolicy(budget=14, retry_cost=14))
    for _ in range(1_000):
        paid = tested.take(FAULT, 0)
        assert paid == 14
        tested.give_back(paid)
