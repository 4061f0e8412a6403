"""A stream survives its node: it goes on at the exact byte, on the same version, or says why it cannot."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest
from virtual_time import run, scenario

from flashback_async.errors import (
    AccessDeniedError,
    ClientClosedError,
    EndpointConnectError,
    EndpointTimeoutError,
    IntegrityError,
    NoEndpointAvailableError,
    ObjectChangedError,
    OperationError,
)
from flashback_async.objects.identity import STRICT, Identity
from flashback_async.testing import Break, Dialect, Step

from .scenes import CALLER_FAULT, CANCELLED, FAULT, KIB, MIB, SUCCESS, Scene, now, pattern

RCLONE = Dialect(partial_status=200, if_match=False)
BARE = Dialect(partial_status=200, content_range=False, if_match=False)
WHOLE = Dialect(ranges=False, if_match=False)


@pytest.mark.parametrize("how", Break)
def test_a_stream_goes_on_at_the_exact_byte(how):
    """After a reset, a truncation or a stall the next node is asked for the missing bytes of that version."""

    async def play():
        scene = Scene({"a": Step.broken(1_234, how, piece=500), "b": Step()})
        version = scene.store.put("bucket", "key", pattern(10_000))
        async with scene.stream_object("bucket", "key") as stream:
            assert await stream.read() == pattern(10_000)
            assert (stream.endpoint, stream.attempts) == ("b", 2)
        asked = scene.endpoints.requests
        assert asked[0].parameters == {}
        assert asked[1].parameters == {"Range": "bytes=1234-9999", "IfMatch": version.etag}
        assert asked[1].at == (10.0 if how is Break.STALL else 0.0)
        assert (scene.monitor.resumed, scene.monitor.bytes_read) == (1, 10_000)
        assert scene.leaks() == {}

    run(play())


TRIPLES = random.Random(20_240)
CUTS = [
    (size, TRIPLES.choice([0, 1, size - 1, TRIPLES.randrange(size)]), TRIPLES.choice(list(Break)))
    for size in (TRIPLES.choice([1, 2, 1_000, 65_536, 65_537, MIB, MIB + 1, 3 * MIB - 7]) for _ in range(120))
]


@pytest.mark.parametrize("dialect", [Dialect(), RCLONE, BARE, WHOLE])
def test_streamed_objects_equal_the_stored_ones(dialect):
    """Whatever the size, the place of the cut and its kind: the bytes are those stored (120 cuts)."""

    async def play():
        for size, cut, how in CUTS:
            scene = Scene(
                {"a": Step.broken(cut, how), "b": Step(piece=max(1_000, size // 7))}, dialect=dialect
            )
            data = pattern(size)
            scene.store.put("bucket", "key", data)
            async with scene.stream_object("bucket", "key") as stream:
                pieces = [piece async for piece in stream]
            assert b"".join(pieces) == data, (size, cut, how)
            assert all(pieces)
            assert scene.leaks() == {}, (size, cut, how)

    run(play())


def test_streams_survive_many_breaks():
    """Failures in a row are limited by the attempts; after every progress the count starts anew."""

    async def play(seed: int):
        chance = random.Random(seed)
        data = pattern(200_000, seed)
        scene = Scene(ids="abcd", policy=None)
        scene.store.put("bucket", "key", data)
        for name in "abcd":
            for _ in range(6):
                scene[name].script.append(
                    Step.broken(chance.randrange(1, 30_000), chance.choice(list(Break)), piece=7_000)
                )
        async with scene.stream_object("bucket", "key") as stream:
            assert await stream.read() == data, f"seed {seed}"
            assert stream.attempts > 3
        assert scene.leaks() == {}

    for seed in range(10):
        run(play(seed))


@scenario
async def test_without_progress_attempts_run_out():
    """Three failures in a row end the stream with the last error and the whole history."""
    scene = Scene({"a": Step.broken(100), "b": Step.broken(0), "c": Step.refused(), "d": Step()})
    scene.store.put("bucket", "key", pattern(1_000))
    async with scene.stream_object("bucket", "key") as stream:
        assert await stream.read_some() == pattern(1_000)[:100]
        with pytest.raises(EndpointConnectError) as caught:
            await stream.read_some()
    assert [row.endpoint for row in caught.value.attempts] == ["a", "b", "c"]
    assert (caught.value.operation, caught.value.key, caught.value.endpoint) == ("GetObject", "key", "c")
    assert scene.leaks() == {}


@scenario
async def test_attempts_without_retry():
    """With retry=False a stream that breaks is over, progress or not."""
    scene = Scene({"a": Step.broken(100, Break.SHORT, after=2.0), "b": Step()})
    scene.store.put("bucket", "key", bytes(1_000))
    with pytest.raises(EndpointConnectError, match="ended after 100 of 1000 bytes") as caught:
        await scene.get_object("bucket", "key", retry=False)
    assert [(row.endpoint, row.elapsed) for row in caught.value.attempts] == [("a", 2.0)]
    assert scene.asked == [("a", 0.0)]


@scenario
async def test_a_pinned_stream_resumes_where_it_is_pinned():
    """With endpoint= the rest is asked of the same endpoint."""
    scene = Scene({"a": Step(), "b": [Step.broken(100)]})
    scene.store.put("bucket", "key", pattern(1_000))
    stored = await scene.get_object("bucket", "key", endpoint="b")
    assert (stored.body, stored.endpoint, stored.attempts) == (pattern(1_000), "b", 2)
    assert {who for who, _ in scene.asked} == {"b"}


@scenario
async def test_after_progress_everybody_is_worth_a_try():
    """Who failed before the last progress may be asked again, whoever failed after it is not."""
    scene = Scene({"a": [Step.broken(100)], "b": [Step.broken(100)], "c": Step.refused()})
    scene.store.put("bucket", "key", pattern(1_000))
    assert (await scene.get_object("bucket", "key")).body == pattern(1_000)
    assert [who for who, _ in scene.asked] in (["a", "b", "c", "a"], ["a", "b", "a"])


@scenario
async def test_delays_start_anew_after_a_mebibyte():
    """A long transfer that breaks now and then never waits long: a MiB of progress resets the delays."""
    scene = Scene(ids="ab")
    data = pattern(12 * MIB)
    scene.store.put("bucket", "key", data)
    for name in "ab":
        scene[name].script.extend(Step.broken(MIB + 5, piece=MIB) for _ in range(5))
    assert (await scene.get_object("bucket", "key")).body == data
    assert now() == 0.0


@scenario
async def test_crumbs_do_not_spare_the_delays():
    """Endpoints that break after every byte are asked ever more slowly, not without end and pause."""
    scene = Scene({"a": Step.broken(1), "b": Step.broken(1)})
    scene.store.put("bucket", "key", bytes(20))
    with pytest.raises(OperationError):
        await scene.get_object("bucket", "key", timeout=30)
    assert 1.0 < now() <= 30.0
    assert len(scene.asked) < 20


@scenario
async def test_a_refusal_while_resuming_is_raised():
    """An answer that is no fault ends the stream: the endpoint is alive and means it."""
    scene = Scene({"a": Step.broken(100), "b": Step.error(403)})
    scene.store.put("bucket", "key", bytes(1_000))
    with pytest.raises(AccessDeniedError):
        await scene.get_object("bucket", "key")
    assert scene.router.settled[-1] == ("b", CALLER_FAULT)


@pytest.mark.parametrize("change", ["replaced", "deleted", "shrunk", "grown"])
@pytest.mark.parametrize(
    "dialect", [Dialect(), RCLONE, BARE, WHOLE, Dialect(etag=False, if_match=False)], ids=str
)
def test_versions_are_never_mixed(change, dialect):
    """An object that changes while it is read ends the stream, If-Match or not."""

    async def play():
        scene = Scene({"a": Step.broken(100), "b": Step()}, dialect=dialect)
        scene.store.put("bucket", "key", pattern(1_000))
        async with scene.stream_object("bucket", "key") as stream:
            assert await stream.read_some() == pattern(1_000)[:100]
            if change == "deleted":
                scene.store.delete("bucket", "key")
            else:
                size = {"replaced": 1_000, "shrunk": 50, "grown": 2_000}[change]
                scene.store.put("bucket", "key", pattern(size, seed=7))
            with pytest.raises(ObjectChangedError, match="changed after 100 bytes") as caught:
                await stream.read_some()
            assert scene.endpoints.leases == 0
        error = caught.value
        assert (error.operation, error.bucket, error.key, error.status) == ("GetObject", "bucket", "key", 412)
        assert error.attempts[0].endpoint == "a"
        assert scene.at("b").failures == 0
        assert scene.leaks() == {}

    run(play())


def test_identities_differ_only_where_both_tell():
    """ETag, modification time and size must agree; what one answer leaves out cannot differ."""
    one = Identity('"a"', timedelta(1), 10)
    assert STRICT.matches(one, one)
    assert STRICT.matches(one, Identity(None, None, None))
    assert STRICT.matches(Identity(None, None, 10), one)
    for other in (
        Identity('"b"', timedelta(1), 10),
        Identity('"a"', timedelta(2), 10),
        Identity('"a"', timedelta(1), 9),
    ):
        assert not STRICT.matches(one, other)


@scenario
async def test_the_version_of_the_first_answer_counts():
    """A change before the first byte is nobody's problem: the first answer decides what is read."""
    scene = Scene({"a": Step.refused(), "b": Step()})
    scene.store.put("bucket", "key", b"old")
    scene.store.put("bucket", "key", b"new")
    assert (await scene.get_object("bucket", "key")).body == b"new"


@scenario
async def test_a_part_that_is_too_short_is_not_taken():
    """A node that answers with fewer bytes than asked for is not mixed in; the object counts as changed."""
    scene = Scene({"a": Step.broken(100), "b": Step(fields={"ContentRange": "bytes 200-999/1000"})})
    scene.store.put("bucket", "key", pattern(1_000))
    async with scene.stream_object("bucket", "key") as stream:
        await stream.read_some()
        with pytest.raises(ObjectChangedError, match="instead of"):
            await stream.read_some()
    assert scene.router.finished[-1] == ("b", CALLER_FAULT)
    assert scene.leaks() == {}


@scenario
async def test_the_stall_timeout_is_told():
    """A stall that nobody can continue says how long nothing came, and after how many bytes."""
    scene = Scene({"a": Step.broken(100, Break.STALL)})
    scene.store.put("bucket", "key", bytes(1_000))
    with pytest.raises(EndpointTimeoutError, match="no byte of the body for 10 s, after 100 bytes"):
        await scene.get_object("bucket", "key", retry=False)
    assert now() == 10.0


@scenario
async def test_an_empty_object_has_no_bytes():
    """An object of no bytes is read at once, and its connection is free before the block begins."""
    scene = Scene(ids="a")
    scene.store.put("bucket", "key", b"")
    async with scene.stream_object("bucket", "key") as stream:
        assert scene.endpoints.leases == 0
        assert (await stream.read_some(), await stream.read(), stream.length, stream.info.size) == (
            b"",
            b"",
            0,
            0,
        )
    assert (await scene.get_object("bucket", "key")).body == b""
    assert scene.router.finished == [("a", SUCCESS)] * 2


@scenario
async def test_a_stream_tells_about_its_object():
    """Headers are known as soon as the block begins: size, ETag, type, metadata, endpoint, attempts."""
    scene = Scene({"a": [Step.reset()], "b": []})
    version = scene.store.put("bucket", "key", b"0123456789", content_type="text/plain", metadata={"a": "1"})
    async with scene.stream_object("bucket", "key") as stream:
        info = stream.info
        assert (info.bucket, info.key, info.size) == ("bucket", "key", 10)
        assert (info.etag, info.last_modified) == (version.etag, version.last_modified)
        assert (info.content_type, info.metadata) == ("text/plain", {"a": "1"})
        assert (stream.endpoint, stream.attempts, stream.start, stream.length) == ("b", 2, 0, 10)
    assert (stream.endpoint, stream.attempts) == ("b", 2)


@scenario
async def test_a_stream_is_read_inside_its_block():
    """Before and after its block a stream gives nothing, asks nobody and says why."""
    scene = Scene(ids="a")
    scene.store.put("bucket", "key", bytes(MIB))
    stream = scene.stream_object("bucket", "key")
    assert scene.asked == []
    with pytest.raises(ClientClosedError, match="not open"):
        assert stream.endpoint
    await stream.__aexit__(None, None, None)
    stream = scene.stream_object("bucket", "key")
    async with stream:
        await stream.read_some()
        with pytest.raises(ClientClosedError, match="opened once"):
            await stream.__aenter__()
    for read in (stream.read, stream.read_some, stream.__anext__):
        with pytest.raises(ClientClosedError, match="inside its block"):
            await read()
    with pytest.raises(ClientClosedError, match="opened once"):
        async with stream:
            pass
    assert (len(scene.asked), scene.leaks()) == (1, {})


@scenario
async def test_a_stream_that_failed_gives_no_wrong_bytes():
    """Who goes on reading after an error gets the right bytes or an error again."""
    scene = Scene({"a": Step.broken(100), "b": [Step.refused()]}, ids="ab")
    scene.store.put("bucket", "key", pattern(1_000))
    scene["a"].script.extend([Step.broken(100), Step.refused()])
    scene["b"].script.append(Step.refused())
    got = b""
    async with scene.stream_object("bucket", "key") as stream:
        got += await stream.read_some()
        with pytest.raises(EndpointConnectError):
            await stream.read_some()
        scene["a"].then = scene["b"].then = Step()
        with pytest.raises(EndpointConnectError):
            await stream.read_some()
    assert got == pattern(1_000)[: len(got)]
    assert scene.leaks() == {}


@scenario
async def test_a_stream_without_a_node_says_so():
    """If the table empties while a stream resumes, the error is the table's."""
    scene = Scene({"a": Step.broken(10)})
    scene.store.put("bucket", "key", bytes(100))
    async with scene.stream_object("bucket", "key") as stream:
        await stream.read_some()
        scene.router.apply_discovery([], now=now())
        with pytest.raises(NoEndpointAvailableError):
            await stream.read_some()
    assert (scene.endpoints.leases, scene.endpoints.open_bodies) == (0, 0)


@scenario
async def test_a_body_without_length_is_measured():
    """A chunked answer does not tell its length: the size is asked for, never taken for zero."""
    scene = Scene({"a": Step(), "b": Step()}, dialect=Dialect(content_length=False))
    scene.store.put("bucket", "key", pattern(5_000))
    stored = await scene.get_object("bucket", "key")
    assert (stored.body, stored.info.size) == (pattern(5_000), 5_000)
    assert [request.operation for request in scene.endpoints.requests] == ["GetObject", "HeadObject"]


@pytest.mark.parametrize("how", Break)
def test_a_truncated_body_without_length_is_noticed(how):
    """Without a length in the answer a body that ends early is still continued, never taken for whole."""

    async def play():
        dialect = Dialect(content_length=False, content_range=False)
        scene = Scene({"a": [Step.broken(1_000, how)], "b": []}, dialect=dialect)
        scene.store.put("bucket", "key", pattern(5_000))
        assert (await scene.get_object("bucket", "key")).body == pattern(5_000)
        assert ("a", FAULT) in scene.router.finished or how is Break.STALL
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_size_that_nobody_tells_is_an_error():
    """If neither the answer nor HEAD tells a length, nothing is guessed."""
    scene = Scene({"a": Step(fields={"ContentLength": None})})
    scene.store.put("bucket", "key", b"data")
    with pytest.raises(IntegrityError, match="does not tell how long"):
        await scene.get_object("bucket", "key")
    assert scene.leaks() == {}


@scenario
async def test_the_question_for_the_size_has_the_same_deadline():
    """Asking for a size is part of the operation: its deadline holds there too."""
    scene = Scene({"a": [Step(), Step.silent()]}, dialect=Dialect(partial_status=200, content_range=False))
    scene.store.put("bucket", "key", bytes(1_000))
    with pytest.raises(TimeoutError):
        await scene.get_object("bucket", "key", range=(10, 20), timeout=2.0)
    assert (now(), scene.leaks()) == (2.0, {})


@scenario
async def test_a_size_that_cannot_be_learned_while_resuming_leaves_nothing_open():
    """If the answer of the next node cannot be placed, the stream ends, holds nothing and mixes nothing."""
    first = Dialect(total=False)
    scene = Scene({"a": [Step(cut=100, dialect=first)], "b": []}, dialect=BARE)
    scene.store.put("bucket", "key", pattern(1_000))
    scene["b"].script.extend([Step(), Step.error(403)])
    async with scene.stream_object("bucket", "key", range=(0, 900)) as stream:
        assert await stream.read_some() == pattern(1_000)[:100]
        with pytest.raises(AccessDeniedError):
            await stream.read_some()
        assert (scene.endpoints.leases, scene.endpoints.open_bodies) == (0, 0)
    assert scene.router.finished[-1] == ("b", CANCELLED)


@scenario
async def test_many_streams_at_once():
    """A hundred streams over two bad nodes and a good one all end with their own bytes."""
    scene = Scene(ids="abc", connections=200)
    for number in range(100):
        scene.store.put("bucket", f"key-{number}", pattern(50 * KIB + number, number))
    for name in "ab":
        scene[name].script.extend(
            Step.broken(7_919 * place % (50 * KIB), piece=10_000) for place in range(100)
        )

    async def one(number):
        async with scene.stream_object("bucket", f"key-{number}") as stream:
            return await stream.read()

    bodies = await asyncio.gather(*map(one, range(100)))
    assert bodies == [pattern(50 * KIB + number, number) for number in range(100)]
    assert scene.leaks() == {}
