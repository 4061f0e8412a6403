"""A local Flashback that the `FB_*` variables name, and what starts an example."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flashback_async import FlashbackClient
from flashback_async.sandbox.fixtures import flashback_cluster_factory  # noqa: F401  # a fixture

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def cluster(flashback_cluster_factory, monkeypatch):  # noqa: F811
    """Four equally near nodes on moto; `FlashbackClient()` finds them."""
    cluster = flashback_cluster_factory(nodes=4, latency=0.002, store="moto")
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    return cluster


@pytest.fixture
async def fb(cluster):
    """A client of the test's own, to fill and to read the store."""
    async with FlashbackClient() as client:
        yield client


@pytest.fixture
def example(monkeypatch):
    """Import an example by name; `clients` of the module are those that it has made."""

    def load(name):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        module.clients = []

        def recorded(*args, **kwargs):
            module.clients.append(FlashbackClient(*args, **kwargs))
            return module.clients[-1]

        monkeypatch.setattr(module, "FlashbackClient", recorded)
        return module

    return load


@pytest.fixture
def run():
    """A Python process in the folder of the examples, gone at the end of the block."""

    @asynccontextmanager
    async def running(*arguments):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *map(str, arguments),
            cwd=EXAMPLES,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(30):
                yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    return running
