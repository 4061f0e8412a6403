"""This package as a contestant: `FlashbackClient` with its defaults."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flashback_async.cli import copying
from flashback_async.cli.address import Remote
from flashback_async.cli.demo.contestant import BUCKET, NodeFigures
from flashback_async.cli.demo.script import Phase
from flashback_async.routing import OperationKind

if TYPE_CHECKING:
    from pathlib import Path

    from flashback_async import EndpointView, FlashbackClient
    from flashback_async.cli.demo.tree import SourceFile
    from flashback_async.cli.workers import Job

NAME = "flashback_async"


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
        kind = OperationKind.WRITE if phase is Phase.IN else OperationKind.READ
        now = asyncio.get_running_loop().time()
        chosen = {
            row.endpoint.id: row.in_the_running for row in self._client.router.explain(BUCKET, kind, now=now)
        }
        return [
            NodeFigures(
                url=view.url,
                opinion=_opinion(view, chosen=chosen.get(view.id, False)),
                trusted=None if view.breaker == "half-open" else view.breaker == "closed",
                first_byte=view.write_latency if phase is Phase.IN else view.latency,
                in_flight=view.in_flight + view.streaming,
                requests=view.requests,
                failures=view.failures,
            )
            for view in self._client.nodes()
        ]

    def failovers(self) -> dict[str, int]:
        """As counted."""
        return dict(self._client.stats().failovers)

    def resumed(self) -> int:
        """As counted."""
        return self._client.stats().resumed


def _opinion(view: EndpointView, *, chosen: bool) -> str:
    match view.breaker:
        case "closed":
            return "preferred" if chosen or view.in_flight else "standby"
        case "open" if view.retry_in >= 1:
            return f"out for {view.retry_in:.0f} s"
        case _:
            return "on trial"
