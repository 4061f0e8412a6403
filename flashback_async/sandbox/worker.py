"""What every process of the sandbox does: read its configuration, say it is ready, end with its parent.

The configuration is the first line on stdin, so that secrets are in no argument list and no environment.
The end of stdin ends the process: it outlives its parent in no case.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any, Protocol

from flashback_async.sandbox import admin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


class Service(Protocol):
    """A running service of a worker process."""

    @property
    def calls(self) -> Mapping[str, admin.Call]:
        """What the admin channel offers."""
        ...

    async def aclose(self) -> None:
        """Stop serving."""
        ...


def run(start: Callable[[dict[str, Any]], Awaitable[Service]]) -> None:
    """Run one service until stdin ends.

    Args:
        start: builds the service from the configuration; when it returns, the service is ready.
    """
    asyncio.run(_main(start))


async def _main(start: Callable[[dict[str, Any]], Awaitable[Service]]) -> None:
    stdin = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    config = json.loads(await stdin.readline())
    service = await start(config)
    server, port = await admin.serve(service.calls, token=config["admin_token"])
    sys.stdout.write(json.dumps({"admin_port": port}) + "\n")
    sys.stdout.flush()
    await stdin.read()
    server.close()
    await service.aclose()
