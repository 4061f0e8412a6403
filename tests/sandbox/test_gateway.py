"""A gateway before a scripted store, in the test's loop: what passes, and what every behaviour does."""

from __future__ import annotations

import asyncio
import os
import time
from io import BytesIO

import aiohttp
import pytest

from flashback_async.sandbox import Behaviour, RateLimit, WritesDisabled

from .servers import HOST, ask, connection, get, put, running_gateway


@pytest.fixture
async def gateway():
    async with running_gateway() as running:
        yield running


async def settled(gateway, outcome):
    """The counters, once a request with this outcome is over."""
    async with asyncio.timeout(5):
        while not (stats := await gateway.stats()).by_outcome.get(outcome):
            await asyncio.sleep(0.001)
    return stats


@pytest.mark.parametrize("size", [0, 1, 1024, 65_536, 65_537, 9 * 2**20])
async def test_bytes_pass_unchanged(gateway, size):
    """What is put through a gateway comes back byte for byte, whatever its size."""
    data = os.urandom(size)
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{gateway.url}/demo/key", data=BytesIO(data)) as answer:
            assert answer.status == 200
        async with session.get(f"{gateway.url}/demo/key") as answer:
            assert await answer.read() == data
    stats = await gateway.stats()
    assert (stats.bytes_in, stats.bytes_out) == (size, size)


async def test_a_request_passes_as_it_was_written(gateway):
    """Target, order and spelling of the fields, and Host reach the store untouched: signatures hold."""
    target = "/demo/a%2Fb//c%20%C3%A4+?x-id=GetObject&prefix=%2B&empty"
    lines = f"GET {target} HTTP/1.1\r\nhOST: s3.example.com:99\r\nX-Amz-Date: 1\r\nx-amz-date:  2 \r\n\r\n"
    async with connection(gateway.port) as (reader, writer):
        await ask(reader, writer, lines.encode())
    assert gateway.store.heads == [lines.encode()]


async def test_connections_are_kept_on_both_sides(gateway):
    """Requests share one connection of the client and one to the store; the rest is counted apart."""
    async with connection(gateway.port) as (reader, writer):
        for number in range(5):
            head, _ = await ask(reader, writer, put(f"/demo/{number}", b"x"))
            assert b"Connection: keep-alive" in head
        assert (await ask(reader, writer, get("/demo/4")))[1] == b"x"
    assert gateway.store.connections == 1


async def test_a_connection_the_store_has_closed_is_not_used_again(gateway):
    """A store that closes its connections, as moto does, costs the client nothing."""
    async with connection(gateway.port) as (reader, writer):
        for _ in range(3):
            head, body = await ask(reader, writer, get("/closing"))
            assert b"keep-alive" in head
            assert body == b"ok"
    assert gateway.store.connections == 3


async def test_a_silently_closed_store_connection_is_noticed(gateway):
    """A kept connection that the store closed meanwhile is replaced before the next request."""
    async with connection(gateway.port) as (reader, writer):
        await ask(reader, writer, get("/demo/1"))
        relay = gateway.service.front._backend
        relay._idle[0].reader.feed_eof()
        head, _ = await ask(reader, writer, get("/demo/2"))
    assert b"404" in head
    assert gateway.store.connections == 2


async def test_a_client_decides_about_its_connection(gateway):
    """`Connection: close` and HTTP/1.0 end the connection after the answer."""
    for request in (b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET /a HTTP/1.0\r\n\r\n"):
        async with connection(gateway.port) as (reader, writer):
            writer.write(request)
            answer = await reader.read()
            assert b"Connection: close" in answer
    async with connection(gateway.port) as (reader, writer):
        for _ in range(2):
            head, _ = await ask(reader, writer, b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert b"Connection: keep-alive" in head


async def test_health_needs_neither_key_nor_store(gateway):
    """A probe is answered 200 by the gateway itself and counted as no request."""
    async with connection(gateway.port) as (reader, writer):
        head, body = await ask(reader, writer, get("/health"))
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b'{"status": "ok"}'
    stats = await gateway.stats()
    assert (stats.health, stats.requests, gateway.store.heads) == (1, 0, [])


async def test_expect_is_answered_by_the_gateway(gateway):
    """The go-ahead comes before the body, and the store never sees the expectation."""
    request = put("/demo/key", b"hello", "Expect: 100-continue")
    async with connection(gateway.port) as (reader, writer):
        writer.write(request[:-5])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        head, _ = await ask(reader, writer, b"hello")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"xpect" not in gateway.store.heads[0]
    assert gateway.store.objects == {"/demo/key": b"hello"}


async def test_a_refused_expectation_gets_no_go_ahead(gateway):
    """A body that is too large is refused before it is sent; the connection ends."""
    await gateway.set(Behaviour(max_body=4))
    async with connection(gateway.port) as (reader, writer):
        writer.write(put("/demo/key", b"hello", "Expect: 100-continue")[:-5])
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close" in head


async def test_chunked_bodies_pass(gateway):
    """Chunks, extensions and trailers pass in both directions."""

    async def pieces():
        for _ in range(3):
            yield b"x" * 70_000

    async with aiohttp.ClientSession() as session:
        async with session.put(f"{gateway.url}/demo/key", data=pieces()) as answer:
            assert answer.status == 200
        async with session.get(f"{gateway.url}/chunked") as answer:
            assert await answer.read() == b"hello world"
        async with session.get(f"{gateway.url}/interim") as answer:
            assert await answer.read() == b"at last"
    assert gateway.store.objects["/demo/key"] == b"x" * 210_000


async def test_a_body_that_ends_with_its_connection_passes(gateway):
    """An answer without length ends the client's connection too, and is HTTP/1.1 there."""
    async with connection(gateway.port) as (reader, writer):
        writer.write(get("/until-close"))
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
    assert answer.endswith(b"\r\n\r\nuntil the end")


async def test_answers_without_body_keep_the_connection(gateway):
    """204 and HEAD carry no body, whatever their fields say."""
    async with connection(gateway.port) as (reader, writer):
        await ask(reader, writer, put("/demo/key", b"hello"))
        writer.write(b"HEAD /demo/key HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"Content-Length: 5" in await reader.readuntil(b"\r\n\r\n")
        head, _ = await ask(reader, writer, b"DELETE /demo/key HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 204 ")
        head, _ = await ask(reader, writer, get("/demo/key"))
        assert head.startswith(b"HTTP/1.1 404 ")


async def test_an_early_answer_reaches_a_client_that_still_sends(gateway):
    """A store may refuse before it has read the body; the client gets that answer."""
    async with connection(gateway.port) as (reader, writer):
        writer.write(b"PUT /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 403 ")
        assert b"Connection: close" in head


@pytest.mark.parametrize(
    ("target", "outcome", "start"),
    [
        ("/broken", "store_failed", b"HTTP/1.1 200 "),
        ("/broken-chunk", "store_failed", b"HTTP/1.1 200 "),
        ("/broken-line", "store_failed", b"HTTP/1.1 200 "),
        ("/no-chunk", "store_failed", b""),
        ("/gone", "bad_gateway", b"HTTP/1.1 502 "),
        ("/nonsense", "bad_gateway", b"HTTP/1.1 502 "),
    ],
)
async def test_a_failing_store_is_the_gateways_failure(gateway, target, outcome, start):
    """A store that breaks off or answers nonsense gives a short body or 502, and a counted outcome."""
    async with connection(gateway.port) as (reader, writer):
        writer.write(
            get(target) if target == "/gone" else get(target).replace(b"Host: x", b"Connection: close")
        )
        async with asyncio.timeout(2):
            answer = await reader.read() if outcome == "store_failed" else await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(start)
    assert (await settled(gateway, outcome)).in_flight == 0


async def test_a_missing_store_is_a_bad_gateway(gateway):
    """Without a store the gateway says 502 in HTML, after reading the body that was sent."""
    await asyncio.sleep(0)
    gateway.service.front._backend._port = 1
    async with connection(gateway.port) as (reader, writer):
        head, body = await ask(reader, writer, put("/demo/key", b"x" * 1000))
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"nginx" in body
        assert b"Connection: keep-alive" in head


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\nwithout colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
        b"GET / HT",
    ],
)
async def test_broken_requests_end_their_connection(gateway, request_):
    """What is not HTTP gets no answer, and the next client is served as before."""
    async with connection(gateway.port) as (reader, writer):
        writer.write(request_)
        writer.write_eof()
        assert await reader.read() == b""
    async with connection(gateway.port) as (reader, writer):
        assert (await ask(reader, writer, get("/health")))[1]


async def test_latency_delays_the_answer(gateway):
    """Distance, latency and nothing else pass before the answer."""
    await gateway.set(Behaviour(latency=0.15))
    started = time.monotonic()
    async with connection(gateway.port) as (reader, writer):
        await ask(reader, writer, get("/demo/key"))
    assert 0.15 <= time.monotonic() - started < 5


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_bandwidth_is_shared(gateway, direction):
    """Two transfers through one slow node take twice as long as one, in either direction."""
    gateway.store.objects["/demo/key"] = b"x" * 50_000
    await gateway.set(Behaviour(bandwidth=400_000))
    started = time.monotonic()

    async def transfer():
        async with connection(gateway.port) as (reader, writer):
            await ask(reader, writer, put("/other", b"x" * 50_000) if direction == "up" else get("/demo/key"))

    await asyncio.gather(transfer(), transfer())
    assert 0.24 <= time.monotonic() - started < 5


async def test_refusing_closes_port_and_connections(gateway):
    """While it refuses, connecting fails and open connections are reset; then the same port serves again."""
    async with connection(gateway.port) as (reader, writer):
        await ask(reader, writer, get("/health"))
        await gateway.set(Behaviour(refuse=True))
        with pytest.raises(ConnectionResetError):
            await reader.read()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, gateway.port)
    await gateway.set(Behaviour())
    async with connection(gateway.port) as (reader, writer):
        assert (await ask(reader, writer, get("/health")))[1]


async def test_a_black_hole_reads_and_says_nothing(gateway):
    """Kept and new connections are read and never answered; leaving clients are noticed."""
    async with connection(gateway.port) as (reader, writer), connection(gateway.port) as (other, out):
        await ask(reader, writer, get("/health"))
        await gateway.set(Behaviour(black_hole=True))
        writer.write(put("/demo/key", b"x" * 200_000))
        out.write(get("/health"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.gather(reader.read(1), other.read(1))
        await writer.drain()
        assert (await gateway.stats()).in_flight == 2
    stats = await settled(gateway, "black_hole")
    assert (stats.in_flight, gateway.store.heads) == (0, [])


async def test_a_reset_comes_instead_of_the_answer(gateway):
    """The client sees RST, and the store never saw the request."""
    await gateway.set(Behaviour(reset=True))
    async with connection(gateway.port) as (reader, writer):
        writer.write(put("/demo/key", b"x"))
        with pytest.raises(ConnectionResetError):
            await reader.read()
    assert gateway.store.objects == {}


async def test_a_lost_answer_was_executed(gateway):
    """The client sees RST although the store did what was asked."""
    await gateway.set(Behaviour(lose_answer=True))
    async with connection(gateway.port) as (reader, writer):
        writer.write(put("/demo/key", b"x"))
        with pytest.raises(ConnectionResetError):
            await reader.read()
    assert gateway.store.objects == {"/demo/key": b"x"}


@pytest.mark.parametrize(
    ("behaviour", "start", "parts"),
    [
        (Behaviour(status=502), b"HTTP/1.1 502 Bad Gateway", [b"<h1>502 Bad Gateway</h1>", b"text/html"]),
        (Behaviour(status=503, retry_after=2), b"HTTP/1.1 503 ", [b"Retry-After: 2\r\n"]),
        (Behaviour(status=503, body_format="xml"), b"HTTP/1.1 503 ", [b"<Code>SlowDown</Code>", b"/xml"]),
        (Behaviour(status=200, body_format="xml"), b"HTTP/1.1 200 ", [b"<Error><Code>SlowDown</Code>"]),
        (Behaviour(status=400, body_format="xml", error_code="Odd"), b"HTTP/1.1 400 ", [b"<Code>Odd<"]),
        (Behaviour(status=599, body_format="xml"), b"HTTP/1.1 599 Unknown", [b"<Code>InternalError<"]),
    ],
)
async def test_an_injected_answer(gateway, behaviour, start, parts):
    """Any status can be answered, as nginx or as S3 writes it, and the connection goes on."""
    await gateway.set(behaviour)
    async with connection(gateway.port) as (reader, writer):
        head, body = await ask(reader, writer, put("/demo/key", b"x" * 100_000))
        assert head.startswith(start)
        assert all(part in head + body for part in parts)
        assert b"Connection: keep-alive" in head
        await gateway.set(Behaviour())
        assert (await ask(reader, writer, get("/health")))[1]
    assert gateway.store.objects == {}


async def test_an_injected_answer_to_head_has_no_body(gateway):
    """HEAD gets the fields of the answer only."""
    await gateway.set(Behaviour(status=503))
    async with connection(gateway.port) as (reader, writer):
        writer.write(b"HEAD /demo/key HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
    assert b"Content-Length: " in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (Behaviour(truncate_after=0), None),
        (Behaviour(truncate_after=100_000), None),
        (Behaviour(reset_after=0), ConnectionResetError),
        (Behaviour(reset_after=100_000), ConnectionResetError),
        (Behaviour(stall_after=0), TimeoutError),
        (Behaviour(stall_after=100_000), TimeoutError),
    ],
)
async def test_a_body_that_goes_wrong(gateway, behaviour, error):
    """The head announces the full length, exactly the bytes before the fault come, then it strikes."""
    gateway.store.objects["/demo/key"] = data = os.urandom(300_000)
    await gateway.set(behaviour)
    after = getattr(behaviour, behaviour.fault)
    async with connection(gateway.port) as (reader, writer):
        writer.write(get("/demo/key"))
        assert b"Content-Length: 300000\r\n" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(after) == data[:after]
        if error is None:
            assert await reader.read() == b""
        else:
            with pytest.raises(error):
                async with asyncio.timeout(0.1 if error is TimeoutError else 5):
                    await reader.read()
    assert (await settled(gateway, behaviour.fault)).bytes_out == after


async def test_a_body_shorter_than_its_fault_is_served(gateway):
    """A fault behind the end of a body does not strike, also at the end exactly."""
    gateway.store.objects["/demo/key"] = b"hello"
    await gateway.set(Behaviour(truncate_after=5))
    async with connection(gateway.port) as (reader, writer):
        for _ in range(2):
            assert (await ask(reader, writer, get("/demo/key")))[1] == b"hello"
    assert (await gateway.stats()).by_outcome == {"served": 2}


async def test_the_rate_limit_is_nginx(gateway):
    """22 requests at once: 21 pass, the last gets 429 in HTML without Retry-After; probes count too."""
    await gateway.set(Behaviour(rate_limit=RateLimit(rate=0.001)))
    async with connection(gateway.port) as (reader, writer):
        answers = [await ask(reader, writer, get("/health")) for _ in range(22)]
    statuses = [int(head[9:12]) for head, _ in answers]
    assert statuses == [200] * 21 + [429]
    assert b"<h1>429 Too Many Requests</h1>" in answers[-1][1]
    assert b"retry-after" not in answers[-1][0].lower()
    await gateway.set(Behaviour(rate_limit=RateLimit(burst=0, rate=0.001, retry_after=1.5)))
    async with connection(gateway.port) as (reader, writer):
        await ask(reader, writer, get("/a"))
        assert b"Retry-After: 1.5\r\n" in (await ask(reader, writer, get("/a")))[0]


async def test_too_large_a_body_is_refused_while_it_comes(gateway):
    """A client that does not wait sees 413 in HTML although it is still sending."""
    await gateway.set(Behaviour(max_body=2**20))
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{gateway.url}/demo/key", data=BytesIO(b"x" * (2**20 + 1))) as answer:
            assert answer.status == 413
            assert "nginx" in await answer.text()
        async with session.put(f"{gateway.url}/demo/key", data=BytesIO(b"x" * 2**20)) as answer:
            assert answer.status == 200
        async with session.put(f"{gateway.url}/demo/big", data=BytesIO(b"x" * 2**25)) as answer:
            assert answer.status == 413


async def test_disabled_writes_leave_reading_alone(gateway):
    """PUT and POST are refused in XML with the chosen status and code; GET and deleting pass."""
    gateway.store.objects["/demo/key"] = b"x"
    await gateway.set(Behaviour(writes_disabled=WritesDisabled(status=507, code="QuotaUsedUp")))
    async with connection(gateway.port) as (reader, writer):
        head, body = await ask(reader, writer, put("/demo/new", b"x"))
        assert head.startswith(b"HTTP/1.1 507 ")
        assert b"<Code>QuotaUsedUp</Code>" in body
        assert (await ask(reader, writer, get("/demo/key")))[1] == b"x"
        head, _ = await ask(reader, writer, b"DELETE /demo/key HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 204 ")
        head, _ = await ask(reader, writer, b"POST /demo?delete HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404 ")
    assert (await gateway.stats()).by_outcome == {"writes_disabled": 1, "served": 3}


async def test_a_brownout_is_invisible_to_probes(gateway):
    """With `health_ok`, requests fail while `/health` says all is well."""
    await gateway.set(Behaviour(status=500, health_ok=True))
    async with connection(gateway.port) as (reader, writer):
        assert (await ask(reader, writer, get("/health")))[0].startswith(b"HTTP/1.1 200 ")
        assert (await ask(reader, writer, get("/demo/key")))[0].startswith(b"HTTP/1.1 500 ")


async def test_requests_are_counted_in_time(gateway):
    """Every request is counted once, by method and status, and found again in its window of time."""
    before = time.monotonic()
    async with connection(gateway.port) as (reader, writer):
        await ask(reader, writer, put("/demo/key", b"hello"))
        await ask(reader, writer, get("/demo/key"))
        middle = time.monotonic()
        await ask(reader, writer, get("/demo/none"))
        await ask(reader, writer, get("/health"))
    service = gateway.service
    assert await service.count(before, None) == 3
    assert await service.count(before, middle) == 2
    stats = await gateway.stats()
    assert (stats.by_method, stats.by_status) == ({"PUT": 1, "GET": 2}, {200: 2, 404: 1})
    assert (stats.bytes_in, stats.bytes_out) == (5, 12)
    await service.reset_stats()
    assert (await gateway.stats()).requests == 0


async def test_a_client_that_leaves_while_waiting_asks_nothing_of_the_store(gateway):
    """A request whose client left during the latency is dropped and counted as such."""
    await gateway.set(Behaviour(latency=0.05))
    async with connection(gateway.port) as (_, writer):
        writer.write(get("/demo/key"))
        await writer.drain()
    assert (await settled(gateway, "client_gone")).in_flight == 0
    assert gateway.store.heads == []


@pytest.mark.parametrize("announced", [1000, 1_000_000])
async def test_a_client_that_leaves_in_mid_upload_stores_nothing(gateway, announced):
    """An upload whose client left is abandoned, small or large."""
    async with connection(gateway.port) as (_, writer):
        writer.write(f"PUT /demo/key HTTP/1.1\r\nContent-Length: {announced}\r\n\r\nhalf".encode())
        await writer.drain()
        await asyncio.sleep(0.02)
    assert (await settled(gateway, "client_gone")).in_flight == 0
    assert gateway.store.objects == {}
