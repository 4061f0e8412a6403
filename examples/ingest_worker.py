"""Upload every file under a directory, many at once, in bounded memory.

Set FB_KEY_ID, FB_KEY_SECRET and FB_REFRESH_TOKEN, `pip install flashback-async`, run
`python ingest_worker.py bucket directory`.

SIGTERM and SIGINT end it in order: nothing more is begun, what is queued is finished. Exit code: 0 everything
is stored, 1 some files failed (the log names each), 128 + the signal's number when stopped before the end.
"""

import asyncio
import logging
import signal
import sys
from collections import Counter
from pathlib import Path

from flashback_async import FlashbackClient, FlashbackError

WORKERS = 64
Queue = asyncio.Queue[Path | None]  # None ends a worker
log = logging.getLogger("ingest")


async def work(client: FlashbackClient, bucket: str, root: Path, queue: Queue, count: Counter[str]) -> None:
    while (path := await queue.get()) is not None:
        try:
            await client.put_object(bucket, path.relative_to(root).as_posix(), path)
            count["stored"] += 1
        except FlashbackError as error:
            count["failed"] += 1
            log.error("%s: %s", path, error)  # noqa: TRY400  # the message says it all


async def ingest(bucket: str, root: Path) -> int:
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.append, number)
    count: Counter[str] = Counter()
    queue = Queue(maxsize=WORKERS)  # when it is full, the walk waits for the workers
    async with FlashbackClient() as client, asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work(client, bucket, root, queue, count))
        for path in root.rglob("*"):  # noqa: ASYNC240  # lazy: a step is short
            if stopped:
                break
            if path.is_file():
                await queue.put(path)
        for _ in range(WORKERS):
            await queue.put(None)
    log.info("%d stored, %d failed%s", count["stored"], count["failed"], ", stopped" if stopped else "")
    return 1 if count["failed"] else 128 + stopped[0] if stopped else 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    sys.exit(asyncio.run(ingest(sys.argv[1], Path(sys.argv[2]))))
