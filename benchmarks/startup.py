"""How long does it take from `import` to the first byte, and what does a second client cost?

    python benchmarks/startup.py
    python benchmarks/startup.py --only stock flashback --rounds 20

Each start is a new process with compiled modules on disk, rounds are interleaved, medians are shown. Memory
is what a process holds beyond Python with asyncio; the second client is made, opened, and asked for one
object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from measuring.contestants import CONTESTANTS
from measuring.crew import BENCHMARKS, clean_environment, cores
from measuring.results import RESULTS, medians, table, write
from serving.choice import add_option, complaint_of, serving
from serving.nginx import object_key

QUESTION = "How long does it take from `import` to the first byte, and what does a second client cost?"
SIZE = 4_096
COMPARED = ("stock", "flashback", "flashback-fast", "s3fs", "miniopy", "obstore", "opendal")


def one(key: str, url: str, *, core: int | None) -> dict[str, Any]:
    """The figures of one start."""
    command = [sys.executable, "-m", "measuring.first_byte", key, "any" if core is None else str(core), url]
    done = subprocess.run(
        [*command, object_key(SIZE, 0)],
        cwd=BENCHMARKS,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    """Start, and start again."""
    options = _options()
    if complaint := complaint_of(options.server):
        print(complaint, file=sys.stderr)
        return 2
    client_core, server_core = cores()
    samples: dict[str, list[dict[str, Any]]] = {}
    names: dict[str, str] = {}
    with serving(options.server, (SIZE,), core=server_core) as server:
        keys = list(options.only)
        # The first round compiles modules and fills the file cache.
        for number in range(options.rounds + 1):
            for key in list(keys):
                sample = one(key, server.urls[0], core=client_core)
                if "unavailable" in sample:
                    print(f"  {key} takes no part: {sample['unavailable']}")
                    keys.remove(key)
                elif number:
                    names[key] = sample.pop("name")
                    samples.setdefault(key, []).append(sample)
    rows = [{"contestant": key, "name": names[key], **medians(found)} for key, found in samples.items()]
    heading = (
        "ms and MiB", "import", "open", "first GET", "in all", "import MiB", "ready MiB",
        "2nd client", "CPU", "MiB",
    )  # fmt: skip
    print(table(heading, [_line(row) for row in rows]))
    write(options.json, QUESTION, rows, rounds=options.rounds, server=server.name)
    return 0


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    def milliseconds(*names: str) -> list[str]:
        return [f"{row[name] * 1e3:,.1f}" for name in names]

    def mebibytes(*names: str) -> list[str]:
        return [f"{row[name] / 2**20:,.1f}" for name in names]

    return (
        row["name"],
        *milliseconds("import", "open", "first_byte", "total"),
        *mebibytes("import_memory", "ready_memory"),
        *milliseconds("second_client", "second_client_cpu"),
        *mebibytes("second_client_memory"),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(COMPARED), metavar="NAME")
    add_option(parser)
    parser.add_argument("--json", type=Path, default=RESULTS / "startup.json", metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
