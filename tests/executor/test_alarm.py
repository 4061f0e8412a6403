"""The timer of every request, beside the one of asyncio that it stands for."""

from __future__ import annotations

import asyncio
import gc
import random
from contextlib import AsyncExitStack

import pytest
from virtual_time import run, scenario

from flashback_async.transport.alarm import Alarm, AlarmClock

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


@pytest.mark.parametrize("seed", range(30))
def test_many_at_once_go_off_as_those_of_asyncio(seed):
    """However the alarms of one clock are set, moved and put away, each goes off as asyncio's timeout would."""

    async def play(kind):
        chance, told = random.Random(seed), []
        clock = AlarmClock(asyncio.get_running_loop())

        async def work(number):
            # Multiples of an eighth: moments are equal, not nearly so, and several fall together.
            begin, patience = chance.randrange(80) / 8, chance.choice([0.5, 2.0, 5.0, 5.0, 5.0, 30.0])
            steps = [
                (chance.randrange(16) / 8, chance.choice([None, 0.25, 2.0, 5.0]))
                for _ in range(chance.randrange(1, 5))
            ]
            await asyncio.sleep(begin)
            guard = clock.alarm(now() + patience) if kind == "alarm" else asyncio.timeout(patience)
            try:
                async with AsyncExitStack() as stack:
                    if kind == "alarm":
                        stack.enter_context(guard)
                    else:
                        await stack.enter_async_context(guard)
                    for pause, further in steps:
                        await asyncio.sleep(pause + 1 / 64)
                        if further is not None:
                            (guard.move if kind == "alarm" else guard.reschedule)(now() + further)
            except TimeoutError:
                told.append((number, "timeout", now()))
            else:
                told.append((number, "done", now()))

        await asyncio.gather(*(work(number) for number in range(400)))
        return sorted(told)

    assert run(play("alarm")) == run(play("asyncio"))


@scenario
async def test_one_timer_for_all(monkeypatch):
    """A thousand requests one after the other set one timer of the loop's, and closing the clock takes it."""
    loop, handles = asyncio.get_running_loop(), []
    call_at = loop.call_at
    monkeypatch.setattr(loop, "call_at", lambda *args: handles.append(call_at(*args)) or handles[-1])
    clock = AlarmClock(loop)
    for _ in range(1_000):
        with clock.alarm(now() + 5.0):
            await asyncio.sleep(0)
    assert [handle.cancelled() for handle in handles] == [False]
    clock.close()
    assert [handle.cancelled() for handle in handles] == [True]


@scenario
async def test_what_was_put_away_is_let_go():
    """Behind a request that lasts, the alarms of those that came and went do not pile up."""
    clock = AlarmClock(asyncio.get_running_loop())
    with clock.alarm(now() + 100.0):
        for _ in range(1_000):
            with clock.alarm(now() + 101.0):
                pass
        assert sum(isinstance(found, Alarm) for found in gc.get_objects()) < 100
