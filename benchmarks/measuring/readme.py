"""Puts the figures of `benchmarks/results/peers.json` into README.md, between two markers.

    python benchmarks/measuring/readme.py            # rewrite the table
    python benchmarks/measuring/readme.py --print    # show it

README.md holds the lines `<!-- benchmarks -->` and `<!-- /benchmarks -->`; what is between them is replaced.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Where other units and another digit are easier to read: seconds of CPU, operations per second.
_LONG, _FEW = 0.01, 10
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def markdown(document: dict[str, Any]) -> str:
    """CPU and throughput of each contestant relative to the bare client, a column for each load."""
    rows = document["rows"]
    loads = list(dict.fromkeys((row["verb"], row["size"], row["in_flight"]) for row in rows))
    names = list(dict.fromkeys(row["name"] for row in rows))
    found = {(row["name"], row["verb"], row["size"], row["in_flight"]): row for row in rows}
    heading = ["client", *(f"{verb.upper()} {_size(size)}" for verb, size, _ in loads)]
    lines = [_line(heading), _line(["---"] * len(heading))]
    lines += [_line([name, *(_cell(found.get((name, *load))) for load in loads)]) for name in names]
    packages = ", ".join(f"{name} {version}" for name, version in document["machine"]["packages"].items())
    crowds: dict[int, list[str]] = {}
    for _, size, in_flight in loads:
        crowds.setdefault(in_flight, []).append(_size(size))
    usual, *others = sorted(crowds, reverse=True)
    exceptions = "".join(f", {' and '.join(dict.fromkeys(crowds[count]))}: {count}" for count in others)
    machine = document["machine"]
    meaning = (
        "CPU per operation relative to a bare aioboto3 client with the same Config as this\n"
        "package's; in brackets operations per second relative to it. Of that client the figures\n"
        "are absolute: CPU, and operations per second.\n"
        f"{usual} in flight{exceptions}; {document['rounds']} interleaved rounds of "
        f"{document['seconds']:g} s, medians; {document['server']} on a core of its own, http on\n"
        f"loopback, Python {machine['python']}, {machine['cores']} cores, load average "
        f"{machine['load']:.1f} before the run (above 0.5 others were\n"
        f"at work: trust the CPU more than the throughput); * hashes no body; ** none either, and always\n"
        f"multipart: three requests for an object.\n"
        f"{packages}."
    )
    return "\n".join([*lines, "", meaning])


def replaced(text: str, table: str) -> str:
    """`text` with `table` between the markers.

    Raises:
        ValueError: a marker is missing, or there are several.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"one {BEGIN} and, after it, one {END} are expected")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    if row["contestant"] == "bare":
        cost = row["cpu_per_operation"]
        text = f"{cost * 1e6:,.0f} us" if cost < _LONG else f"{cost * 1e3:,.0f} ms"
        return f"{text} ({row['per_second']:,.{0 if row['per_second'] >= _FEW else 1}f}/s)"
    mark = ""
    if row["verb"] == "put":
        mark = " **" if row["multipart"] else "" if row["hashes"] else " *"
    return f"{row['cpu_ratio']:.2f} ({row['speed_ratio']:.1f}){mark}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def main() -> int:
    """Rewrite README.md, or show what would be put there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--print", action="store_true", dest="show")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/peers.json", metavar="FILE")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", metavar="FILE")
    options = parser.parse_args()
    table = markdown(json.loads(options.json.read_text()))
    if options.show:
        print(table)
    else:
        options.readme.write_text(replaced(options.readme.read_text(), table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
