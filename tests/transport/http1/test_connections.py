"""The pool: which connection a request gets, what is kept, and what a failure is called. Real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import pytest

from flashback_async.errors import ClientClosedError, EndpointConnectError
from flashback_async.transport.http1.connections import Connections

from .origin import GET, OK, TRUST, answering, origin, put, talking, until

both = pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])


async def ask(pool, head=GET, body=None):
    return await (await pool.send(head, body)).read_all(100)


@both
async def test_requests_in_a_row_share_a_connection(is_tls):
    """One after the other they need one connection, at the same time one each; the pool tells how many."""
    async with talking(answering(*[OK] * 4), is_tls=is_tls) as (server, pool):
        assert repr(pool).endswith("0 open, 0 idle>")
        for _ in range(3):
            await ask(pool)
        assert (server.accepted, pool.open, pool.idle) == (1, 1, 1)
        await asyncio.gather(ask(pool), ask(pool), ask(pool))
        assert (server.accepted, pool.open, pool.idle) == (3, 3, 3)


async def test_the_connection_used_last_is_used_next():
    """Idle connections beyond the need grow old and go, instead of taking turns."""
    used = []

    async def serve(peer):
        while True:
            await peer.request()
            used.append(peer.number)
            await peer.send(OK)

    async with talking(serve) as (_, pool):
        await asyncio.gather(ask(pool), ask(pool), ask(pool))
        last = used[-1]
        used.clear()
        for _ in range(3):
            await ask(pool)
        assert used == [last] * 3


@both
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: foo, Close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n?",
    ],
    ids=[
        "close",
        "close-listed",
        "close-and-not",
        "http-1.0",
        "second-answer",
        "behind-chunks",
        "noise-behind-chunks",
    ],
)
async def test_what_must_not_be_used_again_is_closed(is_tls, answer):
    """`Connection: close`, HTTP/1.0 and bytes behind the answer: its body counts, its connection goes."""
    async with talking(answering(answer), is_tls=is_tls) as (server, pool):
        assert await ask(pool) == b"ok"
        assert pool.open == 0
        assert await ask(pool) == b"ok"
        assert server.accepted == 2


@both
@pytest.mark.parametrize("leave", ["close", "speak"])
async def test_idle_connection_that_stirs_is_gone_at_once(is_tls, leave):
    """One that the endpoint closes, or sends something on, while it is idle leaves the pool by itself."""
    go = asyncio.Event()

    async def serve(peer):
        await peer.request()
        await peer.send(OK)
        await go.wait()
        if leave == "speak":
            await peer.send(OK)
            await peer.closed()

    async with talking(serve, is_tls=is_tls) as (server, pool):
        await ask(pool)
        assert pool.idle == 1
        go.set()
        await until(lambda: pool.open == 0)
        assert pool.idle == 0
        await ask(pool)
        assert server.accepted == 2


async def test_bytes_behind_a_body_read_into_memory_reach_nobody():
    """Where the reader's memory ends with the body, what lies behind it is found before the next request."""
    evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
    body = bytes(300_000)

    async def serve(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
        await go.wait()
        await peer.send(body + evil)
        await peer.closed()

    for _ in range(20):
        go = asyncio.Event()
        async with talking(serve) as (server, pool):
            answer, memory, filled = await pool.send(GET), memoryview(bytearray(len(body))), 0
            go.set()
            while count := await answer.read_into(memory[filled:]):
                filled += count
            answer = await pool.send(GET)
            assert (answer.length, server.accepted) == (len(body), 2)


async def test_idle_connections_grow_too_old():
    """One that was idle for `keepalive` seconds is not used any more, whatever the timer has done so far."""
    now = 0.0
    async with talking(answering(OK, OK), clock=lambda: now, keepalive=30.0) as (server, pool):
        await asyncio.gather(ask(pool), ask(pool))
        now = 29.9
        await ask(pool)
        assert (server.accepted, pool.open) == (2, 2)
        now = 59.95
        await ask(pool)
        assert (server.accepted, pool.open) == (3, 1), "both were too old"


async def test_idle_connections_are_closed_without_a_request():
    """Nobody needs to ask for an idle connection to be closed in time."""
    async with talking(answering(OK, OK), keepalive=0.05) as (_, pool):
        await asyncio.gather(ask(pool), ask(pool))
        await until(lambda: pool.open == 0)
        await ask(pool)
        assert pool.open == 1
        await until(lambda: pool.open == 0)


async def test_each_idle_connection_has_its_own_time():
    """One that was used meanwhile stays when the others are too old, and goes in its turn."""
    async with talking(answering(OK, OK, OK), keepalive=0.2) as (_, pool):
        await asyncio.gather(ask(pool), ask(pool))
        await asyncio.sleep(0.1)
        await ask(pool)
        await until(lambda: pool.open == 1)
        await until(lambda: pool.open == 0)


# --- kept connections that were dead -----------------------------------------------------------------------


def dying(*, after=b"", reset=True):
    """Plays: the first connection dies upon its second request, having sent `after`; others answer."""

    async def serve(peer):
        await peer.request()
        await peer.send(OK)
        await peer.request()
        if peer.number == 1:
            if after:
                await peer.send(after)
            if reset:
                peer.reset()
            return
        await peer.send(OK)

    return serve


@both
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize("body", [None, b"abc", bytes(700_000)], ids=["none", "small", "large"])
async def test_dead_kept_connection_costs_one_retry(is_tls, reset, body):
    """A kept connection that breaks before a byte of the answer came: the request goes out again on a new one."""
    async with talking(dying(reset=reset), is_tls=is_tls) as (server, pool):
        await ask(pool)
        head = GET if body is None else put(len(body))
        assert await ask(pool, head, body) == b"ok"
        assert (server.accepted, pool.open) == (2, 1)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (b"HTTP/1.1 2", "closed without an answer"),
        (b"HTTP/1.1 100 C\r\n\r\n", "closed without"),
        (b"no", "not HTTP"),
    ],
    ids=["part", "interim", "nonsense"],
)
async def test_begun_answer_is_not_asked_for_again(after, reason):
    """Once a byte has come, a kept connection that breaks is an error as on a new one."""
    async with talking(dying(after=after, reset=False)) as (server, pool):
        await ask(pool)
        with pytest.raises(EndpointConnectError, match=reason):
            await ask(pool)
        assert (server.accepted, pool.open) == (1, 0)


@both
async def test_new_connection_that_dies_is_the_endpoints_fault(is_tls):
    """On a new connection there is no second try: closed and reset are told apart."""

    async def closing(peer):
        await peer.request()

    async def resetting(peer):
        await peer.request()
        peer.reset()

    for serve, reason in [
        (closing, "closed without an answer"),
        (resetting, "failed: Connection reset by peer|closed without"),
    ]:
        async with talking(serve, is_tls=is_tls) as (server, pool):
            with pytest.raises(EndpointConnectError, match=reason) as caught:
                await ask(pool)
            assert caught.value.is_endpoint_fault
            assert (server.accepted, pool.open) == (1, 0)


async def test_retry_happens_once():
    """If the new connection dies as well, that is the answer."""

    async def serve(peer):
        if peer.number == 1:
            await peer.request()
            await peer.send(OK)
        await peer.request()

    async with talking(serve) as (server, pool):
        await ask(pool)
        with pytest.raises(EndpointConnectError, match="closed without an answer"):
            await ask(pool)
        assert server.accepted == 2


# --- no connection -----------------------------------------------------------------------------------------


async def refused(**options):
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        pool = Connections("127.0.0.1", port, tls=None, connect_timeout=5.0, clock=lambda: 0.0, **options)
        with pytest.raises(EndpointConnectError) as caught:
            await pool.send(GET)
        return str(caught.value), port, pool


async def test_refused_connection_says_so():
    """Nobody listens there: the error names the place and the system's reason."""
    text, port, pool = await refused()
    assert text == f"cannot connect to 127.0.0.1:{port}: Connection refused"
    assert pool.open == 0


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70, ".."])
async def test_unknown_name_says_so(host):
    """A name that leads nowhere, or is none, is an endpoint that cannot be reached."""
    pool = Connections(host, 80, tls=None, connect_timeout=5.0, clock=lambda: 0.0)
    with pytest.raises(EndpointConnectError, match=f"cannot connect to {host}:80: ."):
        await pool.send(GET)


async def test_stranger_is_not_trusted():
    """A certificate of somebody unknown ends the connection, and the error says why."""
    async with origin(answering(OK), is_tls=True) as server:
        pool = server.connections(tls=ssl.create_default_context())
        with pytest.raises(EndpointConnectError, match="cannot connect to .*certificate verify failed"):
            await ask(pool)
        pool = server.connections(server_hostname="other.example")
        with pytest.raises(EndpointConnectError, match="cannot connect to .*(mismatch|not valid)"):
            await ask(pool)
        assert pool.open == 0


async def test_plain_answer_to_tls_is_an_error():
    """A server without TLS, asked for it, cannot be connected to."""

    async def serve(peer):
        await peer.send(OK)

    async with origin(serve) as server:
        pool = server.connections(tls=TRUST)
        with pytest.raises(EndpointConnectError, match="cannot connect to 127.0.0.1:.*(SSL|reset)"):
            await ask(pool)


async def test_connecting_takes_so_long_and_no_longer():
    """Name, connection and TLS together have `connect_timeout` seconds."""

    async def silent(peer):
        await peer.closed()

    async with origin(silent) as server:
        pool = server.connections(tls=TRUST, connect_timeout=0.05)
        with pytest.raises(EndpointConnectError, match=r"no connection within 0.05 s"):
            await ask(pool)
        assert pool.open == 0


# --- the end -----------------------------------------------------------------------------------------------


@both
async def test_closed_pool_ends_what_runs_on_it(is_tls):
    """Requests, bodies and idle connections end at once as closed by ourselves; later requests do not begin."""

    async def serve(peer):
        await peer.request()
        if peer.number == 1:
            await peer.send(OK)
        elif peer.number == 2:
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nsome")
        await peer.closed()

    async with talking(serve, is_tls=is_tls) as (_, pool):
        requests = [asyncio.create_task(pool.send(GET)) for _ in range(3)]
        await until(lambda: sum(request.done() for request in requests) == 2)
        (waiting,) = (request for request in requests if not request.done())
        idle, half = sorted((each.result() for each in requests if each.done()), key=lambda each: each.length)
        assert (pool.open, pool.idle) == (3, 1)
        assert await half.read() == b"some"
        reading = asyncio.create_task(half.read())
        await asyncio.sleep(0)
        pool.close()
        pool.close()
        assert (pool.open, pool.idle) == (0, 0)
        for task in (waiting, reading):
            with pytest.raises(ClientClosedError, match="the client was closed while the operation ran"):
                await task
        with pytest.raises(ClientClosedError):
            await pool.send(GET)
        assert await idle.read_all(2) == b"ok", "what had arrived is the reader's"


async def test_closed_pool_does_not_go_on_connecting():
    """A request that still waits for its connection ends when the pool is closed."""

    async def silent(peer):
        await peer.closed()

    async with origin(silent) as server:
        pool = server.connections(tls=TRUST, connect_timeout=600.0)
        request = asyncio.create_task(pool.send(GET))
        await until(lambda: server.accepted == 1)
        pool.close()
        async with asyncio.timeout(10):
            with pytest.raises(ClientClosedError):
                await request
        assert pool.open == 0


@both
async def test_pool_may_be_closed_at_any_moment(is_tls):
    """Closed after any number of the loop's rounds, a pool has nothing open, and the request either answer or end."""
    async with origin(answering(OK), is_tls=is_tls) as server:
        for count in range(60):
            pool = server.connections()
            request = asyncio.create_task(ask(pool))
            for _ in range(count):
                await asyncio.sleep(0)
            pool.close()
            with contextlib.suppress(ClientClosedError):
                assert await request == b"ok"
            assert pool.open == 0
