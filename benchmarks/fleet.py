"""Do N nodes that allow 10 requests a second each give N x 10? This package, and the guide's algorithm.

    python benchmarks/fleet.py
    python benchmarks/fleet.py --nodes 4 --seconds 20

The sandbox's gateways limit as a node's nginx does, 10 requests a second and a burst of 2. Callers ask for a
fifth more than the fleet allows, evenly in time, and do not ask again for what failed. After a warm-up, in
which limits may be learned, it is counted how many uploads of 1 KiB were stored, the refusals (429) that the
gateways sent, what callers saw fail, and what still waited for its turn at the end; probes count against the
limit, too. Each contestant has a fleet of its own. The store is moto: nothing here measures its speed. The
guide's algorithm is that of `flashback demo`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring.results import RESULTS, table, write

from flashback_async import FlashbackClient
from flashback_async.cli.demo.contestant import BUCKET
from flashback_async.cli.demo.s3_guide import Guide
from flashback_async.cli.demo.tree import SourceFile
from flashback_async.errors import FlashbackError
from flashback_async.sandbox import Behaviour, LocalFlashback, RateLimit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

QUESTION = "Do N nodes that allow 10 requests a second each give N x 10?"
NODES = (1, 2, 4, 8)
RATE = 10.0
BURST = 2
DEMAND = 1.2
SIZE = 1_024


@dataclass(slots=True)
class Tally:
    """What callers saw while they asked."""

    stored: int = 0
    failed: int = 0
    waiting: int = 0
    seconds: float = 0.0
    """A busy machine takes longer than it was told to."""


async def demand(
    store: Callable[[int], Awaitable[None]],
    *,
    rate: float,
    warm_up: float,
    seconds: float,
    warm: Callable[[], Awaitable[None]],
) -> Tally:
    """Ask for `rate` uploads a second, whether or not earlier ones are done; after `warm` it counts."""
    tally = Tally()
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(number: int) -> None:
        try:
            await store(number)
        except FlashbackError:
            tally.failed += counts
        else:
            tally.stored += counts

    counts, warm_at, tasks = False, began, []
    for number in range(round(rate * (warm_up + seconds))):
        if not counts and number >= rate * warm_up:
            await warm()
            counts, warm_at = True, loop.time()
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        tasks.append(asyncio.create_task(one(number)))
    tally.seconds = loop.time() - warm_at
    waiting = [task for task in tasks if not task.done()]
    tally.waiting = len(waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return tally


async def ours(cluster: LocalFlashback, stack: AsyncExitStack, _scratch: Path) -> Callable[[int], Any]:
    """This package, with its defaults."""
    client = await stack.enter_async_context(FlashbackClient(cluster.settings()))
    data = bytes(SIZE)

    async def store(number: int) -> None:
        await client.put_object(BUCKET, f"ours/{number}", data)

    return store


async def guide(cluster: LocalFlashback, stack: AsyncExitStack, scratch: Path) -> Callable[[int], Any]:
    """The guide's algorithm, as fair as the demo has it."""
    client = await stack.enter_async_context(Guide(cluster.settings(), cluster.bucket_ids[BUCKET]))
    path = scratch / "object"
    path.write_bytes(bytes(SIZE))

    async def store(number: int) -> None:
        await client.upload(SourceFile(f"guide/{number}", path, SIZE)).work(lambda _count: None)

    return store


CONTESTANTS = {"flashback": ours, "guide": guide}


async def measure(name: str, nodes: int, *, warm_up: float, seconds: float, seed: int) -> dict[str, Any]:
    """One of them on a fleet of so many nodes."""
    async with (
        LocalFlashback(nodes, latency=0.005, buckets=(BUCKET,), seed=seed) as cluster,
        AsyncExitStack() as stack,
    ):
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = await CONTESTANTS[name](cluster, stack, scratch)
        # Connections and first looks at the control plane are not what is asked here.
        await store(-1)
        limited = Behaviour(rate_limit=RateLimit(rate=RATE, burst=BURST))
        await asyncio.gather(*(node.set(limited) for node in cluster.nodes))

        async def warm() -> None:
            await asyncio.gather(*(node.reset_stats() for node in cluster.nodes))

        tally = await demand(store, rate=DEMAND * RATE * nodes, warm_up=warm_up, seconds=seconds, warm=warm)
        stats = await asyncio.gather(*(node.stats() for node in cluster.nodes))
    return {
        "contestant": name,
        "nodes": nodes,
        "allowed_per_second": nodes * RATE,
        "asked_per_second": nodes * RATE * DEMAND,
        "stored_per_second": tally.stored / tally.seconds,
        "share_of_allowed": tally.stored / tally.seconds / (nodes * RATE),
        "refusals": sum(one.by_status.get(429, 0) for one in stats),
        "failed": tally.failed,
        "waiting": tally.waiting,
    }


def main() -> int:
    """Measure each fleet, show, store."""
    options = _options()
    times = {"warm_up": options.warm_up, "seconds": options.seconds}
    rows = [
        asyncio.run(measure(name, nodes, seed=options.seed, **times))
        for nodes in options.nodes
        for name in CONTESTANTS
    ]
    heading = ("nodes", "contestant", "allowed/s", "stored/s", "share", "429s", "failed", "waiting")
    print(table(heading, [_line(row) for row in rows]))
    write(options.json, QUESTION, rows, **times, rate=RATE, burst=BURST, seed=options.seed)
    return 0


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(row["nodes"]),
        row["contestant"],
        f"{row['allowed_per_second']:.0f}",
        f"{row['stored_per_second']:.1f}",
        f"{row['share_of_allowed']:.0%}",
        *(str(row[name]) for name in ("refusals", "failed", "waiting")),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=list(NODES), metavar="N")
    parser.add_argument("--quick", action="store_true", help="6 seconds that count instead of 15")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds that do not count")
    parser.add_argument("--seconds", type=float, help="for which callers ask after that")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=RESULTS / "fleet.json", metavar="FILE")
    options = parser.parse_args()
    options.seconds = options.seconds or (6.0 if options.quick else 15.0)
    return options


if __name__ == "__main__":
    sys.exit(main())
