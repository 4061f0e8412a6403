"""A gateway: so many workers, a queue, a distance to every client, and faults that come and go."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum
from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from simulation.timeline import Timeline


class Answer(Enum):
    """How a request that reached a node ends. A black hole gives no answer at all."""

    OK = "ok"
    ERROR = "error"
    REFUSED = "refused"
    THROTTLED = "throttled"


@dataclass(frozen=True, slots=True)
class Fault:
    """What a node does wrong between two moments (seconds).

    Attributes:
        start: first moment.
        stop: first moment after it.
        refuses: connections are refused.
        black_hole: requests vanish.
        slowdown: factor on the service time.
        error_rate: share of requests answered with 503 at once.
        recovers_over: seconds over which a slowdown fades after `stop`.
    """

    start: float
    stop: float
    refuses: bool = False
    black_hole: bool = False
    slowdown: float = 1.0
    error_rate: float = 0.0
    recovers_over: float = 0.0

    def factor(self, now: float) -> float:
        """The factor on the service time at `now`."""
        if self.start <= now < self.stop:
            return self.slowdown
        if self.recovers_over and self.stop <= now < self.stop + self.recovers_over:
            left = 1 - (now - self.stop) / self.recovers_over
            return 1 + (self.slowdown - 1) * left
        return 1.0

    def holds(self, now: float) -> bool:
        """Whether `now` lies within it."""
        return self.start <= now < self.stop


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node of a scenario. Times are seconds, sizes bytes.

    Attributes:
        rtt: round trip from the clients.
        workers: requests served at once; more wait in a queue.
        service: "lognormal" (sigma 0.5) or "exponential".
        mean: mean service time.
        published: latency that the control plane publishes; None: the round trip.
        rate: requests per second and client address; None: no limit.
        burst: requests that may come at once under that limit.
        bandwidth: bytes per second of a body.
        faults: what goes wrong, and when.
        joins: when the node appears.
    """

    rtt: float
    workers: int = 4
    service: str = "lognormal"
    mean: float = 0.010
    published: float | None = None
    rate: float | None = None
    burst: int = 20
    bandwidth: float = 100e6
    faults: tuple[Fault, ...] = ()
    joins: float = 0.0


@dataclass(slots=True)
class _Bucket:
    """nginx's limit_req with nodelay: an excess that leaks at the rate."""

    excess: float = 0.0
    updated: float = 0.0


@dataclass(slots=True)
class _Job:
    service: float
    reply: Callable[[Answer], None]


class Node:
    """A running node. Deterministic for a seeded `random`."""

    def __init__(self, index: int, plan: NodePlan, timeline: Timeline, random: Random) -> None:
        self.index = index
        self.plan = plan
        self._timeline = timeline
        self._random = random
        self._busy = 0
        self._queue: deque[_Job] = deque()
        self._limits: dict[int, _Bucket] = {}
        # What is on its way here: the oracle knows it, as it knows every queue.
        self.coming: Counter[int] = Counter()

    def receive(self, address: int, size: int, reply: Callable[[Answer], None]) -> None:
        """Take a request from a client's address; `reply` is called when the first byte leaves."""
        now = self._timeline.now
        self.coming[address] -= 1
        faults = [fault for fault in self.plan.faults if fault.holds(now)]
        if any(fault.refuses for fault in faults):
            reply(Answer.REFUSED)
        elif any(fault.black_hole for fault in faults):
            return
        elif self._is_limited(address, now):
            reply(Answer.THROTTLED)
        elif any(self._random.random() < fault.error_rate for fault in faults if fault.error_rate):
            self._timeline.after(0.001, lambda: reply(Answer.ERROR))
        else:
            service = self._service(now) + size / self.plan.bandwidth
            self._queue.append(_Job(service, reply))
            self._work()

    def expected(self, now: float, size: int = 0) -> float:
        """What an oracle knows: seconds until an answer would reach the client; infinite if none would."""
        worst = 0.0
        for fault in self.plan.faults:
            if fault.holds(now) and (fault.refuses or fault.black_hole or fault.error_rate):
                worst = max(worst, 1e9 if fault.refuses or fault.black_hole else fault.error_rate * 1e6)
        factor = self.slowdown(now)
        ahead = max(0, self._busy + len(self._queue) + self.coming.total() + 1 - self.plan.workers)
        wait = ahead * self.plan.mean * factor / self.plan.workers
        return worst + self.plan.rtt + wait + self.plan.mean * factor + size / self.plan.bandwidth

    def slowdown(self, now: float) -> float:
        """The factor on its service time at `now`."""
        return max((fault.factor(now) for fault in self.plan.faults), default=1.0)

    def would_limit(self, address: int, now: float) -> bool:
        """What an oracle knows: whether a request from `address` would be answered with 429."""
        if self.plan.rate is None:
            return False
        # One less than the limit: what is on its way may come in another order.
        return self._excess(address, now) + self.coming[address] + 1 > self.plan.burst

    def refuses(self, now: float) -> bool:
        """What discovery sees of it."""
        return any(fault.refuses for fault in self.plan.faults if fault.holds(now))

    def vanished(self, now: float) -> bool:
        """What a probe sees of it: neither refusals nor a black hole answer."""
        return any(fault.refuses or fault.black_hole for fault in self.plan.faults if fault.holds(now))

    def _excess(self, address: int, now: float) -> float:
        bucket = self._limits.setdefault(address, _Bucket())
        return max(0.0, bucket.excess - (now - bucket.updated) * (self.plan.rate or 0.0))

    def _is_limited(self, address: int, now: float) -> bool:
        if self.plan.rate is None:
            return False
        excess = self._excess(address, now)
        bucket = self._limits[address]
        bucket.updated = now
        limited = excess > self.plan.burst
        bucket.excess = excess if limited else excess + 1.0
        return limited

    def _service(self, now: float) -> float:
        plan = self.plan
        if plan.service == "exponential":
            drawn = self._random.expovariate(1 / plan.mean)
        elif plan.service == "constant":
            drawn = plan.mean
        else:
            sigma = 0.5
            drawn = self._random.lognormvariate(log(plan.mean) - sigma * sigma / 2, sigma)
        return drawn * self.slowdown(now)

    def _work(self) -> None:
        while self._queue and self._busy < self.plan.workers:
            job = self._queue.popleft()
            self._busy += 1
            self._timeline.after(job.service, lambda job=job: self._done(job))

    def _done(self, job: _Job) -> None:
        self._busy -= 1
        job.reply(Answer.OK)
        self._work()
