"""What does this package add to an aioboto3 call? Its verbs, and aioboto3's client called directly.

    python benchmarks/lane_overhead.py
    python benchmarks/lane_overhead.py --quick --server fixed      # no nginx needed

Three run in one process on one loop, in short turns: a slow moment of the machine meets all of them.

- *same Config*: aioboto3's own session and HTTP, told what the package tells its clients: addressing,
  signatures, no retries, no checksums, User-Agent, no Expect. The bare client that the package is held to.
- *as underneath*: the very client that the package calls, which is cheaper than that. The rest is routing.
- *flashback*: `get_object` and `put_object`, whole.

Then what a client costs that is not the first of its process: made, started, asked for one object, closed.
Exits with 1 if a bound is missed: 8 % more CPU than the bare client per operation of 4 KiB at 32 in flight,
and no more than its CPU for a later client.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from measuring.contestants import Bare, Contestant, Flashback, FlashbackFast, Underneath
from measuring.crew import cores
from measuring.load import Load, memory
from measuring.results import RESULTS, size_text, spread, table, write
from measuring.turns import in_turns
from serving.choice import add_option, complaint_of, serving
from serving.nginx import object_key

QUESTION = "What does this package add to an aioboto3 call?"
BOUND = 1.08
LATER_BOUND = 1.0
SIZE = 4_096
IN_FLIGHT = 32


async def overhead(url: str, verb: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    """CPU per operation of all three, and the ratios of neighbouring turns."""
    three: tuple[Contestant, ...] = (Bare(), Underneath(), Flashback())
    found = await in_turns(three, url, Load(verb, SIZE, IN_FLIGHT, seconds), rounds=rounds)
    bare, underneath, ours = ([row["cpu_per_operation"] for row in rows] for rows in found)
    return {
        "verb": verb,
        "size": SIZE,
        "in_flight": IN_FLIGHT,
        "bare_cpu": spread(bare),
        "underneath_cpu": spread(underneath),
        "flashback_cpu": spread(ours),
        "ratio": spread(_ratios(ours, bare)),
        "ratio_underneath": spread(_ratios(ours, underneath)),
        "bound": BOUND,
    }


class OwnSession(Bare):
    """As code does that makes a session per client: botocore's models are read again."""

    def load(self) -> None:
        super().load()
        import aioboto3  # noqa: PLC0415  # as the contestants do

        self._session = aioboto3.Session()  # type: ignore[misc]  # its own, in the class's place


KINDS: dict[str, type[Contestant]] = {
    "aioboto3 client of the same session": Bare,
    "aioboto3 client of a session of its own": OwnSession,
    "FlashbackClient": Flashback,
    "FlashbackClient, fast lane": FlashbackFast,
}
"""Later clients; all others relate to the first."""


async def later_clients(url: str, *, count: int) -> list[dict[str, Any]]:
    """CPU and time of clients that are not the first of their kind."""
    for kind in KINDS.values():
        await _life(kind, url)
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in KINDS}
    for _ in range(count):
        for name, kind in KINDS.items():
            costs[name].append(await _life(kind, url))
    cpu = {name: [cpu for cpu, _ in costs[name]] for name in KINDS}
    base = next(iter(KINDS))
    return [
        {
            "client": name,
            "cpu": spread(cpu[name]),
            "ratio": spread(_ratios(cpu[name], cpu[base])),
            "seconds": spread([wall for _, wall in costs[name]]),
        }
        for name in KINDS
    ]


async def _life(kind: type[Contestant], url: str) -> tuple[float, float]:
    gc.collect()
    cpu, began = time.process_time(), time.perf_counter()
    contestant = await _opened(kind, url)
    await contestant.close()
    return time.process_time() - cpu, time.perf_counter() - began


def memory_of(name: str, url: str, count: int) -> float:
    """Bytes that a later client holds, open; for a process of its own, where nothing was freed before."""
    return asyncio.run(_memory_of(KINDS[name], url, count))


async def _memory_of(kind: type[Contestant], url: str, count: int) -> float:
    open_ones = [await _opened(kind, url)]
    gc.collect()
    before, _ = memory()
    open_ones += [await _opened(kind, url) for _ in range(count)]
    gc.collect()
    after, _ = memory()
    for contestant in open_ones:
        await contestant.close()
    return (after - before) / count


async def _opened(kind: type[Contestant], url: str) -> Contestant:
    contestant = kind()
    contestant.load()
    await contestant.open([url])
    await contestant.get(object_key(SIZE, 0))
    return contestant


def _ratios(some: list[float], others: list[float]) -> list[float]:
    return [one / other for one, other in zip(some, others, strict=True)]


def main() -> int:
    """Measure, show, and judge."""
    options = _options()
    if complaint := complaint_of(options.server):
        print(complaint, file=sys.stderr)
        return 2
    client_core, server_core = cores()
    with serving(options.server, (SIZE,), core=server_core) as running:
        if client_core is not None:
            os.sched_setaffinity(0, {client_core})
        (url,) = running.urls
        rows = [
            asyncio.run(overhead(url, verb, rounds=options.rounds, seconds=options.seconds))
            for verb in ("get", "put")
        ]
        clients = asyncio.run(later_clients(url, count=options.clients))
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
            for row in clients:
                row["memory"] = processes.submit(memory_of, row["client"], url, options.clients).result()
    print(table(_HEADING, [_line(row) for row in rows]), end="\n\n")
    heading = ("a later client: open, GET, close", "CPU ms", "x the first", "ms", "KiB held")
    print(table(heading, [_later_line(row) for row in clients]), end="\n\n")
    judged = [
        (f"{row['verb'].upper()}, flashback / same Config", row["ratio"]["median"], BOUND) for row in rows
    ]
    judged += [
        (f"a later {row['client']} / aioboto3's", row["ratio"]["median"], LATER_BOUND)
        for row in clients
        if row["client"].startswith("Flashback")
    ]
    for what, value, bound in judged:
        print(f"{what}: {value:.3f}, {'within' if value <= bound else 'MISSED'} {bound}")
    write(options.json, QUESTION, rows, clients=clients, rounds=options.rounds, server=running.name)
    return 1 if any(value > bound for _, value, bound in judged) and not options.quick else 0


_HEADING = (
    f"CPU us, {size_text(SIZE)}, {IN_FLIGHT} in flight",
    "same Config", "as underneath", "flashback", "/ same Config", "quartiles", "/ underneath", "quartiles",
)  # fmt: skip


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    cells = [f"{row[name]['median'] * 1e6:,.0f}" for name in ("bare_cpu", "underneath_cpu", "flashback_cpu")]
    for name in ("ratio", "ratio_underneath"):
        found = row[name]
        cells += [f"{found['median']:.3f}", f"{found['low']:.3f} - {found['high']:.3f}"]
    return (row["verb"].upper(), *cells)


def _later_line(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["client"],
        f"{row['cpu']['median'] * 1e3:.1f}",
        f"{row['ratio']['median']:.2f}",
        f"{row['seconds']['median'] * 1e3:.1f}",
        f"{row['memory'] / 1_024:,.0f}",
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="8 rounds of 0.2 s, and no judgement")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each of the three in each round")
    parser.add_argument("--clients", type=int, default=12, help="later clients of each kind")
    add_option(parser)
    parser.add_argument("--json", type=Path, default=RESULTS / "lane_overhead.json", metavar="FILE")
    options = parser.parse_args()
    options.rounds = options.rounds or (8 if options.quick else 24)
    options.seconds = options.seconds or (0.2 if options.quick else 0.5)
    return options


if __name__ == "__main__":
    sys.exit(main())
