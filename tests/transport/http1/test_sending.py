"""Request bodies: in slices, told of, stopped by an early answer, and spoiled by their own source. Real sockets."""

from __future__ import annotations

import asyncio
import io
import random

import pytest

from flashback_async.errors import ConfigurationError, EndpointConnectError
from flashback_async.transport.upload import SLICE, Upload, UploadReader

from .origin import OK, put, settled, talking, until

pytestmark = pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
LARGE = random.Random(2).randbytes(5 * SLICE + 17)
REFUSED = b"HTTP/1.1 413 Too Large\r\ncontent-length: 7\r\n\r\ntoo big"
HUGE = 256 * SLICE


class Steps:
    """What a body tells of its progress."""

    def __init__(self):
        self.told = []

    def __call__(self, *, complete):
        self.told.append(complete)


def told(data, progress):
    """A body in memory, which tells of itself where it is large."""
    return Upload.of_bytes(data).reader(progress)


async def taking(peer):
    """Plays: takes whole requests, and answers with their size and the last bytes."""
    while True:
        _, body = await peer.request()
        text = b"%d %b" % (len(body), body[-8:].hex().encode())
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text))


TAKEN = b"%d %b" % (len(LARGE), LARGE[-8:].hex().encode())


def is_told(steps):
    """Whether it was told at least once and at most slice by slice that bytes left, the last ones as the last."""
    return steps[-1:] == [True] and True not in steps[:-1] and len(steps) <= -(-len(LARGE) // SLICE)


async def test_large_bodies_tell_how_far_they_got(is_tls):
    """A large body in memory leaves in slices; it is told when some have left, the last ones as the last."""
    steps = Steps()
    async with talking(taking, is_tls=is_tls) as (server, pool):
        for _ in range(2):
            answer = await pool.send(put(len(LARGE)), told(LARGE, steps))
            assert await answer.read_all(100) == TAKEN
            assert is_told(steps.told)
            steps.told.clear()
        assert server.accepted == 1


async def test_small_bodies_have_nothing_to_tell(is_tls):
    """A body that leaves in one piece with its head makes no progress that is worth a word."""
    steps = Steps()
    async with talking(taking, is_tls=is_tls) as (_, pool):
        await pool.send(put(3), told(b"abc", steps))
    assert steps.told == []


@pytest.mark.parametrize("kind", ["memory", "file", "path"])
async def test_readers_are_sent_from_their_start(is_tls, kind, tmp_path):
    """A body that is read while it is sent arrives whole, tells of itself, and can be sent again."""
    path = tmp_path / "data"
    await asyncio.to_thread(path.write_bytes, LARGE)
    steps = Steps()
    async with talking(taking, is_tls=is_tls) as (_, pool):
        source = {"memory": LARGE, "file": io.BytesIO(LARGE), "path": path}[kind]
        reader = (await Upload.of(source)).reader(steps)
        for _ in range(2):
            assert await (await pool.send(put(len(LARGE)), reader)).read_all(100) == TAKEN
            assert is_told(steps.told)
            assert kind == "memory" or steps.told == [False, False, False, False, False, True]
            steps.told.clear()
        reader.close()


async def test_readers_go_out_again_when_a_kept_connection_was_dead(is_tls):
    """A reader is read anew, from its start, for the retry on a new connection."""
    got = []

    async def serve(peer):
        got.append(await peer.request())
        await peer.send(OK)
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.reader.readexactly(SLICE)
        peer.reset()

    async with talking(serve, is_tls=is_tls) as (server, pool):
        await (await pool.send(put(0))).read_all(2)
        reader = Upload.of_bytes(LARGE).reader(Steps())

        # The second connection takes the whole body as its first request.
        answer = await pool.send(put(len(LARGE)), reader)
        assert (answer.status, await answer.read_all(2)) == (200, b"ok")
        assert (got[1][1], server.accepted) == (LARGE, 2)


@pytest.mark.parametrize("kind", ["bytes", "memory", "path"])
async def test_refusal_stops_the_upload(is_tls, kind, tmp_path):
    """An error that comes while the body is being sent is the answer; the rest stays, and the connection goes."""
    steps = Steps()
    enough = asyncio.Event()

    async def serve(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(REFUSED)
        await enough.wait()

    async with talking(serve, is_tls=is_tls) as (_, pool):
        data = bytes(HUGE)
        path = tmp_path / "data"
        await asyncio.to_thread(path.write_bytes, data if kind == "path" else b"")
        upload = await Upload.of(path if kind == "path" else data)
        body = data if kind == "bytes" else upload.reader(steps)
        answer = await pool.send(put(HUGE), body)
        assert (answer.status, await answer.read_all(100)) == (413, b"too big")
        assert pool.open == 0
        assert True not in steps.told
        assert len(steps.told) < HUGE // SLICE // 2
        enough.set()
        if kind != "bytes":
            body.close()


async def test_refusal_with_a_long_body_is_read_to_its_end(is_tls):
    """What an early answer says is readable although nothing is sent any more."""
    text = b"no" * 500_000
    enough = asyncio.Event()

    async def serve(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: %d\r\n\r\n" % len(text) + text)
        await enough.wait()

    async with talking(serve, is_tls=is_tls) as (_, pool):
        answer = await pool.send(put(HUGE), bytes(HUGE))
        assert await answer.read_all(len(text)) == text
        assert pool.open == 0
        enough.set()


async def test_early_success_does_not_stand_for_a_part(is_tls):
    """A success that comes before the body is complete does not stop it: the endpoint gets everything."""
    got = []

    async def serve(peer):
        head = await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(OK)
        got.append(head + await peer.reader.readexactly(HUGE))
        await peer.closed()

    free = []
    async with talking(serve, is_tls=is_tls) as (_, pool):
        answer = await pool.send(put(HUGE), told(bytes(HUGE), lambda *, complete: free.append(pool.idle)))
        assert await answer.read_all(2) == b"ok"
        await until(lambda: got)
        await until(lambda: pool.open == 0)
        assert pool.idle == 0, "who answers early is not asked again"
    assert set(free) == {0}, "no other request goes between the slices"


async def test_upload_that_was_answered_early_can_be_cancelled(is_tls):
    """A body that is still leaving after its success came goes with its connection when nobody waits any more."""
    answered, enough = asyncio.Event(), asyncio.Event()

    async def serve(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.transport.pause_reading()
        await peer.send(OK)
        answered.set()
        await enough.wait()

    steps = Steps()
    async with talking(serve, is_tls=is_tls) as (_, pool):
        request = asyncio.create_task(pool.send(put(HUGE), told(bytes(HUGE), steps)))
        await answered.wait()
        await settled(steps.told)
        assert not request.done()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert pool.open == 0
        enough.set()


async def test_early_success_of_a_connection_that_breaks_is_none(is_tls):
    """An endpoint that says yes and breaks off before it has the body has not taken it."""

    async def serve(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(OK)
        await peer.reader.readexactly(SLICE)
        peer.reset()

    async with talking(serve, is_tls=is_tls) as (_, pool):
        with pytest.raises(EndpointConnectError):
            await pool.send(put(HUGE), bytes(HUGE))
        assert pool.open == 0


class Dripping(io.BytesIO):
    """Gives less than it is asked for, and no whole slices."""

    def read(self, amount=-1):
        return super().read(min(amount, SLICE + 1))


async def test_a_source_that_gives_little_at_a_time_is_complete_at_its_end(is_tls):
    """Whatever pieces a body is read in, only with its last byte it is told to be complete."""
    steps = Steps()
    async with talking(taking, is_tls=is_tls) as (_, pool):
        body = UploadReader(lambda: Dripping(LARGE), len(LARGE), steps)
        assert await (await pool.send(put(len(LARGE)), body)).read_all(100) == TAKEN
    assert steps.told[-1] is True
    assert True not in steps.told[:-1]


class Shrinking(io.BytesIO):
    """Ends before its time."""

    def read(self, amount=-1):
        return super().read(amount) if self.tell() < 2 * SLICE else b""


async def test_source_that_fails_is_the_error(is_tls):
    """A body that cannot be read is what is raised, not what it does to the endpoint; the connection goes."""

    async def serve(peer):
        await peer.closed()

    async with talking(serve, is_tls=is_tls) as (_, pool):
        body = UploadReader(lambda: Shrinking(bytes(HUGE)), HUGE, Steps())
        with pytest.raises(ConfigurationError, match="did it change"):
            await pool.send(put(HUGE), body)
        assert pool.open == 0


async def test_upload_waits_for_an_endpoint_that_does_not_read(is_tls):
    """What the kernel does not take stays where it is, instead of being copied into buffers without end."""
    steps, enough = Steps(), asyncio.Event()

    async def serve(peer):
        peer.writer.transport.pause_reading()
        await enough.wait()
        peer.writer.transport.resume_reading()
        await taking(peer)

    async with talking(serve, is_tls=is_tls) as (_, pool):
        request = asyncio.create_task(pool.send(put(HUGE), told(bytes(HUGE), steps)))
        await settled(steps.told)
        assert len(steps.told) < HUGE // SLICE // 2
        assert True not in steps.told
        enough.set()
        assert (await request).status == 200


async def test_connection_that_breaks_under_an_upload_is_an_error(is_tls):
    """A reset in the middle of a body on a new connection is the endpoint's fault, and nothing is left open."""

    async def serve(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.reset()

    async with talking(serve, is_tls=is_tls) as (server, pool):
        with pytest.raises(EndpointConnectError, match="the connection"):
            await pool.send(put(HUGE), bytes(HUGE))
        assert (server.accepted, pool.open) == (1, 0)


async def test_others_get_their_turn_during_an_upload(is_tls):
    """A fast endpoint and a body in memory do not keep the event loop for themselves."""
    turns = 0

    async def counting():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with talking(taking, is_tls=is_tls) as (_, pool):
        counter = asyncio.create_task(counting())
        await pool.send(put(len(LARGE)), LARGE)
        counter.cancel()
    assert turns >= len(LARGE) // SLICE
