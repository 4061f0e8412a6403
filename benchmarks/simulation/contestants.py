"""The routers that are compared: ours (the real `Router`, not a copy of it) and what others do.

Each is one client's view. All get the same discovery: every node's state and published latency, every 10 s,
and a probe of the round trip. None sees load, brownouts or errors but by its own requests; the oracle sees
everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING, ClassVar, Protocol

from flashback_async.routing import (
    Attempt,
    Endpoint,
    EndpointReport,
    EndpointStatus,
    OperationKind,
    Outcome,
    Router,
    RoutingPolicy,
    Wait,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from simulation.node import Node


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a discovery tells of one node. Times are seconds."""

    index: int
    online: bool
    published: float
    probe: float | None


class Contestant(Protocol):
    """One client's router."""

    name: ClassVar[str]

    def discover(self, sightings: Sequence[Sighting], now: float) -> None:
        """Learn which nodes there are."""

    def pick(self, tried: set[int], size: int, now: float) -> tuple[int, object] | float:
        """A node and a token to settle with, or seconds to wait."""

    def settle(self, token: object, outcome: Outcome, now: float, first_byte: float | None) -> None:
        """Learn how it went."""

    def may_retry(self, outcome: Outcome) -> bool:
        """Whether the budget allows a further attempt."""

    def delay(self, hop: int, tried: set[int]) -> float:
        """Seconds before retry number `hop`."""


class Simple:
    """What the simple ones share: a list of nodes, no budget, no delay."""

    name: ClassVar[str] = "simple"

    def __init__(self, random: Random) -> None:
        self.random = random
        self.sightings: list[Sighting] = []

    def discover(self, sightings: Sequence[Sighting], now: float) -> None:
        self.sightings = list(sightings)

    def settle(self, token: object, outcome: Outcome, now: float, first_byte: float | None) -> None:
        """Learn nothing."""

    def may_retry(self, outcome: Outcome) -> bool:
        return True

    def delay(self, hop: int, tried: set[int]) -> float:
        return 0.0

    def choices(self, tried: set[int]) -> list[Sighting]:
        """Online nodes not tried yet, as far as there are any."""
        online = [row for row in self.sightings if row.online] or self.sightings
        return [row for row in online if row.index not in tried] or online


class Ours:
    """flashback_async's router, with its defaults or with a stage removed."""

    name: ClassVar[str] = "flashback_async"

    def __init__(
        self, random: Random, policy: RoutingPolicy | None = None, *, exclude_tried: bool = True
    ) -> None:
        self.router = Router(policy=policy, random=random.random)
        self._exclude_tried = exclude_tried

    def discover(self, sightings: Sequence[Sighting], now: float) -> None:
        self.router.apply_discovery(
            [
                EndpointReport(
                    endpoint=Endpoint(id=str(row.index), url=f"https://node-{row.index}"),
                    status=EndpointStatus.ONLINE if row.online else EndpointStatus.OFFLINE,
                    reported_latency={None: row.published},
                )
                for row in sightings
            ],
            now=now,
        )
        for row in sightings:
            self.router.record_probe(str(row.index), row.probe, now=now)

    def pick(self, tried: set[int], size: int, now: float) -> tuple[int, object] | float:
        names = {str(index) for index in tried} if self._exclude_tried else ()
        choice = self.router.acquire("bucket", OperationKind.READ, names, size or None, now=now)
        if isinstance(choice, Wait):
            return choice.seconds
        return int(choice.endpoint.id), choice

    def settle(self, token: object, outcome: Outcome, now: float, first_byte: float | None) -> None:
        assert isinstance(token, Attempt)
        self.router.settle(token, outcome, now=now, first_byte=first_byte)
        if outcome is Outcome.SUCCESS:
            self.router.refund_retry(1)

    def may_retry(self, outcome: Outcome) -> bool:
        return self.router.pay_for_retry(outcome) is not None

    def delay(self, hop: int, tried: set[int]) -> float:
        return self.router.backoff(hop, {str(index) for index in tried})


class Guide(Simple):
    """Flashback's guide: the fastest Online node, cached for 60 s; any failure drops the cache."""

    name: ClassVar[str] = "guide (60 s cache)"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._cached: int | None = None
        self._expires = 0.0

    def pick(self, tried: set[int], size: int, now: float) -> tuple[int, object] | float:
        if self._cached is None or now >= self._expires:
            online = [row for row in self.sightings if row.online] or self.sightings
            self._cached = min(online, key=lambda row: row.published).index
            self._expires = now + 60.0
        return self._cached, None

    def settle(self, token: object, outcome: Outcome, now: float, first_byte: float | None) -> None:
        if outcome is not Outcome.SUCCESS:
            self._expires = 0.0


class RoundRobin(Simple):
    """One after the other."""

    name: ClassVar[str] = "round robin"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._next = int(random.random() * 1_000)

    def pick(self, tried: set[int], size: int, now: float) -> tuple[int, object] | float:
        rows = self.choices(tried)
        self._next += 1
        return rows[self._next % len(rows)].index, None


class PeakEwma(Simple):
    """Power of two choices over a peak-sensitive EWMA (Finagle's P2C peak EWMA), 10 s decay."""

    name: ClassVar[str] = "P2C peak-EWMA"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._cost: dict[int, float] = {}
        self._stamp: dict[int, float] = {}
        self._pending: dict[int, int] = {}

    def pick(self, tried: set[int], size: int, now: float) -> tuple[int, object] | float:
        rows = self.choices(tried)
        pair = self.random.sample(rows, 2) if len(rows) > 1 else rows
        index = min(pair, key=lambda row: self._load(row.index)).index
        self._pending[index] = self._pending.get(index, 0) + 1
        return index, (index, now)

    def settle(self, token: object, outcome: Outcome, now: float, first_byte: float | None) -> None:
        index, started = token  # type: ignore[misc]  # what pick gave
        self._pending[index] -= 1
        took = now - started if outcome is Outcome.SUCCESS else max(1.0, now - started)
        cost = self._cost.get(index, 0.0)
        if took > cost:
            self._cost[index] = took
        else:
            weight = exp(-(now - self._stamp.get(index, now)) / 10.0)
            self._cost[index] = cost * weight + took * (1 - weight)
        self._stamp[index] = now

    def _load(self, index: int) -> float:
        cost = self._cost.get(index)
        pending = self._pending.get(index, 0)
        return pending * 1.0 if cost is None else cost * (pending + 1)


class MongoWindow(Simple):
    """MongoDB drivers: EWMA of the probe's round trip, 15 ms window, two random choices by operations."""

    name: ClassVar[str] = "Mongo 15 ms window"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._rtt: dict[int, float] = {}
        self._pending: dict[int, int] = {}

    def discover(self, sightings: Sequence[Sighting], now: float) -> None:
        super().discover(sightings, now)
        for row in sightings:
            measured = row.published if row.probe is None else row.probe
            known = self._rtt.get(row.index)
            self._rtt[row.index] = measured if known is None else 0.8 * known + 0.2 * measured

    def pick(self, tried: set[int], size: int, now: float) -> tuple[int, object] | float:
        rows = self.choices(tried)
        best = min(self._rtt[row.index] for row in rows)
        near = [row for row in rows if self._rtt[row.index] <= best + 0.015]
        pair = self.random.sample(near, 2) if len(near) > 1 else near
        index = min(pair, key=lambda row: self._pending.get(row.index, 0)).index
        self._pending[index] = self._pending.get(index, 0) + 1
        return index, index

    def settle(self, token: object, outcome: Outcome, now: float, first_byte: float | None) -> None:
        assert isinstance(token, int)
        self._pending[token] -= 1


class Oracle(Simple):
    """Knows every queue, fault and limit at this moment. Not the future: it can be beaten by luck."""

    name: ClassVar[str] = "oracle"

    def __init__(self, random: Random, nodes: Sequence[Node], address: int) -> None:
        super().__init__(random)
        self._nodes = nodes
        self._address = address

    def pick(self, tried: set[int], size: int, now: float) -> tuple[int, object] | float:
        present = [node for node in self._nodes if node.plan.joins <= now]
        free = [node for node in present if not node.would_limit(self._address, now)]
        if not free:
            return 0.01
        best = min(node.expected(now, size) for node in free)
        near = [node for node in free if node.expected(now, size) <= best * 1.000_001]
        return self.random.choice(near).index, None
