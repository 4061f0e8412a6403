"""`flashback sandbox`: a local Flashback to try things against, until Ctrl-C."""

import asyncio
import shlex
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flashback_async.cli.address import remote
from flashback_async.cli.cluster import Store, local_flashback
from flashback_async.cli.console import flush_results, messages, write_line
from flashback_async.cli.exits import ExitCode
from flashback_async.cli.invocation import perform
from flashback_async.cli.wording import seconds_text

if TYPE_CHECKING:
    from flashback_async.sandbox import LocalFlashback


def sandbox(
    ctx: typer.Context,
    *,
    nodes: Annotated[int, typer.Option(help="Gateways, spread over regions and distances.")] = 4,
    store: Annotated[
        Store, typer.Option(help="What keeps the objects; rclone verifies signatures.")
    ] = Store.MOTO,
    bucket: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", show_default=False, help="A bucket to create; repeatable. Default: demo."
        ),
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", show_default=False, help="The same distance for every node."),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Serve https.")] = False,
    seed: Annotated[int, typer.Option(help="Of every chance in it.")] = 0,
) -> None:
    """Run a local Flashback until Ctrl-C: control plane, S3 gateways and a store.

    The variables that lead to it go to stdout, as shell code:

    flashback sandbox > env.sh &  sleep 3; . ./env.sh; flashback nodes
    """
    perform(ctx, _sandbox(nodes, store, bucket or ["demo"], latency, seed, tls=tls))


async def _sandbox(
    nodes: int, store: Store, buckets: list[str], latency: float | None, seed: int, *, tls: bool
) -> ExitCode:
    places = [remote(name).bucket for name in buckets]
    async with local_flashback(
        nodes, store=store, buckets=places, latency=latency, tls=tls, seed=seed
    ) as cluster:
        for name, value in cluster.environment().items():
            write_line(f"export {name}={shlex.quote(value)}")
        flush_results()
        messages().print(_table(cluster))
        await asyncio.Event().wait()
    return ExitCode.OK


def _table(cluster: "LocalFlashback") -> Table:
    caption = f"buckets: {', '.join(cluster.bucket_ids) or 'none'}; Ctrl-C ends everything"
    table = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    for name in ("node", "region", "provider", "distance", "url"):
        table.add_column(name, justify="right" if name == "distance" else "left", no_wrap=True)
    for node in cluster.nodes:
        table.add_row(node.id, node.region, node.provider, seconds_text(node.latency), node.url)
    table.add_row("control plane", "", "", "", cluster.control_plane.url)
    return table
