"""The demo as it is watched."""

from __future__ import annotations

import asyncio
import io
import logging
from types import SimpleNamespace

import pytest
from rich.console import Console
from virtual_time import scenario

from flashback_async import OperationError
from flashback_async.cli.demo.contestant import NodeFigures
from flashback_async.cli.demo.picture import Picture, Shares
from flashback_async.cli.demo.race import Progress, Result
from flashback_async.cli.demo.screen import Screen
from flashback_async.cli.demo.script import EVENTS, NODES, Phase, Script
from flashback_async.cli.demo.verdict import document_of, sentence_of, table_of

FIGURES = [
    NodeFigures(
        "http://1", "standby", trusted=True, first_byte=0.4123, in_flight=0, requests=7_000, failures=0
    ),
    NodeFigures(
        "http://2", "out for 59 s", trusted=False, first_byte=None, in_flight=0, requests=9, failures=12_345
    ),
    NodeFigures("http://3", "on trial", trusted=None, first_byte=1.5, in_flight=1, requests=0, failures=3),
]


def cluster():
    nodes = [
        SimpleNamespace(id=spec.id, region=spec.region, url=f"http://{number}", ip=f"127.0.0.{number}")
        for number, spec in enumerate(NODES, 1)
    ]
    return SimpleNamespace(nodes=nodes)


def console(width, *, terminal):
    return Console(
        file=io.StringIO(),
        width=width,
        height=24,
        force_terminal=terminal,
        color_system=None,
        highlight=False,
    )


def picture_of(script=None, nodes=lambda phase: FIGURES):
    script = script or Script(None)
    result = Result("us", wanted=3_000, objects=1_234, moved=123_456_789, errors={"X": 1_000})
    progress = Progress(result, script, 1_500)
    progress.ended = 1_234
    contestant = SimpleNamespace(nodes=nodes)
    return Picture("1. us", cluster=cluster(), contestant=contestant, progress=progress, script=script)


def screen_of(console, **options):
    return Screen(console, picture_of(**options), cluster())


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_row_is_wider_than_the_terminal(width):
    """With the longest words and numbers there are, every line of the picture fits, and none is cut off."""
    script = Script(None)
    script.states.update({"node-1": "20x slower", "node-2": "answers 503", "control plane": "down"})
    out = console(width, terminal=True)
    out.print(picture_of(script).at(0.0, width=width))
    lines = out.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    assert not any("…" in line for line in lines)
    # Title, bar, two lines of header, a node each, the control plane, and two blank lines.
    assert len(lines) == 2 + 2 + 2 + 4 + 1
    rows = {line.split()[0]: line.split() for line in lines[6:10]}
    assert rows["node-1"] == ["node-1", "us-east-1", "20x", "slower", "standby", "412", "ms", "-", "0%", "-"]
    assert rows["node-2"][3:7] == ["503", "out", "for", "59"]
    assert rows["node-2"][-1] == "12,345"
    assert "1,234/1,500 objects" in lines[2]
    assert "failed 1,000" in lines[2]
    assert lines[10].startswith("control plane  down")


def test_shares_are_of_the_last_seconds():
    """What happened before three seconds ago no longer counts."""
    shares = Shares()
    assert shares.of({"a": 100, "b": 0}, 0.0) == {"a": 0.0, "b": 0.0}
    assert shares.of({"a": 130, "b": 10}, 1.0) == {"a": 0.75, "b": 0.25}
    assert shares.of({"a": 130, "b": 20}, 4.0) == {"a": 0.0, "b": 1.0}
    assert shares.of({"a": 140, "b": 20}, 9.0) == {"a": 1.0, "b": 0.0}


@scenario
async def test_without_a_terminal_there_are_plain_lines():
    """Events and what the client does about them are lines with the time; nothing is painted."""
    out = console(80, terminal=False)
    logging.getLogger("flashback_async").setLevel(logging.CRITICAL)
    async with screen_of(out) as screen:
        screen.event(EVENTS[0])
        logging.getLogger("flashback_async.x").warning("endpoint 127.0.0.2 is out for 1.0 s: 5 failures\x1b")
        logging.getLogger("flashback_async.x").debug("no")
        await asyncio.sleep(0.3)
    logging.getLogger("flashback_async.x").warning("later")
    assert out.file.getvalue().splitlines() == [
        "  0.0 s  copy in,  15%   node-1 (nearest) turns 20x slower, /health is fine",
        "  0.0 s    node-2 is out for 1.0 s: 5 failures\\x1b",
    ]
    assert logging.getLogger("flashback_async").level == logging.CRITICAL


async def test_long_lines_are_cut_and_not_wrapped():
    """A reason of any length is one line."""
    out = console(80, terminal=False)
    screen_of(out).reaction("endpoint 127.0.0.2 is out: " + "very " * 50)
    (line,) = out.file.getvalue().splitlines()
    assert len(line) == 80
    assert line.endswith("…")


@scenario
async def test_on_a_terminal_the_picture_is_removed_at_the_end():
    """The cursor is hidden once and shown again; the lines stay."""
    out = console(80, terminal=True)
    async with screen_of(out) as screen:
        await asyncio.sleep(0.3)
        screen.event(EVENTS[0])
    text = out.file.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert "turns 20x slower" in text


@scenario
async def test_a_picture_that_cannot_be_painted_is_not_hidden():
    """A bug of the painter comes out at the end instead of leaving an empty screen."""
    out = console(80, terminal=True)
    with pytest.raises(ZeroDivisionError):
        async with screen_of(out, nodes=lambda phase: 1 / 0):
            await asyncio.sleep(0.05)


def results():
    ours = Result("flashback_async", wanted=4, objects=4, moved=4_000_000, seconds=2.0)
    ours.latencies, ours.failovers, ours.resumed = [0.1, 0.2, 0.3, 0.4], {"connect": 1_234, "server": 5}, 7
    guide = Result("the guide's algorithm", wanted=4, objects=2, moved=2_000_000, seconds=4.0)
    guide.errors, guide.differing, guide.latencies = {"ClientError": 2}, ["a", "b"], [0.5, 0.5]
    return ours, guide


def test_the_verdict_fits_80_columns():
    """Both runs side by side, with nothing cut off."""
    out = console(80, terminal=False)
    out.print(table_of(*results()))
    lines = [line.rstrip() for line in out.file.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80
    cells = {line[:31].strip(): line[31:].split("  ") for line in lines if line.strip()}
    shown = {name: [cell.strip() for cell in row if cell.strip()] for name, row in cells.items()}
    assert shown["requests failed"] == ["0", "2"]
    assert shown["trees compared byte by byte"] == ["equal", "2 files differ"]
    assert shown["failovers per cause"] == ["connect 1,234, server 5", "none"]
    assert shown["half of the requests within"] == ["300 ms", "500 ms"]


def test_the_document_says_the_same():
    """As JSON: numbers as numbers, times in seconds."""
    document = document_of(*results(), objects=2)
    assert (document["ok"], document["objects"]) == (True, 2)
    assert document["flashback"]["failovers"] == {"connect": 1_234, "server": 5}
    assert document["flashback"]["p99"] == 0.4
    assert (document["guide"]["failed"], document["guide"]["trees_equal"]) == (2, False)


def test_the_sentence_is_true():
    """Nothing failed, or what did."""
    ours, guide = results()
    assert sentence_of(ours).plain == "2 objects went in and came back identical, and no request failed."
    assert (
        sentence_of(guide).plain == "This must not happen: 2 requests failed (ClientError 2), 2 files differ."
    )


@pytest.mark.parametrize("spoilt", [{"errors": {"X": 1}}, {"differing": ["a"]}, {"objects": 3}])
def test_only_a_perfect_run_is_perfect(spoilt):
    """One failed request, one different file or one object too few is enough."""
    ours, _ = results()
    assert ours.is_perfect
    for name, value in spoilt.items():
        setattr(ours, name, value)
    assert not ours.is_perfect


def test_progress_tells_the_script_how_far_it_is():
    """Successes and failures both count as progress, from the first object to the last."""
    told = []
    script = SimpleNamespace(reached=lambda *step: told.append(step))
    progress = Progress(Result("x", wanted=4), script, 2)
    progress.begin(Phase.IN)
    progress.done(None, 0.1)
    progress.failed(None, OSError(), 0.1)
    assert told == [(Phase.IN, -1.0, 0.0), (Phase.IN, 0.0, 0.5), (Phase.IN, 0.5, 1.0)]
    wrapped = OperationError("ValueError: x")
    wrapped.__cause__ = ValueError("x")
    progress.failed(None, wrapped, 0.1)
    assert progress.result.errors == {"OSError": 1, "ValueError": 1}
