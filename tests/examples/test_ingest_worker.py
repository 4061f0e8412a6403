"""The worker stores everything, counts what failed, and drains when it is told to end."""

from __future__ import annotations

import re
import signal

import pytest

from flashback_async.sandbox import Behaviour

from .eventually import eventually

COUNT = re.compile(r"(\d+) stored, (\d+) failed(, stopped)?")


@pytest.fixture
def folder(tmp_path):
    """A function that makes a directory of that many small files, and tells what is in them."""

    def fill(number):
        contents = {f"{index % 7}/{index}.txt": f"{index}\n".encode() for index in range(number)}
        for name, data in contents.items():
            path = tmp_path / "inbox" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path / "inbox", contents

    return fill


async def told_by(process):
    """Counts of the last line of the log, and all of the log."""
    _, log = await process.communicate()
    told = COUNT.search(log.decode())
    assert told, log.decode()
    stored, failed, stopped = told.groups()
    return int(stored), int(failed), stopped is not None, log.decode()


async def test_stores_every_file(run, folder, fb):
    """Every file is an object under its relative path, and the exit code is 0."""
    root, contents = folder(100)
    async with run("ingest_worker.py", "demo", root) as process:
        assert (await told_by(process))[:3] == (100, 0, False)
    assert process.returncode == 0
    assert {info.key async for info in fb.list_objects("demo")} == set(contents)
    assert (await fb.get_object("demo", "3/94.txt")).body == contents["3/94.txt"]


async def test_counts_failures(run, folder, fb):
    """A file that cannot be stored is named and counted; the others are stored; the exit code is 1."""
    root, _ = folder(20)
    deep = root.joinpath(*["x" * 200] * 6)
    deep.mkdir(parents=True)
    (deep / "longer-than-any-key").write_bytes(b"")
    async with run("ingest_worker.py", "demo", root) as process:
        stored, failed, stopped, log = await told_by(process)
    assert (stored, failed, stopped) == (20, 1, False)
    assert "longer-than-any-key" in log
    assert process.returncode == 1


async def test_survives_a_dead_node(run, folder, fb, cluster):
    """A node dies in the middle of the work, and nothing is lost."""
    root, contents = folder(200)
    for node in cluster.nodes:
        await node.set(Behaviour(latency=0.1))
    async with run("ingest_worker.py", "demo", root) as process:
        await writes(process, cluster.nodes[:1], more_than=5)
        await cluster.nodes[0].kill()
        assert (await told_by(process))[:3] == (200, 0, False)
    assert process.returncode == 0
    assert {info.key async for info in fb.list_objects("demo")} == set(contents)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_drains_when_told_to_end(run, folder, fb, cluster, number):
    """On a signal nothing more is begun, what was begun is stored, and the exit code names the signal."""
    root, contents = folder(1_000)
    for node in cluster.nodes:
        await node.set(Behaviour(latency=0.2))
    async with run("ingest_worker.py", "demo", root) as process:
        await writes(process, cluster.nodes, more_than=50)
        process.send_signal(number)
        stored, failed, stopped, log = await told_by(process)
    assert process.returncode == 128 + number
    assert stopped
    assert failed == 0
    assert 50 < stored < len(contents)
    assert "Traceback" not in log
    assert len([info async for info in fb.list_objects("demo")]) == stored


async def writes(process, nodes, *, more_than):
    """Wait until these nodes have seen so many writes, or the process has ended."""

    async def seen():
        counts = [(await node.stats()).by_method.get("PUT", 0) for node in nodes]
        return sum(counts) > more_than or process.returncode is not None

    await eventually(seen, within=20)
