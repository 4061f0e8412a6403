"""A program of its own that sends a file up and gets it back, and tells what that took of its memory.

Run as `python big_transfer.py SOURCE TARGET`, with the cluster in `FB_*` variables; prints a line of JSON after
each direction.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

from flashback_async import FlashbackClient


async def main(source: Path, target: Path) -> None:
    async with FlashbackClient() as fb:
        for name, work in (
            ("up", lambda told: fb.upload_file("demo", "big", source, progress=told)),
            ("down", lambda told: fb.download_file("demo", "big", target, progress=told)),
        ):
            moved = 0

            def told(amount: int) -> None:
                nonlocal moved
                moved += amount  # used in this turn only

            begun = time.monotonic()
            info = await work(told)
            stats = fb.stats()
            row = {
                "direction": name,
                "size": info.size,
                "moved": moved,
                "seconds": round(time.monotonic() - begun, 2),
                "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024, 1),
                "retries": stats.retries,
                "resumed": stats.resumed,
                "failovers": dict(stats.failovers),
                "loop_lag": round(stats.loop_lag, 3),
                "leases": stats.leases,
                "nodes": {node.id: node.requests for node in fb.nodes()},
            }
            print(json.dumps(row), flush=True)  # noqa: T201  # its result


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
