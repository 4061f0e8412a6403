"""Every timeout, against a server that does exactly what it is there for.

Alone, the server is named in a typed error in time; beside a healthy one, that one serves.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from flashback_async import (
    ClientClosedError,
    DeadlineExceededError,
    EndpointConnectError,
    EndpointTimeoutError,
    FlashbackClient,
    PoolTimeoutError,
)

from .scripted import HOST, MemoryStore, etag, listening, scripted, settings_for

BOTH_LANES = True

MIB = 1 << 20
TIMER = 0.6
"""Seconds of the timer that is looked at; the others are far away."""
LATE = 4.0
"""Seconds that a busy machine may add."""
FAR = {"connect_timeout": 30.0, "first_byte_timeout": 30.0, "stall_timeout": 30.0, "pool_timeout": 30.0}
# Bytes that a server takes in advance: little, so that a large body waits on the way.
TAKEN = 1_024
SMALL, LARGE = b"small", bytes(16 * MIB)
BODY = bytes(MIB)


@asynccontextmanager
async def accepts_nobody():
    """The queue of its listener is full: what connects is dropped."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(8)]
        for queued in waiting:
            queued.setblocking(False)
            queued.connect_ex(address)
        await asyncio.sleep(0.1)
        try:
            yield f"http://{HOST}:{address[1]}"
        finally:
            for queued in waiting:
                queued.close()


def no_handshake():
    """It accepts, and its TLS never says a word."""

    async def serve(reader, _writer):
        while await reader.read(1_024):
            pass

    return listening(serve, scheme="https")


def silent():
    """It reads everything and answers nothing."""

    async def serve(reader, _writer):
        while await reader.read(65_536):
            pass

    return listening(serve, limit=TAKEN)


def deaf():
    """It accepts, and reads nothing."""

    async def serve(_reader, writer):
        # Until the peer gives up: reading is what this one does not do.
        await writer.wait_closed()

    return listening(serve, limit=TAKEN)


def stalls():
    """It sends headers and the beginning of a body, and then nothing."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head_of(BODY) + BODY[:1_000])
        while await reader.read(1_024):
            pass

    return listening(serve, limit=TAKEN)


def dribbles():
    """It sends a byte of the body every twentieth of a second: progress, always."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head_of(BODY))
        for at in range(len(BODY)):
            writer.write(BODY[at : at + 1])
            await writer.drain()
            await asyncio.sleep(TIMER / 8)

    return listening(serve, limit=TAKEN)


def head_of(body):
    return (
        f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nETag: {etag(body)}\r\n"
        "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"
    ).encode()


async def get(fb):
    return (await fb.get_object("bucket", "key")).body == BODY


async def put_small(fb):
    await fb.put_object("bucket", "other", SMALL)
    return True


async def put_large(fb):
    await fb.put_object("bucket", "other", LARGE)
    return True


async def head(fb):
    return (await fb.head_object("bucket", "key")).size == len(BODY)


@dataclass(frozen=True)
class Case:
    """A server, what is asked of it, the setting whose time is up, and the error that says so."""

    server: object
    verb: object
    timer: str
    error: type[Exception]
    says: str


UNCONNECTED = f"no connection within {TIMER} s"
UNANSWERED = f"no answer and no progress within {TIMER} s"
STALLED = f"no byte of the body for {TIMER} s"
CASES = [
    Case(accepts_nobody, get, "connect_timeout", EndpointConnectError, UNCONNECTED),
    Case(no_handshake, get, "connect_timeout", EndpointConnectError, UNCONNECTED),
    Case(no_handshake, put_small, "connect_timeout", EndpointConnectError, UNCONNECTED),
    Case(silent, get, "first_byte_timeout", EndpointTimeoutError, UNANSWERED),
    Case(silent, head, "first_byte_timeout", EndpointTimeoutError, UNANSWERED),
    Case(silent, put_small, "first_byte_timeout", EndpointTimeoutError, UNANSWERED),
    Case(silent, put_large, "first_byte_timeout", EndpointTimeoutError, UNANSWERED),
    Case(deaf, put_small, "first_byte_timeout", EndpointTimeoutError, UNANSWERED),
    Case(deaf, put_large, "stall_timeout", EndpointTimeoutError, UNANSWERED),
    Case(stalls, get, "stall_timeout", EndpointTimeoutError, STALLED),
]


def case_id(case):
    return f"{case.server.__name__}-{case.verb.__name__}"


@pytest.mark.parametrize("case", CASES, ids=case_id)
async def test_the_only_node_ends_in_time(running, case):
    """Whatever a lonely node leaves undone, the one timer that watches over it ends the request, with a typed
    error that says what did not happen, at which node.
    """
    async with case.server() as url:
        settings = settings_for(url, attempts=1, **{**FAR, case.timer: TIMER}, total_timeout=60.0)
        async with running(settings) as fb:
            start = time.monotonic()
            with pytest.raises(case.error, match=re.escape(case.says)) as caught:
                await case.verb(fb)
            assert TIMER * 0.9 <= time.monotonic() - start < TIMER + LATE
            assert type(caught.value) is case.error
            [node] = fb.nodes()
            assert [row.endpoint for row in caught.value.attempts] == [node.id]
            assert node.failures == 1


@pytest.mark.parametrize("case", CASES, ids=case_id)
async def test_the_other_node_serves(running, case):
    """Beside a healthy node, one that does nothing in time costs its timer; every request succeeds."""
    store = MemoryStore()
    store.objects["/bucket/key"] = BODY
    async with case.server() as url, scripted(store) as good:
        settings = settings_for(url, good, **{**FAR, case.timer: TIMER}, total_timeout=60.0)
        async with running(settings) as fb:
            start = time.monotonic()
            for _ in range(6):
                assert await case.verb(fb)
            bad = next(node for node in fb.nodes() if node.id != good.id)
            assert bad.failures >= 1
            assert next(node for node in fb.nodes() if node.id == good.id).failures == 0
            assert time.monotonic() - start < bad.failures * TIMER + LATE
        assert len(good.seen) == 6


async def test_the_total_time_ends_a_body_that_dribbles(running):
    """A body that always makes progress, a byte at a time, ends at the deadline of the call or of the
    settings; no node is blamed for it. A stream has no such deadline unless its caller says so.
    """
    async with dribbles() as url:
        limits = {**FAR, "stall_timeout": TIMER, "total_timeout": 2 * TIMER}
        async with running(settings_for(url, **limits)) as fb:
            for options, seconds in (({}, 2 * TIMER), ({"timeout": TIMER}, TIMER)):
                start = time.monotonic()
                with pytest.raises(DeadlineExceededError):
                    await fb.get_object("bucket", "key", **options)
                assert seconds * 0.9 <= time.monotonic() - start < seconds + LATE
            async with fb.stream_object("bucket", "key") as body:
                start = time.monotonic()
                while time.monotonic() - start < 3 * TIMER:
                    assert await body.read_some()
            with pytest.raises(DeadlineExceededError):
                async with fb.stream_object("bucket", "key", timeout=TIMER) as body:
                    await body.read()
            [node] = fb.nodes()
            assert (node.failures, node.breaker) == (0, "closed")


async def test_the_only_connection_is_held(running):
    """Where an open stream holds the only connection, the wait for it is bounded, and the error names the
    endpoint, the leases and the age of the oldest; beside another node nobody has to wait.
    """
    async with stalls() as url, scripted(stored()) as good:
        async with running(settings_for(url, max_connections=1, **{**FAR, "pool_timeout": TIMER})) as fb:
            async with fb.stream_object("bucket", "key") as body:
                assert await body.read_some()
                start = time.monotonic()
                with pytest.raises(PoolTimeoutError) as caught:
                    await fb.head_object("bucket", "key")
                assert TIMER * 0.9 <= time.monotonic() - start < TIMER + LATE
                [node] = fb.nodes()
                text = str(caught.value)
                assert caught.value.endpoint == node.id
                assert node.id in text
                assert "1 lease" in text
                assert float(re.search(r"oldest for ([\d.]+) s", text)[1]) >= round(TIMER * 0.9, 1)
                assert fb.stats().leases == 1
                assert (node.failures, node.breaker) == (0, "closed")
            assert fb.stats().leases == 0
        async with running(settings_for(url, good, max_connections=1, **FAR)) as fb:
            held = next(node.id for node in fb.nodes() if node.id != good.id)
            async with fb.stream_object("bucket", "key", endpoint=held) as body:
                assert await body.read_some()
                for _ in range(4):
                    assert await head(fb)


def stored():
    store = MemoryStore()
    store.objects["/bucket/key"] = BODY
    return store


async def test_a_client_ends_in_time_beside_a_silent_node():
    """A client that is closed while a silent node keeps a request waits for its drain, and no longer."""
    async with silent() as url:
        fb = FlashbackClient(settings_for(url, **FAR))
        await fb.start()
        task = asyncio.create_task(fb.get_object("bucket", "key"))
        await asyncio.sleep(0.1)
        start = time.monotonic()
        await fb.aclose(drain=TIMER)
        assert TIMER * 0.9 <= time.monotonic() - start < TIMER + LATE
        results = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(results[0], ClientClosedError)
