"""The runner: places in flight, counters, and the end of a client."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import scenario

from flashback_async.errors import ClientClosedError, EndpointConnectError, ObjectNotFoundError
from flashback_async.testing import Step

from .scenes import Scene, now


@scenario
async def test_a_closed_client_takes_no_operations():
    """After closing every verb raises ClientClosedError, and nothing is sent."""
    scene = Scene(ids="a")
    await scene.runner.close(drain=0)
    for call in (
        scene.get_object("bucket", "key"),
        scene.head_object("bucket", "key"),
        scene.put_object("bucket", "key", b""),
        scene.delete_object("bucket", "key"),
        scene.copy_object("bucket", "key", "other"),
        scene.object_exists("bucket", "key"),
        anext(scene.list_objects("bucket")),
    ):
        with pytest.raises(ClientClosedError, match="closed"):
            await call
    with pytest.raises(ClientClosedError):
        async with scene.stream_object("bucket", "key"):
            pass
    assert (scene.asked, scene.leaks()) == ([], {})


@scenario
async def test_who_waits_for_a_place_learns_of_the_end():
    """An operation that still waits for its turn when the client closes is refused, not started."""
    scene = Scene({"a": Step(after=4.0)}, max_in_flight=1)
    scene.store.put("bucket", "key", b"")
    first = asyncio.create_task(scene.head_object("bucket", "key"))
    second = asyncio.create_task(scene.head_object("bucket", "key"))
    await asyncio.sleep(1.0)
    await scene.runner.close(drain=10)
    assert (await first).size == 0
    with pytest.raises(ClientClosedError):
        await second
    assert (len(scene.asked), scene.leaks()) == (1, {})


@scenario
async def test_draining_waits_for_those_that_run():
    """`drain` waits for running operations, and no longer than they take."""
    scene = Scene({"a": Step(after=3.0)})
    scene.store.put("bucket", "key", b"")
    running = [asyncio.create_task(scene.head_object("bucket", "key")) for _ in range(5)]
    await asyncio.sleep(1.0)
    await scene.runner.close(drain=100)
    assert now() == 3.0
    await asyncio.gather(*running)


@scenario
async def test_draining_ends_when_its_time_is_up():
    """Those that run longer than `drain` are not waited for."""
    scene = Scene({"a": Step(after=4.0)})
    scene.store.put("bucket", "key", b"")
    running = asyncio.create_task(scene.head_object("bucket", "key"))
    await asyncio.sleep(1.0)
    await scene.runner.close(drain=2.0)
    assert (now(), running.done()) == (3.0, False)
    await running


@scenario
async def test_without_anything_running_draining_takes_no_time():
    """An idle client closes at once."""
    scene = Scene(ids="a")
    scene.store.put("bucket", "key", b"")
    await scene.head_object("bucket", "key")
    await scene.runner.close(drain=100)
    assert now() == 0.0


@scenario
async def test_no_more_than_the_limit_run_at_once():
    """Operations beyond `max_in_flight` wait their turn, in order."""
    scene = Scene({"a": Step(after=1.0)}, max_in_flight=3)
    scene.store.put("bucket", "key", b"")
    peak = 0

    async def watch():
        nonlocal peak
        while scene.monitor.operations < 10:
            peak = max(peak, scene.monitor.in_flight)
            await asyncio.sleep(0.1)

    await asyncio.gather(watch(), *(scene.head_object("bucket", "key") for _ in range(10)))
    assert peak == 3
    assert [when for _, when in scene.asked] == [0.0] * 3 + [1.0] * 3 + [2.0] * 3 + [3.0]


@scenario
async def test_what_counts_as_failed():
    """A "no" of the service has ended, a failure has failed, and a cancelled operation counts as none."""
    scene = Scene({"a": [Step(), Step.error(404), Step.refused(), Step.silent()]})
    scene.store.put("bucket", "key", b"")
    await scene.head_object("bucket", "key")
    with pytest.raises(ObjectNotFoundError):
        await scene.head_object("bucket", "key")
    with pytest.raises(EndpointConnectError):
        await scene.head_object("bucket", "key", retry=False)
    task = asyncio.create_task(scene.head_object("bucket", "key"))
    await asyncio.sleep(1.0)
    task.cancel()
    await asyncio.wait([task])
    assert (scene.monitor.operations, scene.monitor.failed, scene.monitor.in_flight) == (3, 1, 0)
