"""The demo as it is watched: a picture that stays, and lines that scroll by above it.

Without a terminal only the lines are written.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.text import Text

from flashback_async.cli.invocation import PACKAGE_LOGGER
from flashback_async.cli.wording import printable

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from flashback_async.cli.demo.picture import Picture
    from flashback_async.cli.demo.script import Event
    from flashback_async.sandbox import LocalFlashback

_REFRESH = 0.2


class Screen:
    """Shows one run. `async with` it; at the end the picture is removed, and the lines stay.

    Args:
        console: where to.
        picture: what is painted while it runs.
        cluster: names the nodes.
    """

    def __init__(self, console: Console, picture: Picture, cluster: LocalFlashback) -> None:
        self._console = console
        self._picture = picture
        self._cluster = cluster
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
            picture = self._picture.at(self._clock(), width=self._console.width)
            self._live.update(picture, refresh=True)
            await asyncio.sleep(_REFRESH)


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
