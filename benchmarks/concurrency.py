"""How do cost and memory grow with requests in flight, and with endpoints?

    python benchmarks/concurrency.py
    python benchmarks/concurrency.py --quick

GETs of 4 KiB. First the CPU per operation with 1 to 1,000 requests in flight on one endpoint; then the memory
of a process with 1, 12 and 50 endpoints that were all used, idle and at the peak of 1,000 requests in flight.
Endpoints are loopback addresses of one nginx. Each figure comes from a process of its own; the bare clients
are those that the package makes, called in turn. Exits with 1 if a bound is missed: CPU at 1,000 in flight
1.3 x that at 32; at 12 endpoints and 1,000 in flight 50 MiB more than the bare clients.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring.crew import cores, crew
from measuring.load import Load
from measuring.results import RESULTS, medians, table, write
from serving.choice import add_option, complaint_of, serving

if TYPE_CHECKING:
    from collections.abc import Sequence

QUESTION = "How do cost and memory grow with requests in flight, and with endpoints?"
LANES = ("bare", "flashback", "flashback-fast")
IN_FLIGHT = (1, 8, 32, 128, 512, 1_000)
ENDPOINTS = (1, 12, 50)
SIZE = 4_096
GROWTH_BOUND = 1.3
MEMORY_BOUND = 50 << 20


def growth(
    urls: Sequence[str], in_flight: Sequence[int], *, rounds: int, seconds: float, core: int | None
) -> list[dict[str, Any]]:
    """CPU per operation of each lane at each number of requests in flight."""
    samples: dict[tuple[str, int], list[dict[str, Any]]] = {}
    names = {}
    with crew(LANES, urls[:1], core=core) as workers:
        for number in range(rounds + 1):
            for count in in_flight:
                for worker in workers:
                    names[worker.key] = worker.about["name"]
                    sample = worker.measure(Load("get", SIZE, count, seconds))
                    if "failed" in sample:
                        raise RuntimeError(f"{worker.key} at {count} in flight: {sample['failed']}")
                    # The first round opens connections.
                    if number:
                        samples.setdefault((worker.key, count), []).append(sample)
    return [
        {"contestant": key, "name": names[key], "in_flight": count, **medians(found)}
        for (key, count), found in samples.items()
    ]


def held(
    urls: Sequence[str], endpoints: Sequence[int], crowd: int, *, seconds: float, core: int | None
) -> list[dict[str, Any]]:
    """Bytes that a process holds with so many endpoints, and at its peak with `crowd` requests in flight."""
    rows = []
    for count in endpoints:
        with crew(LANES, urls[:count], core=core) as workers:
            for worker in workers:
                # Enough that each endpoint is used, few enough that connections weigh little.
                idle = worker.measure(Load("get", SIZE, 2 * count, seconds))
                busy = worker.measure(Load("get", SIZE, crowd, seconds))
                if "failed" in busy:
                    raise RuntimeError(f"{worker.key} at {count} endpoints: {busy['failed']}")
                rows.append(
                    {
                        "contestant": worker.key,
                        "name": worker.about["name"],
                        "endpoints": count,
                        "in_flight": crowd,
                        "idle": idle["resident"],
                        "peak": busy["peak"],
                    }
                )
    base = {row["endpoints"]: row for row in rows if row["contestant"] == LANES[0]}
    for row in rows:
        row["peak_above_bare"] = row["peak"] - base[row["endpoints"]]["peak"]
        row["idle_above_bare"] = row["idle"] - base[row["endpoints"]]["idle"]
    return rows


def verdicts(cpu: Sequence[dict[str, Any]], memory: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bounds, and whether each lane of the package keeps them."""
    found = []
    cost = {(row["contestant"], row["in_flight"]): row["cpu_per_operation"] for row in cpu}
    for key in dict.fromkeys(row["contestant"] for row in cpu if row["contestant"] != LANES[0]):
        if (key, 32) in cost and (key, 1_000) in cost:
            ratio = cost[key, 1_000] / cost[key, 32]
            what = "CPU at 1,000 in flight / at 32"
            found.append({"contestant": key, "what": what, "value": ratio, "bound": GROWTH_BOUND})
    for row in memory:
        if row["contestant"] != LANES[0] and row["endpoints"] == 12:
            what = "bytes above bare, 12 endpoints"
            value = row["peak_above_bare"]
            found.append(
                {"contestant": row["contestant"], "what": what, "value": value, "bound": MEMORY_BOUND}
            )
    return found


def show(
    cpu: Sequence[dict[str, Any]], memory: Sequence[dict[str, Any]], judged: Sequence[dict[str, Any]]
) -> None:
    """Three tables."""
    counts = list(dict.fromkeys(row["in_flight"] for row in cpu))
    cost = {(row["name"], row["in_flight"]): row["cpu_per_operation"] for row in cpu}
    names = list(dict.fromkeys(row["name"] for row in cpu))
    lines = [(name, *(f"{cost[name, count] * 1e6:,.0f}" for count in counts)) for name in names]
    print(table(("CPU us per GET of 4 KiB, in flight:", *(f"{count:,}" for count in counts)), lines))
    heading = ("MiB", "endpoints", "idle", "above bare", "peak", "above bare", "in flight")
    lines = [
        (
            row["name"],
            str(row["endpoints"]),
            *(f"{row[name] / 2**20:,.1f}" for name in ("idle", "idle_above_bare", "peak", "peak_above_bare")),
            f"{row['in_flight']:,}",
        )
        for row in memory
    ]
    print("", table(heading, lines), "", sep="\n")
    for row in judged:
        word = "within" if row["value"] <= row["bound"] else "MISSED"
        print(f"{row['contestant']}: {row['what']}: {row['value']:,.2f}, {word} {row['bound']:,}")


def main() -> int:
    """Measure, show, judge."""
    options = _options()
    if complaint := complaint_of(options.server):
        print(complaint, file=sys.stderr)
        return 2
    client_core, server_core = cores()
    with serving(options.server, (SIZE,), addresses=max(options.endpoints), core=server_core) as server:
        cpu = growth(
            server.urls, options.in_flight, rounds=options.rounds, seconds=options.seconds, core=client_core
        )
        memory = held(
            server.urls, options.endpoints, max(options.in_flight), seconds=options.seconds, core=client_core
        )
    judged = verdicts(cpu, memory)
    show(cpu, memory, judged)
    write(options.json, QUESTION, cpu, memory=memory, bounds=judged, server=server.name)
    return 1 if any(row["value"] > row["bound"] for row in judged) and not options.quick else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.5 s, and no judgement")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each lane in each round")
    parser.add_argument("--in-flight", type=int, nargs="+", default=list(IN_FLIGHT), metavar="N")
    parser.add_argument("--endpoints", type=int, nargs="+", default=list(ENDPOINTS), metavar="N")
    add_option(parser)
    parser.add_argument("--json", type=Path, default=RESULTS / "concurrency.json", metavar="FILE")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.5 if options.quick else 1.0)
    return options


if __name__ == "__main__":
    sys.exit(main())
