"""Hedged reads over real sockets: one node of four slows down to a twentieth, and the tail hardly grows."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from flashback_async.routing import RoutingPolicy
from flashback_async.sandbox import Behaviour

from .watching import RecordingRouter

DISTANCE = 0.1
"""Seconds to every node."""
POLICY = RoutingPolicy(hedge_minimum=4 * DISTANCE)
"""Late is what takes four times as long: on a busy machine, much takes twice, and would use up the budget."""
WORKERS = 8
BEFORE, AFTER = 208, 192


async def tail(fb, nodes) -> float:
    """The 99th percentile of the reads from the moment on in which the node that serves most of them becomes
    twenty times slower.
    """
    clock = asyncio.get_running_loop().time
    times: list[float] = []
    served: list[str] = []

    async def read(count: int) -> None:
        for _ in range(count):
            begun = clock()
            found = await fb.get_object("demo", "key")
            assert found.body == b"data"
            times.append(clock() - begun)
            served.append(found.endpoint)

    async def reads(count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(read(count // WORKERS))

    await reads(BEFORE)
    times.clear()
    busiest, _ = Counter(served[-2 * WORKERS :]).most_common(1)[0]
    node = next(node for node in nodes if node.ip == busiest)
    await node.set(Behaviour(latency=19 * DISTANCE, health_ok=True))
    await reads(AFTER)
    await node.set(Behaviour())
    return sorted(times)[int(0.99 * len(times))]


async def test_the_tail_falls_when_a_node_slows_down(flashback_cluster_factory, running, figures):
    """With hedging the 99th percentile is less than half the time of the slow node, for at most 5 % more
    requests; without it, it is that time.
    """
    cluster = flashback_cluster_factory(nodes=4, latency=DISTANCE, store="rclone")

    def router() -> RecordingRouter:
        return RecordingRouter(policy=POLICY, random=Random(1).random)

    async with running(cluster.settings(), router=router()) as fb:
        await fb.put_object("demo", "key", b"data")
        plain = await tail(fb, cluster.nodes)
        assert fb.stats().hedges == 0
    async with running(cluster.settings(hedging=True), router=router()) as fb:
        hedged = await tail(fb, cluster.nodes)
        stats = fb.stats()
    figures(f"p99 {1e3 * plain:.0f} ms without, {1e3 * hedged:.0f} ms with {stats.hedges} hedges")
    assert plain >= 20 * DISTANCE
    assert hedged < 0.5 * plain
    assert 0 < stats.hedges_won <= stats.hedges <= 0.05 * stats.operations
    assert stats.attempts == stats.operations + stats.hedges + stats.retries
