"""Words for the tests of the routing core: chance by script, reports in one line, a router that was used."""

from __future__ import annotations

from itertools import cycle
from types import MappingProxyType
from typing import TYPE_CHECKING

from flashback_async.routing import (
    Attempt,
    BreakerChanged,
    BreakerState,
    Endpoint,
    EndpointReport,
    EndpointSnapshot,
    EndpointStatus,
    OperationKind,
    Outcome,
    Router,
    RoutingPolicy,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

READ, WRITE = OperationKind.READ, OperationKind.WRITE
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
SUCCESS, FAULT, TIMEOUT = Outcome.SUCCESS, Outcome.ENDPOINT_FAULT, Outcome.TIMEOUT
THROTTLED, CALLER_FAULT, CANCELLED = Outcome.THROTTLED, Outcome.CALLER_FAULT, Outcome.CANCELLED

TINY = 1e-9
"""The epsilon of a threshold: far below every time that matters, far above rounding."""


def chances(*values: float) -> Callable[[], float]:
    """Chance that says these numbers, over and over."""
    endless = cycle(values)
    return lambda: next(endless)


MIDDLE = chances(0.5)
"""Chance without a jitter: the middle of every spread."""


def report(
    name: str,
    *,
    url: str = "",
    status: EndpointStatus = EndpointStatus.ONLINE,
    published: Mapping[str | None, float] | float | None = None,
    offline: Collection[str] = (),
) -> EndpointReport:
    """One row of a discovery; a bare number is the node's own published latency."""
    if isinstance(published, float | int):
        published = {None: published}
    return EndpointReport(
        endpoint=Endpoint(id=name, url=url or f"https://{name}.example"),
        status=status,
        reported_latency=MappingProxyType(dict(published or {})),
        offline_buckets=frozenset(offline),
    )


class Fleet:
    """A router with endpoints, and what befalls them, through the public methods only."""

    def __init__(
        self,
        *rows: str | EndpointReport,
        policy: RoutingPolicy | None = None,
        random: Callable[[], float] = MIDDLE,
        now: float = 0.0,
    ) -> None:
        self.router = Router(policy=policy, random=random)
        self.discover(*rows, now=now)
        self.router.drain_events()

    def discover(self, *rows: str | EndpointReport, now: float) -> None:
        """A discovery with exactly these rows."""
        self.router.apply_discovery([report(row) if isinstance(row, str) else row for row in rows], now=now)

    def ask(
        self,
        name: str | None = None,
        *,
        now: float,
        kind: OperationKind = READ,
        bucket: str | None = None,
        size: int | None = None,
        tried: Collection[str] = (),
    ) -> Attempt:
        """An attempt that the test is sure to get, at `name` if that is given."""
        choice = self.router.acquire(bucket, kind, tried, size, now=now, only=name)
        assert isinstance(choice, Attempt), choice
        return choice

    def run(
        self,
        name: str | None,
        outcome: Outcome = SUCCESS,
        *,
        now: float,
        times: int = 1,
        first_byte: float | None = None,
        kind: OperationKind = READ,
        bucket: str | None = None,
        size: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Attempts that end at once with `outcome`."""
        for _ in range(times):
            attempt = self.ask(name, now=now, kind=kind, bucket=bucket, size=size)
            self.router.settle(attempt, outcome, now=now, first_byte=first_byte, retry_after=retry_after)

    def know(self, name: str, first_byte: float, *, now: float = 0.0, kind: OperationKind = READ) -> None:
        """Five answers: enough for an endpoint to be warm, all alike, so that it has no excess."""
        self.run(name, now=now, times=5, first_byte=first_byte, kind=kind)

    def trip(self, name: str, *, now: float) -> None:
        """Five faults in a row."""
        self.run(name, FAULT, now=now, times=5, first_byte=0.0)
        assert self.at(name, now=now).breaker is OPEN

    def at(self, name: str, *, now: float) -> EndpointSnapshot:
        """What the router shows of one endpoint."""
        return next(row for row in self.router.snapshot(now=now).endpoints if row.endpoint.id == name)

    def moves(self) -> list[tuple[str, BreakerState, BreakerState]]:
        """Breaker transitions since the last look."""
        return [
            (event.endpoint_id, event.old, event.new)
            for event in self.router.drain_events()
            if isinstance(event, BreakerChanged)
        ]

    def picks(
        self, count: int, *, now: float, bucket: str | None = None, kind: OperationKind = READ
    ) -> dict[str, int]:
        """How often each endpoint is chosen when every request ends before the next one."""
        counts: dict[str, int] = {}
        for _ in range(count):
            attempt = self.ask(now=now, bucket=bucket, kind=kind)
            counts[attempt.endpoint.id] = counts.get(attempt.endpoint.id, 0) + 1
            self.router.settle(attempt, CANCELLED, now=now)
        return counts
