"""An HTTP client of the caller's own reads through leases, and the router learns from it."""

from __future__ import annotations

import asyncio
import os

import aiohttp
import pytest

from flashback_async import FlashbackClient
from flashback_async.sandbox import Behaviour


@pytest.fixture
def module(example):
    return example("bring_your_own_client")


@pytest.fixture
async def http(module):
    async with aiohttp.ClientSession(timeout=module.TIMEOUT) as session:
        yield session


@pytest.fixture
async def verified(flashback_cluster_factory):
    """A client of a cluster whose store verifies signatures."""
    async with FlashbackClient(flashback_cluster_factory(nodes=1, store="rclone").settings()) as client:
        yield client


def failures(fb):
    return {view.id: view.failures for view in fb.nodes() if view.failures}


async def test_reads_with_its_own_signature(module, verified, http):
    """The store verifies the signature that the example makes, for keys with any characters."""
    data = os.urandom(100_000)
    await verified.put_object("demo", "a folder/ü+&?.bin", data)
    assert await module.read(verified, http, "demo", "a folder/ü+&?.bin") == data
    assert verified.stats().leases == 0


@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(status=503), Behaviour(reset=True), Behaviour(truncate_after=5_000)],
    ids=["503", "reset", "truncated"],
)
async def test_moves_on_when_an_endpoint_fails(module, fb, http, cluster, behaviour):
    """Two of four endpoints fail, each while it is the best one: others have the bytes, and the two are blamed."""
    data = os.urandom(100_000)
    await fb.put_object("demo", "key", data)
    sick = set()
    async with asyncio.timeout(30):
        while len(sick) < 2 or failures(fb).keys() < sick:
            best = await fb.pick_endpoint("demo")
            if best.id not in sick and failures(fb).keys() == sick:
                sick.add(best.id)
                await next(node for node in cluster.nodes if node.ip == best.id).set(behaviour)
            assert await module.read(fb, http, "demo", "key") == data
    for _ in range(20):
        assert await module.read(fb, http, "demo", "key") == data
    assert failures(fb).keys() == sick


async def test_a_dead_endpoint_is_left(module, fb, http, cluster):
    """A killed endpoint costs a failed attempt and no read."""
    await fb.put_object("demo", "key", b"bytes")
    best = await fb.pick_endpoint("demo")
    await next(node for node in cluster.nodes if node.ip == best.id).kill()
    for _ in range(10):
        assert await module.read(fb, http, "demo", "key") == b"bytes"


async def test_a_missing_object_is_nobodys_fault(module, fb, http, cluster):
    """A 404 is raised after one attempt and counts against no endpoint."""
    asked = sum([(await node.stats()).requests for node in cluster.nodes])
    with pytest.raises(aiohttp.ClientResponseError, match="404"):
        await module.read(fb, http, "demo", "missing")
    assert sum([(await node.stats()).requests for node in cluster.nodes]) == asked + 1
    assert failures(fb) == {}


async def test_gives_up_after_its_attempts(module, fb, http, cluster):
    """When every endpoint fails, the last error is raised after three attempts at different ones."""
    for node in cluster.nodes:
        await node.set(Behaviour(status=503))
    with pytest.raises(aiohttp.ClientResponseError, match="503"):
        await module.read(fb, http, "demo", "key")
    assert list(failures(fb).values()) == [1, 1, 1]


async def test_runs_as_a_program(run, fb):
    """The command of the docstring writes the object to its standard output."""
    await fb.put_object("demo", "key", b"bytes")
    async with run("bring_your_own_client.py", "demo", "key") as process:
        assert await process.communicate() == (b"bytes", b"")
    assert process.returncode == 0
