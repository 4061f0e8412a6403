"""How good is the routing? The real Router against others and an oracle, in virtual time.

    python benchmarks/routing_simulation.py                       # every scenario, seed 1
    python benchmarks/routing_simulation.py --seeds 1 2 3 4 5     # the gates of the design, on five seeds
    python benchmarks/routing_simulation.py --only S7 S15 --charts charts/

Prints a table, and with --json writes every figure. Exits with 1 if a gate is missed. Nothing here waits: the
simulation owns its clock, and the same seed gives the same figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from simulation import gates, report
from simulation.contestants import Guide, MongoWindow, Oracle, Ours, PeakEwma, RoundRobin
from simulation.race import Race, Result
from simulation.scenario import Scenario, all_scenarios

CONTESTANTS = {row.name: row for row in (Ours, Guide, RoundRobin, PeakEwma, MongoWindow, Oracle)}
DRAWN = (Ours.name, Guide.name, Oracle.name)


def race(scenario: Scenario, names: tuple[str, ...], seed: int) -> tuple[Scenario, int, dict[str, Result]]:
    """All contestants through one scenario, with the same arrivals and the same luck of the nodes."""
    return scenario, seed, {name: Race(scenario, CONTESTANTS[name], seed=seed).run() for name in names}


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    scenarios = [row for row in all_scenarios(options.length) if not options.only or row.key in options.only]
    if not scenarios:
        known = " ".join(row.key for row in all_scenarios())
        sys.exit(f"--only {' '.join(options.only)}: no such scenario; known ones: {known}")
    names = (Ours.name, Oracle.name) if options.quick else tuple(CONTESTANTS)
    records, missed = [], 0
    print(report.heading())
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = [(row, seed) for row in scenarios for seed in options.seeds]
        for scenario, seed, results in pool.map(partial(_job, names=names), jobs):
            failures = list(gates.violations(results[Ours.name], results[Oracle.name]))
            missed += len(failures)
            for name, result in results.items():
                print(report.line(result))
                records.append(report.record(result, seed, failures if name == Ours.name else ()))
            if scenario.bound:
                print(f"{'':9} no bound: {scenario.bound}")
            for failure in failures:
                print(f"{'':9} MISSED (seed {seed}): {failure}")
            sys.stdout.flush()
            if options.charts is not None and seed == options.seeds[0]:
                _chart(scenario, results, options.charts, options.format)
    if options.json is not None:
        options.json.write_text(json.dumps(records, indent=1) + "\n")
    print(f"{len(jobs)} races, {missed} gates missed")
    return 1 if missed else 0


def _job(job: tuple[Scenario, int], names: tuple[str, ...]) -> tuple[Scenario, int, dict[str, Result]]:
    return race(job[0], names, job[1])


def _chart(scenario: Scenario, results: dict[str, Result], folder: Path, ending: str) -> None:
    from simulation.charts import draw  # noqa: PLC0415  # matplotlib is needed for charts only

    folder.mkdir(parents=True, exist_ok=True)
    drawn = {name: results[name] for name in DRAWN if name in results}
    draw(scenario, drawn, folder / f"{scenario.key}.{ending}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only", nargs="+", default=[], metavar="KEY")
    parser.add_argument("--length", type=float, default=1.0, help="scale of the scenarios' duration")
    parser.add_argument("--quick", action="store_true", help="ours and the oracle only")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--charts", type=Path, metavar="FOLDER")
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
