"""The process of one gateway ("node"): a `Front` with faults before a `Relay` to the store."""

from __future__ import annotations

from typing import Any

from flashback_async.sandbox import worker
from flashback_async.sandbox.relay import Relay
from flashback_async.sandbox.service import FrontService


async def start(config: dict[str, Any]) -> FrontService:
    """Start a gateway from its configuration, which also names the `store` as [host, port]."""
    service = FrontService(Relay(*config["store"]), config)
    await service.behave(config["behaviour"])
    return service


if __name__ == "__main__":
    worker.run(start)
