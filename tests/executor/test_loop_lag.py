"""A blocked event loop: it is seen, it is not the endpoints' fault, and a busy one hides no fault of theirs."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager

import pytest
from virtual_time import DeadlockError, run, scenario

from flashback_async.errors import EndpointTimeoutError
from flashback_async.testing import Break, MemoryEndpoints, Step
from flashback_async.transport.loop_lag import LoopLag

from .scenes import CANCELLED, CLOSED, OPEN, SUCCESS, TIMEOUT, Scene, now

TICK = 0.05
"""A block counts from the tick that it delays, so up to so much of it is not seen."""


def block(seconds, *, at=None):
    """Block the loop, now or when it comes to that time."""
    loop = asyncio.get_running_loop()
    if at is None:
        loop.block(seconds)
    else:
        loop.call_at(at, loop.block, seconds)


@contextmanager
def watched():
    """A `LoopLag` that watches the running loop."""
    lag = LoopLag(asyncio.get_running_loop())
    lag.start()
    try:
        yield lag
    finally:
        lag.close()


async def busy(*, turn, until):
    """Keep the loop busy with one turn of so many seconds after the other: thousands of callbacks."""
    while now() < until:
        block(turn)
        await asyncio.sleep(0)


# --- what is seen ------------------------------------------------------------------------------------------


@scenario
async def test_an_idle_loop_has_no_lag():
    """Where nothing blocks, nothing is seen, however long it is watched."""
    with watched() as lag:
        await asyncio.sleep(100)
        assert (lag.between(0.0, 100.0), lag.worst()) == (0.0, 0.0)


@scenario
async def test_a_block_is_seen_where_it_was():
    """A block counts within the interval that is asked for and nowhere else; parts of it count in part."""
    with watched() as lag:
        block(2.0, at=10.06)  # the tick of 10.1 is late
        await asyncio.sleep(20)
        assert lag.between(0.0, 20.0) == pytest.approx(1.96)
        assert lag.between(0.0, 10.1) == 0.0
        assert lag.between(12.06, 20.0) == 0.0
        assert lag.between(11.0, 11.5) == pytest.approx(0.5)
        assert lag.between(11.0, 20.0) == pytest.approx(1.06)


@scenario
async def test_several_blocks_add_up():
    """What is missing of an interval is the sum of its blocks."""
    with watched() as lag:
        for second in range(1, 5):
            block(0.55, at=float(second))
        await asyncio.sleep(10)
        assert lag.between(0.0, 10.0) == pytest.approx(4 * 0.55, abs=4 * TICK)
        assert lag.between(2.0, 4.0) == pytest.approx(2 * 0.55, abs=2 * TICK)


@scenario
async def test_a_block_under_way_is_seen_before_any_tick():
    """Who asks in the very turn that was blocked, before the late tick has run, is told nevertheless."""
    with watched() as lag:
        await asyncio.sleep(1.0)
        began = now()
        block(3.0)
        assert lag.between(began, now()) == pytest.approx(3.0, abs=TICK)
        assert lag.worst() == pytest.approx(3.0, abs=TICK)


@scenario
async def test_blocks_shorter_than_a_tick_are_noise():
    """A few milliseconds now and then are nothing to subtract."""
    with watched() as lag:
        for tenth in range(1, 100):
            block(0.004, at=tenth / 10)
        await asyncio.sleep(10)
        assert lag.between(0.0, 10.0) == 0.0


@scenario
async def test_only_the_last_lags_are_remembered():
    """Memory is bounded: a loop that blocks for hours is remembered for half a minute."""
    with watched() as lag:
        for place in range(2_000):
            block(0.2, at=place * 1.0)
        await asyncio.sleep(2_001)
        assert lag.between(0.0, 1_000.0) == 0.0
        assert lag.between(1_900.0, 2_000.0) > 10.0
        assert lag.between(0.0, 2_000.0) <= 512 * 0.2 + TICK


@scenario
async def test_the_worst_of_late_is_told():
    """The gauge shows the longest block of the last ten seconds, and forgets it after them."""
    with watched() as lag:
        block(0.3, at=1.0)
        block(0.8, at=2.0)
        block(0.3, at=3.0)
        await asyncio.sleep(5.0)
        assert lag.worst() == pytest.approx(0.8, abs=TICK)
        await asyncio.sleep(10.0)
        assert lag.worst() == 0.0


def test_nothing_is_left_behind():
    """Closed, it leaves no timer; before and after, it sees nothing; both ends can be called twice."""

    async def play():
        lag = LoopLag(asyncio.get_running_loop())
        block(1.0)
        assert (lag.between(0.0, now()), lag.worst()) == (0.0, 0.0)
        lag.close()
        lag.start()
        lag.start()
        await asyncio.sleep(1.0)
        lag.close()
        lag.close()
        block(1.0)
        assert lag.between(0.0, now()) == 0.0
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match="nothing will ever happen at t=3"):
        run(play())


@scenario
async def test_it_can_be_started_again():
    """After a pause it sees what comes, and not the pause."""
    with watched() as lag:
        lag.close()
        await asyncio.sleep(5.0)
        lag.start()
        assert lag.between(0.0, now()) == 0.0
        block(1.0)
        assert lag.between(0.0, now()) == pytest.approx(1.0, abs=TICK)


# --- the warning -------------------------------------------------------------------------------------------


@scenario
async def test_a_long_block_is_told_once_a_minute(caplog):
    """More than a second without a turn is one warning that names the remedy; the next one a minute later."""
    caplog.set_level(logging.WARNING, "flashback_async")
    with watched():
        for at in (1.0, 5.0, 30.0, 70.0):
            block(1.5, at=at)
        await asyncio.sleep(100)
    first, second = caplog.messages
    assert first.startswith("the event loop was blocked for 1.5 s, and every request waited")
    assert "asyncio.to_thread" in first
    assert second.startswith("the event loop was blocked for 1.5 s")


@scenario
async def test_short_blocks_are_not_told(caplog):
    """Up to a second of block is a matter for the gauge, not for the log."""
    caplog.set_level(logging.WARNING, "flashback_async")
    with watched() as lag:
        block(1.0, at=1.0)
        await asyncio.sleep(5)
        assert lag.worst() == pytest.approx(1.0, abs=TICK)
    assert caplog.messages == []


# --- latency -----------------------------------------------------------------------------------------------


async def first_byte(step, *, blocks=()):
    """The first byte that the router is told of one request, sent at t=1.01."""
    with watched() as lag:
        scene = Scene({"a": step}, lag=lag)
        scene.store.put("bucket", "key", b"x")
        for at, seconds in blocks:
            block(seconds, at=at)
        await asyncio.sleep(1.01)
        await scene.head_object("bucket", "key")
        assert scene.router.settled == [("a", SUCCESS)]
        return scene.router.details[-1]["first_byte"]


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        ([], 0.2),
        ([(1.03, 1.0)], 0.04),  # the answer came during the block, nobody knows when
        ([(1.12, 0.05)], 0.18),  # over before the answer: a bit too much is subtracted, 25 ms at most
        ([(0.9, 0.1)], 0.2),  # over before the request
        ([(1.3, 1.0)], 0.2),  # after the answer
    ],
)
def test_lag_is_not_latency(blocks, told):
    """Of the first byte, the time in which the loop was blocked is subtracted, as far as it overlaps."""
    assert run(first_byte(Step(after=0.2), blocks=blocks)) == pytest.approx(told)


def test_a_first_byte_is_never_negative():
    """Where the loop was blocked for the whole wait, no time is left, and not less than none."""

    async def play():
        with watched() as lag:
            scene = Scene({"a": Step()}, lag=lag)
            scene.store.put("bucket", "key", b"x")
            await asyncio.sleep(1.0)
            block(0.5)
            request = asyncio.create_task(scene.head_object("bucket", "key"))
            asyncio.get_running_loop().call_soon(block, 0.5)
            await request
            return scene.router.details[-1]["first_byte"]

    assert run(play()) == 0.0


# --- timeouts ----------------------------------------------------------------------------------------------


@scenario
async def test_a_timeout_of_a_blocked_loop_is_neutral():
    """When the loop was away for a quarter of the timer, the request goes elsewhere, and nobody is blamed."""
    with watched() as lag:
        scene = Scene({"a": Step.silent(), "b": Step()}, lag=lag)
        scene.store.put("bucket", "key", b"x")
        block(1.3, at=2.0)
        await scene.head_object("bucket", "key")
        assert scene.asked == [("a", 0.0), ("b", 5.0)]
        assert scene.router.settled == [("a", CANCELLED), ("b", SUCCESS)]
        assert (scene.at("a").failures, scene.at("a").requests) == (0, 0)
        assert (scene.monitor.failovers, scene.troubles) == ({"lag": 1}, 0)
        assert scene.leaks() == {}


@pytest.mark.parametrize(("seconds", "outcome"), [(1.249, TIMEOUT), (1.25 + TICK, CANCELLED)])
def test_a_quarter_of_the_timer_is_the_threshold(seconds, outcome):
    """Less than a quarter is no excuse."""

    async def play():
        with watched() as lag:
            scene = Scene({"a": Step.silent()}, lag=lag)
            block(seconds, at=1.0)
            with pytest.raises(EndpointTimeoutError) as caught:
                await scene.head_object("bucket", "key", retry=False)
            assert scene.router.settled == [("a", outcome)]
            assert caught.value.is_endpoint_fault == (outcome is TIMEOUT)

    run(play())


@scenario
async def test_a_neutral_timeout_says_so():
    """The error names the block; it is a `TimeoutError` like the others, and not the endpoint's fault."""
    with watched() as lag:
        scene = Scene({"a": Step.silent()}, lag=lag)
        block(3.0, at=1.01)
        with pytest.raises(TimeoutError) as caught:
            await scene.head_object("bucket", "key", retry=False)
    assert "no answer and no progress within 5 s, but for 2.96 s of it our own event loop" in str(
        caught.value
    )
    assert (caught.value.is_endpoint_fault, caught.value.endpoint) == (False, "a")


@scenario
async def test_the_timer_may_be_the_first_to_know():
    """A block that ends after the timer's time: whoever is woken first, the timer or the tick, the lag counts."""
    for beginning in (0.0, 0.01, 0.02, 0.03, 0.04):
        with watched() as lag:
            await asyncio.sleep(beginning)
            scene = Scene({"a": Step.silent()}, lag=lag)
            block(6.0, at=now() + 1.0)
            with pytest.raises(EndpointTimeoutError):
                await scene.head_object("bucket", "key", retry=False)
            assert scene.router.settled == [("a", CANCELLED)]


@scenario
async def test_a_block_after_the_timer_is_no_excuse():
    """Who was silent while the loop ran is to blame, whatever the loop does just when the timer fires."""
    with watched() as lag:
        scene = Scene({"a": Step.silent()}, lag=lag)
        block(6.0, at=4.9)
        with pytest.raises(EndpointTimeoutError):
            await scene.head_object("bucket", "key", retry=False)
        assert now() == 10.9
        assert scene.router.settled == [("a", TIMEOUT)]


@scenario
async def test_a_stall_of_a_blocked_loop_is_neutral():
    """A body that nobody could read is resumed elsewhere, and its endpoint is not blamed."""
    with watched() as lag:
        scene = Scene({"a": Step.broken(40, Break.STALL), "b": Step()}, lag=lag)
        scene.store.put("bucket", "key", bytes(range(100)))
        block(3.0, at=1.0)
        assert (await scene.get_object("bucket", "key")).body == bytes(range(100))
        assert now() == 10.0
        assert scene.router.finished == [("a", CANCELLED), ("b", SUCCESS)]
        assert (scene.at("a").failures, scene.monitor.failovers) == (0, {"lag": 1})


@scenario
async def test_a_stall_of_a_loop_that_ran_is_the_endpoints():
    """A short block is no excuse for ten seconds without a byte."""
    with watched() as lag:
        scene = Scene({"a": Step.broken(40, Break.STALL), "b": Step()}, lag=lag)
        scene.store.put("bucket", "key", bytes(range(100)))
        block(1.0, at=1.0)
        assert (await scene.get_object("bucket", "key")).body == bytes(range(100))
        assert scene.router.finished == [("a", TIMEOUT), ("b", SUCCESS)]


@scenario
async def test_a_trial_in_a_blocked_loop_decides_nothing():
    """A half-open trial whose timeout is neutral gives its place to the next request."""
    with watched() as lag:
        scene = Scene({"a": [Step.silent(), Step()]}, lag=lag)
        scene.store.put("bucket", "key", b"x")
        await scene.trip("a")
        block(2.0, at=now() + 1.0)
        await scene.head_object("bucket", "key")
        assert scene.router.settled == [("a", CANCELLED), ("a", SUCCESS)]
        assert scene.at("a").breaker is CLOSED


# --- never blind -------------------------------------------------------------------------------------------

LOADS = pytest.mark.parametrize("turn", [0.004, 0.03, 0.1, 0.25], ids=lambda turn: f"turns of {turn:g} s")


@LOADS
def test_black_holes_are_found_by_a_busy_loop(turn):
    """However many callbacks take their turns, a node that swallows everything is blamed, and left."""

    async def play():
        load = asyncio.create_task(busy(turn=turn, until=60.0))
        with watched() as lag:
            await asyncio.sleep(5.0)  # the load is what is usual here
            scene = Scene({"a": Step.silent(), "b": Step()}, lag=lag)
            scene.store.put("bucket", "key", b"x")
            for _ in range(5):
                with pytest.raises(EndpointTimeoutError):
                    await scene.head_object("bucket", "key", endpoint="a", retry=False)
            assert scene.router.settled == [("a", TIMEOUT)] * 5
            assert scene.at("a").breaker is OPEN
        load.cancel()

    run(play())


@pytest.mark.parametrize("period", [0.1, 1.0, 2.0])
def test_black_holes_are_found_with_lag_for_a_twentieth_of_the_time(period):
    """Blocks that take 5 % of the time, in small pieces or larger ones, excuse no timeout."""

    async def play():
        with watched() as lag:
            scene = Scene({"a": Step.silent()}, lag=lag)
            for place in range(int(30 / period)):
                block(0.05 * period + TICK, at=place * period)
            for _ in range(5):
                with pytest.raises(EndpointTimeoutError):
                    await scene.head_object("bucket", "key", retry=False)
            assert scene.router.settled == [("a", TIMEOUT)] * 5

    run(play())


@LOADS
def test_a_busy_loop_still_measures(turn):
    """Under steady load no first byte becomes nothing, and a far node stays farther than a near one."""

    async def play():
        load = asyncio.create_task(busy(turn=turn, until=60.0))
        with watched() as lag:
            await asyncio.sleep(5.0)
            scene = Scene({"a": Step(after=0.010), "b": Step(after=0.300)}, lag=lag)
            scene.store.put("bucket", "key", b"x")
            told = {"a": [], "b": []}
            for name in "ab" * 10:
                await scene.head_object("bucket", "key", endpoint=name)
                told[name].append(scene.router.details[-1]["first_byte"])
        load.cancel()
        assert min(told["a"]) >= 0.010
        assert min(told["b"]) >= 0.300
        assert max(told["a"]) <= 0.010 + 3 * turn
        assert max(told["a"]) < min(told["b"]) or turn > 0.1

    run(play())


@pytest.mark.parametrize(("turn", "timer"), [(2.0, 5.0), (1.0, 5.0), (0.25, 0.5)])
def test_one_block_after_the_other_is_no_load(turn, timer):
    """Where the loop turns a few times within a timer, however usual that is, the timeout is neutral."""

    async def play():
        load = asyncio.create_task(busy(turn=turn, until=60.0))
        with watched() as lag:
            await asyncio.sleep(40.0)
            scene = Scene({"a": Step.silent()}, first_byte=timer, lag=lag)
            with pytest.raises(EndpointTimeoutError):
                await scene.head_object("bucket", "key", retry=False)
            assert scene.router.settled == [("a", CANCELLED)]
        load.cancel()

    run(play())


# --- the client --------------------------------------------------------------------------------------------


def test_a_client_watches_its_loop():
    """`stats().loop_lag` shows the worst block of late, timeouts of a blocked loop are neutral, nothing stays."""

    async def play():
        endpoints = MemoryEndpoints.of("a")
        endpoints["a"].script.append(Step.silent())
        endpoints.store.put("bucket", "key", b"data")
        async with endpoints.client() as fb:
            await asyncio.sleep(1.0)
            assert fb.stats().loop_lag == 0.0
            block(2.0, at=now() + 1.0)
            assert (await fb.get_object("bucket", "key")).attempts == 2
            assert fb.stats().loop_lag == pytest.approx(2.0, abs=TICK)
            assert (fb.stats().failovers, fb.nodes()[0].failures) == ({"lag": 1}, 0)
            await asyncio.sleep(10.0)
            assert fb.stats().loop_lag == 0.0
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError):
        run(play())
