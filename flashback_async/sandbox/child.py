"""One process of the sandbox, as its parent sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Final

from flashback_async.sandbox import admin
from flashback_async.sandbox.errors import SandboxError

_START_TIMEOUT: Final = 60.0
"""Seconds a process may take until it is ready; a loaded machine needs more than the usual one."""

_LOG_TAIL: Final = 2_000
"""Characters of a child's log that an error shows."""

_ROOT: Final = str(Path(__file__).resolve().parents[2])


class Child:
    """A worker process: `start`, `call` as often as you like, `kill`, `start` again.

    Belongs to no event loop: every method works from any loop, one at a time.

    Args:
        name: for messages.
        module: what `python -m` runs.
        config: what the process is told; the owner may change it between starts.
        log: where its stderr goes.
    """

    def __init__(self, name: str, module: str, config: dict[str, Any], *, log: Path) -> None:
        self.name = name
        self.config = config
        self._module = module
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._admin_port = 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id; None before the first start."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process and wait until it is ready. When cancelled, the process is gone.

        Raises:
            SandboxError: it did not become ready; the message shows its log.
        """
        self.kill()
        path = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
        with self._log.open("ab") as log:
            # In a session of its own: Ctrl-C reaches the parent alone, which then ends the children in order.
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - awaited below; our own modules
                [sys.executable, "-P", "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            await _tell(self._process.stdin, self.config)
            self._admin_port = json.loads(await _first_line(self._process.stdout))["admin_port"]
        except (TimeoutError, ValueError) as error:
            self.kill()
            how = "was not ready in time" if isinstance(error, TimeoutError) else "ended at its start"
            tail = self._log.read_text(errors="replace")[-_LOG_TAIL:].strip()
            raise SandboxError(f"{self.name} {how}; its log says:\n{tail}") from error
        except BaseException:
            self.kill()
            raise

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """Perform a call on the process's admin channel.

        Raises:
            SandboxError: the process does not run, or could not do it.
        """
        try:
            return await admin.call(self._admin_port, name, arguments, token=self.config["admin_token"])
        except OSError as error:
            raise SandboxError(
                f"{self.name} does not answer ({error}); if it was killed, restart it first"
            ) from error

    def hang_up(self) -> None:
        """Ask the process to end, by closing its stdin."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def kill(self) -> None:
        """End the process, and all it started, with SIGKILL; returns when it is gone."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.hang_up()
        if self._process.stdout is not None:
            self._process.stdout.close()


async def _tell(pipe: IO[bytes], config: dict[str, Any]) -> None:
    """Write the configuration without blocking the loop; the pipe itself stays open."""
    copy = os.fdopen(os.dup(pipe.fileno()), "wb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.BaseProtocol, copy)
    transport.write(json.dumps(config).encode() + b"\n")
    transport.close()  # once everything is written


async def _first_line(pipe: IO[bytes]) -> bytes:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        async with asyncio.timeout(_START_TIMEOUT):
            return await reader.readline()
    finally:
        transport.close()
