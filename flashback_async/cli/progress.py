"""Progress on stderr while a copy runs: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from flashback_async.cli.console import messages
from flashback_async.cli.exits import explained
from flashback_async.cli.running import complain
from flashback_async.cli.wording import one_line, size_text
from flashback_async.cli.workers import Job, Observer

if TYPE_CHECKING:
    from types import TracebackType


class JobProgress(Observer):
    """Counts what moves, and shows it; failures are named as they happen.

    It measures bytes, or objects where no bytes move. While a tree is still being walked its total is not
    known, and the bar only says that something moves.

    Args:
        quiet: show no bar.
    """

    def __init__(self, *, quiet: bool) -> None:
        console = messages()
        self._bar = Progress(
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[objects]}"),
            TextColumn("{task.fields[moved]}"),
            TextColumn("{task.fields[rate]}"),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
            refresh_per_second=8,
            speed_estimate_period=5,
        )
        self._task = self._bar.add_task("", total=None, objects="", moved="", rate="")
        self._found = self._ended = 0
        self._complete = False
        self._bytes_known = 0
        self._moved = 0

    def __enter__(self) -> Self:
        """Show it."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it from the screen."""
        self._bar.stop()

    def found(self, job: Job) -> None:
        """The total grows."""
        self._found += 1
        self._bytes_known += job.size or 0
        self._show()

    def found_all(self) -> None:
        """The total is known."""
        self._complete = True
        self._show()

    def advanced(self, amount: int) -> None:
        """Bytes moved."""
        self._moved += amount
        self._show()

    def done(self, job: Job, seconds: float) -> None:  # noqa: ARG002  # Observer's signature
        """One object more."""
        self._ended += 1
        self._show()

    def failed(self, job: Job, error: Exception, seconds: float) -> None:  # noqa: ARG002  # as above
        """Name it, and go on."""
        self._ended += 1
        line = f"failed: {one_line(job.name)}: {explained(error)}"
        if self._bar.disable:
            complain(line)
        else:
            self._bar.console.out(f"flashback: {line}")
        self._show()

    def _show(self) -> None:
        if self._bar.disable:
            return
        in_bytes = bool(self._bytes_known or self._moved)
        completed, total = (self._moved, self._bytes_known) if in_bytes else (self._ended, self._found)
        speed = self._bar.tasks[0].speed or 0.0
        self._bar.update(
            self._task,
            completed=completed,
            total=max(completed, total) if self._complete else None,
            objects=f"{self._ended:,}/{self._found:,}{'' if self._complete else '+'} objects",
            moved=size_text(self._moved) if in_bytes else "",
            rate=f"{size_text(speed)}/s" if in_bytes and speed else "",
        )
