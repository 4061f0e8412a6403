"""Nodes as rows: for a table on a terminal, and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from flashback_async.cli.wording import printable, seconds_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashback_async import FlashbackClient


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node as a command shows it. Times are seconds, None while unknown.

    Attributes:
        id: name of the node.
        region: as reported, empty where unknown.
        url: base URL of its S3 interface.
        status: what the control plane says: ONLINE, OFFLINE, DISCONNECTED, UNKNOWN.
        breaker: what we say: closed (in use), open (left alone), half-open (on trial).
        round_trip: measured with a probe.
        first_byte: what a read is expected to take.
        retry_in: until an open breaker lets a request try.
        chosen: whether the next read may go there.
        reason: why, or why not.
    """

    id: str
    region: str
    url: str
    status: str
    breaker: str
    round_trip: float | None
    first_byte: float | None
    retry_in: float
    chosen: bool
    reason: str

    def as_json(self) -> dict[str, object]:
        """For a JSON line."""
        return asdict(self)


def rows_of(client: FlashbackClient, bucket: str | None, now: float) -> list[NodeRow]:
    """Every node of a running client, as for a read of that bucket; nearest first where that is known."""
    reasons = {row.endpoint.id: row for row in client.router.explain(bucket, now=now)}
    rows = [
        NodeRow(
            id=row.endpoint.id,
            region=row.endpoint.region,
            url=row.endpoint.url,
            status=row.status.name,
            breaker=row.breaker.value,
            round_trip=row.probe_rtt,
            first_byte=row.read_latency,
            retry_in=row.retry_in,
            chosen=reasons[row.endpoint.id].in_the_running,
            reason=reasons[row.endpoint.id].reason,
        )
        for row in client.router.snapshot(now=now).endpoints
    ]
    return sorted(rows, key=lambda row: (row.first_byte is None, row.first_byte or 0.0))


def table_of(rows: Sequence[NodeRow], *, caption: str = "") -> Table:
    """The rows for people. Where the terminal is narrow, URLs are shortened."""
    table = Table(
        box=None, pad_edge=False, header_style="bold", caption=caption or None, caption_justify="left"
    )
    named = {"\nnode": [row.id for row in rows], "\nregion": [row.region for row in rows]}
    for name, texts in named.items():
        # Its least width is its greatest: only the URLs give way.
        table.add_column(name, no_wrap=True, min_width=max(map(len, texts), default=0))
    table.add_column("\nstate", no_wrap=True, min_width=12)
    for name in ("round\ntrip", "first\nbyte"):
        table.add_column(name, justify="right", no_wrap=True, min_width=7)
    table.add_column("\nurl", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(
            Text(printable(row.id)),
            Text(printable(row.region) or "-"),
            _state(row),
            seconds_text(row.round_trip),
            seconds_text(row.first_byte),
            Text(printable(row.url)),
        )
    return table


def _state(row: NodeRow) -> Text:
    """In a word: what the control plane says of a node, and what the router makes of it."""
    match row.breaker:
        case "open" if row.retry_in >= 1:
            return Text(f"out for {row.retry_in:.0f} s", style="red")
        case "open" | "half-open":
            return Text("on trial", style="yellow")
    if row.status != "ONLINE":
        return Text(printable(row.status.lower()), style="red")
    return Text("preferred", style="green") if row.chosen else Text("standby")
