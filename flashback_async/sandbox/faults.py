"""What happens to one request: decided at once, from a behaviour, a random source and a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flashback_async.sandbox.answer import Answer, html_answer, xml_answer
from flashback_async.sandbox.limiter import LeakyBuckets

if TYPE_CHECKING:
    from random import Random

    from flashback_async.sandbox.behaviour import Behaviour


@dataclass(frozen=True, slots=True)
class Cut:
    """A response body goes wrong after some of its bytes."""

    after: int
    how: Literal["close", "reset", "hang"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The fate of one request.

    Attributes:
        outcome: name for the counters; `served` where nothing is injected.
        delay: seconds to wait first.
        answer: what to say instead of serving.
        cut: what goes wrong in the body.
    """

    outcome: str
    delay: float = 0.0
    answer: Answer | None = None
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """What a decision needs to know of a request."""

    method: str
    path: str
    query: str
    length: int | None
    client: str

    @property
    def is_health(self) -> bool:
        """Whether this is a probe."""
        return self.path == "/health" and self.method in ("GET", "HEAD")

    @property
    def is_write(self) -> bool:
        """Whether this stores something; deleting does not."""
        if self.method == "POST":
            return "delete" not in self.query.split("&")
        return self.method == "PUT"


class Faults:
    """Turns requests into plans; replaced whole when the behaviour changes.

    Args:
        behaviour: what to do.
        distance: seconds that every request takes anyway: how far away the server is.
        random: the source of chance; seeded by the cluster.
    """

    def __init__(self, behaviour: Behaviour, *, distance: float, random: Random) -> None:
        self.behaviour = behaviour
        self._distance = distance
        self._random = random.random
        self._buckets = LeakyBuckets(behaviour.rate_limit) if behaviour.rate_limit else None

    def plan(self, ask: Ask, now: float) -> Plan:
        """Decide, in nginx's order: size, rate, then what the behaviour injects."""
        behaviour = self.behaviour
        if behaviour.max_body is not None and (ask.length or 0) > behaviour.max_body:
            return Plan("max_body", self._distance, html_answer(413))
        if self._buckets is not None and not self._buckets.admit(ask.client, now):
            assert behaviour.rate_limit is not None
            refusal = html_answer(429, retry_after=behaviour.rate_limit.retry_after)
            return Plan("rate_limit", self._distance, refusal)
        if ask.is_health and behaviour.health_ok:
            return Plan("served", self._distance)
        delay = self._delay()
        if behaviour.fault is not None and (
            behaviour.error_rate == 1 or self._random() < behaviour.error_rate
        ):
            return self._strike(behaviour.fault, delay)
        if behaviour.writes_disabled is not None and ask.is_write:
            refused = behaviour.writes_disabled
            return Plan("writes_disabled", delay, xml_answer(refused.status, refused.code))
        return Plan("served", delay)

    def _delay(self) -> float:
        behaviour = self.behaviour
        delay = self._distance + behaviour.latency
        if behaviour.jitter:
            delay += behaviour.jitter * self._random()
        if behaviour.spike_rate and self._random() < behaviour.spike_rate:
            delay += behaviour.spike
        return delay

    def _strike(self, fault: str, delay: float) -> Plan:
        behaviour = self.behaviour
        if behaviour.status is not None:
            if behaviour.body_format == "html":
                answer = html_answer(behaviour.status, retry_after=behaviour.retry_after)
            else:
                answer = xml_answer(behaviour.status, behaviour.error_code, retry_after=behaviour.retry_after)
            return Plan(fault, delay, answer)
        if behaviour.truncate_after is not None:
            return Plan(fault, delay, cut=Cut(behaviour.truncate_after, "close"))
        if behaviour.reset_after is not None:
            return Plan(fault, delay, cut=Cut(behaviour.reset_after, "reset"))
        if behaviour.stall_after is not None:
            return Plan(fault, delay, cut=Cut(behaviour.stall_after, "hang"))
        return Plan(fault, delay)
