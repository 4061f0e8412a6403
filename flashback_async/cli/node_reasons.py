"""Why the router would send a request where: its explanations as a table for people, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from flashback_async.cli.wording import printable, seconds_text
from flashback_async.routing.explain import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashback_async.routing import Explanation, OperationKind

_STYLES = {
    Verdict.PREFERRED: "green",
    Verdict.SILENT: "red",
    Verdict.PROBE_FAILED: "red",
    Verdict.RATE_LIMITED: "yellow",
    Verdict.ON_TRIAL: "yellow",
    Verdict.OUT: "red",
    Verdict.CUT_OFF: "red",
    Verdict.OFFLINE: "red",
}

# Columns of a terminal below which the reason needs the room of the region.
_WIDE = 100

_FRESH = (
    "This command has just started and sent no request: it knows probes of a moment ago and what the control "
    "plane publishes. What a running client has observed, its `client.router.explain()` tells."
)

# So many can be named in one line, more are counted.
_NAMED = 2


def by_turn(rows: Sequence[Explanation]) -> list[Explanation]:
    """Who gets the traffic first, then the others in the order in which they would get some."""
    order = list(Verdict)

    def turn(row: Explanation) -> tuple[int, float, float, str]:
        expected = float("inf") if row.expected is None else row.expected
        return order.index(row.verdict), row.retry_in, expected, row.endpoint.id

    return sorted(rows, key=turn)


def reason_as_json(row: Explanation, bucket: str, kind: OperationKind) -> dict[str, object]:
    """One endpoint's explanation for a JSON line. Times are seconds, None while unknown."""
    return {
        "id": row.endpoint.id,
        "region": row.endpoint.region,
        "url": row.endpoint.url,
        "bucket": bucket,
        "kind": kind.value,
        "chosen": row.in_the_running,
        "verdict": row.verdict.value,
        "reason": row.reason,
        "expected": row.expected,
        "floor": row.floor,
        "excess": row.excess,
        "deviation": row.deviation,
        "score": row.score,
        "load": row.load,
        "breaker": row.breaker.value,
        "retry_in": row.retry_in,
        "rate_limit": row.rate_limit,
        "outcomes": row.outcomes,
    }


def reasons_table(rows: Sequence[Explanation], bucket: str, kind: OperationKind, *, width: int) -> Table:
    """The rows for people: the answer in the first line, then one endpoint after the other.

    Args:
        rows: in the order of `by_turn`.
        bucket: what the requests are for.
        kind: which requests.
        width: columns of the terminal; from 100 on there is room for the region.
    """
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=Text(f"{answer(rows, bucket, kind)}\n"),
        title_style="",
        title_justify="left",
        caption=f"\n{_FRESH}" if not any(row.outcomes for row in rows) else None,
        caption_justify="left",
        caption_style="",
    )
    table.add_column("node", max_width=28, overflow="fold")
    if width >= _WIDE:
        table.add_column("region", max_width=16, overflow="fold")
    table.add_column("verdict", no_wrap=True, min_width=max(len(row.verdict.value) for row in rows))
    table.add_column("expected", justify="right", no_wrap=True, min_width=8)
    table.add_column("why", overflow="fold", ratio=1)
    for row in rows:
        table.add_row(
            Text(printable(row.endpoint.id)),
            *([Text(printable(row.endpoint.region) or "-")] if width >= _WIDE else []),
            Text(row.verdict.value, style=_STYLES.get(row.verdict, "")),
            seconds_text(row.expected),
            Text(printable(row.reason)),
        )
    return table


def answer(rows: Sequence[Explanation], bucket: str, kind: OperationKind) -> str:
    """One line: where the next request goes."""
    what = f"{kind.value.capitalize()}s of {bucket}" if kind.value == "read" else f"Writes to {bucket}"
    chosen = [printable(row.endpoint.id) for row in rows if row.in_the_running]
    if not chosen:
        wait = seconds_text(min(row.retry_in for row in rows if row.verdict is Verdict.RATE_LIMITED))
        return f"{what} wait: every node that could serve is at its rate limit, the first for {wait}."
    if len(chosen) == len(rows):
        return f"{what} go to {'the only node' if len(rows) == 1 else f'all {len(rows)} nodes alike'}."
    who = " and ".join(chosen) if len(chosen) <= _NAMED else f"{len(chosen)} of {len(rows)} nodes"
    others = len(rows) - len(chosen)
    return f"{what} go to {who}; {'the other one stands' if others == 1 else f'the other {others} stand'} by."
