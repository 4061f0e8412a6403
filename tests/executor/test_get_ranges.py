"""Several ranges of one object: which requests they become, and that they are all of one version."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import run, scenario

from flashback_async.errors import (
    ConfigurationError,
    DeadlineExceededError,
    EndpointConnectError,
    ObjectChangedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    ServiceError,
)
from flashback_async.objects.ranged_reads import LARGEST, Span, coalesced
from flashback_async.testing import Dialect, Step

from .scenes import MIB, Scene, now, pattern

SIZE = 10_000


def stored(scene, size=SIZE):
    return scene.store.put("bucket", "key", pattern(size))


@pytest.mark.parametrize(
    ("ranges", "coalesce", "requests"),
    [
        ([(0, 10)], 0, ["bytes=0-9"]),
        ([(0, 10), (10, 20)], 0, ["bytes=0-19"]),
        ([(0, 10), (11, 20)], 0, ["bytes=0-9", "bytes=11-19"]),
        ([(0, 10), (11, 20)], 1, ["bytes=0-19"]),
        ([(500, 600), (0, 10), (5, 20)], 100, ["bytes=0-19", "bytes=500-599"]),
        ([(0, 10), (0, 10), (2, 5)], 0, ["bytes=0-9"]),
        ([(0, 10), (SIZE - 5, SIZE + 5)], 0, ["bytes=0-9", f"bytes={SIZE - 5}-{SIZE + 4}"]),
        ([(-10, None)], 0, ["bytes=-10"]),
        ([(0, 10), (-10, None)], 0, ["bytes=-10", "bytes=0-9"]),
        ([(0, 10), (-10, None), (SIZE - 5, SIZE)], 0, ["bytes=-10", "bytes=0-9"]),
        ([(100, None), (50, 200)], 0, ["bytes=100-", "bytes=50-199"]),
        ([(0, 10), (-SIZE * 2, None)], 0, [f"bytes={-SIZE * 2}"]),
    ],
)
def test_near_ranges_share_a_request(ranges, coalesce, requests):
    """Ranges at most `coalesce` bytes apart are one request; what comes back is what was asked, in that order."""

    async def play():
        scene = Scene(ids="a")
        stored(scene)
        found = await scene.get_ranges("bucket", "key", ranges, coalesce=coalesce)
        assert found == [pattern(SIZE)[slice(*each)] for each in ranges]
        assert [asked for _, asked in scene.ranges] == requests
        assert (scene.monitor.operations, scene.leaks()) == (1, {})

    run(play())


@given(
    ranges=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 100)), max_size=12),
    gap=st.integers(0, 80),
    dialect=st.sampled_from(
        [
            Dialect(),
            Dialect(ranges=False),
            Dialect(partial_status=200, content_range=False, if_match=False),
            Dialect(total=False),
            Dialect(content_length=False),
        ]
    ),
)
def test_any_ranges_are_slices(ranges, gap, dialect):
    """Whatever is asked, with whatever gap and of whatever gateway: each result is the slice of the object."""

    async def play():
        scene = Scene(ids="ab", dialect=dialect)
        stored(scene, 350)
        asked = [(start, start + length) for start, length in ranges]
        found = await scene.get_ranges("bucket", "key", asked, coalesce=gap)
        assert found == [pattern(350)[slice(*each)] for each in asked]
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize(
    "dialect", [Dialect(total=False), Dialect(content_length=False), Dialect(ranges=False)]
)
def test_gateways_that_tell_less_give_the_same(dialect):
    """Suffixes and open ranges are right also where the answer tells neither size nor length, or is everything."""

    async def play():
        scene = Scene(ids="a", dialect=dialect)
        stored(scene)
        ranges = [(0, 10), (-10, None), (SIZE - 100, None)]
        found = await scene.get_ranges("bucket", "key", ranges, coalesce=0)
        assert found == [pattern(SIZE)[slice(*each)] for each in ranges]

    run(play())


@scenario
async def test_no_ranges_are_no_request():
    """Nothing asked for is nothing sent."""
    scene = Scene(ids="a")
    assert await scene.get_ranges("bucket", "key", []) == []
    assert scene.asked == []


def test_large_ranges_are_not_put_together():
    """What together would be larger than one request is worth stays apart; what overlaps it whole does not."""
    spans = [Span(0, LARGEST), Span(LARGEST, LARGEST + 1), Span(5, 10), Span(LARGEST, LARGEST + 2)]
    assert coalesced(spans, 10) == [Span(0, LARGEST), Span(LARGEST, LARGEST + 2)]
    assert coalesced([Span(0, 3 * MIB), Span(4 * MIB, 5 * MIB)], MIB) == [Span(0, 5 * MIB)]


@scenario
async def test_requests_run_beside_each_other_within_bounds():
    """After the headers of the first answer the others run at the same time, never more than `concurrency`."""
    scene = Scene({"a": Step(after=1.0, pace=1.0)})
    stored(scene)
    most = 0

    async def watch():
        nonlocal most
        while True:
            most = max(most, scene.endpoints.leases)
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    ranges = [(start, start + 10) for start in range(0, 1_000, 100)]
    await scene.get_ranges("bucket", "key", ranges, coalesce=0, concurrency=4)
    watching.cancel()
    await asyncio.wait([watching])
    assert most == 4
    assert now() == 7.0
    assert [at for _, at in scene.asked][:4] == [0.0, 1.0, 1.0, 1.0]
    assert scene.leaks() == {}


@scenario
async def test_bytes_of_two_versions_are_never_mixed():
    """An object replaced between two requests is ObjectChangedError, whether or not the gateway honours If-Match."""
    for if_match in (True, False):
        scene = Scene({"a": [Step(after=1.0)]}, dialect=Dialect(if_match=if_match))
        scene["a"].then = Step(after=1.0)
        stored(scene)
        reading = asyncio.create_task(scene.get_ranges("bucket", "key", [(0, 10), (500, 510)], coalesce=0))
        await asyncio.sleep(1.5)
        scene.store.put("bucket", "key", pattern(SIZE, seed=1))
        with pytest.raises(ObjectChangedError) as caught:
            await reading
        assert (caught.value.bucket, caught.value.key) == ("bucket", "key")
        assert scene.leaks() == {}


@scenario
async def test_every_request_survives_its_node():
    """A part that breaks goes on elsewhere at the exact byte, of the same version."""
    scene = Scene({"a": [Step.broken(3), Step.broken(4)], "b": []})
    version = stored(scene)
    found = await scene.get_ranges("bucket", "key", [(0, 10), (500, 510)], coalesce=0)
    assert found == [pattern(SIZE)[0:10], pattern(SIZE)[500:510]]
    assert scene.monitor.resumed == 2
    assert all(
        request.parameters.get("IfMatch", version.etag) == version.etag
        for request in scene.endpoints.requests
    )


@scenario
async def test_a_failing_request_ends_the_others():
    """When one of them cannot be had, the error is raised and nothing goes on behind it."""
    scene = Scene({"a": [Step()]})
    scene["a"].then = Step(after=5.0)
    scene["a"].script.extend([Step.refused(), Step.refused(), Step.refused()])
    stored(scene)
    ranges = [(start, start + 10) for start in range(0, 1_000, 100)]
    with pytest.raises(EndpointConnectError):
        await scene.get_ranges("bucket", "key", ranges, coalesce=0, retry=False)
    assert now() < 5.0
    assert scene.leaks() == {}


@scenario
async def test_one_deadline_holds_for_all_ranges():
    """`timeout` is for the whole, not for each request."""
    scene = Scene({"a": Step(after=1.0)})
    stored(scene)
    ranges = [(start, start + 10) for start in range(0, 1_000, 100)]
    with pytest.raises(DeadlineExceededError):
        await scene.get_ranges("bucket", "key", ranges, coalesce=0, concurrency=1, timeout=3.5)
    assert now() == 3.5
    assert scene.leaks() == {}


@scenario
async def test_a_cancelled_read_leaves_nothing():
    """Wherever it is cancelled, no lease, body, permit or task is left."""
    for moment in (0.5, 1.5, 2.5, 3.5):
        scene = Scene({"a": Step(after=1.0, pace=1.0)})
        stored(scene)
        ranges = [(start, start + 10) for start in range(0, 1_000, 100)]
        reading = asyncio.create_task(scene.get_ranges("bucket", "key", ranges, coalesce=0, concurrency=3))
        await asyncio.sleep(moment)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert scene.leaks() == {}


@pytest.mark.parametrize(
    "ranges",
    [
        [(SIZE, SIZE + 1)],
        [(0, 10), (SIZE, SIZE + 10)],
        [(0, 10), (SIZE + 5, None)],
        [(-5, None), (SIZE, SIZE + 1)],
    ],
)
def test_a_range_past_the_end_is_416(ranges):
    """A range that begins where the object has ended is refused, as get_object has it."""

    async def play():
        scene = Scene(ids="a")
        stored(scene)
        with pytest.raises(ServiceError) as caught:
            await scene.get_ranges("bucket", "key", ranges, coalesce=0)
        assert (caught.value.status, caught.value.code) == (416, "InvalidRange")
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_conditions_and_versions_hold_for_all():
    """if_match decides the first request, a version is named in each."""
    scene = Scene(ids="a", versioned=("kept",))
    old = scene.store.put("kept", "key", pattern(SIZE))
    scene.store.put("kept", "key", b"new")
    found = await scene.get_ranges(
        "kept", "key", [(0, 10), (500, 510)], coalesce=0, version_id=old.version_id
    )
    assert found == [pattern(SIZE)[0:10], pattern(SIZE)[500:510]]
    assert {request.parameters["VersionId"] for request in scene.endpoints.requests} == {old.version_id}
    with pytest.raises(PreconditionFailedError):
        await scene.get_ranges("kept", "key", [(0, 1)], if_match=old.etag)
    with pytest.raises(ObjectNotFoundError):
        await scene.get_ranges("kept", "nothing", [(0, 1)])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"ranges": [(5, 5)]}, "range=\\(5, 5\\)"),
        ({"ranges": [None]}, "get_object"),
        ({"ranges": [10]}, "range=10"),
        ({"coalesce": -1}, "coalesce=-1"),
        ({"coalesce": True}, "coalesce=True"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"concurrency": 1.5}, "concurrency=1.5"),
        ({"if_match": ""}, "if_match"),
        ({"key": ""}, "key=''"),
    ],
)
def test_arguments_are_checked(arguments, why):
    """What cannot work is refused before anything is sent."""

    async def play():
        scene = Scene(ids="a")
        given = {"bucket": "bucket", "key": "key", "ranges": [(0, 1)], **arguments}
        with pytest.raises(ConfigurationError, match=why):
            await scene.get_ranges(**given)
        assert scene.asked == []

    run(play())
