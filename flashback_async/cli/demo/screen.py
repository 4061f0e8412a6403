"""The demo as it is watched: a table of nodes and a bar that stay, events that scroll by above them.

Without a terminal only the lines are written.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flashback_async.cli.demo.script import CONTROL_PLANE
from flashback_async.cli.invocation import PACKAGE_LOGGER
from flashback_async.cli.wording import printable, seconds_text, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from rich.console import Console, RenderableType

    from flashback_async.cli.demo.contestant import Contestant
    from flashback_async.cli.demo.race import Progress
    from flashback_async.cli.demo.script import Event, Script
    from flashback_async.sandbox import LocalFlashback

_REFRESH = 0.2
_RECENT = 3.0
_WIDE = 100
_BLOCK = "█"


class Screen:
    """Shows one run. `async with` it; at the end the picture is removed, and the lines stay.

    Args:
        console: where to.
        title: whose run it is.
        cluster: names the nodes.
        contestant: what it thinks of them.
        progress: how far it is.
        script: what is wrong with them.
    """

    def __init__(
        self,
        console: Console,
        title: str,
        *,
        cluster: LocalFlashback,
        contestant: Contestant,
        progress: Progress,
        script: Script,
    ) -> None:
        self._console = console
        self._title = title
        self._cluster = cluster
        self._contestant = contestant
        self._progress = progress
        self._script = script
        self._shares = _Shares()
        self._clock = asyncio.get_running_loop().time
        self._begun = self._clock()
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._painter: asyncio.Task[None] | None = None
        self._log = _Relay(self)

    async def __aenter__(self) -> Self:
        """Show the first picture."""
        self._log.attach()
        if self._console.is_terminal:
            self._live.start()
            self._painter = asyncio.create_task(self._paint())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the picture away."""
        self._log.detach()
        if self._painter is not None:
            self._painter.cancel()
            await asyncio.wait([self._painter])
            self._live.stop()
            if not self._painter.cancelled() and error is None:
                self._painter.result()

    def event(self, event: Event) -> None:
        """Write what happens to the cluster."""
        share = f"{event.phase.value}, {event.at:4.0%}"
        self._say(f"{share:14}  {event.text}", "bold red" if event.state else "bold green")

    def reaction(self, text: str) -> None:
        """Write what the client does about it."""
        for node in self._cluster.nodes:
            text = text.replace(f"endpoint {node.ip}", node.id)
        self._say(f"  {printable(text)}", "dim")

    def _say(self, text: str, style: str) -> None:
        line = Text(f"{self._clock() - self._begun:5.1f} s  ", style="dim", no_wrap=True, overflow="ellipsis")
        self._console.print(line.append(text, style=style), no_wrap=True, overflow="ellipsis", crop=True)

    async def _paint(self) -> None:
        while True:
            self._live.update(self._picture(), refresh=True)
            await asyncio.sleep(_REFRESH)

    def _picture(self) -> RenderableType:
        title = Text(f"{self._title}: {self._progress.phase.value}", style="bold")
        return Group(Text(), title, self._bar(), Text(), self._nodes(), self._control_plane())

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

    def _nodes(self) -> Table:
        wide = self._console.width >= _WIDE
        figures = {row.url: row for row in self._contestant.nodes(self._progress.phase)}
        shares = self._shares.of({url: row.requests for url, row in figures.items()}, self._clock())
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2 if wide else 1, 0, 0))
        blocks = 16 if wide else 4
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
            row = figures.get(node.url)
            state = self._script.states.get(node.id, "")
            cells: list[str | Text] = [
                node.id,
                node.region,
                Text(state or "-", style="red" if state else "dim"),
            ]
            if row is not None:
                style = {True: "green", False: "red", None: "yellow"}[row.trusted]
                share = shares[node.url]
                cells += [
                    Text(row.opinion, style=style),
                    seconds_text(row.first_byte),
                    str(row.in_flight or "-"),
                    f"{_BLOCK * round(share * blocks):{blocks}} {share:4.0%}",
                    Text(f"{row.failures:,}" if row.failures else "-", style="red" if row.failures else ""),
                ]
            table.add_row(*cells)
        return table

    def _control_plane(self) -> Text:
        state = self._script.states.get(CONTROL_PLANE, "")
        text = Text("control plane  ").append(state or "up", style="red" if state else "green")
        return text.append("; shares are of the last 3 s", style="dim")


class _Shares:
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


class _Relay(logging.Handler):
    """Shows what the package logs while it is attached."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.INFO)
        self._screen = screen
        self._logger = logging.getLogger(PACKAGE_LOGGER)
        self._level = self._logger.level

    def attach(self) -> None:
        """Begin."""
        self._level = self._logger.level
        self._logger.setLevel(min(self._level, logging.INFO))
        self._logger.addHandler(self)

    def detach(self) -> None:
        """End, and leave the logger as it was."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        """Show one line."""
        self._screen.reaction(record.getMessage())
