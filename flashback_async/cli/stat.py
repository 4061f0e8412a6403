"""`flashback stat`: what the store says of objects."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flashback_async.cli.address import remote_object
from flashback_async.cli.console import results, wants_json, write_json
from flashback_async.cli.exits import ExitCode
from flashback_async.cli.invocation import perform
from flashback_async.cli.ls import row_of
from flashback_async.cli.session import CaFile, Endpoints, client_of
from flashback_async.cli.wording import printable, size_text
from flashback_async.models import ObjectInfo


def stat(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Objects, like fb://bucket/key.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON line per object.")] = False,
    endpoint: Endpoints = None,
    ca_file: CaFile = None,
) -> None:
    """Show size, time, type and metadata of objects."""
    perform(ctx, _stat(paths, endpoint, ca_file, as_json=wants_json(json)))


async def _stat(
    paths: list[str], endpoints: list[str] | None, ca_file: Path | None, *, as_json: bool
) -> ExitCode:
    places = [remote_object(path) for path in paths]
    async with client_of(endpoints, ca_file) as client:
        for place in places:
            info = await client.head_object(place.bucket, place.key)
            if as_json:
                write_json(row_of(info))
            else:
                results().print(_table(info))
    return ExitCode.OK


def _table(info: ObjectInfo) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in row_of(info).items():
        match value:
            case dict():
                shown = ", ".join(f"{key}={text}" for key, text in value.items())
            case int():
                shown = f"{value:,} bytes ({size_text(value)})"
            case _:
                shown = "-" if value is None else str(value)
        table.add_row(name.replace("_", " "), printable(shown))
    return table
