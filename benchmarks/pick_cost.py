"""What does routing cost? CPU of `acquire` + `settle`, beside that of a bare aioboto3 GET in the same run.

    python benchmarks/pick_cost.py
    python benchmarks/pick_cost.py --rounds 9 --json pick_cost.json

Fleets: `wan` has nodes at 5 to 220 ms, as a fleet around the world; `equal` has nodes that are all alike,
the worst case, for all of them are in the running. 32 requests are in flight. Rounds are interleaved, so that
noise of the machine meets everything alike; the medians are shown. Exits with 1 if the design's bound is
missed: 2 % of the CPU of a GET at 12 endpoints, 4 % at 1,000.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import deque
from pathlib import Path
from random import Random
from statistics import median
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import aioboto3
from aiobotocore.config import AioConfig
from serving.fixed import fixed_server

from flashback_async.routing import Endpoint, EndpointReport, OperationKind, Outcome, Router, Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiobotocore.client import AioBaseClient

WAN = (0.005, 0.008, 0.012, 0.025, 0.040, 0.060, 0.080, 0.100, 0.120, 0.150, 0.180, 0.220)
SIZES = (3, 12, 50, 200, 1_000)
BOUNDS = {12: 0.02, 1_000: 0.04}
IN_FLIGHT = 32
PICKS = 4_000
THREADS = 8
GETS = 640
BODY = 4_096


class Empty:
    """What a method call costs that does nothing, with the arguments of the real ones."""

    def acquire(self, bucket: str, kind: OperationKind, *, now: float) -> None:
        """Do nothing."""

    def settle(self, attempt: None, outcome: Outcome, *, now: float, first_byte: float) -> None:
        """Do nothing."""


def fleet(count: int, kind: str) -> tuple[Router, list[float]]:
    """A router with so many endpoints that were probed, and what each takes to answer (seconds)."""
    first_bytes = [0.010 + (WAN[i % len(WAN)] + i * 1e-5 if kind == "wan" else 0.010) for i in range(count)]
    router = Router(random=Random(1).random)
    router.apply_discovery(
        [
            EndpointReport(
                endpoint=Endpoint(id=str(i), url=f"https://n{i}.example"), reported_latency={None: 0.005}
            )
            for i in range(count)
        ],
        now=0.0,
    )
    for index, first_byte in enumerate(first_bytes):
        router.record_probe(str(index), first_byte - 0.010, now=0.0)
    return router, first_bytes


class Traffic:
    """Requests to one router, 32 in flight, a thousand a second; keeps its state between rounds."""

    def __init__(self, router: Router, first_bytes: list[float], now: float = 1.0) -> None:
        self._router = router
        self._first_bytes = first_bytes
        self._now = now
        self._flying = deque(self._acquire() for _ in range(IN_FLIGHT))

    def run(self, count: int) -> None:
        """So many requests: one settles, the next is acquired."""
        router, flying, first_bytes = self._router, self._flying, self._first_bytes
        read, success = OperationKind.READ, Outcome.SUCCESS
        now = self._now
        for _ in range(count):
            now += 0.001
            attempt = flying.popleft()
            router.settle(attempt, success, now=now, first_byte=first_bytes[int(attempt.endpoint.id)])
            flying.append(router.acquire("bucket", read, now=now))  # type: ignore[arg-type]  # no rate limits here
        self._now = now

    def _acquire(self) -> object:
        attempt = self._router.acquire("bucket", OperationKind.READ, now=self._now)
        assert not isinstance(attempt, Wait)
        return attempt


def bookkeeping(count: int) -> None:
    """What `Traffic.run` does around the two calls, with calls that do nothing."""
    empty, flying, first_bytes = Empty(), deque([None] * IN_FLIGHT), [0.01] * 12
    read, success = OperationKind.READ, Outcome.SUCCESS
    now, endpoint = 0.0, Endpoint(id="7", url="https://n7.example")
    for _ in range(count):
        now += 0.001
        attempt = flying.popleft()
        empty.settle(attempt, success, now=now, first_byte=first_bytes[int(endpoint.id)])
        flying.append(empty.acquire("bucket", read, now=now))


def cpu_of(work: Callable[[], None], count: int) -> float:
    """CPU seconds of this process for one of `count`."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / count


def in_threads(traffics: list[Traffic]) -> None:
    """All of them at once, each in a thread; together as many requests as one alone."""
    if len(traffics) == 1:
        traffics[0].run(PICKS)
        return
    threads = [Thread(target=traffic.run, args=(PICKS // len(traffics),)) for traffic in traffics]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def get_many(client: AioBaseClient) -> None:
    """Reads with 32 in flight."""
    left = iter(range(GETS))

    async def worker() -> None:
        for number in left:
            answer = await client.get_object(Bucket="bucket", Key=f"key-{number}")
            async with answer["Body"] as body:
                assert len(await body.read()) == BODY

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


class Case(NamedTuple):
    """One fleet, and how many threads ask its router at once."""

    kind: str
    count: int
    threads: int = 1

    def __str__(self) -> str:
        """As it is shown."""
        crowd = f", {self.threads} threads" if self.threads > 1 else ""
        return f"{self.kind} {self.count}{crowd}"


CASES = (
    *(Case(kind, count) for kind in ("wan", "equal") for count in SIZES),
    *(Case("wan", count, THREADS) for count in SIZES),
)


def measure(url: str, rounds: int) -> tuple[list[float], list[float], dict[Case, list[float]]]:
    """Of every round the CPU seconds of a GET, of two calls that do nothing, and of each case."""
    cases = {}
    for case in CASES:
        router, first_bytes = fleet(case.count, case.kind)
        cases[case] = [Traffic(router, first_bytes) for _ in range(case.threads)]
    gets: list[float] = []
    empty: list[float] = []
    figures: dict[Case, list[float]] = {case: [] for case in CASES}

    async def running() -> None:
        config = AioConfig(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=64)
        key = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        async with aioboto3.Session().client("s3", endpoint_url=url, config=config, **key) as client:
            await get_many(client)
            for traffics in cases.values():
                in_threads(traffics)
            for _ in range(rounds):
                began = time.process_time()
                await get_many(client)
                gets.append((time.process_time() - began) / GETS)
                empty.append(cpu_of(lambda: bookkeeping(PICKS), PICKS))
                for case, traffics in cases.items():
                    figures[case].append(cpu_of(lambda traffics=traffics: in_threads(traffics), PICKS))

    asyncio.run(running())
    return gets, empty, figures


def main() -> int:
    """Measure, show, and judge by the design's bounds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="2 rounds instead of 7, and no judgement")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 7)
    with fixed_server(BODY) as url:
        gets, empty, figures = measure(url, rounds)
    print(f"{'bare aioboto3 GET of 4 KiB':40} {median(gets) * 1e6:8.1f} us")
    print(
        f"{'two calls that do nothing':40} {median(empty) * 1e6:8.1f} us {median(empty) / median(gets):8.2%}"
    )
    rows, missed = [], 0
    for case, costs in figures.items():
        # The loop around the two calls is not what routing costs.
        net = [cost - nothing for cost, nothing in zip(costs, empty, strict=True)]
        share = median(cost / get for cost, get in zip(net, gets, strict=True))
        bound = BOUNDS.get(case.count) if case.threads == 1 else None
        is_missed = bound is not None and share > bound
        missed += is_missed
        verdict = "" if bound is None else f"  {'MISSED' if is_missed else 'within'} {bound:.0%}"
        print(f"{f'acquire + settle, {case}':40} {median(net) * 1e6:8.1f} us {share:8.2%}{verdict}")
        row = {"fleet": case.kind, "endpoints": case.count, "threads": case.threads}
        rows.append({**row, "seconds": median(net), "share_of_get": share, "bound": bound})
    if options.json is not None:
        result = {
            "get_seconds": median(gets),
            "empty_seconds": median(empty),
            "rounds": rounds,
            "rows": rows,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if missed and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
