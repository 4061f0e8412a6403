"""What a running cluster owns outside its own memory, and how all of it is given back."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from flashback_async.sandbox.child import Child
from flashback_async.sandbox.ports import ReservedPort

_GRACE: Final = 2.0
"""Seconds in which processes may end by themselves before they are killed."""

_POLL: Final = 0.005
"""Seconds between two looks whether processes have ended."""


class Resources:
    """A temporary directory, ports and processes. `discard` is synchronous, so no cancellation interrupts it.

    Attributes:
        directory: for logs, certificates and rclone's objects.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="flashback-sandbox-"))
        self._ports: list[ReservedPort] = []
        self._children: list[Child] = []

    def reserve(self, *hosts: str) -> ReservedPort:
        """Reserve one port on these addresses."""
        port = ReservedPort(*hosts)
        self._ports.append(port)
        return port

    def child(self, name: str, module: str, config: dict[str, Any]) -> Child:
        """A process that is not started yet."""
        log = self.directory / f"{name}.log"
        child = Child(name, f"flashback_async.sandbox.{module}", config, log=log)
        self._children.append(child)
        return child

    async def start(self) -> None:
        """Start all processes at the same time. The first failure ends the others and is raised."""
        try:
            async with asyncio.TaskGroup() as group:
                for child in self._children:
                    group.create_task(child.start())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def close(self) -> None:
        """Let all processes end by themselves, then `discard`. Cancelling it only cuts the waiting short."""
        try:
            for child in self._children:
                child.hang_up()
            async with asyncio.timeout(_GRACE):
                while any(child.alive for child in self._children):  # noqa: ASYNC110 - processes set no event
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            pass  # they are killed now
        finally:
            self.discard()

    def discard(self) -> None:
        """Kill what still runs; give back ports and files."""
        for child in self._children:
            child.kill()
        for port in self._ports:
            port.close()
        shutil.rmtree(self.directory, ignore_errors=True)
