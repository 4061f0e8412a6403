"""Files that the kernel sends by itself: what arrives, what is told, and what stops it. Real sockets."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import random
import socket
from functools import partial
from hashlib import sha256

import pytest

from flashback_async.errors import ConfigurationError, EndpointConnectError
from flashback_async.transport.http1.sending import AT_A_TIME, Outlet
from flashback_async.transport.upload import SLICE, Upload, UploadReader

from .origin import OK, put, settled, talking, until

both = pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
DATA = random.Random(3).randbytes(3 * AT_A_TIME + 17)
HUGE = bytes(32 * AT_A_TIME)
REFUSED = b"HTTP/1.1 413 Too Large\r\ncontent-length: 7\r\n\r\ntoo big"


class Reader(UploadReader):
    """Of a file, which counts the bytes that come through our memory, and what it tells."""

    def __init__(self, path, size):
        self.told = []
        self.read_here = 0
        super().__init__(lambda: path.open("rb"), size, lambda *, complete: self.told.append(complete))

    async def piece(self, start, size):
        data = await super().piece(start, size)
        self.read_here += len(data)
        return data


@pytest.fixture
async def reader_of(tmp_path):
    """Makes the reader of a file with these bytes, which were hashed, as before they are signed."""
    readers = []

    async def make(data):
        path = tmp_path / "data"
        await asyncio.to_thread(path.write_bytes, data)
        readers.append(Reader(path, len(data)))
        assert await readers[-1].sha256() == sha256(data).hexdigest()
        readers[-1].told.clear()
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


def serving(got):
    """Plays: takes whole requests, keeps their bodies, and says ok."""

    async def serve(peer):
        while True:
            got.append((await peer.request())[1])
            await peer.send(OK)

    return serve


@both
async def test_a_file_arrives_whole_and_tells_how_far_it_got(is_tls, reader_of):
    """Every byte, more than once if asked; without TLS, most of them were never in our memory."""
    reader, got = await reader_of(DATA), []
    async with talking(serving(got), is_tls=is_tls) as (_, pool):
        for _ in range(2):
            answer = await pool.send(put(len(DATA)), reader)
            assert (answer.status, await answer.read_all(2)) == (200, b"ok")
            assert reader.told[-1] is True
            assert True not in reader.told[:-1]
            reader.told.clear()
    assert got == [DATA, DATA]
    assert (reader.read_here < len(DATA)) is not is_tls


async def test_a_file_goes_out_again_when_a_kept_connection_was_dead(reader_of):
    """From its first byte, on the new connection."""
    got = []

    async def serve(peer):
        got.append((await peer.request())[1])
        await peer.send(OK)
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.reader.readexactly(AT_A_TIME)
        peer.reset()

    async with talking(serve, is_tls=False) as (server, pool):
        await (await pool.send(put(0))).read_all(2)
        answer = await pool.send(put(len(DATA)), await reader_of(DATA))
        assert (answer.status, await answer.read_all(2)) == (200, b"ok")
        assert (got, server.accepted) == ([b"", DATA], 2)


async def test_a_refusal_stops_it(reader_of):
    """An error that comes meanwhile is the answer, also of an endpoint that reads no more."""
    enough = asyncio.Event()

    async def serve(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.transport.pause_reading()
        await peer.send(REFUSED)
        await enough.wait()

    async with talking(serve, is_tls=False) as (_, pool):
        reader = await reader_of(HUGE)
        answer = await pool.send(put(len(HUGE)), reader)
        assert (answer.status, await answer.read_all(100)) == (413, b"too big")
        assert pool.open == 0
        assert True not in reader.told
        enough.set()


async def test_it_waits_for_an_endpoint_that_does_not_read(reader_of):
    """What the kernel does not take is not told as sent, and costs no turns of the loop; then it goes on."""
    got, enough = [], asyncio.Event()

    async def serve(peer):
        peer.writer.transport.pause_reading()
        await enough.wait()
        peer.writer.transport.resume_reading()
        await serving(got)(peer)

    async with talking(serve, is_tls=False) as (_, pool):
        reader = await reader_of(HUGE)
        request = asyncio.create_task(pool.send(put(len(HUGE)), reader))
        await settled(reader.told)
        assert True not in reader.told
        assert reader.read_here <= 2 * SLICE
        enough.set()
        assert (await request).status == 200
        assert reader.told[-1] is True
    assert got == [HUGE]


async def test_a_file_that_became_shorter_is_the_error(reader_of, tmp_path):
    """It is what is raised, not what it does to the endpoint; the connection goes."""
    reader = await reader_of(DATA)
    await asyncio.to_thread(os.truncate, tmp_path / "data", AT_A_TIME)
    async with talking(serving([]), is_tls=False) as (_, pool):
        with pytest.raises(ConfigurationError, match=f"ended after {AT_A_TIME} of {len(DATA)} bytes"):
            await pool.send(put(len(DATA)), reader)
        assert pool.open == 0


async def test_a_connection_that_breaks_under_it_is_an_error(reader_of):
    """A reset meanwhile is the endpoint's fault, and nothing is left open."""

    async def serve(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.reset()

    async with talking(serve, is_tls=False) as (server, pool):
        with pytest.raises(EndpointConnectError, match="the connection"):
            await pool.send(put(len(HUGE)), await reader_of(HUGE))
        assert (server.accepted, pool.open) == (1, 0)


async def test_the_kernel_is_asked_only_where_nothing_is_before_it(tmp_path):
    """Not while bytes wait in front, nor when it is full, nor with a file that is closed: `pass_on` knows why."""
    path = tmp_path / "data"
    await asyncio.to_thread(path.write_bytes, DATA)
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    outlet = Outlet(transport, loop)
    with theirs, path.open("rb") as file:
        descriptor = file.fileno()
        count = 0
        while taken := await outlet.hand_over(descriptor, 17 + count, len(DATA)):
            assert taken <= AT_A_TIME
            count += taken
        assert 0 < count < len(DATA)
        transport.write(b"behind")
        got = theirs.recv(count, socket.MSG_WAITALL)
        assert got == DATA[17 : 17 + count]
        assert await outlet.hand_over(descriptor, 0, 1) == 0
        await until(lambda: not transport.get_write_buffer_size())
        assert theirs.recv(100) == b"behind"
        assert await outlet.hand_over(descriptor, 5, 3) == 3
        assert theirs.recv(100) == DATA[5:8]
        file.close()
        assert await outlet.hand_over(descriptor, 0, 1) == 0
        transport.close()


@pytest.mark.parametrize("kind", ["memory", "zipped", "not hashed"])
async def test_only_plain_files_in_memory_are_handed_over(kind, tmp_path):
    """What reads something else than the file has, and what would be waited for, goes through our memory."""
    path = tmp_path / "data"
    await asyncio.to_thread(path.write_bytes, gzip.compress(DATA))
    sources = {
        "memory": lambda: io.BytesIO(DATA),
        "zipped": partial(gzip.open, path),
        "not hashed": lambda: path.open("rb"),
    }
    reader = UploadReader(sources[kind], len(DATA), lambda *, complete: None)
    if kind == "not hashed":
        await reader.piece(0, SLICE)
    else:
        assert await reader.sha256() == sha256(DATA).hexdigest()
    assert reader.descriptor is None
    reader.close()


async def test_uploads_of_paths_are_handed_over(tmp_path):
    """What a caller gives by its path qualifies once it was hashed, from its first byte."""
    path = tmp_path / "data"
    await asyncio.to_thread(path.write_bytes, DATA)
    reader = (await Upload.of(path)).reader(lambda *, complete: None)
    await reader.sha256()
    assert os.pread(reader.descriptor, 10, reader.offset) == DATA[:10]
    reader.close()
    assert reader.descriptor is None
