"""429 and SlowDown: somebody else is asked, or the limit is waited for without using up attempts."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from virtual_time import scenario

from flashback_async.errors import ServiceError, ThrottledError
from flashback_async.objects.lease import lend
from flashback_async.routing import Wait
from flashback_async.testing import Step
from flashback_async.transport.operation import Deadline

from .scenes import CLOSED, READ, SUCCESS, THROTTLED, Scene, now


@scenario
async def test_retry_after_is_honoured():
    """A lone endpoint that asks for 3 s is left alone for 3 s, then asked again."""
    scene = Scene({"a": [Step.throttled(3, after=0.5)]})
    scene.store.put("bucket", "key", b"")
    await scene.head_object("bucket", "key")
    assert scene.asked == [("a", 0.0), ("a", pytest.approx(3.5))]
    assert scene.router.settled == [("a", THROTTLED), ("a", SUCCESS)]
    assert (scene.at("a").breaker, scene.at("a").failures, scene.at("a").throttled) == (CLOSED, 0, 1)


@scenario
async def test_waiting_uses_up_no_attempt():
    """Waiting for a rate limit is not an attempt: a single one is enough for those who come later."""
    scene = Scene({"a": [Step.throttled(5)]}, attempts=1)
    scene.store.put("bucket", "key", b"")
    with pytest.raises(ThrottledError) as caught:
        await scene.head_object("bucket", "key")
    assert (now(), caught.value.retry_after) == (0.0, 5)
    await scene.head_object("bucket", "key", retry=False)
    assert now() == pytest.approx(5.0)
    assert scene.monitor.attempts == 2


@scenario
async def test_a_limit_beyond_the_deadline_is_told_at_once():
    """If no endpoint may be asked before the deadline, the error comes now and says how long to wait."""
    scene = Scene({"a": [Step.throttled(30)], "b": [Step.throttled(40)]})
    scene.store.put("bucket", "key", b"")
    with pytest.raises(ThrottledError, match=r"at its rate limit for another 29\.95 s") as caught:
        await scene.head_object("bucket", "key", timeout=10)
    assert now() == pytest.approx(0.05)
    assert caught.value.retry_after == pytest.approx(30 - now())
    assert [row.endpoint for row in caught.value.attempts] == ["a", "b"]
    assert (caught.value.operation, caught.value.bucket, caught.value.key) == ("HeadObject", "bucket", "key")
    await scene.head_object("bucket", "key")
    assert scene.asked[2:] == [("a", pytest.approx(30.0))]


@scenario
async def test_a_rounding_error_is_not_waited_for_without_end():
    """A wait below the clock's resolution does not keep the loop busy until the clock happens to move."""
    scene = Scene(ids="a")
    scene.store.put("bucket", "key", b"")
    acquire, asked = scene.router.acquire, []

    def hesitate(*arguments, **options):
        asked.append(now())
        assert len(asked) < 10, "the clock stands still, and we go round in circles"
        return Wait(4e-15) if now() < 1e-6 else acquire(*arguments, **options)

    scene.router.acquire = hesitate
    await scene.head_object("bucket", "key")
    assert asked == [0.0, 0.001]
    asked.clear()
    scene.router.acquire = lambda *arguments, **options: (
        Wait(4e-15) if now() < 0.0011 else acquire(*arguments, **options)
    )
    async with lend(
        scene.router,
        "bucket",
        READ,
        tried=frozenset(),
        deadline=Deadline(),
        clock=now,
        sleep=asyncio.sleep,
        classify=lambda _: SUCCESS,
    ):
        assert now() == 0.002


@scenario
async def test_an_endpoint_with_room_is_preferred():
    """As long as somebody has room, nobody waits."""
    scene = Scene({"a": [Step.throttled(60)], "b": []})
    scene.store.put("bucket", "key", b"")
    for _ in range(10):
        await scene.head_object("bucket", "key")
    assert now() == 0.0
    assert [who for who, _ in scene.asked] == ["a", *"b" * 10]


@scenario
async def test_waiting_can_be_repeated():
    """A token that somebody else took in the meantime is waited for again."""
    scene = Scene({"a": [Step.throttled()]})
    scene.store.put("bucket", "key", b"")
    await scene.head_object("bucket", "key")
    await asyncio.gather(*(scene.head_object("bucket", "key") for _ in range(4)))
    starts = [when for _, when in scene.asked[1:]]
    assert len(starts) == 5
    assert starts == sorted(starts)
    assert all(after - before > 0.3 for before, after in pairwise(starts))
    assert scene.leaks() == {}


@scenario
async def test_slow_down_inside_a_200_is_throttling():
    """A copy that is answered 200 with SlowDown in it (field note 11) is sent again, and no fault."""
    scene = Scene({"a": [Step.error(200, "SlowDown")], "b": []})
    scene.store.put("bucket", "key", b"x")
    await scene.copy_object("bucket", "key", "copy")
    assert scene.router.settled[:2] == [("a", THROTTLED), ("b", SUCCESS)]
    assert scene.at("a").failures == 0
    assert scene.monitor.failovers == {"throttled": 1}


@scenario
async def test_a_retry_after_of_a_refusal_is_not_a_limit():
    """Only throttling limits an endpoint."""
    scene = Scene({"a": [Step(status=400, retry_after=50)]})
    with pytest.raises(ServiceError):
        await scene.head_object("bucket", "key")
    scene.store.put("bucket", "key", b"")
    await scene.head_object("bucket", "key")
    assert now() == 0.0
