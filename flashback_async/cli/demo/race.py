"""One run: everything in, everything out, while the script makes things go wrong."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flashback_async.cli.demo.script import Phase
from flashback_async.cli.demo.tree import differences
from flashback_async.cli.workers import Job, Observer, work_off
from flashback_async.errors import OperationError
from flashback_async.objects.task_group import task_group

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from flashback_async.cli.demo.contestant import Contestant
    from flashback_async.cli.demo.script import Event, Script
    from flashback_async.cli.demo.tree import SourceFile

CONCURRENCY = 32


@dataclass(slots=True)
class Result:
    """What came of a run. Times are seconds.

    Attributes:
        name: of the contestant.
        objects: copied in and, later, out.
        wanted: objects times two directions.
        moved: bytes, in both directions.
        seconds: both phases.
        latencies: of every request that succeeded.
        errors: kind of error -> how many requests failed with it.
        differing: names of files that did not come back as they were.
        failovers: moves to another node, per cause.
        resumed: downloads that went on at another node.
    """

    name: str
    wanted: int
    objects: int = 0
    moved: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)
    failovers: dict[str, int] = field(default_factory=dict)
    resumed: int = 0

    @property
    def failed(self) -> int:
        """Requests that failed, as their caller saw it."""
        return sum(self.errors.values())

    @property
    def is_perfect(self) -> bool:
        """Whether no request failed and every byte came back."""
        return not self.failed and not self.differing and self.objects == self.wanted

    def percentile(self, share: float) -> float | None:
        """Seconds within which this share of the successful requests was done."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


class Progress(Observer):
    """Counts into a result, and tells the script how far a phase is.

    Attributes:
        phase: the one that runs.
        ended: objects of the phase that are done or failed.
        total: objects of the phase.
    """

    def __init__(self, result: Result, script: Script, total: int) -> None:
        self.result = result
        self.phase = Phase.IN
        self.ended = 0
        self.total = total
        self._script = script

    def begin(self, phase: Phase) -> None:
        """A phase begins."""
        self.phase, self.ended = phase, 0
        self._script.reached(phase, -1.0, 0.0)

    def advanced(self, amount: int) -> None:
        """Bytes moved."""
        self.result.moved += amount

    def done(self, job: Job, seconds: float) -> None:  # noqa: ARG002  # Observer's signature
        """One request succeeded."""
        self.result.objects += 1
        self.result.latencies.append(seconds)
        self._step()

    def failed(self, job: Job, error: Exception, seconds: float) -> None:  # noqa: ARG002  # as above
        """One request failed."""
        # A bare OperationError only wraps what another client raised.
        cause = error.__cause__ if type(error) is OperationError else None
        kind = type(cause or error).__name__
        self.result.errors[kind] = self.result.errors.get(kind, 0) + 1
        self._step()

    def _step(self) -> None:
        before = self.ended / self.total
        self.ended += 1
        self._script.reached(self.phase, before, self.ended / self.total)


async def run_race(
    contestant: Contestant,
    progress: Progress,
    script: Script,
    files: list[SourceFile],
    target: Path,
    *,
    on_event: Callable[[Event], None],
) -> None:
    """Copy `files` in, then out to `target`; the progress's result has all there is to know afterwards."""
    result, clock = progress.result, asyncio.get_running_loop().time
    async with task_group() as group:
        acting = group.create_task(script.perform(on_event))
        for phase in Phase:
            progress.begin(phase)
            jobs = (
                contestant.upload(file)
                if phase is Phase.IN
                else contestant.download(file, target / file.name)
                for file in files
            )
            begun = clock()
            await work_off(_each(jobs), concurrency=CONCURRENCY, observer=progress)
            result.seconds += clock() - begun
            await script.settled()
        acting.cancel()
    result.failovers, result.resumed = contestant.failovers(), contestant.resumed()
    result.differing = await asyncio.to_thread(differences, files, target)


async def _each(jobs: Iterable[Job]) -> AsyncIterator[Job]:
    for job in jobs:
        yield job
