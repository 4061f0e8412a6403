"""The fast lane equals the aioboto3 lane: the same values, bodies and errors for the same operations."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from .both_lanes import BUCKETS, HARD_KEYS, KEYS, LANES, Side, Steps, differences

# Each test runs clients of both lanes.
LANES_OF_TESTS = ("fast",)
# rclone answers 500 now and then where several write at once.
WORKERS = {"moto": 6, "rclone": 1}


@pytest.fixture
async def sides(request, flashback_cluster_factory, running):
    """A client of each lane on one store, with a bucket of its own."""
    cluster = flashback_cluster_factory(nodes=1, latency=0.0, store=request.param)
    for bucket in BUCKETS.values():
        await cluster.create_bucket(bucket)
    settings = [cluster.settings(lane=lane, attempts=1) for lane in LANES]
    async with running(settings[0]) as one, running(settings[1]) as other:
        yield [Side("aioboto3", one), Side("fast", other)]


async def compared(sides, store, seed, operations):
    """What the lanes do not agree on, in so many random operations."""
    workers = WORKERS[store]
    keys = KEYS + (HARD_KEYS if store == "moto" else [])
    found = await asyncio.gather(
        *(
            differences(
                sides,
                Steps(Random(seed * 1_000 + worker), keys[worker::workers], is_exact=store == "moto"),
                operations // workers,
            )
            for worker in range(workers)
        )
    )
    return [f"seed {seed}, worker {worker}, {text}" for worker, texts in enumerate(found) for text in texts]


def on_both_stores(test):
    return pytest.mark.parametrize(
        ("sides", "store"), [("moto", "moto"), ("rclone", "rclone")], ids=["moto", "rclone"], indirect=["sides"]
    )(test)


@on_both_stores
async def test_random_operations_come_to_the_same(sides, store):
    """A thousand random operations return and raise the same on both lanes, to the last field and byte."""
    found = await compared(sides, store, 1, 1_200)
    assert not found, "\n".join(found[:20])


@pytest.mark.full
@on_both_stores
@pytest.mark.parametrize("seed", range(2, 8))
async def test_thousands_of_random_operations_come_to_the_same(sides, store, seed):
    """The same for as many more as a long run has time for."""
    found = await compared(sides, store, seed, 2_400)
    assert not found, "\n".join(found[:20])
