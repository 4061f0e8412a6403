"""Snapshots: frozen, complete, and nothing is changed by taking one."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, asdict, fields

import pytest

from flashback_async.errors import NoEndpointAvailableError
from flashback_async.routing import EndpointStatus, RouterSnapshot

from .fleet import CLOSED, FAULT, HALF_OPEN, OPEN, THROTTLED, WRITE, Fleet, report


def test_a_fresh_table_shows_what_discovery_said():
    """Before any request the rows carry membership, and None for what nobody knows."""
    fleet = Fleet(report("a", status=EndpointStatus.OFFLINE), "b", now=3.0)
    shown = fleet.router.snapshot(now=5.0)
    assert [row.endpoint.id for row in shown.endpoints] == ["a", "b"]
    assert (shown.in_flight, shown.streaming, shown.retry_budget, shown.discovered_at) == (0, 0, 500, 3.0)
    assert asdict(shown.endpoints[0]) == {
        "endpoint": {"id": "a", "url": "https://a.example", "region": ""},
        "status": EndpointStatus.OFFLINE,
        "breaker": CLOSED,
        "breaker_reason": "",
        "read_latency": None,
        "write_latency": None,
        "read_throughput": None,
        "in_flight": 0,
        "streaming": 0,
        "requests": 0,
        "failures": 0,
        "throttled": 0,
        "opened": 0,
        "retry_in": 0.0,
        "rate_limit": None,
        "probe_rtt": None,
        "probed_at": None,
    }


def test_before_the_first_discovery_there_is_no_table():
    """An empty router shows no rows and no time of discovery."""
    fleet = Fleet()
    fresh = type(fleet.router)(random=lambda: 0.5).snapshot(now=1.0)
    assert fresh == RouterSnapshot(
        endpoints=(), in_flight=0, streaming=0, retry_budget=500, hedge_budget=0, discovered_at=None
    )


def test_an_endpoint_is_found_by_its_id():
    """The id leads to the endpoint; one that is not in the table is an error that lists what is."""
    shown = Fleet("a", "b").router.snapshot(now=0.0)
    assert shown.named("b") is shown.endpoints[1].endpoint
    with pytest.raises(NoEndpointAvailableError, match="'x' is not in the table; known ones: a, b") as caught:
        shown.named("x")
    assert caught.value.detail == {"x": "not in the table"}


def test_latency_is_floor_plus_excess_per_kind():
    """The shown latency is what a request of that kind is expected to take now."""
    fleet = Fleet("a")
    fleet.know("a", 0.020)
    fleet.know("a", 0.050, kind=WRITE)
    fleet.run("a", FAULT, now=0.0, first_byte=1.0)
    shown = fleet.at("a", now=0.0)
    assert shown.read_latency == pytest.approx(1.020)
    assert shown.write_latency == pytest.approx(0.050)


def test_retry_in_counts_down_to_the_trial():
    """An open breaker shows the seconds until it admits, and zero from then on."""
    fleet = Fleet("a", "b")
    fleet.trip("a", now=10.0)
    assert [fleet.at("a", now=now).retry_in for now in (10.0, 10.75, 11.0, 50.0)] == [1.0, 0.25, 0.0, 0.0]
    assert fleet.at("a", now=10.0).breaker is OPEN
    assert fleet.at("a", now=10.0).breaker_reason == "5 failures in a row"
    trial = fleet.ask("a", now=11.0)
    assert (fleet.at("a", now=11.0).breaker, fleet.at("a", now=11.0).retry_in) == (HALF_OPEN, 0.0)
    assert trial.endpoint.id == "a"
    assert fleet.at("a", now=11.0).in_flight == 1
    assert fleet.at("a", now=11.0).opened == 1


def test_retry_in_shows_the_rate_limit_too():
    """A throttled endpoint shows when it may be asked again, and its learned limit."""
    fleet = Fleet("a")
    fleet.run("a", THROTTLED, now=10.0, retry_after=7.0)
    shown = fleet.at("a", now=12.0)
    assert shown.retry_in == pytest.approx(5.0)
    assert shown.rate_limit == pytest.approx(0.6)
    assert shown.throttled == 1


def test_a_probe_is_shown():
    """Round trip and time of the last probe; None when it failed."""
    fleet = Fleet("a")
    fleet.router.record_probe("a", 0.004, now=2.0)
    assert (fleet.at("a", now=3.0).probe_rtt, fleet.at("a", now=3.0).probed_at) == (0.004, 2.0)
    fleet.router.record_probe("a", None, now=4.0)
    assert (fleet.at("a", now=5.0).probe_rtt, fleet.at("a", now=5.0).probed_at) == (None, 4.0)


def test_taking_one_changes_nothing():
    """However often and for whatever time one looks, the next snapshot is the same."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.020)
    fleet.trip("a", now=1.0)
    fleet.router.drain_events()
    before = fleet.router.snapshot(now=1.5)
    for now in (0.0, 1.5, 2.0, 2.5, 100.0):
        fleet.router.snapshot(now=now)
    assert fleet.router.snapshot(now=1.5) == before
    assert fleet.router.drain_events() == []


def test_a_snapshot_is_a_frozen_value():
    """It stays what it was when the router goes on; equal by content, picklable, not to be changed."""
    fleet = Fleet("a")
    before = fleet.router.snapshot(now=1.0)
    fleet.run("a", FAULT, now=1.0)
    assert before.endpoints[0].requests == 0
    assert pickle.loads(pickle.dumps(before)) == before
    for value in (before, before.endpoints[0]):
        with pytest.raises(FrozenInstanceError):
            setattr(value, fields(value)[0].name, None)
