"""The data path from the verbs down to the seam, over endpoints in memory, with chance by script."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cache
from random import Random
from typing import TYPE_CHECKING

from flashback_async.errors import EndpointConnectError
from flashback_async.objects.checksums import Checksums
from flashback_async.objects.identity import IdentityRule
from flashback_async.objects.limits import TransferLimits
from flashback_async.objects.runner import Runner
from flashback_async.objects.verbs import Verbs
from flashback_async.routing import (
    BreakerState,
    EndpointReport,
    OperationKind,
    Outcome,
    Router,
    RoutingPolicy,
)
from flashback_async.testing import Dialect, MemoryEndpoints, MemoryStore, ScriptedEndpoint, Step
from flashback_async.transport.exchange import Timeouts
from flashback_async.transport.executor import Executor
from flashback_async.transport.monitor import Monitor
from flashback_async.transport.operation import Journey, Operation
from flashback_async.transport.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flashback_async.config import ChecksumChoice, ResumeIdentity
    from flashback_async.routing import Attempt, EndpointSnapshot
    from flashback_async.transport.loop_lag import LoopLag

READ, WRITE = OperationKind.READ, OperationKind.WRITE
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
SUCCESS, FAULT, TIMEOUT = Outcome.SUCCESS, Outcome.ENDPOINT_FAULT, Outcome.TIMEOUT
THROTTLED, CALLER_FAULT, CANCELLED = Outcome.THROTTLED, Outcome.CALLER_FAULT, Outcome.CANCELLED
KIB, MIB = 1_024, 1_048_576
LIMITS = TransferLimits(threshold=32 * MIB, part_size=8 * MIB, concurrency=4, together=32)


def now() -> float:
    """Seconds of the running loop."""
    return asyncio.get_running_loop().time()


@cache
def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes of which every stretch tells where it belongs."""
    return Random(seed).randbytes(size)


class WatchedRouter(Router):
    """A router that writes down how attempts were settled and bodies finished."""

    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)
        self.settled: list[tuple[str, Outcome]] = []
        self.finished: list[tuple[str, Outcome]] = []
        self.details: list[Mapping[str, object]] = []

    def settle(self, attempt: Attempt, outcome: Outcome, **details) -> None:
        super().settle(attempt, outcome, **details)
        self.settled.append((attempt.endpoint.id, outcome))
        self.details.append(details)

    def finish(self, attempt: Attempt, outcome: Outcome, **details) -> None:
        super().finish(attempt, outcome, **details)
        self.finished.append((attempt.endpoint.id, outcome))
        self.details.append(details)


class Scene(Verbs):
    """Verbs over scripted endpoints `a`, `b`, ... that are asked in this order while nothing else is known.

    Args:
        scripts: by endpoint id: what it does with its first requests.
        ids: the endpoints; default: those of `scripts`.
    """

    def __init__(
        self,
        scripts: Mapping[str, Iterable[Step] | Step] | None = None,
        *,
        ids: str = "",
        dialect: Dialect | None = None,
        random: Callable[[], float] = lambda: 0.5,
        policy: RoutingPolicy | None = None,
        attempts: int = 3,
        total: float = 60.0,
        pool: float = 5.0,
        first_byte: float = 5.0,
        stall: float = 10.0,
        connections: int = 64,
        max_in_flight: int = 1_024,
        lag: LoopLag | None = None,
        hedging: bool = False,
        versioned: tuple[str, ...] = (),
        transfers: TransferLimits | None = None,
        own_uploads: bool = False,
        resume_identity: ResumeIdentity = "etag",
        checksum: ChecksumChoice = "none",
    ) -> None:
        scripts = scripts or {}
        self.store = MemoryStore("bucket", versioned=versioned)
        self.endpoints = MemoryEndpoints(
            *(
                ScriptedEndpoint(
                    name,
                    self.store,
                    () if isinstance(given := scripts.get(name, ()), Step) else given,
                    then=given if isinstance(given, Step) else None,
                    dialect=dialect,
                    own_uploads=own_uploads,
                )
                for name in ids or scripts or "abc"
            )
        )
        self.router = WatchedRouter(random=random, policy=policy)
        self.discover()
        self.router.drain_events()
        self.monitor = Monitor(self.router)
        self.troubles = 0
        self.wanted: list[str] = []
        self.pool = self.endpoints.pool(connections=connections)
        self.executor = Executor(
            self.router,
            self.pool,
            self.monitor,
            timeouts=Timeouts(pool=pool, first_byte=first_byte, stall=stall),
            clock=now,
            sleep=asyncio.sleep,
            on_trouble=self._trouble,
            on_bucket=self.wanted.append,
            lag=lag,
            hedging=hedging,
        )
        self.runner = Runner(
            self.executor,
            self.monitor,
            attempts=attempts,
            total_timeout=total,
            max_in_flight=max_in_flight,
            transfers=transfers or LIMITS,
            identity_rule=IdentityRule.of(resume_identity),
            checksums=Checksums(checksum),
        )

    def discover(self, first: float = 0.01) -> None:
        """Published latencies far enough apart that the order of the endpoints is certain."""
        self.router.apply_discovery(
            [
                EndpointReport(report.endpoint, reported_latency={None: first * 8**place})
                for place, report in enumerate(self.endpoints.reports())
            ],
            now=0.0,
        )

    def _started(self) -> Runner:
        return self.runner

    def _trouble(self) -> None:
        self.troubles += 1

    def __getitem__(self, name: str) -> ScriptedEndpoint:
        return self.endpoints[name]

    @property
    def asked(self) -> list[tuple[str, float]]:
        """Who was asked, and when."""
        return [(request.endpoint, request.at) for request in self.endpoints.requests]

    @property
    def ranges(self) -> list[tuple[str, object]]:
        """Who was asked, and for which range."""
        return [(request.endpoint, request.parameters.get("Range")) for request in self.endpoints.requests]

    def at(self, name: str) -> EndpointSnapshot:
        """What the router shows of one endpoint."""
        rows = self.router.snapshot(now=now()).endpoints
        return next(row for row in rows if row.endpoint.id == name)

    def breakers(self) -> set[BreakerState]:
        """The states that the breakers are in."""
        return {row.breaker for row in self.router.snapshot(now=now()).endpoints}

    async def trip(self, name: str) -> None:
        """Open the breaker of one endpoint with five faults, and let its time pass: a trial is due."""
        endpoint = self[name]
        script, then = list(endpoint.script), endpoint.then
        endpoint.script.clear()
        endpoint.then = Step.reset()
        for _ in range(5):
            with suppress(EndpointConnectError):
                await self.head_object("bucket", "key", endpoint=name, retry=False)
        assert self.at(name).breaker is OPEN
        await asyncio.sleep(self.at(name).retry_in)
        endpoint.script.extend(script)
        endpoint.then = then
        endpoint.requests.clear()
        self.router.settled.clear()

    def journey(self, *, timeout: float | None = None, retry: bool = True, pin: str | None = None) -> Journey:
        """A journey as the runner makes it."""
        return self.runner.journey(timeout=timeout, endpoint=pin, retry=retry, streamed=False)

    def held(self) -> dict[str, object]:
        """Everything that is held, tasks excepted; empty at rest."""
        snapshot = self.router.snapshot(now=0.0)
        held: dict[str, object] = {
            "permits": snapshot.in_flight,
            "bodies being read": snapshot.streaming,
            "permits per endpoint": sum(row.in_flight + row.streaming for row in snapshot.endpoints),
            "leases": self.endpoints.leases,
            "open bodies": self.endpoints.open_bodies,
            "operations in flight": self.monitor.in_flight,
        }
        return {name: count for name, count in held.items() if count}

    def leaks(self) -> dict[str, object]:
        """Everything that is held, tasks too; empty at rest."""
        tasks = len(asyncio.all_tasks()) - 1
        return {**self.held(), **({"tasks": tasks} if tasks else {})}


def operation(
    name: str = "HeadObject", *, kind: OperationKind = READ, data: Upload | None = None
) -> Operation:
    """An operation on `bucket/key`."""
    return Operation(name, kind, "bucket", "key", upload=data)


async def one_shot(data: bytes) -> Upload:
    """An upload that can be sent once only."""
    upload = await Upload.of(data)
    upload.is_replayable = False
    return upload
