"""Large fleets: each client uses the nearest endpoints and some that it draws."""

from __future__ import annotations

from random import Random

import pytest

from flashback_async.errors import ConfigurationError
from flashback_async.routing import EndpointStatus, Router, RoutingPolicy
from flashback_async.routing.explain import Verdict

from .fleet import CANCELLED, FAULT, READ, SUCCESS, report


def far(index: int) -> float:
    return 0.010 + 0.005 * index


def router_of(
    count: int, *, seed: int = 1, policy: RoutingPolicy | None = None, probed: bool = True
) -> Router:
    router = Router(policy=policy, random=Random(seed).random)
    router.apply_discovery([report(f"n{index}") for index in range(count)], now=0.0)
    if probed:
        for index in range(count):
            router.record_probe(f"n{index}", far(index), now=0.0)
    return router


def used(router: Router, *, now: float = 0.0) -> set[str]:
    """The ids of the endpoints in use."""
    rows = router.explain(None, READ, now=now)
    return {row.endpoint.id for row in rows if row.verdict is not Verdict.SPARE}


def near(count: int = 6) -> set[str]:
    return {f"n{index}" for index in range(count)}


@pytest.mark.parametrize(("count", "in_use"), [(19, 19), (20, 12), (200, 12)])
def test_from_twenty_on_twelve_are_used(count, in_use):
    """Small fleets are used whole; of large ones the six nearest and six more."""
    found = used(router_of(count))
    assert len(found) == in_use
    assert near() <= found


def test_clients_draw_differently_and_keep_to_it():
    """Two clients share the near ones and differ in the others; each keeps its draw when others come and go."""
    one, other = used(router_of(100, seed=1)), used(router_of(100, seed=2))
    assert one & other >= near()
    assert one != other
    router = router_of(100, seed=1)
    assert used(router) == one
    spare = sorted(near(100) - one)
    router.apply_discovery([report(f"n{i}") for i in range(100) if f"n{i}" not in spare[:30]], now=1.0)
    assert used(router, now=1.0) == one


def test_where_nothing_is_known_clients_do_not_begin_with_the_same_ones():
    """Without probes all are equally far: the draw decides, differently for each client."""
    assert used(router_of(100, seed=1, probed=False)) != used(router_of(100, seed=2, probed=False))


@pytest.mark.parametrize("how", ["offline", "cannot reach the bucket", "gone", "breaker"])
def test_who_serves_no_longer_is_replaced(how):
    """An endpoint in use that is offline, cut off, gone or out makes room for the next nearest."""
    router = router_of(40)
    used(router)
    rows = {f"n{index}": report(f"n{index}") for index in range(40)}
    if how == "offline":
        rows["n0"] = report("n0", status=EndpointStatus.OFFLINE)
    elif how == "cannot reach the bucket":
        rows["n0"] = report("n0", offline=["photos"])
    elif how == "gone":
        del rows["n0"]
    router.apply_discovery(rows.values(), now=1.0)
    if how == "breaker":
        for _ in range(5):
            router.settle(router.acquire(None, READ, now=1.0, only="n0"), FAULT, now=1.0)
    explained = router.explain("photos", READ, now=1.0)
    in_use = {
        row.endpoint.id
        for row in explained
        if row.verdict not in {Verdict.SPARE, Verdict.OFFLINE, Verdict.CUT_OFF}
    }
    assert "n0" not in in_use
    assert len(in_use) == 12
    assert near(7) - {"n0"} <= in_use


def test_an_endpoint_that_comes_back_gets_its_trial():
    """Out of the subset while its breaker is open, in it again when a trial is due."""
    router = router_of(40)
    for _ in range(5):
        router.settle(router.acquire(None, READ, now=0.0, only="n0"), FAULT, now=0.0)
    assert "n0" not in used(router, now=0.1)
    assert "n0" in used(router, now=1.6)


def test_when_most_are_out_the_nearest_are_used_all_the_same():
    """Fewer than half admit: the fault is elsewhere, and nobody is replaced."""
    router = router_of(20)
    for index in range(11):
        for _ in range(5):
            router.settle(router.acquire(None, READ, now=0.0, only=f"n{index}"), FAULT, now=0.0)
    assert near() <= used(router, now=0.1)


def test_distances_that_become_known_count_soon():
    """Two seconds after the probes are back, the nearest are in use."""
    router = router_of(60, probed=False)
    used(router)
    for index in range(60):
        router.record_probe(f"n{index}", far(index), now=0.5)
    assert near() <= used(router, now=2.0)


def test_only_those_in_use_are_asked():
    """A thousand requests to a hundred endpoints go to the subset."""
    router = router_of(100)
    found, asked = used(router), set()
    for number in range(1_000):
        attempt = router.acquire(None, READ, now=number * 0.001)
        asked.add(attempt.endpoint.id)
        router.settle(attempt, SUCCESS if number % 2 else CANCELLED, now=number * 0.001, first_byte=0.05)
    assert asked <= found


def test_the_subset_can_be_switched_off_and_sized():
    """Zero uses everybody; other numbers are taken as they are."""
    assert len(used(router_of(40, policy=RoutingPolicy(subset_from=0)))) == 40
    assert len(used(router_of(40, policy=RoutingPolicy(subset_from=2, subset_near=1, subset_drawn=2)))) == 3


def test_a_subset_of_nobody_is_refused():
    """Numbers that leave no endpoint are an error, with the way out."""
    with pytest.raises(ConfigurationError, match="subset_from=0"):
        RoutingPolicy(subset_near=0, subset_drawn=0)
