"""`flashback demo`, as its user runs it."""

from __future__ import annotations

import json
import signal
import tempfile
from pathlib import Path

from . import processes


def test_a_small_demo_is_perfect(process, tmp_path):
    """Every event happens in both runs, nothing of ours fails, every byte comes back; nothing is left."""
    done = process("demo", "--objects", "60", "--json", "--seed", "3", TMPDIR=str(tmp_path))
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert (document["ok"], document["objects"], document["seed"], document["store"]) == (True, 60, 3, "moto")
    ours, guide = document["flashback"], document["guide"]
    assert (ours["succeeded"], ours["failed"], ours["trees_equal"]) == (120, 0, True)
    assert guide["requests"] == 120
    for text in ("turns 20x slower", "node-2 is killed", "answers 503", "control plane goes down"):
        assert sum(text in line for line in done.err) == 2
    assert not any("\x1b" in line for line in done.err)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_on_a_terminal_is_painted_and_ends_in_a_table(terminal, tmp_path):
    """On a terminal there is a picture while it runs, and a table of both runs at the end."""
    with terminal("demo", "--objects", "60", "--seed", "3", TMPDIR=str(tmp_path)) as shown:
        text = shown.read()
        assert shown.process.returncode == 0, text
    assert "client says" in text
    assert "trees compared byte by byte" in text
    assert "came back identical" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 2


def test_an_interrupted_demo_cleans_up(tmp_path):
    """Ctrl-C ends it with 130, without a traceback, and no process or file remains."""
    with processes.started("demo", "--objects", "3000", TMPDIR=str(tmp_path)) as process:
        while b"copy in" not in process.stderr.readline():
            pass
        assert any(tmp_path.iterdir())
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
    assert not list(Path(tempfile.gettempdir()).glob(f"*{process.pid}*"))
