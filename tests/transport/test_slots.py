"""Places that are taken at once or waited for."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import run

from flashback_async.transport.slots import Slots


async def started(*waiting):
    """Tasks that have run as far as they can."""
    tasks = [asyncio.ensure_future(each) for each in waiting]
    await asyncio.sleep(0)
    return tasks


async def test_places_are_taken_at_once_while_there_are_some():
    """As many as there are, and not one more; what is given back can be taken again."""
    slots = Slots(2)
    assert [slots.take_now() for _ in range(3)] == [True, True, False]
    slots.give_back()
    assert [slots.take_now() for _ in range(2)] == [True, False]


async def test_the_one_who_waited_longest_is_next():
    """Places go to those who wait in their order, and nobody takes one past them."""
    slots, order = Slots(1), []

    async def wait(name):
        await slots.take()
        order.append(name)

    assert slots.take_now()
    tasks = await started(wait("one"), wait("two"))
    slots.give_back()
    assert not slots.take_now()
    await tasks[0]
    slots.give_back()
    await tasks[1]
    assert order == ["one", "two"]
    slots.give_back()
    assert slots.take_now()


@pytest.mark.parametrize("is_given", [False, True])
async def test_a_cancelled_wait_takes_no_place(is_given):
    """Whoever is cancelled while waiting, even with a place just given, leaves it to the next one."""
    slots = Slots(1)
    assert slots.take_now()
    first, second = await started(slots.take(), slots.take())
    if is_given:
        slots.give_back()
    first.cancel()
    if not is_given:
        slots.give_back()
    await asyncio.wait([first])
    assert first.cancelled()
    async with asyncio.timeout(1):
        await second
    assert not slots.take_now()
    slots.give_back()
    assert slots.take_now()


@given(
    st.integers(1, 3),
    st.lists(st.sampled_from(["take", "back", "cancel first", "cancel last", "turn"]), max_size=60),
)
def test_no_place_is_lost_or_made(count, steps):
    """Whatever is taken, given back and cancelled, in whatever order: those in hand and those free make up all places."""

    async def play():
        slots, waiting, held = Slots(count), [], 0

        async def settle():
            nonlocal held
            for task in [task for task in waiting if task.done()]:
                waiting.remove(task)
                held += not task.cancelled()

        for step in steps:
            if step == "take":
                waiting += await started(slots.take())
            elif step == "back" and held:
                held -= 1
                slots.give_back()
            elif step.startswith("cancel") and waiting:
                waiting[0 if step == "cancel first" else -1].cancel()
            else:
                await asyncio.sleep(0)
            await settle()
            assert held <= count
        for _ in range(3):
            await asyncio.sleep(0)
        await settle()
        assert held == count or not waiting
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        free = 0
        while slots.take_now():
            free += 1
        assert held + free == count

    run(play())
