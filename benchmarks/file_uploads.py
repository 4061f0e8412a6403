"""What does it cost to send a file, beside the same bytes in memory?

    python benchmarks/file_uploads.py
    python benchmarks/file_uploads.py --sizes 1048576 --rounds 15

All contestants run in one process on one loop, in short turns. The file is in memory (tmpfs or the file
cache), so disks play no part; over plain http every body is hashed for its signature, file or not. aioboto3
is given an open file, which it reads on the event loop; this package is given the path.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from measuring.contestants import Bare, Contestant, Flashback, FlashbackFast
from measuring.crew import cores
from measuring.face import BUCKET
from measuring.load import Load
from measuring.results import RESULTS, size_text, spread, table, write
from measuring.turns import in_turns
from serving.choice import add_option, complaint_of, serving

QUESTION = "What does it cost to send a file, beside the same bytes in memory?"
SIZES = (1_048_576, 8_388_608)
IN_FLIGHT = 8


class _File:
    """What the contestants below send, whatever they are told."""

    path: Path


class BareFile(_File, Bare):
    """An open file, as boto's documentation shows it."""

    name = "aioboto3, same Config: file"

    async def put(self, key: str, data: bytes) -> None:
        with self.path.open("rb") as file:
            await next(self._next).put_object(Bucket=BUCKET, Key=key, Body=file)


class FlashbackFile(_File, Flashback):
    """A path."""

    name = "flashback, aioboto3 lane: file"

    async def put(self, key: str, data: bytes) -> None:
        await self._client.put_object(BUCKET, key, self.path)


class FlashbackFastFile(_File, FlashbackFast):
    """A path."""

    name = "flashback, fast lane: file"

    async def put(self, key: str, data: bytes) -> None:
        await self._client.put_object(BUCKET, key, self.path)


KINDS: tuple[type[Contestant], ...] = (
    Bare,
    BareFile,
    Flashback,
    FlashbackFile,
    FlashbackFast,
    FlashbackFastFile,
)
"""In pairs: bytes, and the file. All ratios relate to the first."""


async def compared(url: str, path: Path, size: int, *, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """CPU per upload of every kind, and its ratios to the first one in the same round."""
    await asyncio.to_thread(path.write_bytes, bytes(size))
    made = [kind() for kind in KINDS]
    for contestant in made:
        if isinstance(contestant, _File):
            contestant.path = path
    found = await in_turns(made, url, Load("put", size, IN_FLIGHT, seconds), rounds=rounds)
    costs = [[row["cpu_per_operation"] for row in rows] for rows in found]
    return [
        {
            "contestant": contestant.name,
            "size": size,
            "in_flight": IN_FLIGHT,
            "cpu": median(costs[index]),
            "ratio": spread([one / other for one, other in zip(costs[index], costs[0], strict=True)]),
            "per_second": median(row["per_second"] for row in found[index]),
        }
        for index, contestant in enumerate(made)
    ]


def main() -> int:
    """Measure and show."""
    options = _options()
    if complaint := complaint_of(options.server):
        print(complaint, file=sys.stderr)
        return 2
    client_core, server_core = cores()
    rows: list[dict[str, Any]] = []
    with (
        serving(options.server, options.sizes[:1], core=server_core) as running,
        tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder,
    ):
        if client_core is not None:
            os.sched_setaffinity(0, {client_core})
        for size in options.sizes:
            print(f"{size_text(size)} ...", file=sys.stderr)
            work = compared(
                running.urls[0],
                Path(folder) / "file",
                size,
                rounds=options.rounds,
                seconds=options.seconds,
            )
            rows += asyncio.run(work)
    heading = (f"PUT, {IN_FLIGHT} in flight", "CPU ms", "x the first", "quartiles", "uploads/s")
    for size in options.sizes:
        lines = [_line(row) for row in rows if row["size"] == size]
        print(table((f"{size_text(size)}: {heading[0]}", *heading[1:]), lines), end="\n\n")
    write(options.json, QUESTION, rows, rounds=options.rounds, server=running.name)
    return 0


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    ratio = row["ratio"]
    return (
        row["contestant"],
        f"{row['cpu'] * 1e3:,.2f}",
        f"{ratio['median']:.3f}",
        f"{ratio['low']:.3f} - {ratio['high']:.3f}",
        f"{row['per_second']:,.0f}",
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.3 s instead of 7 of 1 s")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each turn")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="BYTES")
    add_option(parser)
    parser.add_argument("--json", type=Path, default=RESULTS / "file_uploads.json", metavar="FILE")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = options.seconds or (0.3 if options.quick else 1.0)
    return options


if __name__ == "__main__":
    sys.exit(main())
