"""The timer of every request, beside the one of asyncio that it stands for."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import run, scenario

from flashback_async.transport.alarm import AlarmClock

from .scenes import now


def alarm(after):
    loop = asyncio.get_running_loop()
    return AlarmClock(loop).alarm(loop.time() + after)


@scenario
async def test_it_goes_off():
    """A block that takes too long ends with TimeoutError at its moment, and the task is not cancelled."""
    guard = alarm(3.0)
    with pytest.raises(TimeoutError), guard:
        await asyncio.sleep(10)
    assert (now(), guard.expired, asyncio.current_task().cancelling()) == (3.0, True, 0)


@scenario
async def test_it_can_be_moved():
    """Moved, it goes off then and at no other time; where the block ends before, never."""
    guard = alarm(1.0)
    with pytest.raises(TimeoutError), guard:
        for _ in range(5):
            guard.move(now() + 1.0)
            await asyncio.sleep(0.75)
        await asyncio.sleep(10)
    assert now() == pytest.approx(4.0)
    guard = alarm(1.0)
    with guard:
        await asyncio.sleep(0.5)
    await asyncio.sleep(10)
    assert not guard.expired


@scenario
async def test_errors_of_the_block_pass():
    """What the block raises is what comes out."""
    with pytest.raises(ValueError, match="its own"), alarm(1.0):
        raise ValueError("its own")


@scenario
async def test_inner_and_outer():
    """Of two alarms, the one that went off is told, however they are nested."""
    for inner, outer, caught in ((1.0, 2.0, "inner"), (2.0, 1.0, "outer")):
        told = []
        try:
            with alarm(outer):
                try:
                    with alarm(inner):
                        await asyncio.sleep(10)
                except TimeoutError:
                    told.append("inner")
        except TimeoutError:
            told.append("outer")
        assert told == [caught]


@pytest.mark.parametrize("guard", ["alarm", "asyncio"])
@pytest.mark.parametrize("cancelled_at", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("block", [0.25, 1.0, 10.0])
def test_a_cancellation_from_elsewhere_is_passed_on(guard, cancelled_at, block):
    """Cancelled before, at or after its moment, a task ends as with asyncio's own timeout."""

    async def play(guard):
        told = []

        async def work():
            try:
                if guard == "alarm":
                    with alarm(1.0):
                        await asyncio.sleep(block)
                else:
                    async with asyncio.timeout(1.0):
                        await asyncio.sleep(block)
            except BaseException as error:
                told.append((type(error), now()))
                raise
            told.append(("done", now()))

        started = now()
        task = asyncio.create_task(work())
        asyncio.get_running_loop().call_at(started + cancelled_at, task.cancel)
        await asyncio.wait([task])
        return [(what, moment - started) for what, moment in told], task.cancelled()

    async def both():
        return await play(guard), await play("asyncio")

    one, other = run(both())
    assert one == other


@scenario
async def test_it_guards_a_task():
    """Outside of a task there is nobody to end."""
    loop, caught = asyncio.get_running_loop(), []

    def enter():
        try:
            with alarm(1.0):
                caught.append("entered")
        except RuntimeError as error:
            caught.append(str(error))

    loop.call_soon(enter)
    await asyncio.sleep(0.1)
    assert caught == ["an alarm guards a task"]
