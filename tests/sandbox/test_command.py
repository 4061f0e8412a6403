"""The public surface and the command line."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys

import aiohttp

import flashback_async.sandbox as package
from flashback_async.sandbox import LocalFlashback
from flashback_async.sandbox.__main__ import main
from flashback_async.sandbox.serve import serve


def test_the_public_names_are_sorted_and_there():
    """`__all__` is sorted, and everything in it exists and is documented."""
    assert package.__all__ == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name).__doc__


def test_importing_the_package_imports_neither_stores_nor_clients():
    """Importing the sandbox costs no moto, trustme, aiohttp or boto."""
    script = (
        "import sys, flashback_async.sandbox; "
        "print(sorted({'moto', 'trustme', 'aiohttp', 'botocore', 'pydantic', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_command_runs_until_interrupted():
    """`python -m flashback_async.sandbox` prints shell code and ends cleanly with Ctrl-C."""
    command = [sys.executable, "-m", "flashback_async.sandbox", "--nodes", "1", "--bucket", "one", "--tls"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(7)]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")
    assert lines[0].startswith("# node-1: https://127.0.0.2:")
    assert "buckets: one;" in lines[1]
    variables = dict(shlex.split(line)[1].split("=", 1) for line in lines[2:])
    assert list(variables) == ["FB_KEY_ID", "FB_KEY_SECRET", "FB_JWT", "FB_BASE_URL", "FB_CA_FILE"]


async def test_serving_shows_a_running_cluster():
    """What `serve` writes is true while it runs; SIGTERM ends it and everything else."""
    lines = []
    serving = asyncio.ensure_future(serve(LocalFlashback(1, latency=0.0), write=lines.append))
    async with asyncio.timeout(20):
        while len(lines) < 6:
            await asyncio.sleep(0.01)
        url = shlex.split(lines[-1])[1].removeprefix("FB_BASE_URL=")
        async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as answer:
            assert answer.status == 200
        os.kill(os.getpid(), signal.SIGTERM)
        await serving


def test_a_wrong_argument_is_explained(capsys):
    """A value that cannot work gives exit code 1 and says why."""
    assert main(["--nodes", "0"]) == 1
    assert capsys.readouterr().err == "nodes=0: give a number from 1 to 200\n"


def test_main_serves(monkeypatch):
    """Arguments become a cluster; without any the buckets are `demo`."""
    seen = []

    async def look(cluster, *, write):
        seen.append(cluster)

    monkeypatch.setattr("flashback_async.sandbox.__main__.serve", look)
    assert main(["--nodes", "2", "--latency", "0.5"]) == 0
    assert seen[0]._registry.buckets == ("demo",)
    assert [spec.latency for spec in seen[0]._specs] == [0.5, 0.5]
