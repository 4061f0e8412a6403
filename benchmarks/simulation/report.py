"""Results as a table for people and as JSON for programs."""

from __future__ import annotations

from math import isinf, isnan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulation.race import Result

HEADINGS = ("scenario", "router", "p50 ms", "p99 ms", "p99.9 ms", "failed", "failed att.", "429s", "left s",
            "back s", "imbalance")  # fmt: skip
WIDTHS = (9, 20, 9, 9, 9, 7, 11, 7, 7, 7, 9)


def heading() -> str:
    """The head of the table."""
    return _row(HEADINGS)


def line(result: Result) -> str:
    """One line of the table."""
    return _row((
        result.scenario.key,
        result.contestant,
        f"{result.quantile(0.5) * 1e3:.1f}",
        f"{result.quantile(0.99) * 1e3:.1f}",
        f"{result.quantile(0.999) * 1e3:.1f}",
        str(result.failed),
        f"{result.failed_attempt_share:.3%}",
        f"{result.throttled_share:.2%}",
        _seconds(result.detected),
        _seconds(result.recovered),
        f"{result.imbalance:.2f}",
    ))  # fmt: skip


def record(result: Result, seed: int, violations: Iterable[str] = ()) -> dict[str, object]:
    """One result for JSON. Times are seconds."""
    return {
        "scenario": result.scenario.key,
        "title": result.scenario.title,
        "router": result.contestant,
        "seed": seed,
        "requests": result.requests,
        "failed": result.failed,
        "attempts": result.attempts,
        "failed_attempts": result.failed_attempts,
        "throttled": result.throttled,
        "p50": result.quantile(0.5),
        "p99": result.quantile(0.99),
        "p999": result.quantile(0.999),
        "detected": _finite(result.detected),
        "recovered": _finite(result.recovered),
        "imbalance": result.imbalance,
        "why_the_oracle_is_no_bound": result.scenario.bound,
        "violations": list(violations),
    }


def _row(cells: Iterable[str]) -> str:
    first, second, *rest = cells
    numbers = (f"{cell:>{width}}" for cell, width in zip(rest, WIDTHS[2:], strict=True))
    return " ".join((f"{first:<{WIDTHS[0]}}", f"{second:<{WIDTHS[1]}}", *numbers))


def _seconds(value: float | None) -> str:
    return "-" if value is None else "never" if isinf(value) else f"{value:.0f}"


def _finite(value: float | None) -> float | str | None:
    return "never" if value is not None and (isinf(value) or isnan(value)) else value
