"""`flashback cp`: between here and there, in both directions, one object or a tree."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from flashback_async.cli.address import STANDARD_STREAM
from flashback_async.cli.console import note, wants_json, write_json
from flashback_async.cli.exits import ExitCode
from flashback_async.cli.invocation import perform
from flashback_async.cli.plan import plan_of
from flashback_async.cli.progress import JobProgress
from flashback_async.cli.selection import Skipped
from flashback_async.cli.session import CaFile, Endpoints, client_of
from flashback_async.cli.wording import causes_text, counted, seconds_text, size_text
from flashback_async.cli.workers import Job, Tally, work_off
from flashback_async.models import ClientStats


def cp(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A path, fb://bucket/key, or - for stdin.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Likewise; - for stdout.")],
    *,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Copy everything below SOURCE to below TARGET.")
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=1_024, help="Objects in flight.")] = 32,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The summary as one JSON line.")] = False,
    endpoint: Endpoints = None,
    ca_file: CaFile = None,
) -> None:
    """Copy files to objects, objects to files, or objects to objects.

    One that fails does not stop the others; the exit code is 1 then. Files appear whole or not at all.
    """
    request = _Request(
        source,
        target,
        recursive=recursive,
        concurrency=concurrency,
        quiet=quiet,
        as_json=wants_json(json) and target != STANDARD_STREAM,
    )
    perform(ctx, _cp(request, endpoint, ca_file))


@dataclass(frozen=True, slots=True)
class _Request:
    """The command line of a copy."""

    source: str
    target: str
    recursive: bool
    concurrency: int
    quiet: bool
    as_json: bool


async def _cp(request: _Request, endpoints: list[str] | None, ca_file: Path | None) -> ExitCode:
    skipped = Skipped()
    plan = plan_of(request.source, request.target, recursive=request.recursive, skipped=skipped)
    clock = asyncio.get_running_loop().time
    async with client_of(endpoints, ca_file) as client:
        begun = clock()
        with JobProgress(quiet=request.quiet) as progress:
            found = plan(client)
            if isinstance(found, Job):
                tally = await _alone(found, progress)
            else:
                tally = await work_off(found, concurrency=request.concurrency, observer=progress)
        seconds, stats = clock() - begun, client.stats()
    if request.as_json:
        write_json(_summary(tally, skipped, seconds, stats))
    elif not request.quiet:
        note(_sentence(tally, skipped, seconds, stats))
    return ExitCode.SOME_FAILED if tally.failed else ExitCode.OK


async def _alone(job: Job, progress: JobProgress) -> Tally:
    """Run the only job there is: its error is the command's."""
    tally = Tally()

    def advance(amount: int) -> None:
        tally.moved += amount
        progress.advanced(amount)

    progress.found(job)
    progress.found_all()
    await job.work(advance)
    tally.done = 1
    return tally


def _summary(tally: Tally, skipped: Skipped, seconds: float, stats: ClientStats) -> dict[str, object]:
    return {
        "objects": tally.done,
        "bytes": tally.moved,
        "seconds": round(seconds, 3),
        "bytes_per_second": round(tally.moved / seconds) if seconds > 0 else None,
        "failovers": dict(stats.failovers),
        "resumed": stats.resumed,
        "failed": tally.failed,
        "skipped": skipped.reasons,
    }


def _sentence(tally: Tally, skipped: Skipped, seconds: float, stats: ClientStats) -> str:
    speed = f" ({size_text(tally.moved / seconds)}/s)" if seconds > 0 else ""
    text = f"{counted(tally.done, 'object')}, {size_text(tally.moved)} in {seconds_text(seconds)}{speed}"
    text += f"; failovers: {causes_text(dict(stats.failovers))}"
    if stats.resumed:
        text += f"; {counted(stats.resumed, 'download')} went on at another node"
    text += f"; failed: {tally.failed:,}"
    if skipped.reasons:
        text += f"; skipped: {causes_text(skipped.reasons)}"
    return text
