"""`flashback nodes --explain`: who gets the traffic, and why not the others."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flashback_async.cli.node_reasons import answer, by_turn, reason_as_json, reasons_table
from flashback_async.routing import (
    Endpoint,
    EndpointReport,
    EndpointStatus,
    OperationKind,
    Outcome,
    Router,
)

READ, WRITE = OperationKind.READ, OperationKind.WRITE


def router(*names, offline=()):
    """A router with these nodes; `offline` ones are so for the control plane."""
    made = Router(random=lambda: 0.5)
    made.apply_discovery(
        [
            EndpointReport(
                Endpoint(name, f"https://{name}.example"),
                EndpointStatus.OFFLINE if name in offline else EndpointStatus.ONLINE,
            )
            for name in names
        ],
        now=0.0,
    )
    return made


def use(made, name, outcome=Outcome.SUCCESS, *, first_byte=None, times=5):
    """Requests there that end at once."""
    for _ in range(times):
        attempt = made.acquire("demo", READ, now=0.0, only=name)
        made.settle(attempt, outcome, now=0.0, first_byte=first_byte)


def explained(made, *, now=0.0):
    """The explanations of a read in their order."""
    return by_turn(made.explain("demo", READ, now=now))


def shown(rows, *, columns, kind=READ):
    """The table as lines of a terminal of that width."""
    console = Console(file=io.StringIO(), width=columns)
    console.print(reasons_table(rows, "demo", kind, width=console.width))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_who_gets_the_traffic_comes_first():
    """Preferred, then slower ones by what they take, then who is out, then who is offline."""
    made = router("gone", "far", "out", "near", "farther", offline=["gone"])
    for name, first_byte in (("near", 0.01), ("far", 0.1), ("farther", 0.2)):
        use(made, name, first_byte=first_byte)
    use(made, "out", Outcome.ENDPOINT_FAULT, first_byte=0.001)
    rows = explained(made)
    assert [row.endpoint.id for row in rows] == ["near", "far", "farther", "out", "gone"]
    assert [row.verdict.value for row in rows] == ["preferred", "slower", "slower", "out", "offline"]


def test_those_that_wait_come_in_the_order_of_their_return():
    """Of two that are out, the one that is tried sooner comes first."""
    made = router("late", "soon", "a", "b", "c")
    for name, now in (("late", 0.5), ("soon", 0.0)):
        for _ in range(5):
            attempt = made.acquire("demo", READ, now=now, only=name)
            made.settle(attempt, Outcome.ENDPOINT_FAULT, now=now)
    assert [row.endpoint.id for row in explained(made, now=0.6)][-2:] == ["soon", "late"]


@pytest.mark.parametrize(
    ("nodes", "near", "said"),
    [
        ("a", "a", "Reads of demo go to the only node."),
        ("ab", "ab", "Reads of demo go to all 2 nodes alike."),
        ("ab", "a", "Reads of demo go to a; the other one stands by."),
        ("abcd", "ab", "Reads of demo go to a and b; the other 2 stand by."),
        ("abcde", "abc", "Reads of demo go to 3 of 5 nodes; the other 2 stand by."),
    ],
)
def test_the_answer_is_one_line(nodes, near, said):
    """The first line tells where requests go, before any reason."""
    made = router(*nodes)
    for name in nodes:
        use(made, name, first_byte=0.01 if name in near else 0.5)
    assert answer(explained(made), "demo", READ) == said
    assert shown(explained(made), columns=80)[0] == said


def test_the_answer_for_writes_names_them():
    """Writes go to a bucket."""
    assert answer(explained(router("a", "b")), "demo", WRITE) == "Writes to demo go to all 2 nodes alike."


def test_when_all_are_limited_the_answer_is_how_long_to_wait():
    """Nobody gets a request now: the line tells when the first one does."""
    made = router("a", "b")
    for name in "ab":
        use(made, name, Outcome.THROTTLED, times=1)
    assert answer(explained(made), "demo", READ) == (
        "Reads of demo wait: every node that could serve is at its rate limit, the first for 1.7 s."
    )


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_the_table_fits(columns):
    """Nothing is wider than the terminal and no word of a reason is lost; below 100 columns the region gives way."""
    long_id = "bridge-node-17.eu-central-1.example.flashback.tech"
    made = router("near", "b", long_id, offline=[long_id])
    use(made, "near", first_byte=0.01)
    use(made, "b", Outcome.ENDPOINT_FAULT, first_byte=0.001)
    rows = explained(made)
    lines = shown(rows, columns=columns)
    assert all(len(line) <= columns for line in lines)
    region = ["region"] if columns >= 100 else []
    assert lines[2].split() == ["node", *region, "verdict", "expected", "why"]
    text = " ".join(" ".join(lines).split())
    for row in rows:
        assert set(row.reason.split()) <= set(text.split())
    assert "This command has just started" not in text


def test_an_unused_table_is_told_as_one():
    """Where no request was seen, the caption says what the figures are, and unknown ones are a dash."""
    made = router("a", "b")
    made.record_probe("a", 0.02, now=0.0)
    made.record_probe("b", None, now=0.0)
    rows = explained(made)
    lines = shown(rows, columns=120)
    assert [row.verdict.value for row in rows] == ["preferred", "probe failed"]
    assert "20 ms expected (nothing observed yet: 20 ms round trip)" in lines[3]
    assert any(line.split()[:4] == ["b", "-", "probe", "failed"] for line in lines)
    assert "This command has just started and sent no request" in " ".join(lines)


def test_names_from_outside_move_no_cursor():
    """What a control plane calls its nodes is shown, not obeyed; markup is text."""
    made = router("\x1b[2Jevil", "[bold]b[/]")
    text = "\n".join(shown(explained(made), columns=120))
    assert "\x1b" not in text
    assert "[bold]b[/]" in text


def test_json_has_every_figure():
    """A JSON line carries verdict, reason and the figures behind them, in seconds."""
    made = router("a")
    use(made, "a", first_byte=0.01)
    (row,) = explained(made)
    assert reason_as_json(row, "demo", READ) == {
        "id": "a",
        "region": "",
        "url": "https://a.example",
        "bucket": "demo",
        "kind": "read",
        "chosen": True,
        "verdict": "preferred",
        "reason": "the best: 10 ms expected; up to 25 ms counts as equal",
        "expected": 0.01,
        "floor": 0.01,
        "excess": 0.0,
        "deviation": 0.0,
        "score": 0.01,
        "load": 0,
        "breaker": "closed",
        "retry_in": 0.0,
        "rate_limit": None,
        "outcomes": 5,
    }


# --- the command -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "kind"), [((), "read"), (("--write",), "write")])
def test_the_command_explains(flashback, cluster, on_cluster, option, kind):
    """JSON lines off a terminal: the best first, a node that was killed last, with the words for it."""
    on_cluster(cluster.nodes[0].kill())
    done = flashback("nodes", "--explain", "demo", *option)
    assert (done.code, done.err, len(done.rows)) == (0, "", 4)
    assert {(row["bucket"], row["kind"]) for row in done.rows} == {("demo", kind)}
    assert done.rows[0]["chosen"] is True
    assert "nothing observed yet" in done.rows[0]["reason"]
    assert "round trip" in done.rows[0]["reason"]
    assert done.rows[-1]["url"] == cluster.nodes[0].url
    assert (done.rows[-1]["verdict"], done.rows[-1]["expected"]) == ("probe failed", None)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_command_draws_a_table_on_a_terminal(terminal, cluster, columns):
    """The answer, every node and the caption, within the terminal."""
    with terminal("nodes", "--explain", "fb://demo", columns=columns) as shown:
        lines = shown.lines()
    assert lines[0].startswith("Reads of demo go to ")
    assert all(len(line) <= columns for line in lines)
    assert sum(line.startswith("127.") for line in lines) == 4
    assert "This command has just started" in "\n".join(lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--explain", "demo", "--bucket", "demo"), "--explain demo names the bucket already"),
        (("--write",), "--write needs --explain with the name of a bucket"),
        (("--explain", "No Bucket!"), "'No Bucket!'"),
        (("--explain", ""), "''"),
    ],
)
def test_arguments_that_cannot_work_are_refused(flashback, arguments, words):
    """One line on stderr names the argument; nothing is asked."""
    done = flashback("nodes", *arguments)
    assert (done.code, done.out) == (252, "")
    assert words in done.err
