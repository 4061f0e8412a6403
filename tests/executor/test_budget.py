"""The budget of bytes that bulk verbs share: who is let in, when, and in which order."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import run, scenario

from flashback_async.objects.budget import ByteBudget


@scenario
async def test_shares_are_let_in_as_they_fit():
    """Who asks first is first, and nobody small overtakes somebody large for ever."""
    budget = ByteBudget(100, ordered=False)
    large, small, first = budget.share(), budget.share(), budget.share()
    first.ask(60)
    large.ask(60)
    small.ask(10)
    assert (first.is_granted, large.is_granted, small.is_granted) == (True, False, False)
    assert budget.is_full
    first.end()
    assert (large.is_granted, small.is_granted, budget.held) == (True, True, 70)
    assert not budget.is_full


@scenario
async def test_in_order_nobody_takes_the_room_of_an_earlier_one():
    """A later share waits until the earlier ones have asked or left, so that results in order cannot block."""
    budget = ByteBudget(100, ordered=True)
    one, two, three = budget.share(), budget.share(), budget.share()
    three.ask(50)
    two.ask(60)
    assert not two.is_granted
    one.end()
    assert (two.is_granted, three.is_granted) == (True, False)
    two.end()
    assert three.is_granted


@scenario
async def test_one_that_is_too_large_is_let_in_alone():
    """What never fits is let in when nothing else is, and keeps the others out."""
    budget = ByteBudget(100, ordered=False)
    small, large, other = budget.share(), budget.share(), budget.share()
    for share, size in ((small, 1), (large, 500), (other, 1)):
        share.ask(size)
    assert (large.is_granted, other.is_granted) == (False, False)
    small.end()
    assert (large.is_granted, other.is_granted) == (True, False)
    large.end()
    assert other.is_granted


@scenario
async def test_a_share_that_has_another_size_is_corrected():
    """What turns out larger or smaller than announced counts as what it is, without waiting."""
    budget = ByteBudget(100, ordered=False)
    share = budget.share()
    assert not share.has_asked
    await share.granted()
    share.ask(10)
    await share.take(150)
    assert budget.held == 150
    share.end()
    share.end()
    assert budget.held == 0


@pytest.mark.parametrize("ordered", [True, False])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_limit_holds_and_everybody_gets_in(ordered, data):
    """Whatever comes and goes: more than the limit is held by one share alone, and in the end all were let in."""

    async def play():
        budget = ByteBudget(50, ordered=ordered)
        inside, most = [], 0
        sizes = data.draw(st.lists(st.integers(0, 80), max_size=15))
        asked = [(budget.share(), size) for size in sizes]

        async def hold(share, size):
            nonlocal most
            await asyncio.sleep(data.draw(st.integers(0, 3)))
            await share.take(size)
            inside.append(size)
            assert sum(inside) <= 50 or len([one for one in inside if one]) == 1
            await asyncio.sleep(data.draw(st.integers(0, 3)))
            inside.remove(size)
            share.end()

        await asyncio.gather(*(hold(share, size) for share, size in asked))
        assert (inside, budget.held) == ([], 0)

    run(play())
