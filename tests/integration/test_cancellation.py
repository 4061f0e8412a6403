"""Cancellation, bodies left unread, and pools that run out, over real sockets."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from random import Random

import pytest

from flashback_async import PoolTimeoutError
from flashback_async.sandbox import Behaviour

from .scripted import SILENCE, Answer, scripted, settings_for
from .workload import KIB

BOTH_LANES = True

MIB = 1_024 * KIB
CANCELLATIONS = 1_000


def unharmed(fb):
    """Whether nobody was blamed and nothing is held."""
    stats = fb.stats()
    return (stats.leases, stats.in_flight, stats.failed) == (0, 0, 0) and all(
        (node.breaker, node.failures, node.opened, node.in_flight, node.streaming) == ("closed", 0, 0, 0, 0)
        for node in fb.nodes()
    )


async def cancelled(task):
    """Cancel a task and wait for its end, which must be the cancellation."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "begin",
    [
        lambda fb: fb.get_object("demo", "key"),
        lambda fb: fb.put_object("demo", "key", b"data"),
        lambda fb: fb.put_object("demo", "key", bytes(2 * MIB)),
        lambda fb: fb.head_object("demo", "key"),
        lambda fb: fb.copy_object("demo", "key", "copy"),
    ],
    ids=["get", "small put", "large put", "head", "copy"],
)
async def test_cancelled_while_the_node_is_silent(moto_cluster, running, begin):
    """A request cancelled before its answer, again and again, blames no node and leaves nothing behind."""
    async with running(moto_cluster.settings()) as fb:
        for node in moto_cluster.nodes:
            await node.set(Behaviour(black_hole=True))
        for _ in range(12):
            task = asyncio.create_task(begin(fb))
            await asyncio.sleep(0.03)
            await cancelled(task)
        assert unharmed(fb)
        for node in moto_cluster.nodes:
            await node.heal()
        await fb.put_object("demo", "key", b"data")
        assert (await fb.get_object("demo", "key")).body == b"data"


async def test_cancelled_in_mid_body(rclone_cluster, running):
    """A read cancelled in the middle of its body blames no node and leaves nothing behind."""
    async with running(rclone_cluster.settings()) as fb:
        await fb.put_object("demo", "key", bytes(MIB))
        for node in rclone_cluster.nodes:
            await node.set(Behaviour(stall_after=100 * KIB))
        for _ in range(12):
            task = asyncio.create_task(fb.get_object("demo", "key"))
            while not any(node.streaming for node in fb.nodes()):
                await asyncio.sleep(0.005)
            await cancelled(task)
        assert unharmed(fb)


async def test_cancelled_while_waiting_for_a_connection(running):
    """A request cancelled in the queue of a full pool is forgotten; who holds the connection goes on."""

    async def answer(request):
        return Answer(body=bytes(MIB), sent=KIB, then="hang") if "held" in request.target else Answer()

    async with scripted(answer) as server, running(settings_for(server, max_connections=1)) as fb:
        async with fb.stream_object("bucket", "held"):
            waiting = [asyncio.create_task(fb.head_object("bucket", "key")) for _ in range(5)]
            await asyncio.sleep(0.1)
            for task in waiting:
                await cancelled(task)
            assert fb.stats().leases == 1
        await fb.head_object("bucket", "key")
        assert unharmed(fb)
    assert [request.target for request in server.seen] == ["/bucket/held", "/bucket/key"]


async def test_a_thousand_random_cancellations(cluster, running, figures):
    """A thousand operations cancelled at random moments leave no lease, permit or task, change no breaker,
    and the next hundred requests succeed.
    """
    random = Random(23)
    async with running(cluster.settings(max_connections=8, pool_timeout=30.0, first_byte_timeout=30.0)) as fb:
        keys = [f"key-{number}" for number in range(8)]
        body = random.randbytes(100 * KIB)
        for key in keys:
            await fb.put_object("demo", key, body)
        gates = asyncio.Semaphore(40)
        ended = {"cancelled": 0, "done": 0}

        async def stream(key):
            async with fb.stream_object("demo", key) as source:
                await source.read()

        async def one(number):
            key = random.choice(keys)
            work = random.choice(
                [
                    lambda: fb.get_object("demo", key),
                    lambda: stream(key),
                    # A target each: moto answers 500 when two writes replace the same object at once.
                    lambda: fb.put_object("demo", f"other-{number}", body[: random.choice([10, len(body)])]),
                    lambda: fb.head_object("demo", key),
                    lambda: fb.copy_object("demo", key, f"copy-{number}"),
                ]
            )
            patience = random.random() ** 3 * 0.5
            async with gates:
                task = asyncio.create_task(work())
                await asyncio.wait({task}, timeout=patience)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                ended["cancelled" if task.cancelled() else "done"] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(CANCELLATIONS):
                group.create_task(one(number))
        figures(f"{ended}")
        assert unharmed(fb)
        assert ended["cancelled"] > CANCELLATIONS / 4
        for number in range(100):
            assert (await fb.get_object("demo", keys[number % len(keys)])).body == body
        assert unharmed(fb)


async def test_an_unread_stream_frees_its_slot(rclone_cluster, running):
    """Streams left after one piece, or unread, give their only connection back at once, every time."""
    settings = rclone_cluster.settings(max_connections=1, pool_timeout=2.0)
    only = rclone_cluster.nodes[0].ip
    async with running(settings) as fb:
        await fb.put_object("demo", "large", bytes(8 * MIB))
        for number in range(10):
            async with fb.stream_object("demo", "large", endpoint=only) as body:
                if number % 2:
                    assert await body.read_some()
        assert (await fb.get_object("demo", "large", range=(0, 10), endpoint=only)).body == bytes(10)
        assert unharmed(fb)


async def test_an_error_inside_the_block_frees_the_slot(rclone_cluster, running):
    """A stream whose reader fails gives its connection back, and the reader's error passes unchanged."""
    settings = rclone_cluster.settings(max_connections=1, pool_timeout=2.0)
    only = rclone_cluster.nodes[0].ip
    async with running(settings) as fb:
        await fb.put_object("demo", "large", bytes(8 * MIB))
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with fb.stream_object("demo", "large", endpoint=only) as body:
                    async for _ in body:
                        raise ZeroDivisionError
        assert unharmed(fb)


async def test_an_exhausted_pool_says_who_holds_it(rclone_cluster, running):
    """Where every connection is held, the wait is bounded; the error names endpoint, leases and oldest age,
    and blames nobody.
    """
    settings = rclone_cluster.settings(max_connections=2, pool_timeout=0.3)
    only = rclone_cluster.nodes[0].ip
    async with running(settings) as fb:
        await fb.put_object("demo", "large", bytes(8 * MIB))
        clock = asyncio.get_running_loop().time
        async with (
            fb.stream_object("demo", "large", endpoint=only),
            fb.stream_object("demo", "large", endpoint=only),
        ):
            await asyncio.sleep(0.5)
            for _ in range(6):
                start = clock()
                with pytest.raises(PoolTimeoutError) as caught:
                    await fb.head_object("demo", "large", endpoint=only)
                assert 0.2 < clock() - start < 2.0
            text = str(caught.value)
            assert only in text
            assert "2 leases" in text
            age = re.search(r"oldest for ([\d.]+) s", text)
            assert age is not None
            assert 0.5 <= float(age[1]) < 60
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.endpoint == only
        await fb.head_object("demo", "large", endpoint=only)
        assert all((node.breaker, node.failures) == ("closed", 0) for node in fb.nodes())


async def test_a_timeout_of_the_caller_is_a_cancellation(running):
    """`asyncio.timeout` around a call ends it as a cancellation does: no node is blamed for it."""

    async def answer(_):
        return SILENCE

    async with scripted(answer) as server, running(settings_for(server)) as fb:
        for _ in range(10):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03):
                    await fb.get_object("bucket", "key")
        assert unharmed(fb)
