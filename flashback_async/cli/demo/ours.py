"""This package as a contestant: `FlashbackClient` with its defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.cli import copying
from flashback_async.cli.address import Remote
from flashback_async.cli.demo.contestant import BUCKET, NodeFigures
from flashback_async.cli.demo.script import Phase

if TYPE_CHECKING:
    from pathlib import Path

    from flashback_async import EndpointView, FlashbackClient
    from flashback_async.cli.demo.tree import SourceFile
    from flashback_async.cli.workers import Job

NAME = "flashback_async"

# Fine, but so much slower than the best that it gets nothing while others are there.
_FAR = 2.0


class Ours:
    """A running client."""

    def __init__(self, client: FlashbackClient) -> None:
        self._client = client

    def upload(self, file: SourceFile) -> Job:
        """Put it."""
        return copying.upload(self._client, file.path, Remote(BUCKET, file.name), file.size)

    def download(self, file: SourceFile, target: Path) -> Job:
        """Stream it."""
        return copying.download(self._client, Remote(BUCKET, file.name), target, file.size)

    def nodes(self, phase: Phase) -> list[NodeFigures]:
        """The router's table: expectations of writes on the way in, of reads on the way out."""
        rows = [
            (view, view.write_latency if phase is Phase.IN else view.latency) for view in self._client.nodes()
        ]
        known = [latency for view, latency in rows if latency is not None and view.breaker == "closed"]
        best = min(known, default=0.0)
        return [
            NodeFigures(
                url=view.url,
                opinion=_opinion(view, latency, best),
                trusted=None if view.breaker == "half-open" else view.breaker == "closed",
                first_byte=latency,
                in_flight=view.in_flight + view.streaming,
                requests=view.requests,
                failures=view.failures,
            )
            for view, latency in rows
        ]

    def failovers(self) -> dict[str, int]:
        """As counted."""
        return dict(self._client.stats().failovers)

    def resumed(self) -> int:
        """As counted."""
        return self._client.stats().resumed


def _opinion(view: EndpointView, latency: float | None, best: float) -> str:
    match view.breaker:
        case "closed" if latency is not None and latency > _FAR * best and not view.in_flight:
            return "standby"
        case "closed":
            return "in use"
        case "open" if view.retry_in >= 1:
            return f"out for {view.retry_in:.0f} s"
        case _:
            return "on trial"
