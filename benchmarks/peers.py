"""What does an operation cost in this package and in others? CPU, throughput, latency and memory.

    python benchmarks/peers.py                   # 4 KiB, 128 KiB and 8 MiB, GET and PUT: about ten minutes
    python benchmarks/peers.py --quick           # the same in two
    python benchmarks/peers.py --large           # 256 MiB as well, one at a time
    python benchmarks/peers.py --only bare flashback obstore --sizes 4096 --verbs get

nginx serves from memory on one core, each client runs in a process of its own on another. Rounds are
interleaved, so that noise of the machine meets all alike; medians are shown, and ratios to the aioboto3
client that the package configures, called directly. CPU is that of the client's process with all its threads.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from measuring.contestants import CONTESTANTS
from measuring.crew import cores, crew
from measuring.load import Load
from measuring.results import RESULTS, medians, ratio, size_text, table, write
from serving.choice import add_option, complaint_of, serving

SIZES = (4_096, 128 * 1_024, 8 << 20)
LARGE = 256 << 20
QUESTION = "What does an operation cost in this package and in others?"
BASE = "bare"


def case(
    load: Load, keys: list[str], urls: tuple[str, ...], *, rounds: int, core: int | None
) -> list[dict[str, object]]:
    """One load on every contestant, round by round."""
    rows: list[dict[str, object]] = []
    with crew(keys, urls, core=core) as workers:
        samples: dict[str, list[dict[str, float]]] = {}
        for number in range(rounds + 1):
            for worker in list(workers):
                # The first round opens connections and fills caches.
                sample = worker.measure(load if number else load._replace(seconds=min(load.seconds, 0.2)))
                if "failed" in sample:
                    print(f"  {worker.key} failed: {sample['failed']}")
                    workers.remove(worker)
                elif number:
                    samples.setdefault(worker.key, []).append(sample)
        figures = {worker.key: medians(samples[worker.key]) for worker in workers}
        for worker in workers:
            row = {**load._asdict(), "contestant": worker.key, **worker.about, **figures[worker.key]}
            del row["seconds"]
            if BASE in figures:
                row["cpu_ratio"] = ratio(samples[worker.key], samples[BASE], "cpu_per_operation")
                row["speed_ratio"] = ratio(samples[worker.key], samples[BASE], "per_second")
            rows.append(row)
    return rows


def show(load: Load, rows: list[dict[str, object]]) -> None:
    """The table of one load."""
    heading = (
        f"{load.verb.upper()} {size_text(load.size)}, {load.in_flight} in flight",
        "CPU us/op", "x bare", "op/s", "x bare", "p50 ms", "p99 ms", "peak MiB",
    )  # fmt: skip
    print(table(heading, [_line(row) for row in rows]), end="\n\n", flush=True)


def _line(row: dict[str, object]) -> list[str]:
    def number(name: str, scale: float, digits: int) -> str:
        value = row.get(name)
        return "-" if value is None else f"{float(str(value)) * scale:,.{digits}f}"

    mark = "" if row["hashes"] or row["verb"] == "get" else " (hashes no body)"
    return [
        f"{row['name']}{mark}",
        number("cpu_per_operation", 1e6, 0),
        number("cpu_ratio", 1, 3),
        number("per_second", 1, 0),
        number("speed_ratio", 1, 2),
        number("p50", 1e3, 2),
        number("p99", 1e3, 2),
        number("peak", 2**-20, 0),
    ]


def main() -> int:
    """Measure, show, and store."""
    options = _options()
    if complaint := complaint_of(options.server):
        print(complaint, file=sys.stderr)
        return 2
    loads = [Load(verb, size, 32, options.seconds) for verb in options.verbs for size in options.sizes]
    if options.large:
        loads += [Load(verb, LARGE, 1, options.seconds) for verb in options.verbs]
    client_core, server_core = cores()
    rows: list[dict[str, object]] = []
    sizes = tuple(dict.fromkeys(load.size for load in loads))
    with serving(options.server, sizes, core=server_core) as server:
        for load in loads:
            found = case(load, options.only, server.urls, rounds=options.rounds, core=client_core)
            show(load, found)
            rows += found
    write(options.json, QUESTION, rows, rounds=options.rounds, seconds=options.seconds, server=server.name)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.3 s instead of 7 of 1 s")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each contestant in each round")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="BYTES")
    parser.add_argument("--verbs", nargs="+", choices=("get", "put"), default=["get", "put"])
    parser.add_argument("--large", action="store_true", help="256 MiB too, one at a time")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME")
    add_option(parser)
    parser.add_argument("--json", type=Path, default=RESULTS / "peers.json", metavar="FILE")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = options.seconds or (0.3 if options.quick else 1.0)
    return options


if __name__ == "__main__":
    sys.exit(main())
