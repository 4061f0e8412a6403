"""Figures of rounds become medians, medians become ratios, ratios become a table and a file."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = (
    "flashback-async",
    "aioboto3",
    "aiobotocore",
    "aiohttp",
    "s3fs",
    "miniopy-async",
    "obstore",
    "opendal",
    "s3torchconnectorclient",
)


def medians(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure the median of the rounds; of peaks the highest."""
    found = {name: median(sample[name] for sample in samples) for name in samples[0]}
    for name in found.keys() & {"peak", "resident"}:
        found[name] = max(sample[name] for sample in samples)
    return found


def ratio(some: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], name: str) -> float:
    """The median of the rounds' ratios: a slow moment of the machine met both of a round."""
    return median(one[name] / other[name] for one, other in zip(some, others, strict=True))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return {"median": middle, "low": low, "high": high}


LOAD = os.getloadavg()[0]
"""Of the minute before, which tells whether others were at work; taken when the benchmark begins."""


def write(path: Path, question: str, rows: object, **more: object) -> None:
    """Store a result with what it was measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"question": question, "machine": machine(), **more, "rows": rows}
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written: {path}")


def machine() -> dict[str, Any]:
    """What the figures depend on, without names of hosts or people."""
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(LOAD, 2),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns: the first to the left, the others to the right."""
    lines = [list(heading), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines
    )


def size_text(size: int) -> str:
    """4096 -> 4 KiB."""
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB" if size >= 1 << 10 else f"{size} B"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
