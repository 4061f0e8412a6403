"""The command line: global options, and which command is whose."""

from typing import Annotated

import typer

from flashback_async import __version__
from flashback_async.cli import cat, cp, ls, nodes, rm, sandbox, stat, watch
from flashback_async.cli.demo import command as demo
from flashback_async.cli.invocation import Invocation, log_to_stderr

app = typer.Typer(
    name="flashback",
    help="Many S3 gateways that behave like one fast, always-available S3.",
    epilog=(
        "Settings come from FB_* variables: FB_KEY_ID, FB_KEY_SECRET and FB_JWT (or FB_REFRESH_TOKEN, or "
        "FB_ENDPOINTS). Nothing at hand? Try: flashback demo"
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:  # noqa: FBT001  # a callback of typer's
    if asked:
        typer.echo(f"flashback {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001  # its callback does the work
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log to stderr; twice for more.")
    ] = 0,
) -> None:
    """Many S3 gateways that behave like one fast, always-available S3."""
    log_to_stderr(verbose)
    ctx.obj = Invocation(debug=debug)


for command in (
    demo.demo,
    nodes.nodes,
    watch.watch,
    ls.ls,
    cp.cp,
    cat.cat,
    stat.stat,
    rm.rm,
    sandbox.sandbox,
):
    app.command()(command)
