"""Requests to one contestant, so many in flight for so long, and what they cost."""

from __future__ import annotations

import asyncio
import gc
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from measuring.contestants import Contestant


class Load(NamedTuple):
    """What is asked for.

    Attributes:
        verb: `get` or `put`.
        size: bytes of each object.
        in_flight: requests that run at the same time.
        seconds: after which none is begun any more; those that run are waited for.
    """

    verb: str
    size: int
    in_flight: int
    seconds: float


def memory() -> tuple[int, int]:
    """Bytes of memory this process holds, and the most it ever held."""
    # Not getrusage: its peak is inherited through fork.
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) * 1_024, int(lines["VmHWM"].split()[0]) * 1_024


async def apply(contestant: Contestant, load: Load) -> dict[str, Any]:
    """Put `load` on it; figures in seconds and bytes. The first failure ends it: errors are cheap."""
    gc.collect()
    latencies: list[float] = []
    work = _blocking if contestant.blocking else _waiting
    began, cpu = time.perf_counter(), time.process_time()
    await work(contestant, load, latencies, began + load.seconds)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    resident, peak = memory()
    cuts = quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else latencies * 99
    return {
        "operations": len(latencies),
        "cpu_per_operation": cpu / len(latencies),
        "per_second": len(latencies) / wall,
        "p50": cuts[49],
        "p99": cuts[98],
        "resident": resident,
        "peak": peak,
    }


async def _waiting(contestant: Contestant, load: Load, latencies: list[float], until: float) -> None:
    clock, size = time.perf_counter, load.size
    data = bytes(size)

    async def one(key: int) -> None:
        if load.verb == "put":
            await contestant.put(f"put/{size}/{key}", data)
        else:
            _check(await contestant.get(f"get/{size}/{key % 64}"), size)

    async def worker(number: int) -> None:
        begun = clock()
        # Each has a key of its own: nobody replaces what another one writes just now.
        while True:
            await one(number)
            now = clock()
            latencies.append(now - begun)
            if now >= until:
                return
            begun = now

    await asyncio.gather(*(worker(number) for number in range(load.in_flight)))


async def _blocking(contestant: Any, load: Load, latencies: list[float], until: float) -> None:
    clock, size = time.perf_counter, load.size
    data = bytes(size)
    call: Callable[[int], None]
    if load.verb == "put":
        call = lambda number: contestant.put_blocking(f"put/{size}/{number}", data)  # noqa: E731
    else:
        call = lambda number: _check(contestant.get_blocking(f"get/{size}/{number % 64}"), size)  # noqa: E731

    def worker(number: int) -> None:
        begun = clock()
        while True:
            call(number)
            now = clock()
            latencies.append(now - begun)
            if now >= until:
                return
            begun = now

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(load.in_flight) as threads:
        await asyncio.gather(
            *(loop.run_in_executor(threads, worker, number) for number in range(load.in_flight))
        )


def _check(length: int, size: int) -> None:
    if length != size:
        raise RuntimeError(f"an object of {size} bytes came back with {length}")
