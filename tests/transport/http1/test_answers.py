"""What an answer gives, over real sockets, with and without TLS."""

from __future__ import annotations

import asyncio
import random

import pytest

from flashback_async.errors import ClientClosedError, EndpointConnectError

from .origin import GET, OK, answering, put, talking, until

pytestmark = pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
LARGE = random.Random(1).randbytes(3_000_017)


async def read_rest(answer):
    pieces = []
    while piece := await answer.read():
        pieces.append(piece)
    return b"".join(pieces)


async def test_head_is_told_as_it_came(is_tls):
    """Status, headers in their order with lower-case names, of which the last counts, and the announced length."""
    raw = b"HTTP/1.1 206 Partial \xe9\r\nB-Two: 2\r\nA-One:\t1 \r\nb-two: \xe9\r\nContent-Length: 2\r\n\r\nok"
    async with talking(answering(raw), is_tls=is_tls) as (_, pool):
        answer = await pool.send(GET)
        assert (answer.status, answer.length) == (206, 2)
        assert list(answer.headers.items()) == [("b-two", "é"), ("a-one", "1"), ("content-length", "2")]
        assert await answer.read_all(100) == b"ok"
        assert repr(answer) == "<Answer 206: complete, 0 bytes unread>"


FRAMED = {
    "length": b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(LARGE), LARGE),
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    % (len(LARGE), LARGE),
}


@pytest.mark.parametrize("framing", FRAMED)
async def test_large_bodies_arrive_whole(is_tls, framing):
    """Every way to read gives all bytes of a large body, and the connection serves the next request."""
    raw = FRAMED[framing]
    async with talking(answering(raw, raw, raw, raw), is_tls=is_tls) as (server, pool):
        assert await read_rest(await pool.send(GET)) == LARGE
        assert await (await pool.send(GET)).read_all(len(LARGE)) == LARGE
        memory = bytearray(len(LARGE) + 10)
        answer, filled = await pool.send(GET), 0
        while count := await answer.read_into(memoryview(memory)[filled:]):
            filled += count
        assert memory == LARGE + bytes(10), "what lies behind the body is not touched"
        answer, filled = await pool.send(GET), 0
        while count := await answer.read_into(memoryview(memory)[filled : filled + 70_001]):
            filled += count
        assert memory == LARGE + bytes(10)
        assert pool.idle == 1
        assert server.accepted == 1


async def test_memory_of_the_right_size_is_enough(is_tls):
    """A reader whose memory is exactly as long as the body sees the end with an empty rest of it."""
    async with talking(answering(FRAMED["length"]), is_tls=is_tls) as (_, pool):
        answer, memory, filled = await pool.send(GET), memoryview(bytearray(len(LARGE))), 0
        with pytest.raises(ValueError, match="no room"):
            await answer.read_into(memory[:0])
        while count := await answer.read_into(memory[filled:]):
            filled += count
        assert memory == LARGE


async def test_body_may_end_with_the_connection(is_tls):
    """Without length and chunks, the body ends where the endpoint closes, properly; nothing is used again."""
    raw = b"HTTP/1.1 200 OK\r\n\r\n" + LARGE
    async with talking(answering(raw, then=lambda peer: peer.writer.close()), is_tls=is_tls) as (_, pool):
        answer = await pool.send(GET)
        assert (answer.length, await read_rest(answer)) == (None, LARGE)
        assert pool.open == 0


async def test_cut_connection_is_no_end(is_tls):
    """A body that would end with the connection is an error when the connection is reset; TLS needs its farewell."""
    raw = b"HTTP/1.1 200 OK\r\n\r\nsome"
    async with talking(answering(raw, then=lambda peer: peer.reset()), is_tls=is_tls) as (_, pool):
        with pytest.raises(EndpointConnectError, match="the body broke off|the connection"):
            await read_rest(await pool.send(GET))
        assert pool.open == 0


async def test_short_body_is_an_error_behind_its_bytes(is_tls):
    """A body that ends too early gives what came, and then the error with the figures."""
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nsome"
    async with talking(answering(raw, then=lambda peer: peer.writer.close()), is_tls=is_tls) as (_, pool):
        answer = await pool.send(GET)
        assert await answer.read() == b"some"
        for _ in range(2):
            with pytest.raises(EndpointConnectError, match="the body broke off: 4 of 10 bytes came"):
                await answer.read()
        with pytest.raises(EndpointConnectError, match="4 of 10"):
            await answer.read_into(memoryview(bytearray(5)))
        assert pool.open == 0


@pytest.mark.parametrize(
    ("raw", "expects_body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", False),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\nHTTP/1.1 204 No\r\n\r\n", True),
    ],
    ids=["head", "head-chunked", "head-404", "204", "304", "empty", "interim"],
)
async def test_answers_without_a_body_end_at_once(is_tls, raw, expects_body):
    """HEAD, 204, 304 and length 0 need no more bytes, whatever they announce; the connection is free at once."""
    async with talking(answering(raw, OK), is_tls=is_tls) as (server, pool):
        answer = await pool.send(GET, expects_body=expects_body)
        assert pool.idle == 1
        assert await answer.read() == b""
        assert await answer.read_into(memoryview(bytearray(1))) == 0
        assert await answer.read_all(0) == b""
        assert await (await pool.send(GET)).read_all(2) == b"ok"
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP/1.1"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", "malformed"),
        (b"HTTP/1.1 099 No\r\n\r\n", "malformed"),
        (b"HTTP/1.1 600 No\r\n\r\n", "malformed: status 600"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nok", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999999999999\r\n\r\nok", "Content-Length"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
            "Content-Length|both",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok", "Transfer-Encoding"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding",
        ),
        (b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding"),
        (b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\ncontent-length: 2\r\n\r\nok", "folds a header|malformed"),
        (b"HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n", "stray control"),
        (b"HTTP/1.1 200 OK\na: b\n\n", "stray control"),
        (b"HTTP/1.1 200 OK\r\na: \0\r\n\r\n", "stray control"),
        (b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\na: " + bytes([97]) * 65_536 + b"\r\n\r\n", "more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\na: " + bytes([97]) * 70_000, "more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 201 + b"\r\n", "201 headers"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 17, "interim"),
    ],
    ids=lambda value: (
        value[:60].decode("latin-1").encode("unicode_escape").decode() if isinstance(value, bytes) else ""
    ),
)
async def test_what_is_not_an_answer_is_refused(is_tls, raw, reason):
    """Nonsense and ambiguity are an error in words, at once, and close the connection."""
    async with talking(answering(raw), is_tls=is_tls) as (server, pool):
        with pytest.raises(EndpointConnectError, match=f"the connection failed: .*({reason})"):
            await pool.send(GET)
        assert (pool.open, server.accepted) == (0, 1)


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n",
        b"-1\r\n",
        b"ffffffffffffffffff\r\n",
        b"2\r\nokk\r\n",
        b"2\r\nok0\r\n\r\n",
        b"2 \r\nok\r\n",
        b"2\nok\r\n",
        b"2;" + b"a" * 140_000,
        b"0\r\na: " + b"a" * 140_000,
        b"0\r\n" + b"a: b\r\n" * 25_000,
    ],
    ids=lambda chunks: f"{chunks[:12]!r}",
)
async def test_bad_chunks_are_refused(is_tls, chunks):
    """Sizes that are none, chunks that do not end, and endless extensions or trailers break the body."""
    raw = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks
    async with talking(answering(raw), is_tls=is_tls) as (_, pool):
        with pytest.raises(EndpointConnectError, match="chunks"):
            await read_rest(await pool.send(GET))
        assert pool.open == 0


async def test_small_bodies_have_a_limit(is_tls):
    """`read_all` refuses more than it was allowed to take, and closes the connection on the rest."""
    async with talking(answering(FRAMED["length"]), is_tls=is_tls) as (_, pool):
        with pytest.raises(EndpointConnectError, match="more than 1000 bytes"):
            await (await pool.send(GET)).read_all(1_000)
        assert pool.open == 0
    async with talking(answering(OK), is_tls=is_tls) as (_, pool):
        with pytest.raises(EndpointConnectError, match="more than 1 bytes"):
            await (await pool.send(GET)).read_all(1)


async def test_closing_an_answer_early_closes_its_connection(is_tls):
    """A body that is not read to its end costs the connection; closing twice is allowed, reading on is not."""
    async with talking(answering(FRAMED["length"]), is_tls=is_tls) as (_, pool):
        answer = await pool.send(GET)
        await answer.read()
        answer.close()
        answer.close()
        assert pool.open == 0
        with pytest.raises(ClientClosedError, match="the body was closed before its end"):
            await answer.read()


async def test_closing_an_answer_wakes_its_reader(is_tls):
    """Whoever waits for bytes when the answer is closed gets an error."""
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"
    async with talking(answering(raw), is_tls=is_tls) as (_, pool):
        answer = await pool.send(GET)
        reader = asyncio.create_task(answer.read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await answer.read()
        answer.close()
        with pytest.raises(ClientClosedError):
            await reader


async def test_closing_an_answer_that_has_arrived_keeps_its_connection(is_tls):
    """What has arrived need not be read for the connection to be used again; it cannot be read any more either."""
    async with talking(answering(OK, OK), is_tls=is_tls) as (server, pool):
        answer = await pool.send(GET)
        answer.close()
        assert pool.idle == 1
        with pytest.raises(ClientClosedError):
            await answer.read()
        assert await (await pool.send(GET)).read_all(2) == b"ok"
        assert server.accepted == 1


async def test_unread_bodies_wait_in_the_kernel(is_tls):
    """A body that nobody reads stops its sender after what sockets and one buffer hold, and goes on when read."""
    total, piece = 256, bytes(1 << 18)
    sent = 0

    async def serve(peer):
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (total * len(piece)))
        for _ in range(total):
            await peer.send(piece)
            sent += 1
        await peer.closed()

    async with talking(serve, is_tls=is_tls) as (_, pool):
        answer = await pool.send(GET)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < total // 2
        arrived = 0
        while some := await answer.read():
            arrived += len(some)
        assert arrived == total * len(piece)
        await until(lambda: pool.idle == 1)


async def test_requests_arrive_as_they_were_written(is_tls):
    """Head and body reach the endpoint byte by byte, in memory or none."""
    seen = []

    async def serve(peer):
        while True:
            seen.append(await peer.request())
            await peer.send(OK)

    async with talking(serve, is_tls=is_tls) as (server, pool):
        for head, body in [(GET, None), (put(3), b"abc"), (put(0), b""), (put(len(LARGE)), LARGE)]:
            assert await (await pool.send(head, body)).read_all(2) == b"ok"
            assert seen.pop() == (head, body or b"")
        assert server.accepted == 1
