"""An endpoint lent to a caller's own client: one attempt of the router's, settled from how the block ends."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import scenario

from flashback_async.errors import DeadlineExceededError, EndpointConnectError, ThrottledError
from flashback_async.objects.lease import lend
from flashback_async.routing import Outcome
from flashback_async.transport.operation import Deadline
from flashback_async.transport.outcomes import outcome_of

from .scenes import CANCELLED, FAULT, READ, SUCCESS, THROTTLED, Scene, now


def borrowed(scene: Scene, *, tried=frozenset(), timeout: float | None = None):
    return lend(
        scene.router,
        "bucket",
        READ,
        tried=frozenset(tried),
        deadline=Deadline.after(timeout, now=now()),
        clock=now,
        sleep=asyncio.sleep,
        classify=lambda error: outcome_of(error) if isinstance(error, EndpointConnectError) else CANCELLED,
    )


@scenario
async def test_a_normal_end_is_a_success():
    """The permit is held inside the block and settled as a success after it."""
    scene = Scene(ids="ab")
    async with borrowed(scene) as lease:
        assert lease.endpoint.id == "a"
        assert scene.at("a").in_flight == 1
        lease.first_byte = 0.25
    assert (scene.router.settled, scene.leaks()) == ([("a", SUCCESS)], {})
    assert scene.router.details[-1]["first_byte"] == 0.25


@scenario
async def test_errors_are_classified():
    """The way a block ends is what the router learns; an unknown error and a deadline say nothing."""
    scene = Scene(ids="ab")
    for error in (EndpointConnectError("x"), KeyError("x"), DeadlineExceededError("x"), TimeoutError()):
        with pytest.raises(type(error)):
            async with borrowed(scene):
                raise error
    assert [outcome for _, outcome in scene.router.settled] == [FAULT, CANCELLED, CANCELLED, CANCELLED]
    assert scene.leaks() == {}


@scenario
async def test_the_caller_may_know_better():
    """What is set on the lease wins over the way the block ends."""
    scene = Scene(ids="ab")
    async with borrowed(scene) as lease:
        lease.outcome = THROTTLED

    async def fail():
        async with borrowed(scene, tried="a") as lease:
            lease.outcome = Outcome.CALLER_FAULT
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert scene.router.settled == [("a", THROTTLED), ("b", Outcome.CALLER_FAULT)]


@scenario
async def test_a_cancelled_block_is_neutral():
    """Cancellation passes through, gives the permit back and blames nobody."""
    scene = Scene(ids="a")

    async def hold():
        async with borrowed(scene):
            await asyncio.sleep(100)

    task = asyncio.create_task(hold())
    await asyncio.sleep(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (scene.router.settled, scene.leaks()) == ([("a", CANCELLED)], {})


@scenario
async def test_limits_are_waited_for():
    """At its rate limit an endpoint is waited for within the deadline, and not beyond it."""
    scene = Scene(ids="a")
    async with borrowed(scene) as lease:
        lease.outcome = THROTTLED
    with pytest.raises(ThrottledError, match="lease_endpoint bucket: every endpoint is at its rate limit"):
        await borrowed(scene, timeout=0.5).__aenter__()
    assert now() == 0.0
    async with borrowed(scene):
        assert 1.0 < now() < 3.0
    assert scene.leaks() == {}
