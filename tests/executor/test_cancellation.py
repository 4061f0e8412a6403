"""Cancellation is neither success nor failure: wherever it hits, all is given back and nothing counted.

In the manner of httpcore's `tests/test_cancellations.py`: every verb is cancelled at each of its await
points, in two ways: while what it waits for is still to come, and in the very moment in which that has come.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from virtual_time import run, scenario

from flashback_async.errors import EndpointTimeoutError, FlashbackError
from flashback_async.testing import Break, Dialect, Step
from flashback_async.transport.upload import SLICE

from .scenes import CANCELLED, CLOSED, HALF_OPEN, Scene, now, pattern

if TYPE_CHECKING:
    from collections.abc import Coroutine

SIZE = 150_000


class CancelAt:
    """Runs a coroutine and cancels its task at the `point`-th time that it waits.

    Args:
        coroutine: what to run.
        point: from 1.
        late: cancel when what is waited for has come, but the coroutine has not been told yet.
    """

    def __init__(self, coroutine: Coroutine, point: int, *, late: bool) -> None:
        self._coroutine = coroutine
        self._point = point
        self._late = late
        self.hit = False

    def __await__(self):
        steps = self._coroutine.__await__()
        step, argument = steps.send, None
        waits = 0
        while True:
            try:
                awaited = step(argument)
            except StopIteration as end:
                return end.value
            waits += 1
            if waits == self._point:
                self.hit = True
                self._cancel(awaited)
            try:
                step, argument = steps.send, (yield awaited)
            except BaseException as error:  # noqa: BLE001  # passed on to the coroutine, whatever it is
                step, argument = steps.throw, error

    def _cancel(self, awaited) -> None:
        task = asyncio.current_task()
        if not self._late:
            task.cancel()
        elif awaited is None:
            asyncio.get_running_loop().call_soon(task.cancel)
        else:
            awaited.add_done_callback(lambda _: task.cancel())


async def streamed(scene: Scene, **options) -> bytes:
    async with scene.stream_object("bucket", "key", **options) as stream:
        return b"".join([piece async for piece in stream])


async def listed(scene: Scene) -> list:
    return [info async for info in scene.list_objects("bucket", page_size=2)]


VERBS = {
    "get_object": lambda scene: scene.get_object("bucket", "key"),
    "get_object with a range": lambda scene: scene.get_object("bucket", "key", range=(1_000, 140_000)),
    "stream_object": streamed,
    "put_object": lambda scene: scene.put_object("bucket", "new", b"small"),
    "put_object in slices": lambda scene: scene.put_object("bucket", "new", pattern(2 * SLICE)),
    "head_object": lambda scene: scene.head_object("bucket", "key"),
    "object_exists": lambda scene: scene.object_exists("bucket", "key"),
    "delete_object": lambda scene: scene.delete_object("bucket", "other"),
    "copy_object": lambda scene: scene.copy_object("bucket", "key", "copy"),
    "list_objects": listed,
}
# What `a` does first; `b` is healthy.
FATES = {
    "healthy": ([], {}),
    "slow": ([Step(after=1.0, pace=0.5)] * 3, {}),
    "reset": ([Step.reset(after=0.5)], {}),
    "silent": ([Step.silent()], {}),
    "throttled": ([Step.throttled(2.0)], {}),
    "broken": ([Step.broken(70_000)], {}),
    "stalled": ([Step.broken(70_000, Break.STALL)], {}),
    "positions untold": ([], {"dialect": Dialect(content_range=False, content_length=False)}),
    "busy": ([Step(after=1.0)], {"connections": 1, "max_in_flight": 2}),
}


async def cancelled_at(point: int, verb: str, fate: str, *, late: bool) -> bool:
    """Cancel one verb at one point, check that nothing is left; returns whether it got that far."""
    script, options = FATES[fate]
    scene = Scene({"a": list(script), "b": []}, **options)
    for key in ("key", "other", "third"):
        scene.store.put("bucket", key, pattern(SIZE))
    others = []
    if fate == "busy":
        others = [asyncio.create_task(scene.head_object("bucket", "key", endpoint="a")) for _ in range(2)]
        await asyncio.sleep(0)
    cancel_at = CancelAt(VERBS[verb](scene), point, late=late)

    async def play():
        return await cancel_at

    task = asyncio.create_task(play())
    await asyncio.wait([task])
    await asyncio.gather(*others)
    assert scene.leaks() == {}, f"at point {point}"
    if cancel_at.hit:
        assert task.cancelled(), f"the cancellation at point {point} was swallowed: {task}"
    else:
        task.result()
    faults = 0 if fate not in {"reset", "silent", "broken", "stalled"} else 1
    for row in scene.router.snapshot(now=now()).endpoints:
        assert row.breaker is CLOSED
        assert row.failures <= (faults if row.endpoint.id == "a" else 0), f"at point {point}"
        # Whatever was cancelled left no trace in the counts.
        told = [outcome for who, outcome in scene.router.settled if who == row.endpoint.id]
        assert row.requests == sum(outcome is not CANCELLED for outcome in told)
    assert (await scene.head_object("bucket", "key")).size == SIZE
    return cancel_at.hit


@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "at the last moment"])
@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("verb", VERBS)
def test_cancelled_at_every_await(verb, fate, late):
    """Wherever a verb is cancelled: no permit, lease, body, place or task is left, and no breaker moved."""
    point = 0
    while True:
        point += 1
        if not run(cancelled_at(point, verb, fate, late=late)):
            break
    assert point > 1, "it never waited, so nothing was tested"


@scenario
async def test_a_cancelled_trial_is_free_for_the_next_one():
    """A half-open breaker whose trial is cancelled at any point admits the next caller at once."""
    for point in range(1, 12):
        scene = Scene({"a": Step(), "b": Step()})
        scene.store.put("bucket", "key", pattern(SIZE))
        await scene.trip("a")
        opened = scene.at("a").opened
        cancel_at = CancelAt(scene.get_object("bucket", "key", endpoint="a"), point, late=False)

        async def play(cancel_at=cancel_at):
            return await cancel_at

        task = asyncio.create_task(play())
        await asyncio.wait([task])
        if not cancel_at.hit:
            assert scene.at("a").breaker is CLOSED
            break
        assert task.cancelled()
        assert (scene.at("a").breaker, scene.at("a").opened) == (HALF_OPEN, opened)
        await scene.get_object("bucket", "key", endpoint="a")
        assert scene.at("a").breaker is CLOSED
    else:
        pytest.fail("the walk never reached the end")


@pytest.mark.parametrize("order", ["timer first", "cancellation first"])
@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_cancellation_beside_a_timeout_is_not_lost(order, where):
    """When the attempt's own timer fires in the same moment, the operation still ends cancelled."""

    async def play():
        step = Step.silent() if where == "headers" else Step.broken(10, Break.STALL)
        scene = Scene({"a": step, "b": Step()})
        scene.store.put("bucket", "key", bytes(100))
        moment = 5.0 if where == "headers" else 10.0
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(scene.get_object("bucket", "key"))
        if order == "timer first":
            await asyncio.sleep(1.0)
        loop.call_at(moment, task.cancel)
        await asyncio.wait([task])
        assert task.cancelled()
        assert (now(), scene.leaks()) == (moment, {})
        assert scene.asked == [("a", 0.0)]

    run(play())


@scenario
async def test_a_timeout_of_the_callers_own_is_a_cancellation():
    """`asyncio.timeout` around a verb ends it in time, as the caller's TimeoutError, and blames nobody."""
    scene = Scene({"a": Step.silent(), "b": Step()})
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(1.5):
            await scene.get_object("bucket", "key")
    assert not isinstance(caught.value, FlashbackError)
    assert (now(), scene.leaks(), scene.router.settled) == (1.5, {}, [("a", CANCELLED)])


@scenario
async def test_a_task_group_cancels_its_readers():
    """When one of a group fails, the others' streams are closed with it."""
    scene = Scene({"a": Step(pace=1.0, piece=10)})
    scene.store.put("bucket", "key", bytes(1_000))

    async def fail():
        await asyncio.sleep(2.5)
        raise LookupError

    async def together():
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(streamed(scene))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        await together()
    assert (now(), scene.leaks()) == (2.5, {})
    assert {outcome for _, outcome in scene.router.finished} == {CANCELLED}


@scenario
async def test_a_stream_may_be_closed_by_another_task():
    """Entered in one task and left in another (field note 18): the lease goes back all the same."""
    scene = Scene({"a": Step(piece=10)})
    scene.store.put("bucket", "key", bytes(1_000))
    stream = scene.stream_object("bucket", "key")
    await asyncio.create_task(stream.__aenter__())
    await asyncio.create_task(stream.read_some())
    await asyncio.create_task(stream.__aexit__(None, None, None))
    assert scene.leaks() == {}


@scenario
async def test_a_consumer_that_goes_away_frees_the_body():
    """A response whose client disconnects is cancelled in mid-body (field note 15): nothing stays open."""
    scene = Scene({"a": Step(pace=0.1, piece=100)}, connections=1)
    scene.store.put("bucket", "key", bytes(10_000))
    for number in range(20):
        task = asyncio.create_task(streamed(scene))
        await asyncio.sleep(0.37 * (1 + number % 5))
        task.cancel()
        await asyncio.wait([task])
        assert scene.leaks() == {}
    assert scene.at("a").failures == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_thousand_cancellations_later_all_is_well(seed):
    """1,000 verbs cancelled at random moments, then 100 requests in a row: all succeed, nothing is held."""

    async def play():
        chance = random.Random(seed)
        scene = Scene(
            ids="abc",
            connections=3,
            max_in_flight=40,
            random=chance.random,
            first_byte=2.0,
            stall=2.0,
            pool=3.0,
        )
        for key in ("key", "other", "third"):
            scene.store.put("bucket", key, pattern(SIZE))
        fates = [Step(), Step(after=0.2), Step(after=0.05, pace=0.05), Step.reset(after=0.1), Step.silent()]
        fates += [Step.throttled(0.3), Step.error(503), Step.broken(70_000), Step.broken(9, Break.STALL)]
        for name in "abc":
            scene[name].script.extend(chance.choice(fates) for _ in range(1_000))
        verbs = list(VERBS.values())
        ends = {"cancelled": 0, "failed": 0, "fine": 0}

        async def one():
            await asyncio.sleep(chance.uniform(0, 20))
            task = asyncio.create_task(chance.choice(verbs)(scene))
            await asyncio.sleep(chance.choice([0.0, chance.uniform(0, 0.5), chance.uniform(0, 5.0)]))
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                ends["cancelled"] += 1
            except FlashbackError:
                ends["failed"] += 1
            else:
                ends["fine"] += 1

        await asyncio.gather(*(one() for _ in range(1_000)))
        assert scene.leaks() == {}, f"seed {seed}"
        assert ends["cancelled"] > 300, f"seed {seed}: {ends}"
        for name in "abc":
            scene[name].script.clear()
        scene.store.put("bucket", "key", b"fine")
        await asyncio.sleep(400)  # the longest wait that a 429 or a breaker can ask for
        for _ in range(100):
            assert (await scene.get_object("bucket", "key", retry=False)).body == b"fine", f"seed {seed}"
        assert scene.leaks() == {}, f"seed {seed}"

    run(play())


@scenario
async def test_cancelled_waiters_take_no_connection_with_them():
    """Whoever is cancelled while waiting for a connection leaves it to the next one."""
    scene = Scene({"a": Step(after=1.0)}, connections=1)
    scene.store.put("bucket", "key", b"")
    tasks = [asyncio.create_task(scene.head_object("bucket", "key")) for _ in range(4)]
    await asyncio.sleep(0.5)
    tasks[1].cancel()
    asyncio.get_running_loop().call_at(1.0, tasks[2].cancel)
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [False, True, True, False]
    assert (now(), scene.leaks()) == (2.0, {})


@scenario
async def test_nothing_is_translated():
    """A cancelled verb raises CancelledError itself, not an error of this package."""
    scene = Scene({"a": Step.silent()})
    task = asyncio.create_task(scene.head_object("bucket", "key"))
    await asyncio.sleep(1.0)
    task.cancel("told so")
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value.args == ("told so",)
    with pytest.raises(EndpointTimeoutError):
        await scene.head_object("bucket", "key", retry=False)
