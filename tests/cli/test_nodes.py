"""`flashback nodes` and `flashback watch`."""

from __future__ import annotations

import io
import json
import re
import signal
from dataclasses import replace

import pytest
from rich.console import Console

from flashback_async.cli.node_table import NodeRow, table_of

from . import processes


def test_nodes_lists_every_node_nearest_first(flashback, cluster):
    """One JSON line per node: where it is, what is said of it, and how far away it is."""
    done = flashback("nodes")
    assert (done.code, done.err) == (0, "")
    assert {row["url"] for row in done.rows} == {node.url for node in cluster.nodes}
    assert {(row["status"], row["breaker"]) for row in done.rows} == {("ONLINE", "closed")}
    assert all(0 < row["round_trip"] < 2 for row in done.rows)
    figures = [row["first_byte"] for row in done.rows]
    assert figures == sorted(figures)
    assert done.rows[0]["chosen"] is True
    assert re.match(r"(the best|one of \d that share the traffic): ", done.rows[0]["reason"])


def test_nodes_shows_a_dead_node_without_a_figure(flashback, cluster, on_cluster):
    """A node that does not answer a probe is listed nevertheless, last, with an unknown distance."""
    on_cluster(cluster.nodes[0].kill())
    done = flashback("nodes", "--json")
    assert done.code == 0
    assert done.rows[-1]["url"] == cluster.nodes[0].url
    assert done.rows[-1]["round_trip"] is None


def test_nodes_takes_fixed_endpoints(flashback, cluster, monkeypatch):
    """With --endpoint no control plane is asked."""
    monkeypatch.delenv("FB_JWT")
    urls = [node.url for node in cluster.nodes[:2]]
    done = flashback("nodes", "--endpoint", urls[0], "--endpoint", urls[1])
    assert (done.code, sorted(row["url"] for row in done.rows)) == (0, sorted(urls))


def test_nodes_expects_figures_for_a_bucket(flashback, cluster):
    """--bucket asks for the published latencies of that bucket."""
    done = flashback("nodes", "--bucket", "demo")
    assert (done.code, len(done.rows)) == (0, 4)


def test_nodes_says_how_much_was_dropped(flashback, cluster, on_cluster):
    """Rows that cannot be used are counted on stderr, with the way to see why."""
    on_cluster(cluster.control_plane.inject(nodes=[{"url": "https://evil.example.org", "status": "ONLINE"}]))
    done = flashback("nodes")
    assert (done.code, len(done.rows)) == (0, 4)
    assert done.err.startswith("1 row of the control plane's answer could not be used")


@pytest.mark.parametrize("columns", [80, 120])
def test_nodes_is_a_table_on_a_terminal(terminal, cluster, columns):
    """Every node is one row that fits; only URLs give way on a narrow terminal."""
    with terminal("nodes", columns=columns) as shown:
        lines = shown.lines()
    assert len(lines) == 2 + 4
    assert all(len(line) <= columns for line in lines)
    assert lines[1].split()[:3] == ["node", "region", "state"]
    assert ("…" in lines[2]) == (columns == 80)
    assert {line.split()[2] for line in lines[2:]} <= {"preferred", "standby"}
    assert lines[2].split()[2] == "preferred"


def test_watch_writes_json_lines_until_interrupted(cluster):
    """Each look is a time and every node; Ctrl-C ends it with 130 and without a word."""
    with processes.started("watch", "--interval", "0.1", "--json") as process:
        rows = [json.loads(process.stdout.readline()) for _ in range(8)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, b"")
    assert len({row["at"] for row in rows}) == 2
    assert {row["url"] for row in rows[4:]} == {node.url for node in cluster.nodes}


def test_watch_repaints_on_a_terminal(terminal, cluster):
    """The table is painted again and again in place, the cursor comes back at the end."""
    with terminal("watch", "--interval", "0.1") as shown:
        shown.read(until="Ctrl-C ends")
        shown.process.send_signal(signal.SIGINT)
        text = shown.read()
    assert shown.process.returncode == 130
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "preferred"),
        ({"chosen": False}, "standby"),
        ({"status": "DISCONNECTED"}, "disconnected"),
        ({"status": "OFFLINE", "breaker": "open", "retry_in": 12.3}, "out for 12 s"),
        ({"breaker": "open", "retry_in": 0.4}, "on trial"),
        ({"breaker": "half-open"}, "on trial"),
    ],
)
def test_every_state_has_its_word(change, word):
    """What the control plane and the router say of a node is one word or two."""
    row = NodeRow("n", "r", "http://n", "ONLINE", "closed", 0.1, 0.2, 0.0, chosen=True, reason="")
    console = Console(file=io.StringIO(), width=80)
    console.print(table_of([replace(row, **change)]))
    assert re.split(r"\s{2,}", console.file.getvalue().splitlines()[2])[2] == word
