"""A program of its own that sends a file up and gets it back, and tells what that took of its memory.

Run as `python big_transfer.py SOURCE TARGET`, with the cluster in `FB_*` variables; prints a line of JSON after
each direction.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from flashback_async import FlashbackClient, FlashbackSettings


async def main(source: Path, target: Path) -> None:
    async with FlashbackClient() as fb:
        await measured("up", fb, lambda told: fb.upload_file("demo", "big", source, progress=told))
    # The store of this test hashes the whole object before every answer to a read, which takes seconds: hence
    # the patience, and pieces that are few.
    async with FlashbackClient(FlashbackSettings(first_byte_timeout=60.0)) as fb:
        await measured(
            "down",
            fb,
            lambda told: fb.download_file("demo", "big", target, part_size=32 << 20, progress=told),
        )


async def measured(direction: str, fb: FlashbackClient, work) -> None:
    """Do it, and print what it took; the peak is that of the process so far."""
    moved = 0

    def told(amount: int) -> None:
        nonlocal moved
        moved += amount

    begun = time.monotonic()
    info = await work(told)
    stats = fb.stats()
    row = {
        "direction": direction,
        "size": info.size,
        "moved": moved,
        "seconds": round(time.monotonic() - begun, 2),
        "peak_mib": round(peak() / 2**20, 1),
        "retries": stats.retries,
        "resumed": stats.resumed,
        "failovers": dict(stats.failovers),
        "loop_lag": round(stats.loop_lag, 3),
        "leases": stats.leases,
        "nodes": {node.id: node.requests for node in fb.nodes()},
    }
    print(json.dumps(row), flush=True)  # noqa: T201  # its result


def peak() -> int:
    """The most bytes of memory that this process held."""
    # Not getrusage: a process inherits the peak of the one that started it.
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1_024


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
