"""Starting, closing, closing early, closing twice, and clients in several loops and threads."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import aioboto3
import pytest

from flashback_async import ClientClosedError, DiscoveryError, FlashbackClient, FlashbackError
from flashback_async.sandbox import Behaviour

from .conftest import client_threads
from .scripted import SILENCE, scripted, settings_for
from .watching import REST, RecordingRouter, eventually, open_sockets, settled
from .workload import KIB, Workload

LONGEST_PAUSE = 0.06
"""Seconds that the loop may stand still while a client starts, where nobody else wants the processor."""


async def nothing_more_than(before, tasks):
    """Wait until sockets, tasks and threads are as they were."""
    assert await settled(lambda: [task for task in asyncio.all_tasks() if task not in tasks]) == []
    assert await settled(lambda: sorted(open_sockets() - before)) == []
    assert await settled(client_threads) == []


async def test_start_and_close_are_idempotent(moto_cluster):
    """Starting twice is starting once, closing twice is closing once, at the same time or in turn."""
    fb = FlashbackClient(moto_cluster.settings())
    await fb.aclose()
    await asyncio.gather(*(fb.start() for _ in range(5)))
    await fb.start()
    await fb.put_object("demo", "key", b"data")
    assert fb.stats().discoveries <= 2
    await asyncio.gather(*(fb.aclose() for _ in range(5)))
    await fb.aclose()


async def test_start_and_close_in_different_tasks(moto_cluster):
    """A client started in one task serves in a second one and is closed in a third."""
    fb = FlashbackClient(moto_cluster.settings())
    await asyncio.create_task(fb.start())
    await asyncio.create_task(fb.put_object("demo", "key", b"data"))
    await asyncio.create_task(fb.aclose())


async def test_start_again_after_closing(moto_cluster):
    """A closed client can be started again, and knows what it had learned of the endpoints."""
    fb = FlashbackClient(moto_cluster.settings())
    for _ in range(3):
        async with fb:
            await fb.put_object("demo", "key", b"data")
            assert (await fb.get_object("demo", "key")).body == b"data"
    async with fb:
        assert sum(node.requests for node in fb.nodes()) == 6
        assert fb.stats().operations == 0


async def test_nothing_is_left_after_closing(moto_cluster):
    """After closing, this process has the sockets, tasks and threads that it had before."""
    tasks, before = asyncio.all_tasks(), open_sockets()
    async with FlashbackClient(moto_cluster.settings()) as fb:
        await Workload(fb, seed=31).run(100)
        assert open_sockets() - before
    await nothing_more_than(before, tasks)


async def every_use(fb):
    """The error of everything that needs a running client, by name."""
    uses = {
        "get": lambda: fb.get_object("demo", "key"),
        "put": lambda: fb.put_object("demo", "key", b""),
        "stream": lambda: fb.stream_object("demo", "key").__aenter__(),
        "lease": lambda: fb.lease_endpoint("demo").__aenter__(),
        "pick": lambda: fb.pick_endpoint("demo"),
        "refresh": fb.refresh,
        "list": lambda: anext(fb.list_objects("demo")),
        "nodes": fb.nodes,
        "stats": fb.stats,
    }
    errors = {}
    for name, use in uses.items():
        try:
            found = use()
            if asyncio.iscoroutine(found) or hasattr(found, "__await__"):
                await found
        except FlashbackError as error:
            errors[name] = error
    assert errors.keys() == uses.keys()
    return errors


async def test_use_outside_its_life(moto_cluster):
    """Before the start and after the end, everything raises ClientClosedError, which names the remedy."""
    fb = FlashbackClient(moto_cluster.settings())
    for _ in range(2):
        for name, error in (await every_use(fb)).items():
            assert isinstance(error, ClientClosedError), name
            assert isinstance(error, RuntimeError)
            assert "async with" in str(error)
        async with fb:
            pass


async def test_use_from_another_loop(moto_cluster):
    """From another loop everything raises ClientClosedError that names the way out, and harms nothing."""
    async with FlashbackClient(moto_cluster.settings()) as fb:
        errors = await asyncio.to_thread(lambda: asyncio.run(every_use(fb)))
        for name, error in errors.items():
            assert isinstance(error, ClientClosedError), name
            assert "router=" in str(error)

        async def close():
            with pytest.raises(ClientClosedError):
                await fb.aclose()
            with pytest.raises(ClientClosedError):
                await fb.start()

        await asyncio.to_thread(lambda: asyncio.run(close()))
        await fb.put_object("demo", "key", b"data")


async def test_closing_waits_as_long_as_it_is_told(moto_cluster):
    """`aclose(drain=)` lets running operations end, and refuses new ones meanwhile."""
    fb = FlashbackClient(moto_cluster.settings())
    await fb.start()
    for node in moto_cluster.nodes:
        await node.set(Behaviour(latency=0.5))
    running = asyncio.create_task(fb.put_object("demo", "key", b"data"))
    await eventually(lambda: fb.stats().in_flight, within=5)
    closing = asyncio.create_task(fb.aclose(drain=20))
    await asyncio.sleep(0.05)
    with pytest.raises(ClientClosedError):
        await fb.get_object("demo", "key")
    assert (await running).size == 4
    start = time.monotonic()
    await closing
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("drain", [0.0, 0.3])
async def test_closing_over_running_operations(drain):
    """Operations that outlive the drain end at once with an error of this package; no node is blamed."""

    async def silent(_):
        return SILENCE

    router = RecordingRouter.seeded(2)
    async with scripted(silent) as server:
        fb = FlashbackClient(settings_for(server), router=router)
        await fb.start()
        calls = [
            asyncio.create_task(fb.get_object("bucket", "key")),
            asyncio.create_task(fb.put_object("bucket", "key", b"data")),
            asyncio.create_task(fb.put_object("bucket", "key", bytes(1_024 * KIB))),
        ]
        await eventually(lambda: len(server.seen) == 3, within=5)
        start = time.monotonic()
        await fb.aclose(drain=drain)
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert drain * 0.9 < time.monotonic() - start < drain + 2.0
    assert [type(error) for error in errors] == [ClientClosedError] * 3
    [node] = router.snapshot(now=0.0).endpoints
    assert (node.failures, node.in_flight) == (0, 0)


async def test_closing_over_an_open_stream(rclone_cluster):
    """A stream that is open when the client closes raises at its next read, and blames no node."""
    router = RecordingRouter.seeded(3)
    fb = FlashbackClient(rclone_cluster.settings(), router=router)
    await fb.start()
    await fb.put_object("demo", "large", bytes(8 * 1_024 * KIB))
    with pytest.raises(FlashbackError) as caught:
        async with fb.stream_object("demo", "large") as body:
            await body.read_some()
            await fb.aclose()
            while await body.read_some():
                pass
    assert isinstance(caught.value, ClientClosedError)
    assert {node.failures for node in router.snapshot(now=0.0).endpoints} == {0}


async def test_a_cancelled_close_closes(moto_cluster):
    """A close that is cancelled while it drains leaves a client that can still be closed, and nothing else."""
    tasks, before = asyncio.all_tasks(), open_sockets()
    fb = FlashbackClient(moto_cluster.settings(first_byte_timeout=30.0))
    await fb.start()
    for node in moto_cluster.nodes:
        await node.set(Behaviour(black_hole=True))
    stuck = asyncio.create_task(fb.get_object("demo", "key"))
    await eventually(lambda: fb.stats().in_flight, within=5)
    closing = asyncio.create_task(fb.aclose(drain=60))
    await asyncio.sleep(0.1)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await fb.aclose()
    await asyncio.gather(stuck, return_exceptions=True)
    await nothing_more_than(before, tasks)


@pytest.mark.parametrize("moment", [0.0, 0.01, 0.03, 0.1, 0.2])
async def test_a_cancelled_start_leaves_nothing(moto_cluster, moment):
    """A start that is cancelled leaves no task, thread or socket, and can be repeated."""
    tasks, before = asyncio.all_tasks(), open_sockets()
    await moto_cluster.control_plane.set(Behaviour(latency=0.1))
    fb = FlashbackClient(moto_cluster.settings())
    starting = asyncio.create_task(fb.start())
    await asyncio.sleep(moment)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
        await fb.aclose()
    await nothing_more_than(before, tasks)
    async with fb:
        await fb.put_object("demo", "key", b"data")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (None, "127.0.0.1"),
        (Behaviour(status=502), "502"),
        (Behaviour(black_hole=True), "FB_DISCOVERY_TIMEOUT"),
        (Behaviour(status=404), "FB_BASE_URL"),
    ],
    ids=["killed", "502", "black hole", "404"],
)
async def test_start_without_a_control_plane(moto_cluster, fault, said):
    """A start without a usable control plane is a DiscoveryError, in time, and leaves nothing running."""
    control_plane = moto_cluster.control_plane
    if fault is None:
        await control_plane.kill()
    else:
        await control_plane.set(fault)
    tasks, before = asyncio.all_tasks(), open_sockets()
    fb = FlashbackClient(moto_cluster.settings(discovery_timeout=2.0))
    start = time.monotonic()
    with pytest.raises(DiscoveryError, match=said) as caught:
        await fb.start()
    assert time.monotonic() - start < 2.0 + REST + 2.0
    assert moto_cluster.token not in str(caught.value)
    await nothing_more_than(before, tasks)
    await control_plane.heal()
    async with fb:
        await fb.put_object("demo", "key", b"data")


async def test_two_loops_in_two_threads_share_one_router(moto_cluster):
    """Two clients on two loops in two threads share one router: no count is lost, and both serve rightly."""
    router = RecordingRouter.seeded(5)
    await moto_cluster.create_bucket("second")
    done = {}

    async def serve(bucket, seed):
        async with FlashbackClient(moto_cluster.settings(), router=router) as fb:
            tally = await Workload(fb, bucket, seed=seed, workers=8, largest=16 * KIB).run(300)
            done[bucket] = (tally, fb.stats())

    await asyncio.gather(
        *(
            asyncio.to_thread(lambda bucket=bucket, seed=seed: asyncio.run(serve(bucket, seed)))
            for seed, bucket in enumerate(["demo", "second"])
        )
    )
    assert {bucket: (tally.failed, tally.wrong) for bucket, (tally, _) in done.items()} == {
        "demo": ([], []),
        "second": ([], []),
    }
    snapshot = router.snapshot(now=0.0)
    assert sum(stats.attempts for _, stats in done.values()) == len(router.started)
    assert sum(node.requests for node in snapshot.endpoints) == len(router.started)
    assert sum(node.failures for node in snapshot.endpoints) == sum(s.retries for _, s in done.values())


async def test_threads_start_at_once_and_a_forked_child_starts_too(moto_cluster):
    """Clients may start in several threads at the same moment, and in a child forked while one is in use."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        Path(__file__).with_name("starts_at_once.py"),
        env={**os.environ, **moto_cluster.environment()},
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await asyncio.wait_for(process.communicate(), 90)
    assert (told, process.returncode) == (b"5\n", 0)


async def test_starting_does_not_stop_the_loop(moto_cluster):
    """Clients are made off the loop: while one starts, the loop never stands still for 60 ms.

    The best of some starts counts: on a busy machine any moment may be somebody else's.
    """
    async with FlashbackClient(moto_cluster.settings()):
        pass  # what is imported by now is not imported again

    async def longest_pause():
        loop, longest, last = asyncio.get_running_loop(), 0.0, None
        while not stop.is_set():
            now = loop.time()
            longest, last = max(longest, 0.0 if last is None else now - last), now
            await asyncio.sleep(0)
        return longest

    pauses = []
    for _ in range(8):
        stop = asyncio.Event()
        watching = asyncio.create_task(longest_pause())
        async with FlashbackClient(moto_cluster.settings()):
            stop.set()
            pauses.append(await watching)
    assert min(pauses) < LONGEST_PAUSE, pauses


async def test_no_client_is_made_for_a_request(running, monkeypatch):
    """Once a client has started, no request has to wait for an aioboto3 client to be made."""
    made = []
    original = aioboto3.Session.client

    def counted(self, *args, **options):
        made.append(options["endpoint_url"])
        return original(self, *args, **options)

    async with scripted() as server, running(settings_for(server)) as fb:
        monkeypatch.setattr(aioboto3.Session, "client", counted)
        await asyncio.gather(*(fb.put_object("bucket", f"{n}", b"data") for n in range(20)))
        await asyncio.gather(*(fb.get_object("bucket", f"{n}") for n in range(20)))
    assert made == []
