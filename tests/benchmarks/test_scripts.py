"""Every benchmark of clients, with as little load as it takes, against the server that needs no nginx."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "lane_overhead": ["--quick", "--rounds=2", "--seconds=0.02", "--clients=2", "--server=fixed"],
    "peers": [
        *("--quick", "--rounds=1", "--seconds=0.02", "--server=fixed", "--sizes", "4096"),
        *("--only", "bare", "underneath", "flashback", "flashback-fast"),
    ],
    "concurrency": [
        *("--quick", "--rounds=1", "--seconds=0.02", "--server=fixed"),
        *("--in-flight", "2", "--endpoints", "2"),
    ],
    "boto_knobs": ["--rounds=1", "--operations", "GET"],
    "startup": ["--rounds=1", "--server=fixed", "--only", "flashback-fast"],
    "file_uploads": ["--rounds=1", "--seconds=0.02", "--server=fixed", "--sizes", "300000"],
    "fleet": ["--nodes", "2", "--warm-up", "0.5", "--seconds", "0.5"],
}


@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_runs_and_stores_what_it_found(name, tmp_path):
    """A benchmark ends well, and its file says what was asked, on what machine, and what came of it."""
    path = tmp_path / "result.json"
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *TINY[name], "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(path.read_text())
    assert document["question"].endswith("?")
    assert document["machine"]["packages"]["aioboto3"]
    assert document["rows"]
    figures = [value for row in document["rows"] for value in row.values() if isinstance(value, float)]
    assert figures
    assert all(value >= 0 for value in figures)


def test_the_bare_client_is_told_what_the_packages_clients_are_told():
    """The aioboto3 client that bounds relate to has the same Config, apart from what its own HTTP needs."""
    program = (
        "import asyncio\n"
        "from measuring.contestants import Bare, Underneath\n"
        "async def config(kind):\n"
        "    made = kind(); made.load(); await made.open(['http://127.0.0.1:1'])\n"
        "    found = made.clients[0].meta.config; await made.close(); return found\n"
        "ours, bare = (asyncio.run(config(kind)) for kind in (Underneath, Bare))\n"
        "names = {*ours.OPTION_DEFAULTS, 's3'}\n"
        "print(*sorted(name for name in names if getattr(ours, name) != getattr(bare, name)))\n"
    )
    assert said_by(program) == "connect_timeout max_pool_connections\n"


def test_a_contestant_that_is_not_installed_says_so(tmp_path):
    """Who lacks a peer's package is told which one, instead of being shown a traceback."""
    (tmp_path / "obstore.py").write_text("raise ImportError('No module named obstore')\n")
    program = (
        "import sys; from measuring import contestants; sys.path.insert(0, sys.argv[1])\n"
        "try: contestants.loaded('obstore')\n"
        "except contestants.UnavailableError as error: print(error)\n"
    )
    assert said_by(program, str(tmp_path)) == "not installed: No module named obstore\n"


def said_by(program, *arguments):
    """What a program prints that imports from benchmarks/."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT / "benchmarks",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
