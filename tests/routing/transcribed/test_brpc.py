"""brpc's balancer of two choices by peak EWMA.

Source: github.com/apache/brpc at 71871ee, Apache-2.0: `test/brpc_p2c_ewma_load_balancer_unittest.cpp`.

Transcribed: coming and going of servers, the single server, who gets how many of 1,000 and of 100 requests
when latencies differ, when one degrades and when one fails fast, ties by requests in flight, exclusion with
its last chance, the cap on the punishment, refused parameters. Requests come one after the other, each
taking its latency.

Differences:

- There a slow answer replaces the average at once (the peak); here it takes one or two, for a single slow
  answer is often chance.
- A failure is punished there with twice the average or the timeout, up to 30 s; here with 0.25 s or what it
  took, up to 5 s, and the breaker does the rest.
- A server that comes twice is refused there; a discovery is a whole list here, and its first row counts.
- There are no weights here (`weighted_split_by_inflight`): capacity shows in requests in flight and in
  latency.
- Churn is transcribed without its threads, which `test_router_threads.py` has; the benchmark of a lock is
  not.
"""

from __future__ import annotations

from random import Random

import pytest

from flashback_async.errors import ConfigurationError, NoEndpointAvailableError
from flashback_async.routing import RoutingPolicy
from routing.fleet import CANCELLED, SUCCESS, TIMEOUT, Fleet, report
from routing.transcribed.sequences import NEVER
from routing.transcribed.traffic import Traffic

MS = 1e-3


def servers(*names: str) -> Fleet:
    return Fleet(*names, random=Random(1).random)


def test_add_remove_servers():
    """Without a server there is none to select; with some there is; after the last one left there is none again."""
    fleet = servers()
    with pytest.raises(NoEndpointAvailableError):
        fleet.ask(now=0.0)
    fleet.discover("a", "b", "c", now=0.0)
    fleet.router.settle(fleet.ask(now=0.0), CANCELLED, now=0.0)
    fleet.discover("b", "c", now=0.0)
    assert fleet.picks(20, now=0.0).keys() == {"b", "c"}
    fleet.discover(now=0.0)
    with pytest.raises(NoEndpointAvailableError):
        fleet.ask(now=0.0)


def test_difference_a_server_that_comes_twice_is_one():
    """The second row of the same server changes nothing: it is one endpoint, at the address of the first row."""
    fleet = servers()
    fleet.discover("a", report("a", url="https://elsewhere.example"), now=0.0)
    assert [row.endpoint.url for row in fleet.router.snapshot(now=0.0).endpoints] == ["https://a.example"]


def test_single_server():
    """The only server gets every request."""
    traffic = Traffic(servers("a"), {"a": 1 * MS})
    traffic.one_by_one(10, start=0.0)
    assert traffic.sent == {"a": 10}


def test_prefers_lower_latency():
    """Of 1,000 requests, the server of 1 ms gets at least 900, the one of 50 ms the rest."""
    traffic = Traffic(servers("fast", "slow"), {"fast": 1 * MS, "slow": 50 * MS})
    traffic.one_by_one(1_000, start=0.0)
    assert traffic.sent["fast"] >= 900
    assert traffic.sent["slow"] >= 1


def test_sheds_degraded_server():
    """The server that was the better one takes 100 ms from now on: at least 90 of 100 requests avoid it."""
    traffic = Traffic(servers("a", "b"), {"a": 1 * MS, "b": 0.5 * MS})
    now = traffic.one_by_one(20, start=0.0)
    traffic.sent.clear()
    traffic.latency = {"a": 1 * MS, "b": 100 * MS}
    traffic.one_by_one(100, start=now)
    assert traffic.sent["a"] >= 90
    assert 1 <= traffic.sent["b"] <= 2


def test_inflight_breaks_ties():
    """Two requests to two servers that nobody knows go one to each; a third one finds somebody, too."""
    fleet = servers("a", "b")
    first, second = fleet.ask(now=0.0), fleet.ask(now=0.0)
    assert {first.endpoint.id, second.endpoint.id} == {"a", "b"}
    for attempt in (first, second):
        fleet.router.settle(attempt, SUCCESS, now=1 * MS, first_byte=1 * MS)
    assert fleet.ask(now=1 * MS).endpoint.id in {"a", "b"}


def test_error_feedback_punishes_server():
    """The server that was the better one fails within 1 ms: at least 90 of 100 requests go to the good one."""
    fleet = servers("good", "bad")
    now = Traffic(fleet, {"good": 1 * MS, "bad": 0.5 * MS}).one_by_one(20, start=0.0)
    good = 0
    for _ in range(100):
        attempt = fleet.ask(now=now)
        now += 1 * MS
        is_good = attempt.endpoint.id == "good"
        good += is_good
        fleet.router.settle(attempt, SUCCESS if is_good else TIMEOUT, now=now, first_byte=1 * MS)
    assert 90 <= good < 100


def test_excluded_servers():
    """An excluded server is never selected; when all are excluded, one is selected all the same."""
    fleet = servers("a", "b")
    now = 0.0
    for _ in range(20):
        attempt = fleet.ask(now=now, tried={"a"})
        assert attempt.endpoint.id == "b"
        now += 1 * MS
        fleet.router.settle(attempt, SUCCESS, now=now, first_byte=1 * MS)
    assert fleet.ask(now=now, tried={"a", "b"}).endpoint.id in {"a", "b"}


@pytest.mark.parametrize(
    "parameter", [{"decay_time": 0.0}, {"decay_time": float("nan")}, {"floor_samples": 1.5}, {"attempts": 0}]
)
def test_invalid_parameters(parameter):
    """A decay time of zero, no number, and a count that is not whole or too small are refused."""
    with pytest.raises(ConfigurationError):
        RoutingPolicy(**parameter)


def test_invalid_parameters_unknown():
    """A parameter that there is not is refused."""
    with pytest.raises(TypeError):
        RoutingPolicy(unknown=1)


@pytest.mark.parametrize(
    ("failures", "excess"), [([0.1] * 64, 0.25), ([0.1] * 64 + [60.0], 5.0)], ids=["of 100 ms", "of a minute"]
)
def test_error_punish_is_capped(failures, excess):
    """Sixty-four failures of 100 ms punish as one does, and one of a minute punishes with no more than 5 s."""
    policy = RoutingPolicy(breaker_consecutive=NEVER, breaker_minimum=NEVER)
    fleet, now = Fleet("a", policy=policy), 0.0
    for took in failures:
        attempt = fleet.ask(now=now)
        now += took
        fleet.router.settle(attempt, TIMEOUT, now=now)
    (row,) = fleet.router.explain(None, now=now)
    assert row.excess == pytest.approx(excess)


def test_select_with_churn():
    """A server that leaves and comes back all the time breaks no selection, and no request stays in flight."""
    names = [f"s{number}" for number in range(8)]
    fleet = servers(*names)
    held = []
    for step in range(1_000):
        now = step * MS
        fleet.discover(*(names if step % 2 else names[1:]), now=now)
        held.append(fleet.ask(now=now))
        if len(held) == 4:
            fleet.router.settle(held.pop(0), SUCCESS, now=now, first_byte=3 * MS)
    for attempt in held:
        fleet.router.settle(attempt, SUCCESS, now=1.0, first_byte=3 * MS)
    snapshot = fleet.router.snapshot(now=1.0)
    assert snapshot.in_flight == 0
    assert [row.in_flight for row in snapshot.endpoints] == [0] * 8
    assert sum(row.requests for row in snapshot.endpoints) > 0
