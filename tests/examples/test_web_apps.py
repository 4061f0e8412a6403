"""The two web services keep the same promises, so they pass the same tests."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from flashback_async.sandbox import Behaviour

from .eventually import eventually

# What `python aiohttp_app.py` does, but on a free port.
RUN_AIOHTTP_APP = "import aiohttp_app as it; it.web.run_app(it.make_app(), host='127.0.0.1', port=0)"
LARGE = 16 * 2**20


@asynccontextmanager
async def served_by_uvicorn(module):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(module.app, log_config=None, ws="none", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started or serving.done())
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def served_by_aiohttp(module):
    runner = web.AppRunner(module.make_app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture(params=["fastapi_app", "aiohttp_app"])
async def service(request, example, cluster):
    """URL of a running service, and the client that it uses."""
    module = example(request.param)
    served = served_by_uvicorn if request.param == "fastapi_app" else served_by_aiohttp
    async with served(module) as url:
        (client,) = module.clients
        yield url, client


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def slowly(cluster):
    """The large body takes a second, so that a test can act while one is on its way."""
    for node in cluster.nodes:
        await node.set(Behaviour(bandwidth=LARGE))


async def test_gives_back_what_was_put(service, http, fb):
    """A stored object comes back with its bytes, media type, ETag and length, whatever its key is."""
    url, _ = service
    kind = {"Content-Type": "text/plain; charset=latin-1"}
    async with http.put(f"{url}/demo/a folder/ü.txt", data=b"caf\xe9", headers=kind) as answer:
        assert answer.status == 201
        told = await answer.json()
    info = await fb.head_object("demo", "a folder/ü.txt")
    assert told == {"etag": info.etag, "size": 4}
    async with http.get(f"{url}/demo/a folder/ü.txt") as answer:
        assert await answer.read() == b"caf\xe9"
        assert answer.headers["Content-Type"] == info.content_type == kind["Content-Type"]
        assert answer.headers["Content-Length"] == "4"
        assert answer.headers["ETag"] == info.etag


async def test_a_missing_object_is_a_404(service, http):
    """An object that is not there is the browser's error, not the service's."""
    url, client = service
    async with http.get(f"{url}/demo/missing") as answer:
        assert answer.status == 404
        assert "missing" in await answer.text()
    assert client.stats().leases == 0


async def test_an_upload_survives_a_dead_node(service, http, cluster, fb):
    """An upload goes to the next node when the first one is dead, with all its bytes."""
    url, client = service
    data = os.urandom(3 * 2**20)
    best = await client.pick_endpoint("demo")
    await next(node for node in cluster.nodes if node.ip == best.id).kill()
    async with http.put(f"{url}/demo/upload", data=io.BytesIO(data)) as answer:
        assert answer.status == 201
    assert (await fb.get_object("demo", "upload")).body == data


async def test_a_download_survives_the_death_of_its_node(service, http, cluster, fb):
    """The node that serves a large download is killed in the middle of it; the browser sees every byte."""
    url, client = service
    data = os.urandom(LARGE)
    await fb.put_object("demo", "large", data)
    await slowly(cluster)
    async with http.get(f"{url}/demo/large") as answer:
        received = bytearray(await answer.content.readexactly(2**20))
        (serving,) = [view.id for view in client.nodes() if view.streaming]
        await next(node for node in cluster.nodes if node.ip == serving).kill()
        async for chunk in answer.content.iter_any():
            received += chunk
    assert received == data
    assert client.stats().resumed == 1
    await eventually(lambda: client.stats().leases == 0)


async def test_a_browser_that_goes_away_frees_the_connection(service, http, cluster, fb):
    """When the reader disappears in the middle of a download, its lease is back within a moment."""
    url, client = service
    await fb.put_object("demo", "large", os.urandom(LARGE))
    await slowly(cluster)
    for _ in range(3):
        async with http.get(f"{url}/demo/large") as answer:
            await answer.content.readexactly(2**16)
            assert client.stats().leases == 1
            answer.close()
        await eventually(lambda: client.stats().leases == 0 and client.stats().in_flight == 0)


@pytest.mark.parametrize(
    "command",
    [("-m", "uvicorn", "fastapi_app:app", "--port", "0"), ("-c", RUN_AIOHTTP_APP)],
    ids=["fastapi_app", "aiohttp_app"],
)
async def test_sigterm_ends_the_process_in_order(command, run, http, cluster, fb):
    """A service that is told to end lets the running download finish, closes its client, and says no more."""
    data = os.urandom(LARGE)
    await fb.put_object("demo", "large", data)
    await slowly(cluster)
    async with run(*command) as process:
        output = []

        async def collect(stream):
            async for line in stream:
                output.append(line.decode())  # noqa: PERF401  # read while it grows

        async with asyncio.TaskGroup() as group:
            group.create_task(collect(process.stdout))
            group.create_task(collect(process.stderr))
            address = await eventually(
                lambda: re.search(r"unning on http://[\d.]+:(\d+)", "".join(output)), within=20
            )
            async with http.get(f"http://127.0.0.1:{address[1]}/demo/large") as answer:
                received = await answer.content.readexactly(2**20)
                process.send_signal(signal.SIGTERM)
                received += await answer.content.read()
            status = await process.wait()
    assert received == data
    # uvicorn passes the signal on when it has cleaned up.
    assert status in {0, -signal.SIGTERM}
    assert "Traceback" not in "".join(output)
    assert "rror" not in "".join(output)
