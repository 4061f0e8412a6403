"""What the global options say, for the command that runs."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from flashback_async.cli.running import run

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import typer

    from flashback_async.cli.exits import ExitCode

PACKAGE_LOGGER = "flashback_async"

# A command says itself what its user has to know; without -v not even warnings mix with it.
_LEVELS = (logging.CRITICAL, logging.INFO, logging.DEBUG)


@dataclass(frozen=True, slots=True)
class Invocation:
    """The global options.

    Attributes:
        debug: show the traceback of an error.
    """

    debug: bool = False


def perform(ctx: typer.Context, work: Coroutine[Any, Any, ExitCode]) -> NoReturn:
    """Run a command and exit with its code."""
    given = ctx.obj
    run(work, debug=isinstance(given, Invocation) and given.debug)


def log_to_stderr(verbosity: int) -> None:
    """Log what this package does to stderr: nothing at 0, changes of state at 1, details from 2 on.

    Only this package: botocore's details hold signatures.
    """
    logger = logging.getLogger(PACKAGE_LOGGER)
    logger.setLevel(_LEVELS[min(verbosity, len(_LEVELS) - 1)])
    if verbosity and not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        handler = _StderrHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)


class _StderrHandler(logging.Handler):
    """Writes to what `sys.stderr` is at that moment: a progress bar may have put itself in between."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        sys.stderr.write(f"{self.format(record)}\n")
