"""A program of its own that sends a file up or gets one, to be interrupted from outside.

Run as `python interrupted_transfer.py up|down PATH`, with the cluster in `FB_*` variables; prints a line when
the first bytes have moved.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from flashback_async import FlashbackClient


async def main(direction: str, path: Path) -> None:
    said = False

    def told(_amount: int) -> None:
        nonlocal said
        if not said:
            said = True
            print("moving", flush=True)  # noqa: T201  # its news

    async with FlashbackClient() as fb:
        if direction == "up":
            await fb.upload_file("demo", "big", path, progress=told)
        else:
            await fb.download_file("demo", "big", path, progress=told)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
    except KeyboardInterrupt:
        sys.exit(130)
