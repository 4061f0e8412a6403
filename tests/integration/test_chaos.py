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
"""Seconds that the share is measured for at least, however fast the machine."""
PATIENCE = 2.0
"""Seconds to the first byte: beyond, a node does not count as slow but as silent."""
SLOWEST = 0.8 * PATIENCE
WORKERS = 32


async def killed(node, _pace):
    await node.kill()


async def black_holed(node, _pace):
    await node.set(Behaviour(black_hole=True))


async def slowed(node, pace):
    """Twenty times as far away; where the machine is so busy that this is little beside its own slowness, three
    times as slow as the others are then.
    """
    await node.set(Behaviour(latency=min(max(19 * DISTANCE, 2 * pace), SLOWEST), health_ok=True))


async def answering_503(node, _pace):
    await node.set(Behaviour(status=503))


@pytest.mark.parametrize(
    ("harm", "grace"),
    [(killed, 1.0), (black_holed, 5.0), (slowed, 1.0), (answering_503, 1.0)],
    ids=lambda value: getattr(value, "__name__", f"within {value} s"),
)
async def test_one_node_of_four_fails(cluster, running, figures, harm, grace):
    """One node fails amid 2,000 operations at concurrency 32: none of them fails, every byte is right, and
    from one second on (five for a black hole) less than 5 % of the requests are sent to it.
    """
    bad = cluster.nodes[1]
    async with running(cluster.settings(first_byte_timeout=PATIENCE)) as fb:
        clock = asyncio.get_running_loop().time
        work = Workload(fb, seed=7, workers=WORKERS)
        async with asyncio.TaskGroup() as group:
            run = group.create_task(work.run(OPERATIONS))
            await work.reached(BEFORE)
            await harm(bad, WORKERS * (clock() - work.started_at) / BEFORE)
            fault = clock()
            work.go_on(fault + grace + MEASURED)
        tally = run.result()
        there, everywhere = fb.router.share(bad.ip, fault + grace)
        stats = fb.stats()
        figures(
            f"{tally.done} operations in {clock() - work.started_at:.1f} s, {len(tally.failed)} failed, "
            f"{len(tally.wrong)} wrong, {there} of {everywhere} requests sent to the bad node, "
            f"failovers {dict(stats.failovers)}, {stats.resumed} bodies resumed; "
            f"per second {fb.router.per_second(fault, bad.ip)}"
        )
    assert tally.failed == []
    assert tally.wrong == []
    assert tally.done >= OPERATIONS
    assert there < 0.05 * everywhere
