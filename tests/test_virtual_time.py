"""The clock that the other tests trust."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time

import pytest
import virtual_time
from virtual_time import DeadlockError, LeftoverError, RunawayError


async def _now() -> float:
    return asyncio.get_running_loop().time()


def test_hours_pass_in_no_time():
    """A long sleep ends when it is due on the virtual clock, and at once on the real one."""

    async def scenario():
        await asyncio.sleep(36_000)
        return await _now()

    began = time.monotonic()
    assert virtual_time.run(scenario()) == 36_000.0
    assert time.monotonic() - began < 5.0


def test_clock_starts_where_it_is_told():
    """Zero is a time like any other; a start elsewhere is honoured."""
    assert virtual_time.run(_now()) == 0.0
    assert virtual_time.run(_now(), start=1e6) == 1e6


def test_a_blocked_loop_is_late():
    """A callback that takes its time delays every timer that comes due meanwhile, and none after it."""

    async def scenario():
        loop = asyncio.get_running_loop()
        woken = []

        async def sleeper(delay):
            await asyncio.sleep(delay)
            woken.append(await _now())

        loop.call_at(1.0, loop.block, 0.5)
        await asyncio.gather(*(sleeper(delay) for delay in (0.9, 1.2, 1.4, 1.6)))
        return woken

    assert virtual_time.run(scenario()) == [0.9, 1.5, 1.5, 1.6]


def test_times_are_decimal():
    """Sums of tenths are what a reader expects, so exact comparisons hold."""

    async def scenario():
        for _ in range(10):
            await asyncio.sleep(0.1)
        return await _now()

    assert virtual_time.run(scenario()) == 1.0


def test_timers_fire_in_the_order_of_their_times():
    """Concurrent sleepers wake in order, each exactly when it is due."""

    async def scenario():
        woken = []

        async def sleeper(name, delay):
            await asyncio.sleep(delay)
            woken.append((name, await _now()))

        await asyncio.gather(sleeper("c", 3.0), sleeper("a", 0.001), sleeper("b", 2.999_999))
        return woken

    assert virtual_time.run(scenario()) == [("a", 0.001), ("b", 2.999_999), ("c", 3.0)]


def test_timers_beyond_a_day_fire():
    """No loop waits longer than a day at once: the clock takes several jumps then."""

    async def scenario():
        await asyncio.sleep(86_400 * 3.5)
        return await _now()

    assert virtual_time.run(scenario(), limit=1e9) == 86_400 * 3.5


def test_precision_far_from_zero():
    """Late on the clock, short timers still fire at their time."""

    async def scenario():
        await asyncio.sleep(0.000_5)
        return await _now()

    assert virtual_time.run(scenario(), start=1e6) == pytest.approx(1e6 + 0.000_5, abs=1e-9)


def test_timeouts_cut_off_exactly():
    """A timeout fires at its time: an epsilon before is in time, an epsilon after is not."""

    async def scenario(work):
        try:
            async with asyncio.timeout(1.0):
                await asyncio.sleep(work)
        except TimeoutError:
            return "late", await _now()
        return "in time", await _now()

    assert virtual_time.run(scenario(0.999_999)) == ("in time", 0.999_999)
    assert virtual_time.run(scenario(1.000_001)) == ("late", 1.0)


def test_deadlock_is_named():
    """A scenario that waits for nothing ends with an error that says who waits where."""

    async def scenario():
        asyncio.current_task().set_name("the waiter")
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match=r"t=0; waiting: the waiter at .*test_virtual_time"):
        virtual_time.run(scenario())


def test_endless_repetition_is_named():
    """A background task that repeats for ever does not keep a stuck test alive."""

    async def ticker():
        for _ in itertools.count():
            await asyncio.sleep(1.0)

    async def scenario():
        task = asyncio.create_task(ticker(), name="ticker")
        await asyncio.Event().wait()
        await task

    with pytest.raises(RunawayError, match=r"reached t=51; .*ticker at"):
        virtual_time.run(scenario(), limit=50.0)


def test_tasks_left_running_are_named():
    """Nothing may be left behind, unless the scenario says so."""

    async def scenario():
        asyncio.get_running_loop().leftover = asyncio.create_task(asyncio.sleep(10), name="forgotten")

    with pytest.raises(LeftoverError, match="forgotten"):
        virtual_time.run(scenario())
    virtual_time.run(scenario(), leftovers=True)


def test_errors_of_the_scenario_come_through():
    """The scenario's own error wins over what it left behind."""

    async def scenario():
        asyncio.get_running_loop().leftover = asyncio.create_task(asyncio.sleep(10))
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        virtual_time.run(scenario())


def test_threads_are_waited_for_while_the_clock_stands_still():
    """Work in a thread takes real time and no virtual time; nobody mistakes it for a deadlock."""

    async def scenario():
        ticked = asyncio.create_task(asyncio.sleep(0.5, "tick"))
        thread = asyncio.to_thread(time.sleep, 0.02)
        await thread
        before = await _now()
        return before, await ticked, await _now()

    assert virtual_time.run(scenario()) == (0.0, "tick", 0.5)


def test_sockets_inside_the_loop_work():
    """Bytes between two sockets of the loop arrive before the clock moves."""

    async def scenario():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for end in (ours, theirs):
                end.settimeout(0.0)
            loop = asyncio.get_running_loop()
            reading = asyncio.create_task(loop.sock_recv(theirs, 100))
            await asyncio.sleep(0)
            await loop.sock_sendall(ours, b"hello")
            return await asyncio.wait_for(reading, 1.0), await _now()

    assert virtual_time.run(scenario()) == (b"hello", 0.0)


@pytest.fixture
def answer():
    return 42


@virtual_time.scenario
async def test_decorated_tests_take_fixtures(answer):
    """The decorator runs a coroutine function in virtual time, with its fixtures."""
    await asyncio.sleep(1000)
    assert (answer, await _now()) == (42, 1000.0)


@virtual_time.scenario(start=5.0, leftovers=True)
async def test_decorator_takes_options():
    """The options of `run` are those of the decorator."""
    asyncio.get_running_loop().leftover = asyncio.create_task(asyncio.sleep(10))
    assert await _now() == 5.0


def test_decorator_refuses_what_is_no_test():
    """A plain function has no business in virtual time."""
    with pytest.raises(TypeError, match="no coroutine function"):
        virtual_time.scenario(lambda: None)
