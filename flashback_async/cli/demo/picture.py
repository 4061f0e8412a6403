"""What a demo looks like at one moment: a bar, and a table of nodes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flashback_async.cli.demo.script import CONTROL_PLANE
from flashback_async.cli.wording import seconds_text, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from flashback_async.cli.demo.contestant import Contestant, NodeFigures
    from flashback_async.cli.demo.race import Progress
    from flashback_async.cli.demo.script import Script
    from flashback_async.sandbox import LocalFlashback

_RECENT = 3.0
_WIDE = 100
_BLOCK = "█"


class Picture:
    """Paints one run; 80 columns are enough, from 100 on there is more air.

    Args:
        title: whose run it is.
        cluster: names the nodes.
        contestant: what it thinks of them.
        progress: how far it is.
        script: what is wrong with them.
    """

    def __init__(
        self,
        title: str,
        *,
        cluster: LocalFlashback,
        contestant: Contestant,
        progress: Progress,
        script: Script,
    ) -> None:
        self._title = title
        self._cluster = cluster
        self._contestant = contestant
        self._progress = progress
        self._script = script
        self._shares = Shares()

    def at(self, now: float, *, width: int) -> RenderableType:
        """The picture at `now` (seconds of any clock) for a terminal of `width` columns."""
        title = Text(f"{self._title}: {self._progress.phase.value}", style="bold")
        table = self._nodes(now, wide=width >= _WIDE)
        return Group(Text(), title, self._bar(), Text(), table, self._control_plane())

    def _bar(self) -> Table:
        progress, result = self._progress, self._progress.result
        line = Table.grid(padding=(0, 2), expand=True)
        line.add_column(ratio=1)
        for _ in range(3):
            line.add_column(no_wrap=True)
        line.add_row(
            ProgressBar(total=progress.total, completed=progress.ended),
            f"{progress.ended:,}/{progress.total:,} objects",
            size_text(result.moved),
            Text(f"failed {result.failed:,}", style="bold red" if result.failed else "green"),
        )
        return line

    def _nodes(self, now: float, *, wide: bool) -> Table:
        figures = {row.url: row for row in self._contestant.nodes(self._progress.phase)}
        shares = self._shares.of({url: row.requests for url, row in figures.items()}, now)
        blocks = 16 if wide else 4
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2 if wide else 1, 0, 0))
        for name, width, right in (
            ("\nnode", 6, False),
            ("\nregion", 14, False),
            ("\ninjected", 11, False),
            ("\nclient says", 12, False),
            ("answers\nin", 7, True),
            ("in\nflight", 6, True),
            ("share of\nrequests", blocks + 5, False),
            ("\nerrors", 6, True),
        ):
            table.add_column(name, width=width, no_wrap=True, justify="right" if right else "left")
        for node in self._cluster.nodes:
            fault = self._script.states.get(node.id, "")
            row = figures.get(node.url)
            table.add_row(
                node.id,
                node.region,
                Text(fault or "-", style="red" if fault else "dim"),
                *([] if row is None else _cells(row, shares[row.url], blocks)),
            )
        return table

    def _control_plane(self) -> Text:
        state = self._script.states.get(CONTROL_PLANE, "")
        text = Text("control plane  ").append(state or "up", style="red" if state else "green")
        return text.append(f"; shares are of the last {_RECENT:.0f} s", style="dim")


def _cells(row: NodeFigures, share: float, blocks: int) -> list[Text | str]:
    style = {True: "green", False: "red", None: "yellow"}[row.trusted]
    return [
        Text(row.opinion, style=style),
        seconds_text(row.first_byte),
        str(row.in_flight or "-"),
        f"{_BLOCK * round(share * blocks):{blocks}} {share:4.0%}",
        Text(f"{row.failures:,}" if row.failures else "-", style="red" if row.failures else ""),
    ]


class Shares:
    """Which node got which part of the requests of the last seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Mapping[str, int]]] = deque()

    def of(self, requests: Mapping[str, int], now: float) -> dict[str, float]:
        """Take the totals as they are now; answer with the parts, 0 to 1."""
        self._looks.append((now, requests))
        # The first one is the last that is old enough, so that the difference spans the whole time.
        while len(self._looks) > 1 and now - self._looks[1][0] >= _RECENT:
            self._looks.popleft()
        earliest = self._looks[0][1]
        recent = {url: count - earliest.get(url, 0) for url, count in requests.items()}
        total = sum(recent.values())
        return {url: count / total if total else 0.0 for url, count in recent.items()}
