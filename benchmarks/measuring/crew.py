"""The contestants' processes, seen from the benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from measuring.load import Load

BENCHMARKS = Path(__file__).parents[1]
PATIENCE = 30.0
"""Seconds beyond the load itself."""


class Worker:
    """One contestant, alone in its process. `start` it, wait until it is `ready`, `measure`, `stop` it."""

    def __init__(self, key: str, urls: Sequence[str], *, core: int | None) -> None:
        self.key = key
        self.about: dict[str, Any] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "measuring.worker", key, "any" if core is None else str(core), *urls],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=BENCHMARKS,
            env=clean_environment(),
        )

    def ready(self) -> bool:
        """Wait for it to be open. False if it cannot take part; `about` tells why."""
        self.about = self._answer(PATIENCE)
        return "name" in self.about

    def measure(self, load: Load) -> dict[str, Any]:
        """What `load` costs it, or why it `failed`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(load._asdict()) + "\n")
        self._process.stdin.flush()
        return self._answer(load.seconds + PATIENCE)

    def stop(self) -> None:
        """Let it close its client, and wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _answer(self, timeout: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        # One that hangs would hang the benchmark.
        timer = threading.Timer(timeout, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            return {"failed": f"no answer within {timeout:.0f} s, or a crash: {self._process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def crew(keys: Sequence[str], urls: Sequence[str], *, core: int | None) -> Iterator[list[Worker]]:
    """Those of `keys` that can take part, open; the others are named on the screen."""
    with ExitStack() as stack:
        workers = []
        for key in keys:
            workers.append(Worker(key, urls, core=core))
            stack.callback(workers[-1].stop)
        able = []
        for worker in workers:
            if worker.ready():
                able.append(worker)
            else:
                why = worker.about.get("unavailable") or worker.about.get("failed")
                print(f"  {worker.key} takes no part: {why}")
        yield able


def clean_environment() -> dict[str, str]:
    """This process's environment without what would configure a client behind the benchmark's back."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FB_", "PYTHON"))
    }
    return {**kept, "PYTHONPATH": str(BENCHMARKS), "AWS_EC2_METADATA_DISABLED": "true"}


def cores() -> tuple[int | None, int | None]:
    """One core for the client, another for the server; None where there is but one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[-1]) if len(usable) > 1 else (None, None)
