"""`read_slo`: endpoints that are good enough share the reads, and one that is not is left."""

from __future__ import annotations

import pytest

from flashback_async.routing import RoutingPolicy

from .fleet import CANCELLED, READ, SUCCESS, WRITE, Fleet, chances

SLO = RoutingPolicy(read_slo=0.05)
SPREAD = chances(0.1, 0.9, 0.5, 0.3, 0.7)


def fleet_of(policy: RoutingPolicy = SLO, **first_bytes: float) -> Fleet:
    fleet = Fleet(*first_bytes, policy=policy, random=SPREAD)
    for name, first_byte in first_bytes.items():
        for kind in (READ, WRITE):
            fleet.know(name, first_byte, kind=kind)
    return fleet


def test_those_within_the_objective_share_the_reads():
    """5 ms and 45 ms are both below 50 ms: both are asked; 55 ms is not."""
    assert set(fleet_of(a=0.005, b=0.045, c=0.055).picks(40, now=1.0)) == {"a", "b"}


def test_without_an_objective_only_the_best_will_do():
    """The same endpoints by the window: 45 ms is no match for 5 ms."""
    assert set(fleet_of(RoutingPolicy(), a=0.005, b=0.045, c=0.055).picks(40, now=1.0)) == {"a"}


def test_writes_have_no_objective():
    """It is one for reads."""
    assert set(fleet_of(a=0.005, b=0.045).picks(40, now=1.0, kind=WRITE)) == {"a"}


def test_where_nobody_meets_it_the_window_decides():
    """All are too slow: the best of them are asked, as ever."""
    assert set(fleet_of(a=0.060, b=0.070, c=0.200).picks(40, now=1.0)) == {"a", "b"}


def test_who_leaves_the_objective_is_left():
    """One slow answer puts an endpoint beyond the objective: the next reads go elsewhere."""
    fleet = fleet_of(a=0.020, b=0.045)
    fleet.run("b", now=1.0, first_byte=0.245)
    assert set(fleet.picks(40, now=1.0)) == {"a"}


@pytest.mark.parametrize(("tried", "chosen"), [((), {"a", "b"}), (("a",), {"b"}), (("a", "b"), {"c"})])
def test_it_holds_for_retries_too(tried, chosen):
    """Whoever is left: those within it first."""
    fleet = fleet_of(a=0.005, b=0.045, c=0.055)
    picked = set()
    for _ in range(40):
        attempt = fleet.ask(now=1.0, tried=tried)
        picked.add(attempt.endpoint.id)
        fleet.router.settle(attempt, CANCELLED, now=1.0)
    assert picked == chosen


def test_of_large_bodies_it_says_only_half():
    """Both first bytes are good enough, so the throughput decides where 64 MiB come from."""
    fleet = fleet_of(a=0.005, b=0.045)
    for name, seconds in (("a", 4.0), ("b", 1.0)):
        attempt = fleet.ask(name, now=1.0)
        fleet.router.settle(
            attempt, SUCCESS, now=1.0, first_byte=0.005 if name == "a" else 0.045, streamed=True
        )
        fleet.router.finish(attempt, SUCCESS, now=1.0 + seconds, bytes_moved=16 << 20, seconds=seconds)
    assert {fleet.ask(now=6.0, size=64 << 20).endpoint.id for _ in range(3)} == {"b"}


def test_explain_names_the_objective_as_the_limit():
    """Who is within it is told so, and the others what would do."""
    rows = {
        row.endpoint.id: row.reason for row in fleet_of(a=0.005, c=0.055).router.explain(None, READ, now=1.0)
    }
    assert "up to 50 ms counts as equal" in rows["a"]
    assert "50 ms would do" in rows["c"]
