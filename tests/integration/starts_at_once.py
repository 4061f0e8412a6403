"""A program of its own whose clients start at the same moment, and that forks while one of them is in use.

With the cluster in `FB_*` variables; prints how many clients read what they wrote. Nothing of boto is loaded when
the first ones start.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from flashback_async import FlashbackClient

THREADS = 3


async def use(name: str, *, forks: bool = False) -> int:
    """Write with a client of its own and read with it, in the child of a fork before that; how many did it."""
    async with FlashbackClient() as fb:
        await fb.put_object("demo", name, name.encode())
        good = 0
        if forks:
            good += await asyncio.to_thread(in_a_child, f"child-of-{name}")
        return good + ((await fb.get_object("demo", name)).body == name.encode())


def in_a_child(name: str) -> bool:
    """The same in a process that is forked off here."""
    if (forked := os.fork()) == 0:
        # Whatever happens: the child goes no further than here.
        try:
            os._exit(0 if asyncio.run(asyncio.wait_for(use(name), 30)) else 1)
        finally:
            os._exit(2)
    return os.waitpid(forked, 0)[1] == 0


def main() -> int:
    """Three threads at once; then one more client, and while it runs a child with another one."""
    together = Barrier(THREADS)

    def thread(number: int) -> int:
        together.wait()
        return asyncio.run(use(f"thread-{number}"))

    with ThreadPoolExecutor(THREADS) as threads:
        good = sum(threads.map(thread, range(THREADS)))
    good += asyncio.run(use("parent", forks=True))
    print(good)  # noqa: T201  # its result
    return 0


if __name__ == "__main__":
    sys.exit(main())
