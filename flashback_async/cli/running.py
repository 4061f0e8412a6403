"""Runs a command's coroutine: signals, broken pipes and errors all end in an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from flashback_async.cli.exits import ExitCode, exit_code_of, explained

if TYPE_CHECKING:
    from collections.abc import Coroutine

# Ctrl-C is asyncio's own business; these end a command as gently.
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal asked the command to end. Not an error, so nothing catches it by accident."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


def run(work: Coroutine[Any, Any, ExitCode], *, debug: bool = False) -> NoReturn:
    """Run `work` to its end in a new event loop and exit with what it returns.

    Ctrl-C and SIGTERM cancel it, and wait until it has cleaned up. An error becomes one line on stderr.

    Args:
        work: the command.
        debug: show the traceback of an error as well.
    """
    raise SystemExit(_code_of(work, debug=debug))


def _code_of(work: Coroutine[Any, Any, ExitCode], *, debug: bool) -> int:
    try:
        code: int = asyncio.run(_guarded(work))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Ended as end:
        return end.code
    except BrokenPipeError:
        abandon_stdout()
        return ExitCode.BROKEN_PIPE
    except Exception as error:  # noqa: BLE001  # the last place where an error can become a line
        if debug:
            traceback.print_exc()
        complain(f"error: {explained(error)}")
        return exit_code_of(error)
    return code


async def _guarded(work: Coroutine[Any, Any, ExitCode]) -> ExitCode:
    """Run `work`; a signal cancels it."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        task.cancel()

    for number in _ENDING:
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise Ended(received[0]) from None
        raise
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)


def complain(message: str) -> None:
    """Write one line to stderr, whatever has become of it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"flashback: {message}\n")


def abandon_stdout() -> None:
    """Let what is still buffered for a reader that left go nowhere, at exit too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
