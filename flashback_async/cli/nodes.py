"""`flashback nodes`: the table of endpoints, once, or why the router would choose which of them."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashback_async.cli.address import remote
from flashback_async.cli.console import note, results, wants_json, write_json
from flashback_async.cli.exits import ExitCode, bad_argument
from flashback_async.cli.invocation import perform
from flashback_async.cli.node_reasons import by_turn, reason_as_json, reasons_table
from flashback_async.cli.node_table import rows_of, table_of
from flashback_async.cli.session import CaFile, Endpoints, client_of
from flashback_async.cli.wording import counted
from flashback_async.routing import OperationKind

if TYPE_CHECKING:
    from flashback_async import FlashbackClient


# A probe needs a handshake and two round trips; who has not answered by then is shown without a figure.
_PATIENCE = 2.0
_LOOK = 0.02


def nodes(
    ctx: typer.Context,
    *,
    bucket: Annotated[
        str | None,
        typer.Option(help="Expect latencies as for this bucket.", metavar="NAME", show_default=False),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            help="Tell why which node gets the reads of this bucket.", metavar="NAME", show_default=False
        ),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="With --explain: the writes instead.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON line per node.")] = False,
    endpoint: Endpoints = None,
    ca_file: CaFile = None,
) -> None:
    """List the nodes: where they are, how far away, and which of them are preferred.

    The round trip is from here to the node, the first byte what a read is expected to take. A preferred node
    is as good as the best; one on standby is slower; one that is out has failed and gets a trial in time.

    With --explain each node is told with the reason why it would or would not get the next request.
    """
    kind = OperationKind.WRITE if write else OperationKind.READ
    perform(ctx, _nodes(bucket, explain, kind, endpoint, ca_file, as_json=wants_json(json)))


async def _nodes(
    bucket: str | None,
    explain: str | None,
    kind: OperationKind,
    endpoints: list[str] | None,
    ca_file: Path | None,
    *,
    as_json: bool,
) -> ExitCode:
    if explain is not None and bucket is not None:
        raise bad_argument(f"--explain {explain} names the bucket already; leave --bucket {bucket} out")
    if explain is None and kind is OperationKind.WRITE:
        raise bad_argument("--write needs --explain with the name of a bucket")
    name = bucket if explain is None else explain
    bucket = None if name is None else remote(name).bucket
    async with client_of(endpoints, ca_file) as client:
        if bucket is not None:
            await client.pick_endpoint(bucket, kind=kind)
            await client.refresh()
        if client.settings.probes:
            await _probed(client)
        if explain is not None and bucket is not None:
            _explain(client, bucket, kind, as_json=as_json)
        else:
            _list(client, bucket, as_json=as_json)
        dropped = client.stats().dropped_rows
    if dropped:
        rows_dropped = counted(dropped, "row")
        note(f"{rows_dropped} of the control plane's answer could not be used; `flashback -v nodes` says why")
    return ExitCode.OK


def _list(client: "FlashbackClient", bucket: str | None, *, as_json: bool) -> None:
    rows = rows_of(client, bucket, asyncio.get_running_loop().time())
    if as_json:
        for row in rows:
            write_json(row.as_json())
    else:
        results().print(table_of(rows))


def _explain(client: "FlashbackClient", bucket: str, kind: OperationKind, *, as_json: bool) -> None:
    rows = by_turn(client.router.explain(bucket, kind, now=asyncio.get_running_loop().time()))
    if as_json:
        for row in rows:
            write_json(reason_as_json(row, bucket, kind))
    else:
        console = results()
        console.print(reasons_table(rows, bucket, kind, width=console.width))


async def _probed(client: "FlashbackClient") -> None:
    """Wait until every node was probed, but not for those that do not answer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE
    while loop.time() < deadline:
        if all(row.probed_at is not None for row in client.router.snapshot(now=loop.time()).endpoints):
            return
        await asyncio.sleep(_LOOK)
