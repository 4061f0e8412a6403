"""Runs a cluster in the foreground, for the command line."""

from __future__ import annotations

import asyncio
import shlex
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashback_async.sandbox.cluster import LocalFlashback


async def serve(cluster: LocalFlashback, *, write: Callable[[str], object] = print) -> None:
    """Start a cluster, show how to use it, and run it until SIGINT or SIGTERM; needs the main thread.

    Args:
        cluster: a new one; it is closed at the end, and when this is cancelled.
        write: gets what to show, line by line, as shell code: comments and `export FB_...`.

    Raises:
        SandboxError: it did not start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        async with cluster:
            for node in cluster.nodes:
                write(f"# {node.id}: {node.url} {node.region} {node.provider} +{node.latency * 1000:g} ms")
            write(f"# buckets: {', '.join(cluster.bucket_ids) or 'none'}; Ctrl-C ends everything")
            for name, value in cluster.environment().items():
                write(f"export {name}={shlex.quote(value)}")
            await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
