"""`flashback cat`: objects to stdout."""

from pathlib import Path
from typing import Annotated

import typer

from flashback_async.cli.address import remote_object
from flashback_async.cli.exits import ExitCode
from flashback_async.cli.invocation import perform
from flashback_async.cli.session import CaFile, Endpoints, client_of
from flashback_async.cli.streams import write_stdout


def cat(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Objects, like fb://bucket/key.")],
    *,
    endpoint: Endpoints = None,
    ca_file: CaFile = None,
) -> None:
    """Write objects to stdout, one after the other.

    A download that breaks goes on at another node, at the exact byte.
    """
    perform(ctx, _cat(paths, endpoint, ca_file))


async def _cat(paths: list[str], endpoints: list[str] | None, ca_file: Path | None) -> ExitCode:
    places = [remote_object(path) for path in paths]
    async with client_of(endpoints, ca_file) as client:
        for place in places:
            async with client.stream_object(place.bucket, place.key) as body:
                async for chunk in body:
                    await write_stdout(chunk)
    return ExitCode.OK
