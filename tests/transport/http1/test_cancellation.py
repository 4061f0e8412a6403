"""Cancelled at every wait: the socket closes, and no task, no descriptor and no complaint is left. Real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading

import pytest

from flashback_async.transport.http1.connections import Connections
from flashback_async.transport.upload import SLICE, Upload, UploadReader

from .origin import GET, OK, TRUST, origin, put, settled, until
from .wire import Line, rounds

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"
HUGE = 256 * SLICE


def descriptors():
    """Open sockets of this process."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            found |= {target} if target.startswith("socket:") else set()
    return found


class Stage:
    """An origin that goes silent at one point, and what it has seen of the client."""

    def __init__(self, *, opening=b"", reads_body=False):
        self.opening, self.reads_body = opening, reads_body
        self.reached, self.left = asyncio.Event(), asyncio.Event()

    async def serve(self, peer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await peer.reader.readuntil(b"\r\n\r\n")
            if self.opening:
                await peer.send(self.opening)
            self.reached.set()
            await peer.closed()
        self.left.set()


async def cancelled(run, stage, *, is_tls):
    """Start `run(pool)`, cancel it once it waits where it should, and look for leftovers."""
    async with origin(stage.serve, is_tls=is_tls) as server:
        pool = server.connections()
        tasks, sockets = asyncio.all_tasks(), descriptors()
        task = asyncio.create_task(run(pool))
        await stage.reached.wait()
        await rounds(20)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (pool.open, pool.idle) == (0, 0)
        async with asyncio.timeout(5):
            await stage.left.wait()
        await until(lambda: asyncio.all_tasks() <= tasks)
        await until(lambda: descriptors() <= sockets)


both = pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])


@both
@pytest.mark.parametrize(
    "opening", [b"", b"HTTP/1.1 2", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["silent", "part", "interim"]
)
async def test_waiting_for_the_head(is_tls, opening):
    """A request whose answer does not come can be cancelled."""
    await cancelled(lambda pool: pool.send(GET), Stage(opening=opening), is_tls=is_tls)


async def _read(pool):
    answer = await pool.send(GET)
    while await answer.read():
        pass


async def _read_into(pool):
    answer = await pool.send(GET)
    while await answer.read_into(memoryview(bytearray(100))):
        pass


async def _read_all(pool):
    await (await pool.send(GET)).read_all(1 << 30)


@both
@pytest.mark.parametrize("read", [_read, _read_into, _read_all])
@pytest.mark.parametrize(
    "opening",
    [HEAD, HEAD + b"some", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nso"],
    ids=["at-start", "inside", "chunk"],
)
async def test_in_the_middle_of_a_body(is_tls, read, opening):
    """A body that stalls can be left, whichever way it is read."""
    await cancelled(read, Stage(opening=opening), is_tls=is_tls)


@both
async def test_sending_a_body_from_memory(is_tls):
    """An upload that the endpoint does not take can be cancelled."""

    class Deaf(Stage):
        async def serve(self, peer):
            peer.writer.transport.pause_reading()
            self.reached.set()
            await self.left.wait()

    stage = Deaf()
    async with origin(stage.serve, is_tls=is_tls) as server:
        pool = server.connections()
        moved = []
        body = Upload.of_bytes(bytes(HUGE)).reader(lambda *, complete: moved.append(complete))
        task = asyncio.create_task(pool.send(put(HUGE), body))
        await settled(moved)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.open == 0
        stage.left.set()


@both
async def test_sending_a_body_whose_source_is_slow(is_tls):
    """An upload that waits for its own source can be cancelled; the endpoint sees the connection close."""
    stage = Stage()
    reading, writing = os.pipe()
    ended = threading.Event()

    class Slow:
        def __init__(self):
            self.file = os.fdopen(reading, "rb")

        def tell(self):
            return 0

        def seek(self, offset, whence=0):
            return 0

        def read(self, amount):
            try:
                return self.file.read(amount)
            finally:
                ended.set()

        def close(self):
            self.file.close()

    body = UploadReader(Slow, HUGE, lambda *, complete: None)
    try:
        await cancelled(lambda pool: pool.send(put(HUGE), body), stage, is_tls=is_tls)
    finally:
        os.close(writing)  # and the thread that reads ends
        await until(ended.is_set)
        body.close()


async def test_handshake():
    """A TLS handshake that does not go on can be cancelled."""
    reached, left = asyncio.Event(), asyncio.Event()

    async def serve(peer):
        await peer.reader.read(1)
        reached.set()
        await peer.closed()
        left.set()

    async with origin(serve) as server:
        pool = server.connections(tls=TRUST)
        sockets = descriptors()
        task = asyncio.create_task(pool.send(GET))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await left.wait()
        assert pool.open == 0
        await until(lambda: descriptors() <= sockets)


async def test_connecting():
    """A connection that does not come about can be given up: the queue of the listener is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()):
            host, port = listener.getsockname()
            pool = Connections(host, port, tls=None, connect_timeout=30, clock=lambda: 0.0)
            sockets = descriptors()
            task = asyncio.create_task(pool.send(GET))
            await rounds(20)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert pool.open == 0
            await until(lambda: descriptors() <= sockets)


@both
async def test_at_any_moment(is_tls):
    """Cancelled after any number of the loop's rounds, a request leaves either an idle connection or none."""

    async def serve(peer):
        while True:
            await peer.request()
            await peer.send(OK)

    async with origin(serve, is_tls=is_tls) as server:
        for count in range(60):
            pool = server.connections()
            for _ in range(2):
                task = asyncio.create_task(_read_all(pool))
                await rounds(count)
                task.cancel()
                await asyncio.wait([task])
                await rounds(4)
                assert pool.open == pool.idle
            pool.close()


# --- the same moment, to the step: no sockets --------------------------------------------------------------


async def test_whole_answer_at_the_moment_of_the_cancellation():
    """The answer came whole before the cancelled task could see it: its connection is free, and not closed."""
    line = Line()
    task = asyncio.create_task(line.connection.exchange(GET))
    await rounds(1)
    line.arrive(OK)
    task.cancel()
    other = asyncio.create_task(line.connection.exchange(GET))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not line.is_closed, "it may be another request's by now"
    line.arrive(OK)
    assert await (await other).read_all(2) == b"ok"


async def test_part_of_an_answer_at_the_moment_of_the_cancellation():
    """The head came before the cancelled task could see it: nobody will read the body, so the connection goes."""
    line = Line()
    task = asyncio.create_task(line.connection.exchange(GET))
    await rounds(1)
    line.arrive(HEAD)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert line.is_closed


async def test_answer_behind_the_cancellation():
    """What comes between the cancellation and the task's last step is nobody's, and the connection goes."""
    line = Line()
    task = asyncio.create_task(line.connection.exchange(GET))
    await rounds(1)
    task.cancel()
    line.arrive(OK)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert line.is_closed
    assert not line.is_free
