"""Repositories that are mirrored with a delay: who is asked for a key that was just written."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import run, scenario

from flashback_async.errors import ObjectNotFoundError
from flashback_async.testing import MemoryEndpoints, MemoryStore, ScriptedEndpoint, Step

from .scenes import pattern

TOGETHER = ("a", "b", "c", "d")


def mirrored(**scripts) -> MemoryEndpoints:
    """Four nodes, each in front of a repository of its own."""
    return MemoryEndpoints(
        *(ScriptedEndpoint(name, MemoryStore("bucket"), scripts.get(name, ())) for name in TOGETHER)
    )


def asked(endpoints: MemoryEndpoints, *operations: str) -> list[str]:
    """Who was asked for these operations, in order."""
    return [request.endpoint for request in endpoints.requests if request.operation in operations]


async def finds(fb, key: str) -> list[bool]:
    """What twenty questions, one after the other, say of a key."""
    return [await fb.object_exists("bucket", key) for _ in range(20)]


@scenario
async def test_reads_follow_the_write():
    """For its seconds, a key is read, ranged and asked about where it was written, and nowhere else; then anywhere."""
    endpoints = mirrored()
    async with endpoints.client(read_your_writes=5) as fb:
        await fb.put_object("bucket", "key", b"data", endpoint="c")
        for _ in range(20):
            await asyncio.sleep(0.2)
            assert (await fb.get_object("bucket", "key")).body == b"data"
            assert (await fb.get_object("bucket", "key", range=(1, 3))).body == b"at"
            assert (await fb.head_object("bucket", "key")).size == 4
        assert set(asked(endpoints, "GetObject", "HeadObject")) == {"c"}
        await asyncio.sleep(1.0)
        assert False in await finds(fb, "key")


@scenario
async def test_it_is_off_by_default():
    """Without the setting, reads of a key that was just written go anywhere."""
    endpoints = mirrored()
    async with endpoints.client() as fb:
        await fb.put_object("bucket", "key", b"data", endpoint="c")
        assert False in await finds(fb, "key")


@scenario
async def test_every_kind_of_write_counts(tmp_path):
    """Copies, uploads in parts, files and deletions, single and in bulk, are followed like a put; a part or a new upload is not."""
    endpoints = mirrored()
    for endpoint in endpoints:
        endpoint.store.put("bucket", "there", b"old")
        endpoint.store.put("bucket", "there too", b"old")
    (tmp_path / "file").write_bytes(pattern(6 * 1_048_576))
    small = {"multipart_threshold": 5 * 1_048_576, "part_size": 5 * 1_048_576}
    async with endpoints.client(read_your_writes=5, **small) as fb:
        await fb.put_object("bucket", "source", b"data", endpoint="b")
        await fb.copy_object("bucket", "source", "copy", endpoint="b")
        await fb.upload_file("bucket", "large", tmp_path / "file", endpoint="d")
        await fb.delete_object("bucket", "there", endpoint="d")
        async for _ in fb.delete_objects("bucket", ["there too"], endpoint="d"):
            pass
        for key, exists in {"copy": True, "large": True, "there": False, "there too": False}.items():
            assert await finds(fb, key) == [exists] * 20
        # Of the parts of a large read too, for others would be told that the object changed.
        assert (await fb.get_object("bucket", "large")).body == pattern(6 * 1_048_576)
        assert set(asked(endpoints, "GetObject")) == {"d"}


@scenario
async def test_the_last_write_counts():
    """A key that was written twice is read where it was written last."""
    endpoints = mirrored()
    async with endpoints.client(read_your_writes=5) as fb:
        await fb.put_object("bucket", "key", b"first", endpoint="a")
        await fb.put_object("bucket", "key", b"second", endpoint="b")
        assert {(await fb.get_object("bucket", "key")).body for _ in range(20)} == {b"second"}


@scenario
async def test_a_broken_body_goes_on_where_it_was():
    """The rest of a body is asked for at the same node, for the others may not have that version."""
    endpoints = mirrored()
    async with endpoints.client(read_your_writes=5) as fb:
        await fb.put_object("bucket", "key", pattern(1_000), endpoint="b")
        endpoints["b"].script.extend([Step.broken(300), Step.broken(300)])
        assert (await fb.get_object("bucket", "key")).body == pattern(1_000)
        assert asked(endpoints, "GetObject") == ["b"] * 3


@scenario
async def test_a_node_that_fails_is_left_at_last():
    """A preference, not a guarantee: the last attempt of a read goes elsewhere, and so do all once the breaker is open."""
    endpoints = mirrored()
    for name in "abc":
        endpoints[name].store.put("bucket", "key", b"data")
    async with endpoints.client(read_your_writes=60) as fb:
        await fb.put_object("bucket", "key", b"data", endpoint="d")
        endpoints["d"].then = Step.reset()
        assert (await fb.get_object("bucket", "key")).body == b"data"
        first = asked(endpoints, "GetObject")
        assert first[:2] == ["d", "d"]
        assert len(first) == 3
        for _ in range(5):
            await fb.get_object("bucket", "key")
        assert {view.id: view.breaker for view in fb.nodes()}["d"] == "open"
        before = len(endpoints["d"].requests)
        await fb.get_object("bucket", "key")
        assert len(endpoints["d"].requests) == before
        with pytest.raises(ObjectNotFoundError):
            await fb.get_object("bucket", "nobody's")


@pytest.mark.parametrize(("seconds", "hedges"), [(0, 1), (3_600, 0)])
def test_it_is_not_hedged(seconds, hedges):
    """A late read of a key that was just written is not raced by a node that may not have it; others are."""

    async def play():
        endpoints = mirrored()
        for endpoint in endpoints:
            endpoint.store.put("bucket", "key", b"data")
        async with endpoints.client(read_your_writes=seconds, hedging=True) as fb:
            for _ in range(400):
                await fb.head_object("bucket", "key")
            await fb.put_object("bucket", "key", b"data", endpoint="c")
            for endpoint in endpoints:
                endpoint.then = Step(after=4.0)
            assert (await fb.get_object("bucket", "key")).body == b"data"
            assert fb.stats().hedges == hedges

    run(play())
