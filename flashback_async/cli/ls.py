"""`flashback ls`: the objects of a bucket."""

from pathlib import Path
from typing import Annotated

import typer

from flashback_async.cli.address import Remote, remote
from flashback_async.cli.console import note, wants_json, write_json, write_line
from flashback_async.cli.exits import ExitCode
from flashback_async.cli.invocation import perform
from flashback_async.cli.session import CaFile, Endpoints, client_of
from flashback_async.cli.wording import counted, printable, size_text
from flashback_async.models import ObjectInfo


def ls(
    ctx: typer.Context,
    path: Annotated[
        str, typer.Argument(metavar="BUCKET/PREFIX", help="As fb://bucket/prefix, or without the scheme.")
    ],
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON line per object.")] = False,
    endpoint: Endpoints = None,
    ca_file: CaFile = None,
) -> None:
    """List the objects whose keys begin with a prefix."""
    perform(ctx, _ls(path, endpoint, ca_file, as_json=wants_json(json)))


async def _ls(path: str, endpoints: list[str] | None, ca_file: Path | None, *, as_json: bool) -> ExitCode:
    place = remote(path)
    count = total = 0
    async with client_of(endpoints, ca_file) as client:
        async for info in client.list_objects(place.bucket, place.key):
            count += 1
            total += info.size
            if as_json:
                write_json(row_of(info))
            else:
                write_line(_line(info))
    if not as_json:
        note(_summary(place, count, total))
    return ExitCode.OK


def row_of(info: ObjectInfo) -> dict[str, object]:
    """An object for a JSON line."""
    row: dict[str, object] = {
        "bucket": info.bucket,
        "key": info.key,
        "size": info.size,
        "etag": info.etag,
        "last_modified": info.last_modified.isoformat() if info.last_modified else None,
    }
    extra = {
        "content_type": info.content_type,
        "metadata": dict(info.metadata) or None,
        "version_id": info.version_id,
        "storage_class": info.storage_class,
        "checksum": info.checksum,
    }
    return row | {name: value for name, value in extra.items() if value is not None}


def _line(info: ObjectInfo) -> str:
    written = info.last_modified
    when = f"{written.astimezone():%Y-%m-%d %H:%M:%S}" if written else "-"
    return f"{when:19}  {size_text(info.size):>9}  {printable(info.key)}"


def _summary(place: Remote, count: int, total: int) -> str:
    if not count:
        return f"no objects under {printable(str(place))}"
    return f"{counted(count, 'object')}, {size_text(total)}"
