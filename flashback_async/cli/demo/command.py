"""`flashback demo`: the package at work while everything around it breaks, and what the guide makes of it."""

from typing import Annotated

import typer

from flashback_async.cli.cluster import Store, require_sandbox
from flashback_async.cli.exits import ExitCode
from flashback_async.cli.invocation import perform


def demo(
    ctx: typer.Context,
    *,
    objects: Annotated[int, typer.Option(min=1, max=100_000, help="Files to copy in and out.")] = 1_500,
    seed: Annotated[int, typer.Option(help="Of the choice of files and their contents.")] = 0,
    store: Annotated[Store, typer.Option(help="What keeps the objects.")] = Store.MOTO,
    json: Annotated[bool, typer.Option("--json", help="The summary as one JSON document.")] = False,
) -> None:
    """See it work: a tree goes in and out while nodes slow down, lie and die. About a minute.

    Everything runs on this machine: a control plane and four S3 gateways in three simulated regions. Then the
    same happens to the algorithm of Flashback's guide, for comparison.
    """
    perform(ctx, _demo(objects, seed, store, as_json=json))


async def _demo(objects: int, seed: int, store: Store, *, as_json: bool) -> ExitCode:
    require_sandbox()
    # Only here: these import the sandbox and boto.
    from flashback_async.cli.demo.stage import show  # noqa: PLC0415

    return await show(objects, seed, store, as_json=as_json)
