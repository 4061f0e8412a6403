"""The decisions behind the faults, without any server: plans, the leaky bucket, counters, tokens."""

from __future__ import annotations

import base64
import json
from random import Random

import pytest

from flashback_async.sandbox import Behaviour, RateLimit
from flashback_async.sandbox.faults import Ask, Faults
from flashback_async.sandbox.limiter import LeakyBuckets
from flashback_async.sandbox.meter import Meter
from flashback_async.sandbox.tokens import TokenMint


def ask(method="GET", path="/demo/key", query="", length=None):
    return Ask(method, path, query, length, "127.0.0.1")


def faults(behaviour, distance=0.0):
    return Faults(behaviour, distance=distance, random=Random(7))


@pytest.mark.parametrize(
    ("method", "query", "expected"),
    [
        ("PUT", "", True),
        ("PUT", "partNumber=1&uploadId=x", True),
        ("POST", "uploads", True),
        ("POST", "delete", False),
        ("POST", "x-id=DeleteObjects&delete", False),
        ("DELETE", "", False),
        ("GET", "", False),
        ("HEAD", "", False),
    ],
)
def test_what_counts_as_a_write(method, query, expected):
    """Whatever stores something is a write; deleting and reading are not."""
    assert ask(method, query=query).is_write is expected


def test_error_rate_is_exact_for_a_seed():
    """The same seed strikes the same requests, about as often as the rate says."""
    behaviour = Behaviour(status=503, error_rate=0.25)
    outcomes = [[plan.outcome for plan in plans] for plans in (_many(behaviour), _many(behaviour))]
    assert outcomes[0] == outcomes[1]
    assert 200 <= outcomes[0].count("status") <= 300


def test_spikes_are_a_tail():
    """A spike strikes its share of requests and leaves the others alone."""
    delays = [plan.delay for plan in _many(Behaviour(latency=0.01, spike=1.0, spike_rate=0.1))]
    assert set(delays) == {0.01, 1.01}
    assert 70 <= delays.count(1.01) <= 130


def test_delay_is_the_sum_of_its_parts():
    """Distance and latency always add up; jitter adds less than itself."""
    assert faults(Behaviour(latency=0.5), distance=0.25).plan(ask(), 0.0).delay == 0.75
    delays = [plan.delay for plan in _many(Behaviour(jitter=0.2))]
    assert min(delays) < 0.01
    assert 0.19 < max(delays) < 0.2


def test_probes_are_spared_in_a_brownout():
    """With `health_ok`, a probe takes the distance only, while a request suffers."""
    browned = faults(Behaviour(latency=2, status=500, health_ok=True), distance=0.1)
    assert browned.plan(ask(path="/health"), 0.0).outcome == "served"
    assert browned.plan(ask(path="/health"), 0.0).delay == 0.1
    assert browned.plan(ask(), 0.0).outcome == "status"
    assert faults(Behaviour(status=500)).plan(ask(path="/health"), 0.0).outcome == "status"


def test_size_is_judged_before_rate():
    """As in nginx, a request that is too large takes nothing out of the rate."""
    limited = faults(Behaviour(max_body=10, rate_limit=RateLimit(burst=0)))
    assert limited.plan(ask("PUT", length=11), 0.0).outcome == "max_body"
    assert limited.plan(ask("PUT", length=10), 0.0).outcome == "served"
    assert limited.plan(ask("PUT", length=10), 0.0).outcome == "rate_limit"


def test_leaky_bucket_is_nginx():
    """Burst 20 lets 21 pass at once, then 10 per second, per client; refused ones add nothing."""
    buckets = LeakyBuckets(RateLimit(rate=10, burst=20))
    assert sum(buckets.admit("a", 100.0) for _ in range(50)) == 21
    assert sum(buckets.admit("b", 100.0) for _ in range(50)) == 21
    assert not buckets.admit("a", 100.0999)
    assert buckets.admit("a", 100.1001)
    assert not buckets.admit("a", 100.1001)
    assert sum(buckets.admit("a", 101.1002) for _ in range(50)) == 10
    assert sum(buckets.admit("a", 200.0) for _ in range(50)) == 21


def test_without_a_burst_one_request_passes_at_a_time():
    """Burst 0 admits who keeps the distance of 1/rate, again and again, and nobody else."""
    buckets = LeakyBuckets(RateLimit(rate=10, burst=0))
    admitted = [buckets.admit("a", now) for now in (1.0, 1.05, 1.1001, 1.15, 1.2002, 9.0, 9.0)]
    assert admitted == [True, False, True, False, True, True, False]


def test_meter_counts_in_a_window(monkeypatch):
    """Requests are counted in half-open intervals; probes are none; old times are forgotten in halves."""
    meter = Meter()
    for now in (1.0, 2.0, 2.5, 3.0):
        meter.arrived("GET", "/node", now, health=False)
    meter.arrived("GET", "/health", 2.0, health=True)
    assert meter.count(2.0) == 3
    assert meter.count(2.0, 3.0) == 2
    assert meter.count(3.0, 2.0) == 0
    meter.ended("served", status=200, bytes_in=3, bytes_out=4, health=False)
    assert meter.to_json() == {
        "requests": 4,
        "health": 1,
        "in_flight": 4,
        "by_method": {"GET": 4},
        "by_path": {"/node": 4},
        "by_outcome": {"served": 1},
        "by_status": {"200": 1},
        "bytes_in": 3,
        "bytes_out": 4,
    }
    meter.reset()
    assert (meter.to_json()["requests"], meter.to_json()["in_flight"]) == (0, 4)
    monkeypatch.setattr("flashback_async.sandbox.meter.TIMES_KEPT", 4)
    for now in range(5):
        meter.arrived("GET", None, float(now), health=False)
    assert meter.count(0.0) == 3


def test_tokens_expire_rotate_and_can_be_revoked():
    """An access token is a JWT that ends at `exp`; a refresh token works once; revoking spares new tokens."""
    mint = TokenMint("secret", 10.0, {"orgId": "o"})
    token, expires = mint.access_token(100.0)
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert (claims["exp"], claims["iat"], claims["orgId"], expires) == (110.0, 100, "o", 110.0)
    assert mint.accepts(token, 109.9)
    assert not mint.accepts(token, 110.0)
    assert not TokenMint("other", 10.0).accepts(token, 100.0)
    for nonsense in ("", "x", "a.b.c", token[:-2], f"{token}x"):
        assert not mint.accepts(nonsense, 100.0)
    refresh = mint.refresh_token()
    assert [mint.redeem(refresh), mint.redeem(refresh), mint.redeem("x.y")] == [True, False, False]
    assert not mint.redeem(token)
    assert not mint.accepts(mint.refresh_token(), 100.0)
    mint.revoke()
    assert not mint.accepts(token, 100.0)
    assert mint.accepts(mint.access_token(100.0)[0], 100.0)
    mint.restore()
    assert mint.accepts(token, 100.0)
    assert mint.redeem(refresh)


def _many(behaviour):
    source = faults(behaviour)
    return [source.plan(ask(), 0.0) for _ in range(1000)]
