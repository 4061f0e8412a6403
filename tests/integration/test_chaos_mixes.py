"""Nastier failures, fewer operations: broken bodies, rate limits, a lost control plane, nodes that come and go."""

from __future__ import annotations

import asyncio
from math import inf
from random import Random

import pytest

from flashback_async.sandbox import Behaviour, RateLimit

from .watching import eventually
from .workload import KIB, Workload

OPERATIONS = 600
MIB = 1_024 * KIB


def removed(registry, node):
    """What the control plane publishes once `node` is gone."""
    return registry.changed(nodes=tuple(row for row in registry.nodes if row.id != node.id))


async def harmed_run(fb, harm, felt, *, seed):
    """A workload in whose middle `harm` happens, and which goes on until it was `felt`; its tally.

    A node that was busy so far need not be the best one at that moment, so it may take a while.
    """
    work = Workload(fb, seed=seed)
    async with asyncio.TaskGroup() as group:
        run = group.create_task(work.run(OPERATIONS, until=inf))
        await work.reached(OPERATIONS // 2)
        await harm()
        await eventually(felt, within=20)
        await work.reached(OPERATIONS)
        work.stop()
    return run.result()


@pytest.mark.parametrize(
    ("cluster", "behaviour"),
    [
        pytest.param("rclone", Behaviour(reset_after=300), id="rclone, reset in mid-body"),
        pytest.param("moto", Behaviour(truncate_after=300), id="moto, truncated"),
        pytest.param("rclone", Behaviour(truncate_after=300), id="rclone, truncated"),
        pytest.param("rclone", Behaviour(stall_after=300), id="rclone, stalled"),
        pytest.param("rclone", Behaviour(reset=True, error_rate=0.3), id="rclone, 30 % resets"),
        pytest.param("moto", Behaviour(lose_answer=True, error_rate=0.3), id="moto, 30 % lost answers"),
        pytest.param("rclone", Behaviour(lose_answer=True, error_rate=0.3), id="rclone, 30 % lost answers"),
        pytest.param("moto", Behaviour(status=503, error_rate=0.5), id="moto, 50 % 503"),
    ],
    indirect=["cluster"],
)
async def test_a_node_that_breaks_answers(cluster, running, figures, behaviour):
    """The busiest node breaks its answers amid 600 operations or more: nobody sees it, and every byte is right."""
    async with running(cluster.settings(stall_timeout=1.0)) as fb:

        async def harm():
            busiest = max(fb.nodes(), key=lambda node: node.requests).id
            await next(node for node in cluster.nodes if node.ip == busiest).set(behaviour)

        tally = await harmed_run(fb, harm, lambda: fb.stats().retries, seed=11)
        stats = fb.stats()
        figures(f"{tally.done} operations, failovers {dict(stats.failovers)}, {stats.resumed} resumed")
    assert tally.failed == []
    assert tally.wrong == []
    assert stats.failed == 0


async def test_one_long_body_over_broken_connections(cluster, running):
    """A stream that breaks every 1.5 MiB on three of four nodes arrives complete and in order."""
    data = Random(3).randbytes(8 * MIB)
    async with running(cluster.settings()) as fb:
        await fb.put_object("demo", "long", data)
        for node in cluster.nodes[:3]:
            await node.set(Behaviour(reset_after=1_500 * KIB))
        async with fb.stream_object("demo", "long", endpoint=None) as body:
            found = b"".join([chunk async for chunk in body])
        stats = fb.stats()
    assert found == data
    assert stats.failed == 0


async def test_rate_limits_are_learned(spread, running, figures):
    """Every node answers 429 above 20 requests/s: at 50/s, more than the near nodes take and less than all
    four do, no request fails, no breaker opens, and few are refused.
    """
    for node in spread.nodes:
        await node.set(Behaviour(rate_limit=RateLimit(rate=20, burst=10)))
    async with running(spread.settings()) as fb:
        await fb.put_object("demo", "key", b"x" * KIB)
        clock = asyncio.get_running_loop().time
        start, rate, seconds = clock(), 50, 8
        async with asyncio.TaskGroup() as group:
            for number in range(rate * seconds):
                await asyncio.sleep(start + number / rate - clock())
                group.create_task(fb.get_object("demo", "key"))
        took = clock() - start
        stats = fb.stats()
        throttled = sum(node.throttled for node in fb.nodes())
        figures(f"{rate * seconds} reads in {took:.1f} s, {throttled} were answered 429 and sent elsewhere")
        assert all((node.breaker, node.opened) == ("closed", 0) for node in fb.nodes())
    assert stats.failed == 0
    assert stats.operations == rate * seconds + 1
    assert stats.failovers == {"throttled": throttled}
    assert 1 <= throttled <= 0.15 * rate * seconds
    assert took < 2 * seconds


async def test_slow_down_inside_a_200(cluster, running):
    """CopyObject answered 200 with SlowDown in the body is throttling: sent elsewhere, and no breaker opens."""
    async with running(cluster.settings()) as fb:
        await fb.put_object("demo", "source", b"copied", metadata={"kind": "test"})
        for number in range(8):
            await fb.copy_object("demo", "source", f"before-{number}")
        # Those that get the most now, get the next ones too.
        busy = {node.id for node in sorted(fb.nodes(), key=lambda node: node.requests)[-2:]}
        sick = [node for node in cluster.nodes if node.ip in busy]
        for node in sick:
            await node.set(Behaviour(status=200, body_format="xml", error_code="SlowDown"))
        for number in range(40):
            await fb.copy_object("demo", "source", f"copy-{number}")
        for node in sick:
            await node.heal()
        for number in range(40):
            found = await fb.get_object("demo", f"copy-{number}")
            assert found.body == b"copied"
        throttled = sum(node.throttled for node in fb.nodes())
        assert throttled >= 1
        assert [(node.failures, node.opened) for node in fb.nodes()] == [(0, 0)] * 4
        assert fb.stats().failovers == {"throttled": throttled}


@pytest.mark.parametrize("how", ["killed", "502", "black hole"])
async def test_the_control_plane_is_not_needed_to_serve(moto_cluster, running, how):
    """The control plane goes away in the middle of 600 operations and comes back: nobody notices."""
    control_plane = moto_cluster.control_plane
    settings = moto_cluster.settings(discovery_interval=0.2, discovery_timeout=1.0)
    async with running(settings) as fb:

        async def harm():
            if how == "killed":
                await control_plane.kill()
            else:
                await control_plane.set(Behaviour(status=502) if how == "502" else Behaviour(black_hole=True))

        tally = await harmed_run(fb, harm, lambda: fb.stats().discovery_failures, seed=13)
        assert len(fb.nodes()) == 4
        await control_plane.heal()
        before = fb.stats().discoveries
        await eventually(lambda: fb.stats().discoveries > before, within=10)
        stats = fb.stats()
    assert tally.failed == tally.wrong == []
    assert (stats.failed, stats.table_stale) == (0, False)


async def test_a_restarted_node_comes_back(rclone_cluster, running, figures):
    """A node that was killed and started again gets its share of the requests within 15 s."""
    node = rclone_cluster.nodes[3]
    async with running(rclone_cluster.settings()) as fb:
        clock = asyncio.get_running_loop().time
        work = Workload(fb, seed=17, workers=8)
        async with asyncio.TaskGroup() as group:
            run = group.create_task(work.run(OPERATIONS))
            await work.reached(OPERATIONS // 4)
            await node.kill()
            work.go_on(clock() + 60)
            await asyncio.sleep(2.5)
            await node.restart()
            back = clock()
            async with asyncio.timeout(15):
                while True:
                    there, everywhere = fb.router.share(node.ip, clock() - 1.0)
                    if everywhere > 20 and there > 0.1 * everywhere:
                        break
                    await asyncio.sleep(0.05)
            figures(f"back in use {clock() - back:.1f} s after the restart")
            work.stop()
        tally = run.result()
    assert tally.failed == tally.wrong == []


async def test_a_node_leaves_while_it_streams(cluster, running):
    """A node that discovery removes finishes the body it is sending, and gets nothing new."""
    data = Random(5).randbytes(2 * MIB)
    leaving = cluster.nodes[0]
    async with running(cluster.settings()) as fb:
        await fb.put_object("demo", "body", data)
        await leaving.set(Behaviour(bandwidth=2 * MIB))
        async with fb.stream_object("demo", "body", endpoint=leaving.ip) as body:
            found = [await body.read_some()]
            control_plane = cluster.control_plane
            await control_plane.update(removed(control_plane.registry, leaving))
            await fb.refresh()
            assert leaving.ip not in {node.id for node in fb.nodes()}
            gone = asyncio.get_running_loop().time()
            for _ in range(20):
                await fb.head_object("demo", "body")
            found += [chunk async for chunk in body]
            assert body.endpoint == leaving.ip
        assert b"".join(found) == data
        assert fb.router.share(leaving.ip, gone) == (0, 20)


async def test_a_node_joins(rclone_cluster, running):
    """A node that the control plane lists later is discovered and used, without a failed request."""
    control_plane = rclone_cluster.control_plane
    newcomer = rclone_cluster.nodes[1]
    everybody = control_plane.registry
    await control_plane.update(removed(everybody, newcomer))
    async with running(rclone_cluster.settings(discovery_interval=0.5)) as fb:
        assert newcomer.ip not in {node.id for node in fb.nodes()}
        listed = control_plane.registry.changed(nodes=everybody.nodes)
        tally = await harmed_run(
            fb,
            lambda: control_plane.update(listed),
            lambda: newcomer.ip in {node.id for node in fb.nodes()},
            seed=19,
        )
        late = Workload(fb, seed=20)
        async with asyncio.TaskGroup() as group:
            group.create_task(late.run(OPERATIONS // 3, until=inf))
            # Where the machine is busy at its first probe it looks far away until the next one, 10 s later or more.
            await eventually(lambda: fb.router.share(newcomer.ip, 0.0)[0] >= 5, within=30)
            await late.reached(OPERATIONS // 3)
            late.stop()
    assert tally.failed == tally.wrong == late.tally.failed == late.tally.wrong == []
