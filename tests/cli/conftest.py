"""A local Flashback, and three ways to run the command: in this process, in its own, on a terminal."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from flashback_async import FlashbackClient
from flashback_async.sandbox.fixtures import flashback_cluster_factory  # noqa: F401  # a fixture

from . import processes


@pytest.fixture
def cluster(flashback_cluster_factory, monkeypatch):  # noqa: F811
    """Four near nodes on moto, healthy and empty, with a bucket `demo`; the `FB_*` variables lead there."""
    cluster = flashback_cluster_factory(nodes=4, latency=0.001)
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    return cluster


@pytest.fixture(autouse=True)
def logger_as_it_was():
    """The command silences the package's logger for its own process, which here is the tests' process."""
    logger = logging.getLogger("flashback_async")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.fixture
def flashback():
    """Run the command in this process: `.code`, `.out`, `.err`, `.rows` (its JSON lines)."""

    def run(*arguments, **variables):
        # Imported late, so that a test without it does not pay for it.
        from flashback_async.cli.app import app  # noqa: PLC0415

        result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=variables)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        lines = result.stdout.splitlines()
        return SimpleNamespace(
            code=result.exit_code,
            out=result.stdout,
            err=result.stderr,
            rows=[json.loads(line) for line in lines if line.startswith("{")],
        )

    return run


@pytest.fixture
def process():
    """Run the command in a process of its own; see `processes.run`."""
    return processes.run


@pytest.fixture
def terminal():
    """Run the command on a terminal; see `processes.on_terminal`."""
    return processes.on_terminal


@pytest.fixture
def store(cluster):
    """Put and read objects past the command: `store.put(key, data)`, `store.get(key)`, `store.keys()`."""

    def act(work):
        async def acting():
            async with FlashbackClient(cluster.settings(probes=False)) as client:
                return await work(client)

        return asyncio.run(acting())

    async def keys(client):
        return [info.key async for info in client.list_objects("demo")]

    async def put(client, objects):
        slots = asyncio.Semaphore(16)

        async def one(key, data):
            async with slots:
                await client.put_object("demo", key, data)

        await asyncio.gather(*(one(key, data) for key, data in objects.items()))

    async def get(client, key):
        return (await client.get_object("demo", key)).body

    return SimpleNamespace(
        put=lambda objects: act(lambda client: put(client, objects)),
        get=lambda key: act(lambda client: get(client, key)),
        keys=lambda: act(keys),
    )


@pytest.fixture
def on_cluster(cluster):
    """Run a coroutine about the cluster, such as `node.kill()`, from a test that has no loop."""
    return asyncio.run


@pytest.fixture
def on_all_nodes(cluster):
    """Give every node that behaviour."""

    async def behave(behaviour):
        for node in cluster.nodes:
            await node.set(behaviour)

    return lambda behaviour: asyncio.run(behave(behaviour))


def files_below(directory):
    """Relative name -> bytes of every file, hidden ones too."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }
