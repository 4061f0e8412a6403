"""`flashback sandbox`."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path

import pytest

from . import processes


def exports(process, count):
    """The variables that a sandbox prints."""
    lines = [process.stdout.readline().decode() for _ in range(count)]
    assert all(line.startswith("export FB_") for line in lines)
    return dict(shlex.split(line)[1].split("=", 1) for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sandbox_serves_until_it_is_ended(process, number):
    """Shell code that leads there on stdout, a table of nodes on stderr; a signal ends all processes."""
    with processes.started(
        "sandbox", "--nodes", "1", "--bucket", "mine", "--tls", "--latency", "0"
    ) as sandbox:
        variables = exports(sandbox, 5)
        assert Path(variables["FB_CA_FILE"]).is_file()
        listed = process("ls", "mine", **variables)
        assert (listed.code, listed.err) == (0, [])
        sandbox.send_signal(number)
        out, errors = sandbox.communicate(timeout=20)
    assert (sandbox.returncode, out) == (128 + number, b"")
    table = errors.decode().splitlines()
    assert table[0].split() == ["node", "region", "provider", "distance", "url"]
    assert table[1].split()[:2] == ["node-1", "us-east-1"]
    assert table[3].rstrip() == "buckets: mine; Ctrl-C ends everything"
    assert not Path(variables["FB_CA_FILE"]).exists()
    after = process("nodes", **{**variables, "FB_CA_FILE": "", "FB_DISCOVERY_TIMEOUT": "2"})
    assert after.code == 254


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--nodes", "0"), "nodes=0"), (("--latency", "-1"), "-1"), (("--bucket", "no bucket"), "no bucket")],
)
def test_values_that_cannot_be_are_refused(flashback, arguments, says):
    """A wrong value is named in one line, with 252."""
    done = flashback("sandbox", *arguments)
    assert (done.code, len(done.err.splitlines()), done.out) == (252, 1, "")
    assert says in done.err
