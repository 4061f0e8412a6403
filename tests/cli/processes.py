"""The command in processes of its own, with pipes or on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from fcntl import ioctl
from types import SimpleNamespace

COMMAND = [sys.executable, "-W", "error", "-m", "flashback_async.cli"]


def run(*arguments, input=b"", expect=None, **variables):  # noqa: A002  # subprocess's own name
    """Run to the end: `.code`, `.out` (bytes), `.err` (lines)."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=input,
        capture_output=True,
        env={**os.environ, **variables},
        timeout=60,
        check=False,
    )
    return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr.decode().splitlines())


@contextmanager
def started(*arguments, **variables):
    """A running process, gone at the end of the block."""
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def on_terminal(*arguments, columns=80, rows=24, **variables):
    """A process whose streams are a terminal of that size; `.read(until=)`, `.process`."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", **variables}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        if name not in variables:
            environment.pop(name, None)
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    terminal = Terminal(master, process)
    try:
        yield terminal
    finally:
        process.kill()
        process.wait()
        os.close(master)


class Terminal:
    """The other end of a process's terminal."""

    def __init__(self, descriptor, process):
        self.process = process
        self.seen = ""
        self._descriptor = descriptor

    def read(self, until="", seconds=60):
        """Everything written until that text was, or until the end; the process's exit code is set then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if until and until in self.seen:
                return self.seen
            ready, _, _ = select.select([self._descriptor], [], [], 0.1)
            if ready:
                try:
                    data = os.read(self._descriptor, 65_536)
                except OSError:  # nobody holds the other side any more
                    data = b""
                if not data:
                    self.process.wait(timeout=10)
                    return self.seen
                self.seen += data.decode()
        raise AssertionError(f"{until!r} was not written in {seconds} s, at the end: {self.seen[-2_000:]}")

    def lines(self):
        """Everything written until the end, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.read()).rstrip("\r\n").split("\r\n")
