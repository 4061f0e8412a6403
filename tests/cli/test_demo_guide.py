"""The guide's algorithm as the demo runs it: what it does, and what it does not."""

from __future__ import annotations

import pytest

from flashback_async import OperationError
from flashback_async.cli.demo.contestant import BUCKET
from flashback_async.cli.demo.s3_guide import Guide
from flashback_async.cli.demo.script import Phase
from flashback_async.cli.demo.tree import SourceFile
from flashback_async.sandbox import Behaviour, NodeSpec

NODES = (
    NodeSpec(id="far", latency=0.03),
    NodeSpec(id="near", latency=0.001),
    NodeSpec(id="off", latency=0.0005, status="OFFLINE"),
)


@pytest.fixture
def trio(flashback_cluster_factory):
    """Three nodes: the nearest is offline, the second nearest is the one to choose."""
    return flashback_cluster_factory(nodes=NODES)


@pytest.fixture
async def guide(trio):
    async with Guide(trio.settings(), trio.bucket_ids[BUCKET]) as guide:
        yield guide


@pytest.fixture
def file(tmp_path):
    """A small file."""
    (tmp_path / "f").write_bytes(b"data")
    return SourceFile("f", tmp_path / "f", 4)


async def test_it_takes_the_fastest_that_is_online(guide, trio):
    """The choice is by published latency, among those that are online."""
    assert await guide.best_endpoint() == trio.node("near").url


async def test_without_an_online_node_it_takes_the_best_of_all(guide, trio):
    """The guide's fallback, with figures of nodes that are not online counting as unknown."""
    for node in trio.nodes:
        await node.publish(status="DISCONNECTED")
    assert await guide.best_endpoint() in {node.url for node in trio.nodes}


async def test_it_keeps_its_choice_for_a_minute(guide, trio):
    """What the control plane says meanwhile is not heard."""
    first = await guide.best_endpoint()
    await trio.node("near").publish(latency=9.0)
    assert await guide.best_endpoint() == first
    assert (await trio.control_plane.requests())["/node"] == 1


async def test_a_failure_is_passed_on_and_only_clears_the_cache(guide, trio, file, tmp_path):
    """No second try; the next request asks again, and gets the same node: nothing remembers the failure."""
    jobs = guide.upload(file), guide.download(file, tmp_path / "g")
    await jobs[0].work(lambda _: None)
    await jobs[1].work(lambda _: None)
    assert (tmp_path / "g").read_bytes() == b"data"
    await trio.node("near").set(Behaviour(status=503))
    for job in jobs:
        with pytest.raises(OperationError) as failed:
            await job.work(lambda _: None)
        assert type(failed.value.__cause__).__name__ == "ClientError"
    assert await guide.best_endpoint() == trio.node("near").url
    assert (await trio.control_plane.requests())["/node"] == 3
    counted = {row.url: (row.requests, row.failures, row.opinion) for row in guide.nodes(Phase.OUT)}
    assert counted[trio.node("near").url] == (4, 2, "cached")
    assert counted[trio.node("far").url] == (0, 0, "")


@pytest.mark.parametrize(
    "behaviour", [Behaviour(reset=True), Behaviour(truncate_after=1), Behaviour(black_hole=True)]
)
async def test_whatever_breaks_ends_as_a_failed_request(guide, trio, file, tmp_path, behaviour):
    """Resets, bodies that break off and silence are failures of the request, never a crash of the demo."""
    await guide.upload(file).work(lambda _: None)
    await trio.node("near").set(behaviour)
    impatient = trio.settings(first_byte_timeout=1.0)
    async with Guide(impatient, trio.bucket_ids[BUCKET]) as other:
        with pytest.raises(OperationError):
            await other.download(file, tmp_path / "g").work(lambda _: None)
    assert not (tmp_path / "g").exists()


async def test_without_a_control_plane_it_cannot_choose(guide, trio, file):
    """There is no last table: a failure while the control plane is down fails everything after it."""
    await trio.control_plane.set(Behaviour(status=502))
    with pytest.raises(OperationError):
        await guide.upload(file).work(lambda _: None)
