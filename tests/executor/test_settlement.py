"""Settle exactly once, finish exactly once: the table of design.md section 3, and half-open trials."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import run, scenario

from flashback_async.errors import FlashbackError
from flashback_async.testing import Break, Step

from .scenes import (
    CALLER_FAULT,
    CANCELLED,
    CLOSED,
    FAULT,
    HALF_OPEN,
    MIB,
    OPEN,
    SUCCESS,
    THROTTLED,
    TIMEOUT,
    Scene,
    now,
    pattern,
)

SIZE = 300_000

# What one attempt at `a` does -> how it is settled, and how its body is finished if it has one.
ENDS = {
    "a complete body": (Step(), SUCCESS, SUCCESS),
    "a reset body": (Step.broken(100), SUCCESS, FAULT),
    "a truncated body": (Step.broken(100, Break.SHORT), SUCCESS, FAULT),
    "a stalled body": (Step.broken(100, Break.STALL), SUCCESS, TIMEOUT),
    "no connection": (Step.refused(), FAULT, None),
    "no answer": (Step.silent(), TIMEOUT, None),
    "a server error": (Step.error(500), FAULT, None),
    "throttling": (Step.throttled(), THROTTLED, None),
    "a refusal": (Step.error(403), CALLER_FAULT, None),
}


@pytest.mark.parametrize("verb", ["get", "stream", "head", "put"])
@pytest.mark.parametrize("name", ENDS)
def test_every_path_settles_once(name, verb):
    """Whatever becomes of an attempt, it is settled once; its body, if it has one, is finished once."""
    step, settled, finished = ENDS[name]
    has_body = verb in {"get", "stream"}

    async def play():
        scene = Scene({"a": [step]})
        scene.store.put("bucket", "key", bytes(SIZE))
        try:
            if verb == "get":
                await scene.get_object("bucket", "key", retry=False)
            elif verb == "stream":
                async with scene.stream_object("bucket", "key", retry=False) as stream:
                    await stream.read()
            elif verb == "head":
                await scene.head_object("bucket", "key", retry=False)
            else:
                await scene.put_object("bucket", "key", b"x", retry=False)
        except FlashbackError:
            assert has_body or settled is not SUCCESS
        assert scene.router.settled == [("a", settled)]
        assert scene.router.finished == ([("a", finished)] if has_body and finished else [])
        faults = sum(end in {FAULT, TIMEOUT} for end in (settled, finished if has_body else None))
        assert scene.at("a").failures == faults
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_body_counts_as_load_until_it_ends():
    """Waiting for headers is `in_flight`, reading the body is `streaming`, and both go back to zero."""
    scene = Scene({"a": Step(after=1.0, pace=1.0)})
    scene.store.put("bucket", "key", bytes(SIZE))
    reading = asyncio.create_task(scene.get_object("bucket", "key"))
    await asyncio.sleep(0.5)
    assert (scene.at("a").in_flight, scene.at("a").streaming) == (1, 0)
    await asyncio.sleep(1.0)
    assert (scene.at("a").in_flight, scene.at("a").streaming) == (0, 1)
    await reading
    assert (scene.at("a").in_flight, scene.at("a").streaming) == (0, 0)


@scenario
async def test_throughput_comes_from_large_bodies():
    """A body of 1 MiB or more tells bytes per second, from its headers to its end; smaller ones nothing."""
    scene = Scene({"a": Step(after=3.0, pace=0.5, piece=MIB // 2)})
    scene.store.put("bucket", "small", bytes(MIB - 1))
    scene.store.put("bucket", "large", bytes(2 * MIB))
    await scene.get_object("bucket", "small")
    assert scene.at("a").read_throughput is None
    await scene.get_object("bucket", "large")
    assert scene.at("a").read_throughput == pytest.approx(MIB)


@scenario
async def test_leaving_early_is_neutral_and_at_once():
    """Who leaves a stream early frees connection and lease in the same moment, without draining."""
    scene = Scene({"a": Step(pace=1.0, piece=10)}, connections=1)
    scene.store.put("bucket", "key", bytes(1_000))
    async with scene.stream_object("bucket", "key") as stream:
        async for piece in stream:
            assert len(piece) == 10
            break
    assert (now(), scene.leaks()) == (1.0, {})
    assert scene.router.finished == [("a", CANCELLED)]
    assert scene.at("a").failures == 0
    assert (await scene.head_object("bucket", "key")).size == 1_000


@scenario
async def test_the_lease_is_free_as_soon_as_the_last_byte_came():
    """At the end of the body the lease goes back, even if the block goes on."""
    scene = Scene(ids="a", connections=1)
    scene.store.put("bucket", "key", bytes(SIZE))
    async with scene.stream_object("bucket", "key") as stream:
        await stream.read()
        assert (scene.endpoints.leases, scene.endpoints.open_bodies) == (0, 0)
        await scene.head_object("bucket", "key")
    assert scene.router.finished == [("a", SUCCESS)]


@scenario
async def test_an_error_in_the_block_frees_everything():
    """An exception of the caller's own leaves the block as it is, and holds nothing."""
    scene = Scene(ids="a")
    scene.store.put("bucket", "key", bytes(SIZE))
    with pytest.raises(LookupError, match="mine"):
        async with scene.stream_object("bucket", "key"):
            raise LookupError("mine")
    assert scene.leaks() == {}
    assert scene.router.finished == [("a", CANCELLED)]


@scenario
async def test_a_trial_ends_at_the_end_of_the_body():
    """A half-open breaker stays half-open at the headers and closes when the body is complete."""
    scene = Scene({"a": Step(after=0.1, pace=1.0, piece=100_000), "b": Step()})
    scene.store.put("bucket", "key", bytes(SIZE))
    await scene.trip("a")
    async with scene.stream_object("bucket", "key", endpoint="a") as stream:
        assert scene.at("a").breaker is HALF_OPEN
        await stream.read_some()
        assert scene.at("a").breaker is HALF_OPEN
        await stream.read()
        assert scene.at("a").breaker is CLOSED


@scenario
async def test_a_trial_ends_after_a_mebibyte():
    """A long body need not be complete: 1 MiB of it proves the endpoint well."""
    scene = Scene({"a": Step(piece=MIB // 2), "b": Step()})
    scene.store.put("bucket", "key", bytes(4 * MIB))
    await scene.trip("a")
    async with scene.stream_object("bucket", "key", endpoint="a") as stream:
        await stream.read_some()
        assert scene.at("a").breaker is HALF_OPEN
        await stream.read_some()
        assert scene.at("a").breaker is CLOSED
    assert scene.at("a").breaker is CLOSED


@pytest.mark.parametrize("how", Break)
def test_a_trial_fails_with_its_body(how):
    """A body that breaks before 1 MiB fails the trial, though its headers were fine."""

    async def play():
        scene = Scene({"a": Step.broken(100_000, how), "b": Step()})
        scene.store.put("bucket", "key", pattern(SIZE))
        await scene.trip("a")
        opened = scene.at("a").opened
        stored = await scene.get_object("bucket", "key")
        assert (stored.body, stored.endpoint) == (pattern(SIZE), "b")
        assert [request.endpoint for request in scene.endpoints.requests] == ["a", "b"]
        assert (scene.at("a").breaker, scene.at("a").opened) == (OPEN, opened + 1)

    run(play())


@scenario
async def test_a_break_after_a_trial_succeeded_is_one_fault():
    """What breaks after the first MiB is one fault of the new generation; it does not open the breaker."""
    scene = Scene({"a": [Step.broken(MIB + 10, piece=MIB)], "b": []})
    scene.store.put("bucket", "key", pattern(2 * MIB))
    await scene.trip("a")
    failures = scene.at("a").failures
    assert (await scene.get_object("bucket", "key")).body == pattern(2 * MIB)
    assert (scene.at("a").breaker, scene.at("a").failures) == (CLOSED, failures + 1)


@scenario
async def test_a_trial_left_early_is_given_back():
    """A stream that is left early says nothing: the next caller gets the trial."""
    scene = Scene({"a": Step(piece=10), "b": Step()})
    scene.store.put("bucket", "key", bytes(1_000))
    await scene.trip("a")
    for _ in range(3):
        async with scene.stream_object("bucket", "key", endpoint="a") as stream:
            await stream.read_some()
        assert scene.at("a").breaker is HALF_OPEN
    await scene.get_object("bucket", "key", endpoint="a")
    assert scene.at("a").breaker is CLOSED


@scenario
async def test_one_trial_at_a_time():
    """While one request tries a half-open endpoint, the others go elsewhere."""
    scene = Scene({"a": Step(after=1.0), "b": Step(after=1.0)})
    scene.store.put("bucket", "key", b"")
    await scene.trip("a")
    await asyncio.gather(*(scene.head_object("bucket", "key") for _ in range(20)))
    assert [request.endpoint for request in scene.endpoints.requests].count("a") == 1
    assert scene.at("a").breaker is CLOSED


@scenario
async def test_a_refusal_proves_an_endpoint_alive():
    """A 404 ends a trial well: the endpoint answered."""
    scene = Scene({"a": Step.error(404), "b": Step()})
    await scene.trip("a")
    assert not await scene.object_exists("bucket", "key", endpoint="a")
    assert scene.at("a").breaker is CLOSED


@pytest.mark.parametrize("step", [Step.reset(), Step.error(503), Step.silent()])
def test_five_faults_in_a_row_open_the_breaker(step):
    """The endpoint that keeps failing is left alone, and everybody is served by the other one."""

    async def play():
        scene = Scene({"a": step, "b": Step(after=0.01)})
        scene.store.put("bucket", "key", b"x")
        for _ in range(5):
            # Pinned, for the router has learned to avoid it long before.
            with pytest.raises(FlashbackError):
                await scene.get_object("bucket", "key", endpoint="a", retry=False)
        assert scene.at("a").breaker is OPEN
        scene.endpoints["a"].requests.clear()
        began = now()
        for _ in range(20):
            assert (await scene.get_object("bucket", "key")).endpoint == "b"
        assert now() == pytest.approx(began + 0.2)
        assert scene.endpoints["a"].requests == []

    run(play())
