"""The values that describe a cluster: what they accept, and how they travel."""

from __future__ import annotations

import json

import pytest

from flashback_async.errors import ConfigurationError
from flashback_async.sandbox import (
    Behaviour,
    LocalFlashback,
    NodeSpec,
    RateLimit,
    SandboxConfigurationError,
    SandboxError,
    Variant,
    WritesDisabled,
)
from flashback_async.sandbox.behaviour import FAULTS
from flashback_async.sandbox.registry import Figure, PublishedNode, Registry, stable_uuid


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latency": -0.1}, "latency=-0.1"),
        ({"jitter": -1}, "jitter=-1"),
        ({"spike": -1}, "spike=-1"),
        ({"spike_rate": 1.5}, "spike_rate=1.5"),
        ({"error_rate": -0.5}, "error_rate=-0.5"),
        ({"bandwidth": 0}, "bandwidth=0"),
        ({"status": 100}, "status=100"),
        ({"status": 600}, "status=600"),
        ({"status": 503, "body_format": "json"}, "body_format='json'"),
        ({"status": 503, "retry_after": -1}, "retry_after=-1"),
        ({"truncate_after": -1}, "truncate_after=-1"),
        ({"max_body": -1}, "max_body=-1"),
        ({"reset": True, "black_hole": True}, "black_hole and reset exclude each other"),
        ({"status": 500, "stall_after": 0}, "status and stall_after exclude each other"),
        ({"retry_after": 1}, "set status too"),
        ({"error_code": "SlowDown"}, "set status too"),
        ({"status": 503, "error_code": "SlowDown"}, "needs body_format='xml'"),
        ({"refuse": True, "error_rate": 0.5}, "refuse closes the port"),
        ({"refuse": True, "health_ok": True}, "refuse closes the port"),
    ],
)
def test_impossible_behaviour_is_refused(fields, message):
    """A behaviour that cannot be is refused with the value's name, as a ValueError of the package."""
    with pytest.raises(SandboxConfigurationError, match=message) as caught:
        Behaviour(**fields)
    assert isinstance(caught.value, ValueError | SandboxError)
    assert isinstance(caught.value, ConfigurationError)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RateLimit(rate=0), "rate=0"),
        (lambda: RateLimit(burst=-1), "burst=-1"),
        (lambda: RateLimit(retry_after=-1), "retry_after=-1"),
        (lambda: WritesDisabled(status=200), "status=200"),
        (lambda: Variant(node_id="name"), "node_id='name': give one of 'ip', 'uuid'"),
        (lambda: NodeSpec(latency=-1), "latency=-1"),
        (lambda: NodeSpec(published_latency=-1), "published_latency=-1"),
        (lambda: NodeSpec(id="a/b"), "id='a/b'"),
        (lambda: NodeSpec(id="store"), "id='store'"),
        (lambda: LocalFlashback(0), "nodes=0: give a number from 1"),
        (lambda: LocalFlashback([]), "nodes="),
        (lambda: LocalFlashback([NodeSpec(id="a"), NodeSpec(id="a")]), "not unique"),
        (lambda: LocalFlashback([NodeSpec()], latency=0.1), "set latency in each of them"),
        (lambda: LocalFlashback(2, latency=-0.1), "latency=-0.1"),
        (lambda: LocalFlashback(store="minio"), "store='minio': give one of 'moto', 'rclone'"),
        (lambda: LocalFlashback(token_lifetime=0), "token_lifetime=0"),
        (lambda: LocalFlashback(buckets="demo"), "buckets='demo'"),
    ],
)
def test_impossible_value_is_refused(build, message):
    """Every other value that cannot work is refused by name, before anything is started."""
    with pytest.raises(SandboxConfigurationError, match=message):
        build()


def test_fault_is_the_one_that_is_set():
    """A behaviour names its one fault, also when its number is zero; a healthy one has none."""
    assert Behaviour().fault is None
    assert Behaviour(latency=1, rate_limit=RateLimit()).fault is None
    assert [Behaviour(**{name: 200}).fault for name in FAULTS] == list(FAULTS)
    assert Behaviour(truncate_after=0).fault == "truncate_after"


def test_behaviour_travels_as_json():
    """What is read from the admin channel equals what was sent."""
    behaviour = Behaviour(
        latency=0.5,
        status=503,
        body_format="xml",
        rate_limit=RateLimit(burst=3),
        writes_disabled=WritesDisabled(),
    )
    assert Behaviour.from_json(json.loads(json.dumps(behaviour.to_json()))) == behaviour
    assert Behaviour.from_json(Behaviour().to_json()) == Behaviour()


def test_numbered_nodes_are_spread():
    """A number of nodes is spread over three regions, nearest first, and all of them can be made equal."""
    specs = LocalFlashback(5)._specs
    assert [spec.region for spec in specs[:4]] == ["us-east-1", "eu-central-1", "ap-southeast-1", "us-east-1"]
    assert [spec.latency for spec in specs] == [0.002, 0.008, 0.025, 0.06, 0.08]
    assert [spec.id for spec in specs] == ["node-1", "node-2", "node-3", "node-4", "node-5"]
    assert len({(spec.region, spec.provider) for spec in LocalFlashback(9)._specs}) == 9
    assert {spec.latency for spec in LocalFlashback(3, latency=0.5)._specs} == {0.5}


def test_published_latency_follows_the_real_one_unless_told():
    """A node reports its distance, another figure, or none."""
    assert NodeSpec(latency=0.2).reported == 0.2
    assert NodeSpec(latency=0.2, published_latency=0.0).reported == 0.0
    assert NodeSpec(latency=0.2, published_latency=None).reported is None


def test_registry_travels_as_json():
    """What the control plane is told equals what the cluster means, exceptions for one bucket included."""
    node = PublishedNode(
        id="a",
        ip="127.0.0.2",
        port=1,
        scheme="http",
        region="r",
        provider="aws",
        figure=Figure(status="ONLINE", latency=0.1),
    )
    registry = Registry(org_id="o", key_id="k", nodes=(node,), buckets=("x", "y"), variant=Variant(age=3))
    changed = registry.publish("a", "x", status="OFFLINE").changed(extra_nodes=({"url": 1},))
    assert Registry.from_json(json.loads(json.dumps(changed.to_json()))) == changed
    assert changed.nodes[0].reported("x") == Figure(status="OFFLINE", latency=0.1)
    assert changed.nodes[0].reported("y") == Figure(status="ONLINE", latency=0.1)
    assert changed.version == registry.version + 2


def test_ids_are_the_same_in_every_cluster():
    """A bucket's UUID depends on its name alone."""
    assert stable_uuid("bucket", "demo") == "37fee5ae-c793-5487-b637-55b7a5a0bdc7"
    assert stable_uuid("node", "demo") != stable_uuid("bucket", "demo")
