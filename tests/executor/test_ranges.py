"""Ranges are half-open, like slices, and mean the same whatever the gateway answers."""

from __future__ import annotations

import random

import pytest
from virtual_time import run, scenario

from flashback_async.errors import ConfigurationError, IntegrityError, PoolTimeoutError, ServiceError
from flashback_async.objects.names import ByteRange
from flashback_async.objects.position import Position, position_of
from flashback_async.testing import Break, Dialect, Step

from .scenes import Scene, now, pattern

SIZE = 1_000
DIALECTS = {
    "S3": Dialect(),
    "status 200, as rclone": Dialect(partial_status=200, if_match=False),
    "a part without its position": Dialect(content_range=False),
    "a part as 200 without its position": Dialect(partial_status=200, content_range=False, if_match=False),
    "the whole object": Dialect(ranges=False),
    "a part of an unknown total": Dialect(total=False),
    "in chunks": Dialect(content_length=False),
    "in chunks without position": Dialect(content_length=False, content_range=False),
    "in chunks, the whole": Dialect(content_length=False, ranges=False),
}
RANGES = [
    (0, 1), (0, 10), (10, 20), (999, 1_000), (0, 1_000), (1, 999),
    (990, 2_000), (0, 5_000), (500, None), (0, None), (999, None),
    (-1, None), (-10, None), (-1_000, None), (-5_000, None),
]  # fmt: skip


def part(given: tuple[int, int | None], data: bytes) -> bytes:
    return data[slice(*given)]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("given", RANGES)
def test_a_range_is_a_slice(given, dialect):
    """The bytes are those of the slice, and start, length and size are told right."""

    async def play():
        scene = Scene({"a": Step(piece=300)}, dialect=DIALECTS[dialect])
        data = pattern(SIZE)
        scene.store.put("bucket", "key", data)
        expected = part(given, data)
        async with scene.stream_object("bucket", "key", range=given) as stream:
            assert await stream.read() == expected
            assert (stream.length, stream.start) == (len(expected), slice(*given).indices(SIZE)[0])
        stored = await scene.get_object("bucket", "key", range=given)
        assert stored.body == expected
        if DIALECTS[dialect].total:
            assert stored.info.size == SIZE
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_broken_range_goes_on_inside_it(dialect):
    """A range that breaks resumes at the missing byte and never reads beyond its end (12 random cuts)."""

    async def play():
        chance = random.Random(dialect)
        for _ in range(12):
            given = chance.choice(RANGES)
            expected = part(given, pattern(SIZE))
            cut = chance.randrange(max(1, len(expected)))
            scene = Scene(
                {"a": [Step.broken(cut, chance.choice(list(Break)))], "b": [], "c": []},
                dialect=DIALECTS[dialect],
            )
            scene.store.put("bucket", "key", pattern(SIZE))
            async with scene.stream_object("bucket", "key", range=given) as stream:
                assert await stream.read() == expected, (given, cut)
            assert scene.leaks() == {}

    run(play())


@scenario
async def test_the_next_node_is_asked_for_the_missing_bytes_only():
    """The second request names exactly what is missing, in S3's inclusive spelling."""
    scene = Scene({"a": [Step.broken(30)], "b": []})
    scene.store.put("bucket", "key", pattern(SIZE))
    assert (await scene.get_object("bucket", "key", range=(100, 200))).body == pattern(SIZE)[100:200]
    assert scene.ranges == [("a", "bytes=100-199"), ("b", "bytes=130-199")]


@scenario
async def test_a_suffix_resumes_by_its_position():
    """A broken suffix range is continued by absolute offsets: the object may not be what it was."""
    scene = Scene({"a": [Step.broken(30)], "b": []})
    scene.store.put("bucket", "key", pattern(SIZE))
    assert (await scene.get_object("bucket", "key", range=(-100, None))).body == pattern(SIZE)[-100:]
    assert scene.ranges == [("a", "bytes=-100"), ("b", "bytes=930-999")]


@scenario
async def test_a_whole_object_for_a_range_is_skipped_into():
    """If a node answers a resumed read with the whole object, what came before is dropped, not delivered."""
    scene = Scene({"a": [Step.broken(700)], "b": Step(dialect=Dialect(ranges=False), piece=64)})
    scene.store.put("bucket", "key", pattern(SIZE))
    stored = await scene.get_object("bucket", "key")
    assert (stored.body, stored.endpoint) == (pattern(SIZE), "b")
    assert scene.monitor.bytes_read == SIZE


@scenario
async def test_more_than_asked_for_is_not_read():
    """The connection is closed as soon as the range is complete, however much would follow."""
    scene = Scene({"a": Step(dialect=Dialect(ranges=False), piece=100, pace=1.0)})
    scene.store.put("bucket", "key", pattern(SIZE))
    assert (await scene.get_object("bucket", "key", range=(150, 250))).body == pattern(SIZE)[150:250]
    assert (now(), scene.leaks()) == (3.0, {})


@scenario
async def test_a_range_beyond_the_end_is_refused_by_the_service():
    """S3 refuses a range that starts past the end with 416; so do we."""
    scene = Scene(ids="ab")
    scene.store.put("bucket", "key", pattern(SIZE))
    scene.store.put("bucket", "empty", b"")
    for key, given in [
        ("key", (SIZE, None)),
        ("key", (5_000, 6_000)),
        ("empty", (0, 1)),
        ("empty", (-1, None)),
    ]:
        with pytest.raises(ServiceError) as caught:
            await scene.get_object("bucket", key, range=given)
        assert (caught.value.status, caught.value.code) == (416, "InvalidRange")


@scenario
async def test_a_range_beyond_the_end_of_a_whole_answer_is_empty():
    """A gateway that ignores ranges cannot refuse one: what there is of it is nothing."""
    scene = Scene(ids="a", dialect=Dialect(ranges=False))
    scene.store.put("bucket", "key", pattern(SIZE))
    stored = await scene.get_object("bucket", "key", range=(5_000, 6_000))
    assert (stored.body, scene.leaks()) == (b"", {})


@scenario
async def test_bytes_that_were_not_asked_for_are_refused():
    """An answer that starts after the range does is an error, never other bytes than asked for."""
    scene = Scene({"a": Step(fields={"ContentRange": "bytes 15-24/1000"})})
    scene.store.put("bucket", "key", pattern(SIZE))
    with pytest.raises(IntegrityError, match="asked for") as caught:
        await scene.get_object("bucket", "key", range=(10, 20))
    assert (caught.value.endpoint, caught.value.key) == ("a", "key")
    assert scene.leaks() == {}


@scenario
async def test_asking_for_the_size_needs_a_second_connection():
    """A gateway that does not tell positions costs a HEAD; without a connection for it, the pool says so."""
    scene = Scene(ids="a", dialect=Dialect(content_range=False), connections=1)
    scene.store.put("bucket", "key", pattern(SIZE))
    with pytest.raises(PoolTimeoutError):
        await scene.get_object("bucket", "key", range=(10, 20))
    assert (now(), scene.leaks()) == (5.0, {})


@pytest.mark.parametrize(
    "given",
    [(5, 5), (6, 5), (-3, 5), (-3, -1), (0, -1), (0,), (0, 1, 2), "0-5", 5, (0.0, 5), ("0", "5"), [None, 5]],
)
def test_what_is_no_range_is_refused(given):
    """Empty, reversed and misspelt ranges are refused before anything is sent, with a hint."""

    async def play():
        scene = Scene(ids="a")
        with pytest.raises(ConfigurationError, match=r"give \(start, stop\)"):
            await scene.get_object("bucket", "key", range=given)
        assert scene.asked == []

    run(play())


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ((0, 1), "bytes=0-0"),
        ((5, 10), "bytes=5-9"),
        ((5, None), "bytes=5-"),
        ((-5, None), "bytes=-5"),
        ([1, 2], "bytes=1-1"),
    ],
)
def test_ranges_are_spelt_for_http(given, header):
    """HTTP includes both ends."""
    assert ByteRange.of(given).header() == header


PLACED = [
    # fields, status, range asked for, total known, position
    ({"ContentRange": "bytes 10-19/100", "ContentLength": 10}, 206, (10, 20), None, (10, 10, 100)),
    ({"ContentRange": "bytes 10-19/100", "ContentLength": 10}, 200, (10, 20), None, (10, 10, 100)),
    ({"ContentRange": "bytes 10-19/*", "ContentLength": 10}, 206, (10, 20), 100, (10, 10, None)),
    ({"ContentRange": "nonsense", "ContentLength": 10}, 206, (10, 20), 100, (10, 10, 100)),
    ({"ContentLength": 100}, 200, None, None, (0, 100, 100)),
    ({"ContentLength": 0}, 200, None, None, (0, 0, 0)),
    ({}, 200, None, None, None),
    ({}, 200, None, 100, (0, 100, 100)),
    ({"ContentLength": 10}, 206, (10, 20), None, None),
    ({"ContentLength": 10}, 206, (10, 20), 100, (10, 10, 100)),
    ({"ContentLength": 10}, 200, (10, 20), 100, (10, 10, 100)),
    ({"ContentLength": 100}, 200, (10, 20), 100, (0, 100, 100)),
    ({"ContentLength": 100}, 200, (0, 200), 100, (0, 100, 100)),
    ({"ContentLength": 10}, 200, (-10, None), 100, (90, 10, 100)),
    ({"ContentLength": 60}, 200, (40, None), 100, (40, 60, 100)),
    ({"ContentLength": 77}, 200, (40, None), 100, (0, 77, 77)),
    ({}, 206, (40, None), 100, (40, 60, 100)),
    ({}, 200, (40, None), 100, (0, 100, 100)),
]


@pytest.mark.parametrize(("fields", "status", "asked", "total", "expected"), PLACED)
def test_an_answer_tells_where_its_bytes_belong(fields, status, asked, total, expected):
    """`Content-Range` is believed first, then the status, then the length; None where only HEAD can tell."""
    found = position_of(fields, status, ByteRange.of(asked), total)
    assert found == (None if expected is None else Position(*expected))
