"""The timers of an attempt and the one deadline of an operation, in exact virtual seconds."""

from __future__ import annotations

import asyncio
import io

import pytest
from virtual_time import run, scenario

from flashback_async.errors import (
    ConfigurationError,
    DeadlineExceededError,
    EndpointConnectError,
    EndpointTimeoutError,
    OperationError,
    PoolTimeoutError,
    ServiceError,
)
from flashback_async.routing import OperationKind
from flashback_async.testing import Break, Step
from flashback_async.transport.exchange import Timeouts
from flashback_async.transport.executor import Executor
from flashback_async.transport.monitor import Monitor
from flashback_async.transport.operation import Deadline, Journey
from flashback_async.transport.s3_call import S3Answer
from flashback_async.transport.upload import SLICE

from .scenes import CANCELLED, CLOSED, KIB, MIB, SUCCESS, TIMEOUT, Scene, now, operation


class Lines:
    """A pool whose one endpoint is a coroutine function of the test."""

    def __init__(self, call, *, after: float = 0.0) -> None:
        self._call = call
        self._after = after
        self.patience: list[float] = []
        self.released = 0

    def lease_now(self, endpoint, kind):
        return None

    async def lease(self, endpoint, kind, *, timeout):
        self.patience.append(timeout)
        await asyncio.sleep(self._after)
        return self

    async def call(self, operation, *, progress):
        return await self._call(operation, progress=progress)

    def release(self) -> None:
        self.released += 1


def executor(scene: Scene, lines: Lines, *, first_byte: float = 5.0, stall: float = 10.0) -> Executor:
    """The executor of a scene over a pool of the test's own."""
    return Executor(
        scene.router,
        lines,
        Monitor(scene.router),
        timeouts=Timeouts(pool=5.0, first_byte=first_byte, stall=stall),
        clock=now,
        sleep=asyncio.sleep,
        on_trouble=lambda: None,
        on_bucket=lambda _: None,
    )


@scenario
async def test_the_pool_is_waited_for_with_a_limit():
    """No connection within 5 s: the error names the endpoint, the leases and the oldest one's age."""
    scene = Scene({"a": [], "b": []}, connections=2)
    scene.store.put("bucket", "key", b"x" * 100)
    async with scene.stream_object("bucket", "key", endpoint="a"):
        await asyncio.sleep(2)
        async with scene.stream_object("bucket", "key", endpoint="a"):
            with pytest.raises(PoolTimeoutError) as caught:
                await scene.get_object("bucket", "key", endpoint="a")
            assert now() == 7.0
    assert str(caught.value).startswith(
        "GetObject bucket/key: no connection to a became free in 5 s: 2 leases are held, "
        "the oldest for 7.0 s (attempts: a after 5.000 s: PoolTimeoutError"
    )
    assert caught.value.endpoint == "a"
    assert isinstance(caught.value, TimeoutError)
    assert (scene.at("a").failures, scene.at("a").breaker) == (0, CLOSED)
    assert ("a", CANCELLED) in scene.router.settled
    assert scene.leaks() == {}


@scenario
async def test_a_busy_pool_is_our_own_fault():
    """A pool timeout is raised at once: it neither goes elsewhere nor counts against the endpoint."""
    scene = Scene({"a": [], "b": []}, connections=1)
    scene.store.put("bucket", "key", b"x")
    async with scene.stream_object("bucket", "key", endpoint="a"):
        with pytest.raises(PoolTimeoutError):
            await scene.get_object("bucket", "key", endpoint="a")
    assert (scene.monitor.retries, scene.troubles) == (0, 0)


@scenario
async def test_a_connection_that_becomes_free_is_taken():
    """Who waits gets the connection the moment it is given back, in the order of asking."""
    scene = Scene({"a": Step(after=1.0)}, connections=1)
    scene.store.put("bucket", "key", b"x")
    ends = []

    async def one(name):
        await scene.head_object("bucket", "key")
        ends.append((name, now()))

    await asyncio.gather(*(one(name) for name in "xyz"))
    assert ends == [("x", 1.0), ("y", 2.0), ("z", 3.0)]


@scenario
async def test_the_pool_is_not_waited_for_beyond_the_deadline():
    """The deadline bounds the wait for a connection, too."""
    scene = Scene({"a": []}, connections=1)
    scene.store.put("bucket", "key", b"x")
    async with scene.stream_object("bucket", "key"):
        with pytest.raises(TimeoutError):
            await scene.get_object("bucket", "key", timeout=1.5)
        assert now() == 1.5
    assert scene.leaks() == {}


@scenario
async def test_every_timer_derives_from_the_deadline():
    """Five seconds of the deadline are gone with the first black hole; the second one gets the other two."""
    scene = Scene({"a": Step.silent(), "b": Step.silent(), "c": Step()})
    with pytest.raises(DeadlineExceededError, match="while the endpoint was working") as caught:
        await scene.head_object("bucket", "key", timeout=7)
    assert now() == 7.0
    assert scene.asked == [("a", 0.0), ("b", 5.0)]
    assert [(row.endpoint, row.elapsed) for row in caught.value.attempts] == [("a", 5.0), ("b", 2.0)]
    assert (caught.value.operation, caught.value.endpoint) == ("HeadObject", "b")


@scenario
async def test_the_callers_deadline_is_neutral():
    """When the caller's time is up, nothing is held against the endpoint that was working."""
    scene = Scene({"a": Step.silent()})
    for _ in range(20):
        with pytest.raises(DeadlineExceededError):
            await scene.head_object("bucket", "key", timeout=0.3)
    assert {outcome for _, outcome in scene.router.settled} == {CANCELLED}
    assert (scene.at("a").breaker, scene.at("a").failures, scene.at("a").requests) == (CLOSED, 0, 0)
    assert scene.leaks() == {}


@pytest.mark.parametrize("timeout", [0.1 + 0.2, 1 / 3, 2.0 / 7, 4.999_999_999_9])
def test_the_deadline_is_the_callers_however_it_rounds(timeout):
    """A clock that fires a tick early does not turn the caller's deadline into the endpoint's fault."""

    async def play():
        await asyncio.sleep(0.1)
        scene = Scene({"a": Step.silent()})
        with pytest.raises(DeadlineExceededError):
            await scene.head_object("bucket", "key", timeout=timeout)
        assert scene.router.settled == [("a", CANCELLED)]

    run(play())


@scenario
async def test_the_attempts_own_timer_is_the_endpoints():
    """When our attempt timer fires before the deadline, it is the endpoint's timeout."""
    scene = Scene({"a": Step.silent()})
    with pytest.raises(EndpointTimeoutError):
        await scene.head_object("bucket", "key", timeout=5.000_01, retry=False)
    assert (now(), scene.router.settled) == (5.0, [("a", TIMEOUT)])


@scenario
async def test_no_delay_is_waited_for_beyond_the_deadline():
    """If the next attempt could only start after the deadline, the last error comes now."""
    scene = Scene({"a": Step.reset(after=0.49)})
    with pytest.raises(EndpointConnectError):
        await scene.head_object("bucket", "key", timeout=0.51)
    assert (now(), len(scene.asked)) == (0.49, 1)


@scenario
async def test_total_time_is_the_default_deadline():
    """Without `timeout` whole objects and metadata have the settings' total time."""
    scene = Scene({name: Step.silent() for name in "abc"}, total=12.0)
    with pytest.raises(DeadlineExceededError):
        await scene.head_object("bucket", "key")
    assert now() == 12.0
    with pytest.raises(DeadlineExceededError):
        await scene.get_object("bucket", "key", endpoint="a", timeout=1.0)
    assert now() == 13.0


@scenario
async def test_infinity_switches_the_deadline_off():
    """`timeout=math.inf` leaves only the timers of the attempts."""
    scene = Scene({name: Step.silent() for name in "abc"}, total=1.0)
    with pytest.raises(EndpointTimeoutError):
        await scene.head_object("bucket", "key", timeout=float("inf"))
    assert now() == 15.025


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), True, "5"])
def test_timeouts_are_checked(timeout):
    """A timeout that is no positive number is refused before anything is sent."""

    async def play():
        scene = Scene()
        with pytest.raises(ConfigurationError, match="timeout="):
            await scene.head_object("bucket", "key", timeout=timeout)
        with pytest.raises(ConfigurationError, match="endpoint="):
            await scene.head_object("bucket", "key", endpoint=3)
        assert scene.asked == []

    run(play())


@scenario
async def test_an_upload_may_take_its_time():
    """While slices leave, the stall timer runs from each one anew: a slow upload is not a stalled one."""
    scene = Scene({"a": Step(pace=9.9, after=4.9)}, total=600)
    await scene.put_object("bucket", "key", bytes(4 * SLICE))
    assert now() == pytest.approx(4 * 9.9 + 4.9)
    assert scene.router.settled == [("a", SUCCESS)]


@scenario
async def test_an_upload_that_stalls_goes_elsewhere():
    """No slice accepted for 10 s is the endpoint's timeout; the next one gets everything."""
    scene = Scene({"a": Step.silent(takes=2 * SLICE), "b": Step()})
    data = bytes(range(256)) * (4 * KIB)
    await scene.put_object("bucket", "key", data)
    assert scene.asked == [("a", 0.0), ("b", 10.0)]
    assert scene.router.settled == [("a", TIMEOUT), ("b", SUCCESS)]
    assert scene.store.get("bucket", "key").data == data


@scenario
async def test_after_the_upload_the_first_byte_counts():
    """Once everything was sent, the answer has 5 s, not the longer time of a stall."""
    scene = Scene({"a": Step(pace=2.0, fault=Step.silent().fault)})
    with pytest.raises(EndpointTimeoutError, match="within 5 s"):
        await scene.put_object("bucket", "key", bytes(2 * SLICE), retry=False)
    assert now() == 2 * 2.0 + 5.0


@scenario
async def test_a_small_upload_has_no_stall_timer():
    """A body that leaves in one piece is waited for like any request."""
    scene = Scene({"a": Step.silent()})
    with pytest.raises(EndpointTimeoutError, match="within 5 s"):
        await scene.put_object("bucket", "key", bytes(SLICE), retry=False)
    assert now() == 5.0


@scenario
async def test_the_deadline_ends_an_upload():
    """Progress does not outlive the deadline."""
    scene = Scene({"a": Step(pace=3.0)})
    with pytest.raises(DeadlineExceededError):
        await scene.put_object("bucket", "key", bytes(100 * SLICE), timeout=20)
    assert now() == 20.0
    assert scene.store.get("bucket", "key") is None


@scenario
async def test_a_download_may_take_its_time():
    """While bytes arrive, however slowly, nothing is broken."""
    scene = Scene({"a": Step(pace=9.9, piece=10)}, total=600)
    scene.store.put("bucket", "key", b"x" * 100)
    assert len((await scene.get_object("bucket", "key")).body) == 100
    assert scene.router.finished == [("a", SUCCESS)]
    assert now() == pytest.approx(99.0)


@scenario
async def test_a_download_that_stalls_goes_on_elsewhere():
    """No byte for 10 s is the endpoint's timeout; the rest comes from the next one."""
    scene = Scene({"a": Step.broken(40, Break.STALL, after=1.0), "b": Step()})
    scene.store.put("bucket", "key", bytes(range(100)))
    assert (await scene.get_object("bucket", "key")).body == bytes(range(100))
    assert scene.asked == [("a", 0.0), ("b", 11.0)]
    assert scene.router.finished == [("a", TIMEOUT), ("b", SUCCESS)]


@scenario
async def test_the_readers_own_pace_is_no_stall():
    """Time that passes between two reads belongs to the reader, not to the endpoint."""
    scene = Scene({"a": Step(piece=10)})
    scene.store.put("bucket", "key", b"x" * 50)
    async with scene.stream_object("bucket", "key") as stream:
        pieces = 0
        async for _ in stream:
            pieces += 1
            await asyncio.sleep(3_600)
    assert (pieces, stream.attempts) == (5, 1)
    assert scene.router.finished == [("a", SUCCESS)]


@scenario
async def test_streams_have_no_total_time():
    """A stream may last for hours, unless the caller says otherwise."""
    scene = Scene({"a": Step(pace=5.0, piece=1)}, total=10.0)
    scene.store.put("bucket", "key", b"x" * 1_000)
    async with scene.stream_object("bucket", "key") as stream:
        assert len(await stream.read()) == 1_000
    assert now() == pytest.approx(5_000)


@scenario
async def test_the_deadline_of_a_stream_is_neutral():
    """A stream with a deadline ends at it, says how much was missing, and blames nobody."""
    scene = Scene({"a": Step(pace=3.0, piece=10)})
    scene.store.put("bucket", "key", b"x" * 100)
    async with scene.stream_object("bucket", "key", timeout=10) as stream:
        with pytest.raises(DeadlineExceededError, match="70 bytes were still to come") as caught:
            await stream.read()
        assert now() == 10.0
        assert scene.endpoints.leases == 0
    assert (caught.value.operation, caught.value.bucket, caught.value.key) == ("GetObject", "bucket", "key")
    assert caught.value.endpoint == "a"
    assert scene.router.finished == [("a", CANCELLED)]
    assert scene.at("a").failures == 0


@scenario
async def test_the_deadline_of_a_whole_object_includes_its_body():
    """`get_object` ends at its deadline while the body is still coming."""
    scene = Scene({"a": Step(after=2.0, pace=3.0, piece=10)})
    scene.store.put("bucket", "key", b"x" * 100)
    with pytest.raises(DeadlineExceededError):
        await scene.get_object("bucket", "key", timeout=4.0)
    assert (now(), scene.leaks()) == (4.0, {})


@scenario
async def test_places_in_flight_are_waited_for_until_the_deadline():
    """When every place is taken by streams, an operation waits its turn, but not beyond its deadline."""
    scene = Scene({"a": []}, max_in_flight=2)
    scene.store.put("bucket", "key", b"x" * 10)
    async with scene.stream_object("bucket", "key"), scene.stream_object("bucket", "key"):
        for call in (
            scene.head_object("bucket", "key", timeout=1.0),
            scene.get_object("bucket", "key", timeout=1.0),
        ):
            began = now()
            with pytest.raises(DeadlineExceededError, match="2 operations run and none ended") as caught:
                await call
            assert now() == began + 1.0
            assert (caught.value.bucket, caught.value.key) == ("bucket", "key")
        waiting = asyncio.create_task(scene.head_object("bucket", "key"))
        await asyncio.sleep(1.0)
        assert not waiting.done()
    assert (await waiting).size == 10
    assert scene.leaks() == {}


@scenario
async def test_a_foreign_timeout_is_nobodys():
    """A TimeoutError that none of our timers raised says nothing of the endpoint, and is not retried."""
    scene = Scene(ids="ab")

    async def call(operation, *, progress):
        raise TimeoutError("somebody else's")

    lines = Lines(call)
    with pytest.raises(OperationError, match="an unexpected TimeoutError: somebody else's") as caught:
        await executor(scene, lines).call(operation(), scene.journey())
    assert not isinstance(caught.value, EndpointTimeoutError | ServiceError)
    assert scene.router.settled == [("a", CANCELLED)]
    assert lines.released == 1


@scenario
async def test_a_typed_timeout_comes_through():
    """A timeout that is already one of our errors keeps its meaning."""
    scene = Scene(ids="a")

    async def call(operation, *, progress):
        raise EndpointTimeoutError("said below")

    with pytest.raises(EndpointTimeoutError, match="said below"):
        await executor(scene, Lines(call)).call(operation(), scene.journey(retry=False))
    assert scene.router.settled == [("a", TIMEOUT)]


@scenario
async def test_bugs_below_are_neutral():
    """An error that is none of ours passes through untouched and gives everything back."""
    scene = Scene(ids="ab")

    async def call(operation, *, progress):
        raise KeyError("a bug")

    lines = Lines(call)
    with pytest.raises(KeyError, match="a bug"):
        await executor(scene, lines).call(operation(), scene.journey())
    assert (scene.router.settled, lines.released) == ([("a", CANCELLED)], 1)


@scenario
async def test_progress_after_the_answer_changes_nothing():
    """A server may answer before it has read everything; what the upload tells afterwards is ignored."""
    scene = Scene(ids="a")
    told = []

    async def call(operation, *, progress):
        told.append(progress)
        return S3Answer({})

    answered = await executor(scene, Lines(call)).call(operation(), scene.journey())
    for complete in (False, True):
        told[0](complete=complete)
    assert answered.endpoint_id == "a"


@scenario
async def test_progress_after_the_timeout_changes_nothing():
    """A slice that leaves after the timer fired does not revive the attempt."""
    scene = Scene(ids="a")

    async def call(operation, *, progress):
        try:
            await asyncio.sleep(100)
        finally:
            progress(complete=True)

    with pytest.raises(EndpointTimeoutError):
        await executor(scene, Lines(call)).call(operation(), scene.journey(retry=False))
    assert now() == 5.0


@scenario
async def test_the_first_byte_is_timed_from_the_end_of_the_upload():
    """What a node takes to answer is measured from the last byte sent, not from the first."""
    scene = Scene(ids="a")

    async def call(operation, *, progress):
        await asyncio.sleep(3.0)
        progress(complete=False)
        await asyncio.sleep(4.0)
        progress(complete=True)
        await asyncio.sleep(0.25)
        return S3Answer({})

    data = io.BytesIO(bytes(10))
    from flashback_async.transport.upload import Upload  # noqa: PLC0415  # used here only

    put = operation("PutObject", kind=OperationKind.WRITE, data=await Upload.of(data))
    await executor(scene, Lines(call, after=2.0)).call(put, scene.journey())
    assert now() == 9.25
    assert scene.router.details[-1]["first_byte"] == 0.25


@scenario
async def test_the_wait_for_a_connection_is_not_latency():
    """Time spent in our own pool is not counted as the endpoint's."""
    scene = Scene(ids="a")

    async def call(operation, *, progress):
        await asyncio.sleep(0.5)
        return S3Answer({})

    lines = Lines(call, after=3.0)
    await executor(scene, lines).call(operation(), scene.journey(timeout=4.0))
    assert scene.router.details[-1]["first_byte"] == 0.5
    assert lines.patience == [4.0]


@scenario
async def test_a_deadline_that_passed_sends_nothing():
    """With no time left no endpoint is asked."""
    scene = Scene(ids="a")
    journey = Journey(deadline=Deadline.after(0.0, now=now()), attempts_left=3)
    with pytest.raises(DeadlineExceededError, match="no time left"):
        await scene.executor.call(operation(), journey)
    assert (scene.asked, scene.router.settled) == ([], [])


def test_deadlines_derive():
    """A deadline is one moment: zero is a time, None is never, and every wait ends at it at the latest."""
    at_ten, never = Deadline.after(10.0, now=0.0), Deadline.after(None, now=0.0)
    assert (at_ten.remaining(4.0), at_ten.remaining(11.0), never.remaining(4.0)) == (6.0, -1.0, float("inf"))
    assert (at_ten.within(3.0, now=4.0), at_ten.within(30.0, now=4.0), never.within(3.0, now=4.0)) == (
        7,
        10,
        7,
    )
    assert Deadline.after(0.0, now=0.0).remaining(0.0) == 0.0


@scenario
async def test_large_bodies_do_not_slow_the_clock():
    """A healthy megabyte takes no virtual time at all."""
    scene = Scene(ids="a")
    await scene.put_object("bucket", "key", bytes(MIB))
    assert len((await scene.get_object("bucket", "key")).body) == MIB
    assert now() == 0.0


class Trickle:
    """A body that is read straight into memory, a byte every `pace` seconds; it tells each of them."""

    is_direct = True

    def __init__(self, pace, count):
        self.pace, self.count = pace, count

    def at_hand(self):
        return None

    async def read_into(self, memory, came):
        for at in range(self.count):
            await asyncio.sleep(self.pace)
            memory[at] = at
            came()
        await asyncio.sleep(1_000.0 if self.count < len(memory) else 0.0)
        return self.count

    def close(self):
        pass


async def body_of(scene, raw):
    async def call(operation, *, progress):
        return S3Answer({"ContentLength": 10}, 200, raw)

    return await executor(scene, Lines(call)).open(operation("GetObject"), scene.journey())


@scenario
async def test_bytes_that_come_are_no_stall():
    """A reader that waits for much is not given up while something comes, and is when nothing does."""
    scene = Scene(ids="a")
    body = await body_of(scene, Trickle(9.0, 10))
    assert await body.read_into(memoryview(bytearray(10)), Deadline()) == 10
    assert now() == 90.0
    body.end(SUCCESS)
    body = await body_of(scene, Trickle(9.0, 3))
    with pytest.raises(EndpointTimeoutError, match="no byte of the body for 10 s"):
        await body.read_into(memoryview(bytearray(10)), Deadline())
    assert now() == 90.0 + 27.0 + 10.0
    body.end(TIMEOUT)
    body = await body_of(scene, Trickle(9.0, 3))
    with pytest.raises(TimeoutError) as caught:
        await body.read_into(memoryview(bytearray(10)), Deadline(now() + 30.0))
    assert not isinstance(caught.value, EndpointTimeoutError)
    body.end(CANCELLED)
