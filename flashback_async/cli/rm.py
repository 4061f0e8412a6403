"""`flashback rm`: objects, or everything below a prefix."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashback_async.cli.address import Remote, remote, remote_object
from flashback_async.cli.console import note, wants_json, write_json, write_line
from flashback_async.cli.exits import ExitCode
from flashback_async.cli.invocation import perform
from flashback_async.cli.progress import JobProgress
from flashback_async.cli.session import CaFile, Endpoints, client_of
from flashback_async.cli.wording import counted, printable
from flashback_async.cli.workers import Advance, Job, work_off

if TYPE_CHECKING:
    from flashback_async import FlashbackClient


def rm(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Objects, like fb://bucket/key.")],
    *,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Delete everything below PATH; for a bucket, all of it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=1_024, help="Objects in flight.")] = 32,
    json: Annotated[bool, typer.Option("--json", help="The summary as one JSON line.")] = False,
    endpoint: Endpoints = None,
    ca_file: CaFile = None,
) -> None:
    """Delete objects. One that is not there counts as deleted, as S3 has it.

    With -r, `fb://bucket/data` means what is below `data/`, never `database`.
    """
    work = _rm(
        paths,
        endpoint,
        ca_file,
        recursive=recursive,
        dry_run=dry_run,
        concurrency=concurrency,
        as_json=wants_json(json),
    )
    perform(ctx, work)


async def _rm(
    paths: list[str],
    endpoints: list[str] | None,
    ca_file: Path | None,
    *,
    recursive: bool,
    dry_run: bool,
    concurrency: int,
    as_json: bool,
) -> ExitCode:
    places = [remote(path).folder if recursive else remote_object(path) for path in paths]
    async with client_of(endpoints, ca_file) as client:
        found = _below(client, places) if recursive else _these(places)
        if dry_run:
            async for place in found:
                write_line(printable(str(place)))
            return ExitCode.OK
        with JobProgress(quiet=False) as progress:
            jobs = (_deletion(client, place) async for place in found)
            tally = await work_off(jobs, concurrency=concurrency, observer=progress)
    if as_json:
        write_json({"deleted": tally.done, "failed": tally.failed})
    else:
        note(f"{counted(tally.done, 'object')} deleted; failed: {tally.failed:,}")
    return ExitCode.SOME_FAILED if tally.failed else ExitCode.OK


async def _these(places: list[Remote]) -> AsyncIterator[Remote]:
    for place in places:
        yield place


async def _below(client: "FlashbackClient", places: list[Remote]) -> AsyncIterator[Remote]:
    for place in places:
        async for info in client.list_objects(place.bucket, place.key):
            yield Remote(info.bucket, info.key)


def _deletion(client: "FlashbackClient", place: Remote) -> Job:
    async def work(_: Advance) -> None:
        await client.delete_object(place.bucket, place.key)

    return Job(str(place), work)
