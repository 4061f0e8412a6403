"""One chart per scenario: latency over time above, share of the traffic per node below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simulation.race import Result
    from simulation.scenario import Scenario

_COLOURS = {"flashback_async": "#1769aa", "guide (60 s cache)": "#c0392b", "oracle": "#7f8c8d"}
_BINS = 120


def draw(scenario: Scenario, results: Mapping[str, Result], path: Path) -> None:
    """Write the chart of one scenario as SVG or PNG, by the ending of `path`."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    above, *below = figure.subplots(
        1 + len(results), 1, sharex=True, height_ratios=[3] + [1.2] * len(results)
    )
    figure.suptitle(f"{scenario.key}: {scenario.title}", fontsize=12)
    for name, result in results.items():
        moments, values = _tail_over_time(result)
        above.plot(moments, values, label=name, color=_COLOURS.get(name), linewidth=1.4)
    above.set_yscale("log")
    above.set_ylabel("p95 of the second, ms")
    above.legend(loc="upper right", fontsize=8, framealpha=0.9)
    above.grid(visible=True, alpha=0.3)
    if scenario.fault_at is not None and scenario.healed_at is not None:
        for axis in (above, *below):
            axis.axvspan(scenario.fault_at, scenario.healed_at, color="#c0392b", alpha=0.08, linewidth=0)
    for axis, (name, result) in zip(below, results.items(), strict=True):
        moments, shares = _shares(result)
        axis.stackplot(moments, shares, linewidth=0)
        axis.set_ylim(0, 1)
        axis.set_yticks([0, 0.5, 1])
        axis.set_ylabel(name.partition(" (")[0], fontsize=8, rotation=0, ha="right", va="center")
    below[-1].set_xlabel("seconds; share of the requests per node, nearest at the bottom")
    figure.savefig(path, dpi=80)


def _tail_over_time(result: Result) -> tuple[list[float], list[float]]:
    width = result.scenario.duration / _BINS
    bins: list[list[float]] = [[] for _ in range(_BINS)]
    for started, took in result.finished:
        bins[min(_BINS - 1, int(started / width))].append(took)
    rows = [(index * width, sorted(values)) for index, values in enumerate(bins) if values]
    return [moment for moment, _ in rows], [v[int(0.95 * (len(v) - 1))] * 1e3 for _, v in rows]


def _shares(result: Result) -> tuple[list[float], list[list[float]]]:
    count = len(result.scenario.nodes)
    width = result.scenario.duration / _BINS
    table = [[0] * _BINS for _ in range(count)]
    for moment, node in result.timeline:
        table[node][min(_BINS - 1, int(moment / width))] += 1
    totals = [sum(column) or 1 for column in zip(*table, strict=True)]
    return (
        [index * width for index in range(_BINS)],
        [[value / total for value, total in zip(row, totals, strict=True)] for row in table],
    )
