"""What a demo needs of whoever copies, and what it shows of each node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from flashback_async.cli.demo.script import Phase
    from flashback_async.cli.demo.tree import SourceFile
    from flashback_async.cli.workers import Job

BUCKET = "demo"


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """One node as a contestant sees it.

    Attributes:
        url: which node.
        opinion: what the contestant thinks of it, in a word or two.
        trusted: whether that is good; None: neither.
        first_byte: seconds that it expects or saw, None while unknown.
        in_flight: requests there now.
        requests: requests sent there.
        failures: failed ones among them.
    """

    url: str
    opinion: str
    trusted: bool | None
    first_byte: float | None
    in_flight: int
    requests: int
    failures: int


class Contestant(Protocol):
    """Copies objects in and out by its own algorithm."""

    def upload(self, file: SourceFile) -> Job:
        """The job that copies one file in."""

    def download(self, file: SourceFile, target: Path) -> Job:
        """The job that copies one object out."""

    def nodes(self, phase: Phase) -> list[NodeFigures]:
        """Every node that it knows, with the figures that matter in this phase."""

    def failovers(self) -> dict[str, int]:
        """How often a request moved on to another node, per cause."""

    def resumed(self) -> int:
        """Downloads that went on at another node in the middle."""
