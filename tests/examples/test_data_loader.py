"""The loader keeps the order and its memory's bound, and leaves nothing behind however it is left."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import count

import pytest

from flashback_async import ObjectNotFoundError
from flashback_async.sandbox import Behaviour

NUMBER = 40


@pytest.fixture
async def keys(fb):
    """One object per number, which holds its own key."""
    keys = [f"train/{index:03}" for index in range(NUMBER)]
    await asyncio.gather(*(fb.put_object("demo", key, key.encode()) for key in keys))
    return keys


@pytest.fixture
def batches(example):
    return example("data_loader").batches


def fetching():
    """Tasks that read objects; the client's own discovery comes and goes beside them."""
    return [task for task in asyncio.all_tasks() if task.get_coro().__name__ == "get_object"]


async def test_batches_come_in_order(batches, fb, keys):
    """The objects come in the order of their keys, in full batches but the last, fetched ahead."""
    async with aclosing(batches(fb, "demo", keys, size=16, prefetch=10)) as loader:
        got = [batch async for batch in loader]
    assert [len(batch) for batch in got] == [16, 16, 8]
    assert [body.decode() for batch in got for body in batch] == keys


async def test_has_no_empty_batch(batches, fb, keys):
    """No batch is empty, however many keys there are."""
    for number, sizes in {0: [], 1: [1], 16: [16], 32: [16, 16], 33: [16, 16, 1]}.items():
        async with aclosing(batches(fb, "demo", keys[:number], size=16)) as loader:
            assert [len(batch) async for batch in loader] == sizes


async def test_memory_is_bounded(batches, fb, keys):
    """Keys are taken from an endless source only as fast as batches are: the window is the bound."""
    taken = count()

    def endless():
        while True:
            yield keys[next(taken) % NUMBER]

    async with aclosing(batches(fb, "demo", endless(), size=5, prefetch=20)) as loader:
        for turn in range(1, 4):
            assert len(await anext(loader)) == 5
            await asyncio.sleep(0.1)
            assert next(taken) <= 5 * turn + 20 + turn
            assert fb.stats().in_flight <= 20


async def test_an_early_break_releases_everything(batches, fb, keys, cluster):
    """Leaving the loop cancels what is on its way: no task, no operation and no lease is left."""
    for node in cluster.nodes:
        await node.set(Behaviour(latency=0.3))
    async with aclosing(batches(fb, "demo", keys, size=2, prefetch=30)) as loader:
        async for _ in loader:
            assert fb.stats().in_flight > 0
            assert fetching() != []
            break
    assert (fb.stats().in_flight, fb.stats().leases) == (0, 0)
    assert fetching() == []


async def test_an_error_ends_it(batches, fb, keys):
    """A missing object is raised where the loop is, and the rest is cancelled."""
    with pytest.raises(ObjectNotFoundError):
        async with aclosing(batches(fb, "demo", [*keys[:5], "missing", *keys[5:]], size=4)) as loader:
            assert [batch async for batch in loader] == []
    assert fb.stats().leases == 0
    assert fetching() == []


async def test_survives_a_dead_node(batches, fb, keys, cluster):
    """A node dies in the middle of an epoch, and the epoch is whole."""
    got = []
    async with aclosing(batches(fb, "demo", keys, size=10, prefetch=10)) as loader:
        async for batch in loader:
            if not got:
                await cluster.nodes[0].kill()
            got += batch
    assert [body.decode() for body in got] == keys


async def test_runs_as_a_program(run, keys):
    """The command of the docstring reads every object in each of two epochs."""
    async with run("data_loader.py", "demo", "train/") as process:
        output, log = await process.communicate()
    assert (process.returncode, log) == (0, b"")
    assert output.startswith(b"epoch 0: 40 samples in ")
    assert b"epoch 1: 40 samples in " in output
