"""The process that runs `rclone serve s3`: a real server that verifies SigV4, in Go."""

from __future__ import annotations

import asyncio
import ctypes
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flashback_async.sandbox import worker
from flashback_async.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashback_async.sandbox.admin import Call

_POLL: Final = 0.01
"""Seconds between two looks whether rclone listens; it says so nowhere a program could wait for."""

_CACHE_TIME: Final = 0.02
"""Seconds that rclone remembers a directory: buckets come and go behind its back. With 0 it looks again and
again without a pause, and takes a whole core for it."""

_PR_SET_PDEATHSIG: Final = 1
"""From linux/prctl.h."""


class RcloneService:
    """rclone as a child of this process: they end together."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._directory = Path(config["directory"])
        for name in config["buckets"]:
            (self._directory / name).mkdir(exist_ok=True)
        command = [config["program"], "serve", "s3", "--config", "/dev/null"]
        command += ["--addr", f"{config['host']}:{config['port']}"]
        command += ["--auth-key", f"{config['key_id']},{config['key_secret']}"]
        command += ["--dir-cache-time", f"{_CACHE_TIME}s", str(self._directory)]
        self._process = subprocess.Popen(  # noqa: S603 - the program that `rclone_program` found
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread so far
        )

    async def listening(self, host: str, port: int) -> None:
        """Return when the port accepts connections. Raises `SandboxError` if rclone ends instead."""
        while self._process.poll() is None:
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(_POLL)
            else:
                writer.close()
                return
        raise SandboxError(f"rclone ended with status {self._process.returncode}")

    @property
    def calls(self) -> dict[str, Call]:
        """What the admin channel offers."""
        return {"create_bucket": self.create_bucket, "clear": self.clear}

    async def create_bucket(self, name: str) -> None:
        """Create a bucket; one that exists already is left as it is."""
        (self._directory / name).mkdir(exist_ok=True)
        await asyncio.sleep(_CACHE_TIME)

    async def clear(self, buckets: Sequence[str]) -> None:
        """Remove everything, then create these buckets."""
        for entry in self._directory.iterdir():
            shutil.rmtree(entry)
        for name in buckets:
            (self._directory / name).mkdir(exist_ok=True)
        await asyncio.sleep(_CACHE_TIME)

    async def aclose(self) -> None:
        """End rclone."""
        self._process.kill()
        self._process.wait()


def _die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def start(config: dict[str, Any]) -> RcloneService:
    """Start rclone as the configuration says: `program`, `host`, `port`, `directory`, `buckets`, keys."""
    service = RcloneService(config)
    await service.listening(config["host"], config["port"])
    return service


if __name__ == "__main__":
    worker.run(start)
