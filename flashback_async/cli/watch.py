"""`flashback watch`: the table of endpoints, kept up to date until Ctrl-C."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live

from flashback_async.cli.console import results, wants_json, write_json
from flashback_async.cli.exits import ExitCode
from flashback_async.cli.invocation import perform
from flashback_async.cli.node_table import rows_of, table_of
from flashback_async.cli.session import CaFile, Endpoints, client_of
from flashback_async.cli.wording import counted

if TYPE_CHECKING:
    from flashback_async import FlashbackClient


def watch(
    ctx: typer.Context,
    *,
    interval: Annotated[float, typer.Option(min=0.1, max=3_600, help="Seconds between two looks.")] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="One JSON line per node and look.")] = False,
    endpoint: Endpoints = None,
    ca_file: CaFile = None,
) -> None:
    """Watch the nodes until Ctrl-C: which are there, which are near, which are left alone."""
    perform(ctx, _watch(interval, endpoint, ca_file, as_json=wants_json(json)))


async def _watch(
    interval: float, endpoints: list[str] | None, ca_file: Path | None, *, as_json: bool
) -> ExitCode:
    async with client_of(endpoints, ca_file) as client:
        if as_json:
            await _write(client, interval)
        else:
            await _show(client, interval)
    return ExitCode.OK


async def _write(client: "FlashbackClient", interval: float) -> None:
    while True:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        for row in rows_of(client, None, asyncio.get_running_loop().time()):
            write_json({"at": at, **row.as_json()})
        await asyncio.sleep(interval)


async def _show(client: "FlashbackClient", interval: float) -> None:
    with Live(console=results(), auto_refresh=False, transient=False) as live:
        while True:
            rows = rows_of(client, None, asyncio.get_running_loop().time())
            live.update(table_of(rows, caption=_caption(client)), refresh=True)
            await asyncio.sleep(interval)


def _caption(client: "FlashbackClient") -> str:
    stats = client.stats()
    age = "never" if stats.table_age is None else f"{stats.table_age:.0f} s ago"
    state = ", out of date" if stats.table_stale else ""
    failed = f", failed {counted(stats.discovery_failures, 'time')}" if stats.discovery_failures else ""
    return f"discovered {age}{state}{failed}; Ctrl-C ends"
