"""Who took the last write of a key: for how long, and how many are remembered."""

from __future__ import annotations

import random

import pytest

from flashback_async.routing import Wait
from flashback_async.routing.recent_writes import RecentWrites

from .fleet import CANCELLED, FAULT, READ, SUCCESS, THROTTLED, Fleet, report


@pytest.mark.parametrize(("later", "holder"), [(0.0, "a"), (4.999, "a"), (5.0, None), (60.0, None)])
def test_a_write_is_remembered_for_its_time(later, holder):
    """Up to its seconds, and no longer, a write names the endpoint that took it."""
    writes = RecentWrites(5.0)
    writes.note("bucket", "key", "a", now=100.0)
    assert writes.holder("bucket", "key", now=100.0 + later) == holder
    assert writes.holder("bucket", "other", now=100.0) is None
    assert writes.holder("other", "key", now=100.0) is None


def test_memory_is_bounded():
    """No more keys are kept than were written within the time, nor more than the limit: those written longest ago go first."""
    writes = RecentWrites(5.0, remembered=100)
    for place in range(1_000):
        writes.note("bucket", f"key {place}", "a", now=place * 0.1)
    assert len(writes) == 50
    for place in range(1_000):
        writes.note("bucket", f"new {place}", "a", now=100.0)
    assert len(writes) == 100
    assert writes.holder("bucket", "new 899", now=100.0) is None
    assert writes.holder("bucket", "new 900", now=100.0) == "a"


def test_it_equals_a_naive_model():
    """Whatever the order of writes and questions, the answer is the last write that is young enough."""
    chance, writes, model, now = random.Random(5), RecentWrites(3.0), {}, 0.0
    for _ in range(5_000):
        now += chance.choice([0.0, 0.1, 0.7])
        key = chance.choice("abcdefgh")
        if chance.random() < 0.4:
            model[key] = (chance.choice("xyz"), now)
            writes.note("bucket", key, model[key][0], now=now)
        found = model.get(key)
        expected = None if found is None or now >= found[1] + 3.0 else found[0]
        assert writes.holder("bucket", key, now=now) == expected


# --- what the router makes of a preference -----------------------------------------------------------------


def near_and_far() -> Fleet:
    """`a` would be picked."""
    return Fleet(report("a", published=0.01), report("b", published=0.5))


def picked(fleet: Fleet, *, now: float, **options) -> str | float:
    """Who is chosen, or how long to wait."""
    found = fleet.router.acquire("bucket", READ, now=now, prefer="b", **options)
    if isinstance(found, Wait):
        return found.seconds
    fleet.router.settle(found, CANCELLED, now=now)
    return found.endpoint.id


def test_a_preferred_endpoint_is_chosen():
    """However far it is, and tried or not; but a pinned call stays where it is pinned."""
    fleet = near_and_far()
    assert picked(fleet, now=1.0) == "b"
    assert picked(fleet, now=1.0, tried={"b"}) == "b"
    assert picked(fleet, now=1.0, only="a") == "a"


def test_a_preferred_endpoint_has_to_be_usable():
    """Out of the table, out of the bucket, or with a breaker that is not closed, it is passed over."""
    fleet = near_and_far()
    fleet.discover("a", now=1.0)
    assert picked(fleet, now=1.0) == "a"
    fleet.discover(report("a", published=0.01), report("b", offline={"bucket"}), now=1.0)
    assert picked(fleet, now=1.0) == "a"
    fleet = near_and_far()
    for _ in range(5):
        fleet.run("b", FAULT, now=1.0)
    for moment in (1.1, 100.0):
        assert picked(fleet, now=moment) == "a"


@pytest.mark.parametrize(("asks", "found"), [(0.5, 0.5), (0.9, 0.9), (1.1, "a"), (60.0, "a")])
def test_its_rate_limit_is_waited_for_if_it_is_near(asks, found):
    """A token within a second is waited for; an endpoint that asks to stay away longer is passed over."""
    fleet = near_and_far()
    for _ in range(40):
        fleet.run("b", SUCCESS, now=0.9)
    fleet.run("b", THROTTLED, now=1.0, retry_after=asks)
    assert picked(fleet, now=1.0) == (found if isinstance(found, str) else pytest.approx(found))
    assert picked(fleet, now=200.0) == "b"


@pytest.mark.parametrize(
    ("tried", "is_last", "holder"), [((), True, "a"), (("a",), False, "a"), (("a",), True, None)]
)
def test_the_last_attempt_is_for_others(tried, is_last, holder):
    """An endpoint that failed the read is asked again, but not with the last attempt."""
    writes = RecentWrites(5.0)
    writes.note("bucket", "key", "a", now=0.0)
    assert writes.holder("bucket", "key", now=1.0, tried=tried, is_last=is_last) == holder
