"""A contestant's process: commands come in as lines of JSON, and so do answers go out."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from measuring.contestants import Contestant, UnavailableError, loaded
from measuring.load import Load, apply, memory


async def serve(key: str, urls: list[str]) -> None:
    """Answer until the input ends."""
    empty, _ = memory()
    try:
        contestant = loaded(key)
    except UnavailableError as error:
        _say({"unavailable": str(error)})
        return
    imported, _ = memory()
    await contestant.open(urls)
    _say({"name": contestant.name, "hashes": contestant.hashes, "empty": empty, "imported": imported})
    # In a thread: what a client does in the background goes on while others are measured.
    while line := await asyncio.to_thread(sys.stdin.readline):
        _say(await _measured(contestant, Load(**json.loads(line))))
    await contestant.close()


async def _measured(contestant: Contestant, load: Load) -> dict[str, Any]:
    try:
        return await apply(contestant, load)
    except Exception as error:  # noqa: BLE001  # whatever a client raises: it is the result
        return {"failed": f"{type(error).__name__}: {error}"[:300]}


def _say(answer: dict[str, Any]) -> None:
    # Not sys.stdout: a client that prints would be taken for an answer.
    ANSWERS.write(json.dumps(answer) + "\n")
    ANSWERS.flush()


if __name__ == "__main__":
    ANSWERS = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, core, *addresses = sys.argv[1:]
    if core != "any":
        os.sched_setaffinity(0, {int(core)})
    asyncio.run(serve(name, addresses))
