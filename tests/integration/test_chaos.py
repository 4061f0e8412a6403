"""Acceptance: one of four nodes fails in the middle of 2,000 reads and writes, and nobody notices."""

from __future__ import annotations

import asyncio

import pytest

from flashback_async.sandbox import Behaviour

from .conftest import DISTANCE
from .workload import Workload

OPERATIONS = 2_000
BEFORE = 700
MEASURED = 3.0

SLOWED = Behaviour(latency=19 * DISTANCE, health_ok=True)


async def killed(node):
    await node.kill()


async def black_holed(node):
    await node.set(Behaviour(black_hole=True))


async def slowed(node):
    await node.set(SLOWED)


async def answering_503(node):
    await node.set(Behaviour(status=503))


@pytest.mark.parametrize(
    ("harm", "grace"),
    [(killed, 1.0), (black_holed, 5.0), (slowed, 1.0), (answering_503, 1.0)],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_one_node_of_four_fails(cluster, running, harm, grace, record_property):
    """One node fails amid 2,000 operations at concurrency 32: none of them fails, every byte is right, and
    from one second on (five for a black hole) less than 5 % of the requests are sent to it."""
    bad = cluster.nodes[1]
    async with running(cluster.settings(first_byte_timeout=2.0)) as fb:
        clock = asyncio.get_running_loop().time
        work = Workload(fb, seed=7)
        run = asyncio.create_task(work.run(OPERATIONS))
        await work.reached(BEFORE)
        await harm(bad)
        fault = clock()
        work.go_on(fault + grace + MEASURED)
        tally = await run
        there, everywhere = fb.router.share(bad.ip, fault + grace)
        stats = fb.stats()
        print(f"\n{harm.__name__}: {tally.done} operations, {len(tally.failed)} failed, {len(tally.wrong)} wrong,"
              f" share {there}/{everywhere}, {stats.failovers}, resumed {stats.resumed}")
        print(fb.router.per_second(fault, bad.ip))
        for n in fb.router.snapshot(now=clock()).endpoints: print(n)
    assert tally.failed == []
    assert tally.wrong == []
    assert tally.done >= OPERATIONS
    assert there < 0.05 * everywhere
