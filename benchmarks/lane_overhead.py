"""What does routing add to an aioboto3 call? The package's verbs, and the client underneath called directly.

    python benchmarks/lane_overhead.py
    python benchmarks/lane_overhead.py --quick --server fixed      # no nginx needed

Both run in one process on one loop, in short turns: a slow moment of the machine meets both. The bare client
is the one that the package's own factory makes, with the same knobs on the same kind of session. Then what a
client costs that is not the first of its process: made, started, asked for one object, closed. Exits with 1
if the bound is missed: 8 % more CPU per operation of 4 KiB at 32 in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import time
from pathlib import Path
from typing import Any

from measuring.contestants import Bare, Contestant, Flashback, Stock
from measuring.crew import cores
from measuring.load import Load, apply, memory
from measuring.results import RESULTS, size_text, spread, table, write
from serving.choice import add_option, complaint_of, serving
from serving.nginx import object_key

QUESTION = "What does routing add to an aioboto3 call?"
BOUND = 1.08
SIZE = 4_096
IN_FLIGHT = 32


async def overhead(url: str, verb: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    """CPU per operation of both, and the ratio of neighbouring turns."""
    pair: tuple[Contestant, Contestant] = (Bare(), Flashback())
    load = Load(verb, SIZE, IN_FLIGHT, seconds)
    for contestant in pair:
        contestant.load()
        await contestant.open([url])
        await apply(contestant, load._replace(seconds=min(seconds, 0.5)))
    costs: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        # Who goes first changes: a machine that slows down favours neither.
        for index in (0, 1) if number % 2 else (1, 0):
            costs[index].append((await apply(pair[index], load))["cpu_per_operation"])
    for contestant in pair:
        await contestant.close()
    bare, ours = costs
    return {
        "verb": verb,
        "size": SIZE,
        "in_flight": IN_FLIGHT,
        "bare_cpu": spread(bare),
        "flashback_cpu": spread(ours),
        "ratio": spread([one / other for one, other in zip(ours, bare, strict=True)]),
        "bound": BOUND,
    }


async def later_clients(url: str, *, count: int) -> list[dict[str, Any]]:
    """CPU, time and memory of clients that are not the first of their kind."""
    kinds: dict[str, type[Contestant]] = {
        "aioboto3 client of the same session": Stock,
        "aioboto3 client of a session of its own": _OwnSession,
        "FlashbackClient": Flashback,
    }
    for kind in kinds.values():
        await _life(kind, url)
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    for _ in range(count):
        for name, kind in kinds.items():
            costs[name].append(await _life(kind, url))
    return [
        {
            "client": name,
            "cpu": spread([cpu for cpu, _ in costs[name]]),
            "seconds": spread([wall for _, wall in costs[name]]),
            "memory": await _memory_of(kind, url, count=count),
        }
        for name, kind in kinds.items()
    ]


class _OwnSession(Stock):
    """As code does that makes a session per client: botocore's models are read again."""

    def load(self) -> None:
        super().load()
        import aioboto3  # noqa: PLC0415  # as the contestants do

        self._session = aioboto3.Session()  # type: ignore[misc]  # its own, in the class's place


async def _life(kind: type[Contestant], url: str) -> tuple[float, float]:
    gc.collect()
    cpu, began = time.process_time(), time.perf_counter()
    contestant = await _opened(kind, url)
    await contestant.close()
    return time.process_time() - cpu, time.perf_counter() - began


async def _memory_of(kind: type[Contestant], url: str, *, count: int) -> float:
    gc.collect()
    before, _ = memory()
    open_ones = [await _opened(kind, url) for _ in range(count)]
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
    heading = (
        f"{size_text(SIZE)}, {IN_FLIGHT} in flight",
        "bare us",
        "flashback us",
        "ratio",
        "quartiles",
        "",
    )
    print(table(heading, [_line(row) for row in rows]), end="\n\n")
    print(
        table(
            ("a later client: open, GET, close", "CPU ms", "ms", "KiB held"),
            [
                (row["client"], *(f"{row[name]['median'] * 1e3:.1f}" for name in ("cpu", "seconds")),
                 f"{row['memory'] / 1_024:,.0f}")
                for row in clients
            ],
        )
    )  # fmt: skip
    write(options.json, QUESTION, rows, clients=clients, rounds=options.rounds, server=running.name)
    return 1 if any(row["ratio"]["median"] > BOUND for row in rows) and not options.quick else 0


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    ratio = row["ratio"]
    return (
        row["verb"].upper(),
        f"{row['bare_cpu']['median'] * 1e6:,.0f}",
        f"{row['flashback_cpu']['median'] * 1e6:,.0f}",
        f"{ratio['median']:.3f}",
        f"{ratio['low']:.3f} - {ratio['high']:.3f}",
        f"{'MISSED' if ratio['median'] > BOUND else 'within'} {BOUND}",
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="8 rounds of 0.2 s, and no judgement")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each of the two in each round")
    parser.add_argument("--clients", type=int, default=12, help="later clients of each kind")
    add_option(parser)
    parser.add_argument("--json", type=Path, default=RESULTS / "lane_overhead.json", metavar="FILE")
    options = parser.parse_args()
    options.rounds = options.rounds or (8 if options.quick else 24)
    options.seconds = options.seconds or (0.2 if options.quick else 0.5)
    return options


if __name__ == "__main__":
    sys.exit(main())
