"""One contestant's way from nothing to its first byte, in a process of its own; the figures as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from itertools import pairwise
from typing import Any

from measuring.contestants import UnavailableError, loaded
from measuring.load import memory


async def start(name: str, url: str, key: str) -> dict[str, Any]:
    """Import, open, first object, second client with its first object. Seconds and bytes."""
    empty, _ = memory()
    marks = [_now()]
    try:
        contestant = loaded(name)
    except UnavailableError as error:
        return {"unavailable": str(error)}
    marks.append(_now())
    imported, _ = memory()
    await contestant.open([url])
    marks.append(_now())
    await contestant.get(key)
    marks.append(_now())
    ready, _ = memory()
    second = loaded(name)
    await second.open([url])
    await second.get(key)
    marks.append(_now())
    both, _ = memory()
    await second.close()
    await contestant.close()
    walls = [after[0] - before[0] for before, after in pairwise(marks)]
    cpus = [after[1] - before[1] for before, after in pairwise(marks)]
    return {
        "name": contestant.name,
        "import": walls[0],
        "open": walls[1],
        "first_byte": walls[2],
        "total": walls[0] + walls[1] + walls[2],
        "second_client": walls[3],
        "second_client_cpu": cpus[3],
        "import_memory": imported - empty,
        "ready_memory": ready - empty,
        "second_client_memory": both - ready,
    }


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    ANSWERS = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contestant_name, core, address, wanted = sys.argv[1:]
    if core != "any":
        os.sched_setaffinity(0, {int(core)})
    print(json.dumps(asyncio.run(start(contestant_name, address, wanted))), file=ANSWERS)
