"""Connections that break, stall or never come about, and what each of them costs."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from flashback_async import (
    EndpointConnectError,
    EndpointError,
    EndpointServerError,
    EndpointTimeoutError,
    IntegrityError,
)

from .scripted import HOST, RESET, SILENCE, Answer, MemoryStore, scripted, settings_for
from .workload import KIB

BOTH_LANES = True

MIB = 1_024 * KIB
SHORT = {"connect_timeout": 0.4, "first_byte_timeout": 0.4, "stall_timeout": 0.4}


@pytest.fixture
def full_backlog():
    """`host:port` of a listener that accepts nobody, and whose queue is full."""
    listener = socket.socket()
    listener.bind((HOST, 0))
    listener.listen(0)
    address = listener.getsockname()
    waiting = []
    for _ in range(8):
        queued = socket.socket()
        queued.setblocking(False)
        queued.connect_ex(address)
        waiting.append(queued)
    time.sleep(0.1)
    yield f"{HOST}:{address[1]}"
    for queued in (*waiting, listener):
        queued.close()


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_kept_connection_dies_as_it_is_used(running, how):
    """A kept connection that the server ends just as the next request is sent costs nothing: the request is
    sent once more on a new connection, to the same node, which is not blamed.
    """
    store = MemoryStore()
    first = set()

    async def answer(request):
        # Every connection serves one request, then dies on its second one without a byte.
        if request.connection in first:
            return RESET if how == "reset" else Answer(0, then="close")
        first.add(request.connection)
        return await store(request)

    async with scripted(answer) as server, running(settings_for(server)) as fb:
        for number in range(10):
            body = bytes([number]) * 10
            await fb.put_object("bucket", "small", body)
            assert (await fb.get_object("bucket", "small")).body == body
            large = bytes([number]) * MIB
            await fb.put_object("bucket", "large", large)
            assert (await fb.head_object("bucket", "large")).size == MIB
            assert (await fb.get_object("bucket", "large")).body == large
        stats = fb.stats()
        [node] = fb.nodes()
    assert (node.failures, node.opened, node.breaker) == (0, 0, "closed")
    assert (stats.failed, stats.retries) == (0, 0)
    assert server.connections > 10


async def test_a_new_connection_that_dies_counts(running):
    """A fresh connection that breaks before the answer is the node's fault, and another one serves."""

    async def broken(_):
        return RESET

    async with scripted(broken) as bad, scripted() as good, running(settings_for(bad, good)) as fb:
        for number in range(8):
            await fb.put_object("bucket", f"key-{number}", b"data")
        failures = {node.id: node.failures for node in fb.nodes()}
    assert failures[good.id] == 0
    assert failures[bad.id] >= 1
    assert len(good.seen) == 8


@pytest.mark.parametrize("size", [10, 3 * MIB])
async def test_a_put_to_a_silent_peer_ends_in_time(running, size):
    """A PUT to a peer that accepts everything and never answers ends within its timers."""

    async def silent(_):
        return SILENCE

    async with scripted(silent) as server, running(settings_for(server, attempts=1, **SHORT)) as fb:
        start = time.monotonic()
        with pytest.raises(EndpointTimeoutError, match=r"0\.4 s"):
            await fb.put_object("bucket", "key", bytes(size))
        assert 0.3 < time.monotonic() - start < 3.0


async def test_a_put_to_a_peer_that_does_not_read_ends_in_time(running):
    """A large PUT to a peer that accepts the connection and reads nothing ends within its timers."""
    stop = asyncio.Event()

    async def deaf(reader, writer):
        await stop.wait()
        writer.close()

    listening = await asyncio.start_server(deaf, HOST, 0, limit=KIB)
    url = f"http://{HOST}:{listening.sockets[0].getsockname()[1]}"
    async with running(settings_for(url, attempts=1, **SHORT)) as fb:
        start = time.monotonic()
        with pytest.raises(EndpointTimeoutError):
            await fb.put_object("bucket", "key", bytes(32 * MIB))
        assert 0.3 < time.monotonic() - start < 5.0
    stop.set()
    listening.close()


async def test_a_connection_that_is_never_accepted(running, full_backlog):
    """Connecting to a peer that drops everything ends after the connect timeout, and another node serves."""
    url = f"http://{full_backlog}"
    async with running(settings_for(url, attempts=1, **{**SHORT, "first_byte_timeout": 5.0})) as fb:
        start = time.monotonic()
        with pytest.raises(EndpointConnectError, match=r"no connection within 0\.4 s"):
            await fb.get_object("bucket", "key")
        assert 0.3 < time.monotonic() - start < 3.0
    async with scripted() as good, running(settings_for(url, good, **SHORT)) as fb:
        for number in range(6):
            await fb.put_object("bucket", f"key-{number}", b"data")
        assert fb.stats().failed == 0
    assert len(good.seen) == 6


async def test_nobody_listens(running):
    """A refused connection names host and port, and costs no waiting."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    async with running(settings_for(f"http://{HOST}:{port}", attempts=1)) as fb:
        start = time.monotonic()
        with pytest.raises(EndpointConnectError, match=rf"{HOST}:{port}.*[Rr]efused"):
            await fb.get_object("bucket", "key")
        assert time.monotonic() - start < 1.0


async def test_a_name_that_does_not_resolve(running):
    """A host that does not exist is the endpoint's fault, whether the resolver says so or stays silent."""
    async with running(settings_for("https://no-such-host.invalid", attempts=1)) as fb:
        with pytest.raises(EndpointError) as caught:
            await fb.get_object("bucket", "key")
        assert caught.value.endpoint == "no-such-host.invalid"
        assert [node.failures for node in fb.nodes()] == [1]


async def test_an_authority_that_is_not_trusted(tls_cluster, running):
    """A certificate of an unknown authority is a connect error, and nothing is sent."""
    settings = settings_for(*(node.url for node in tls_cluster.nodes))
    async with running(settings) as fb:
        with pytest.raises(EndpointConnectError, match="(?i)certificate"):
            await fb.put_object("demo", "key", b"data")
    assert sum([(await node.stats()).requests for node in tls_cluster.nodes]) == 0


async def test_an_answer_that_is_not_http(running):
    """A peer that speaks something else is the node's fault, and another one serves."""

    async def gibberish(reader, writer):
        await reader.read(100)
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(gibberish, HOST, 0)
    url = f"http://{HOST}:{listening.sockets[0].getsockname()[1]}"
    async with running(settings_for(url, attempts=1)) as fb:
        with pytest.raises(EndpointConnectError):
            await fb.get_object("bucket", "key")
    async with scripted() as good, running(settings_for(url, good)) as fb:
        for number in range(6):
            await fb.put_object("bucket", f"key-{number}", b"data")
    listening.close()


@pytest.mark.parametrize("page", ["<html>Please log in</html>", "<html><br>Please log in", "Please log in"])
async def test_an_answer_that_is_not_s3(running, page):
    """A proxy's page with status 200 is an error, never an empty listing."""

    async def portal(_):
        return Answer(body=page.encode(), headers={"Content-Type": "text/html"})

    async with scripted(portal) as server, running(settings_for(server, attempts=1)) as fb:
        with pytest.raises((EndpointServerError, IntegrityError)) as caught:
            _ = [info async for info in fb.list_objects("bucket")]
        assert caught.value.operation == "ListObjectsV2"
        assert caught.value.bucket == "bucket"


async def test_a_body_that_stalls_on_the_only_node(running):
    """A body that stalls on the only node there is ends in a typed error within the stall timeouts."""

    async def stalling(_):
        return Answer(body=bytes(MIB), headers={"ETag": '"x"'}, sent=100, then="hang")

    async with scripted(stalling) as server, running(settings_for(server, **SHORT)) as fb:
        start = time.monotonic()
        with pytest.raises(EndpointTimeoutError, match="no byte of the body"):
            await fb.get_object("bucket", "key")
        assert time.monotonic() - start < 6.0
