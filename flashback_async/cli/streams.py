"""Standard streams without blocking the event loop, or the end of the process.

They may block for as long as somebody pauses at the other end. The executor's threads are waited for when
the process ends, so that Ctrl-C would wait as well; these threads are daemons, and left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from threading import Thread
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PIECE = 1024 * 1024
_IN_MEMORY = 8 * _PIECE


async def write_stdout(data: bytes) -> None:
    """Write all of `data` to stdout. Raises `BrokenPipeError` when the reader has left."""
    output = sys.stdout.buffer

    def write() -> None:
        output.write(data)
        output.flush()

    await _in_daemon_thread(write)


async def read_stdin() -> BinaryIO:
    """Everything on stdin, as a file that can be read from its beginning more than once.

    What is larger than 8 MiB is kept on disk. The caller closes the file.
    """
    source = sys.stdin.fileno()
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  # the caller's to close
    try:
        while data := await _in_daemon_thread(lambda: os.read(source, _PIECE)):
            await asyncio.to_thread(spool.write, data)
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return cast("BinaryIO", spool)


async def _in_daemon_thread(function: Callable[[], T]) -> T:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if future.done():
            return  # whoever waited was cancelled
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]  # None only where T is None

    def work() -> None:
        value, error = None, None
        try:
            value = function()
        except BaseException as caught:  # noqa: BLE001  # handed to whoever waits
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, value, error)

    Thread(target=work, name="flashback: standard stream", daemon=True).start()
    return await future
