"""`flashback sandbox`."""

from __future__ import annotations

import shlex
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from . import processes


def exports(process, count):
    """The variables that a sandbox prints."""
    lines = [process.stdout.readline().decode() for _ in range(count)]
    assert all(line.startswith("export FB_") for line in lines)
    return dict(shlex.split(line)[1].split("=", 1) for line in lines)


def test_a_sandbox_serves_until_it_is_interrupted(process):
    """Shell code that leads there on stdout, a table of nodes on stderr; Ctrl-C ends all processes."""
    with processes.started(
        "sandbox", "--nodes", "1", "--bucket", "mine", "--tls", "--latency", "0"
    ) as sandbox:
        variables = exports(sandbox, 5)
        assert Path(variables["FB_CA_FILE"]).is_file()
        listed = process("ls", "mine", **variables)
        assert (listed.code, listed.err) == (0, [])
        sandbox.send_signal(signal.SIGINT)
        out, errors = sandbox.communicate(timeout=20)
    assert (sandbox.returncode, out) == (130, b"")
    table = errors.decode().splitlines()
    assert table[0].split() == ["node", "region", "provider", "distance", "url"]
    assert table[1].split()[:2] == ["node-1", "us-east-1"]
    assert table[3].rstrip() == "buckets: mine; Ctrl-C ends everything"
    assert not Path(variables["FB_CA_FILE"]).exists()
    assert not is_open(variables["FB_BASE_URL"])


def test_a_sandbox_ends_with_its_terminal(tmp_path):
    """SIGTERM and SIGHUP end it as gently as Ctrl-C: no process and no file remains."""
    with processes.started("sandbox", "--nodes", "1", TMPDIR=str(tmp_path)) as sandbox:
        variables = exports(sandbox, 4)
        sandbox.send_signal(signal.SIGHUP)
        sandbox.communicate(timeout=20)
    assert sandbox.returncode == 129
    assert list(tmp_path.iterdir()) == []
    assert not is_open(variables["FB_BASE_URL"])


def is_open(url):
    """Whether anybody listens there."""
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname, parts.port)) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--nodes", "0"), "nodes=0"), (("--latency", "-1"), "-1"), (("--bucket", "no bucket"), "no bucket")],
)
def test_values_that_cannot_be_are_refused(flashback, arguments, says):
    """A wrong value is named in one line, with 252."""
    done = flashback("sandbox", *arguments)
    assert (done.code, len(done.err.splitlines()), done.out) == (252, 1, "")
    assert says in done.err
