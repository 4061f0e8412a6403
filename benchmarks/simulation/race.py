"""Runs one contestant through one scenario, and measures what came of it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from flashback_async.routing import Outcome
from simulation.contestants import Oracle, Sighting
from simulation.node import Answer, Node
from simulation.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.contestants import Contestant
    from simulation.scenario import Scenario

ATTEMPTS = 3
DISCOVERY_INTERVAL = 10.0
MEANING = {
    Answer.OK: Outcome.SUCCESS,
    Answer.ERROR: Outcome.ENDPOINT_FAULT,
    Answer.REFUSED: Outcome.ENDPOINT_FAULT,
    Answer.THROTTLED: Outcome.THROTTLED,
}


@dataclass(slots=True)
class Result:
    """What one contestant did in one scenario. Times are seconds."""

    contestant: str
    scenario: Scenario
    latencies: list[float] = field(default_factory=list)
    finished: list[tuple[float, float]] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    attempts: int = 0
    failed_attempts: int = 0
    throttled: int = 0
    per_node: Counter[int] = field(default_factory=Counter)
    per_second: Counter[tuple[int, int]] = field(default_factory=Counter)
    timeline: list[tuple[float, int]] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Latency that `share` of the requests stayed below."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    @property
    def failed_attempt_share(self) -> float:
        """Failed attempts (429s are counted apart) per attempt."""
        return self.failed_attempts / max(1, self.attempts)

    @property
    def throttled_share(self) -> float:
        """429s per attempt."""
        return self.throttled / max(1, self.attempts)

    @property
    def imbalance(self) -> float:
        """Requests of the busiest node over the mean."""
        counts = [self.per_node[index] for index in range(len(self.scenario.nodes))]
        return max(counts) / (sum(counts) / len(counts))

    def share(self, start: float, stop: float) -> float:
        """Share of attempts between two moments that went to the bad nodes."""
        first = bisect_left(self.timeline, (start, -1))
        last = bisect_left(self.timeline, (stop, -1))
        rows = self.timeline[first:last]
        return sum(node in self.scenario.bad for _, node in rows) / len(rows) if rows else 0.0

    @property
    def detected(self) -> float | None:
        """Seconds from the fault until less than 5 % of the traffic goes there, for three seconds."""
        return self._first(self.scenario.fault_at, self.scenario.healed_at, lambda share: share < 0.05)

    @property
    def recovered(self) -> float | None:
        """Seconds from the end of the fault until the node has half of its former share again."""
        scenario = self.scenario
        if scenario.fault_at is None or scenario.healed_at is None:
            return None
        former = self.share(max(0.0, scenario.fault_at - 10), scenario.fault_at)
        return self._first(scenario.healed_at, scenario.duration, lambda share: share >= former / 2)

    def _first(self, start: float | None, stop: float | None, holds: Callable[[float], bool]) -> float | None:
        if start is None or stop is None:
            return None
        moment = start
        while moment + 3 <= stop:
            if all(holds(self.share(moment + i, moment + i + 1)) for i in range(3)):
                return moment - start
            moment += 1
        return float("inf")


class Race:
    """One contestant, as many clients as the scenario has, one seed."""

    def __init__(
        self, scenario: Scenario, make: Callable[[Random], Contestant] | type[Oracle], *, seed: int
    ) -> None:
        self._scenario = scenario
        self._timeline = Timeline()
        self._arrivals = Random(f"{seed} arrivals {scenario.key}")
        nodes_random = Random(f"{seed} nodes {scenario.key}")
        self._nodes = [
            Node(index, plan, self._timeline, nodes_random) for index, plan in enumerate(scenario.nodes)
        ]
        self._clients: list[Contestant] = []
        for number in range(scenario.clients):
            chance = Random(f"{seed} client {number} {scenario.key}")
            if make is Oracle:
                self._clients.append(Oracle(chance, self._nodes, self._address(number)))
            else:
                self._clients.append(make(chance))  # type: ignore[arg-type, call-arg]
        self.result = Result(self._clients[0].name, scenario)

    def run(self) -> Result:
        """Run the scenario to its end."""
        for number, client in enumerate(self._clients):
            self._discover(client, first=True)
            spread = DISCOVERY_INTERVAL * (number / len(self._clients))
            self._timeline.at(spread or DISCOVERY_INTERVAL, lambda client=client: self._rediscover(client))
        self._arrive()
        self._timeline.run()
        self.result.timeline.sort()
        return self.result

    def _address(self, number: int) -> int:
        return 0 if self._scenario.shared_address else number

    def _rediscover(self, client: Contestant) -> None:
        now = self._timeline.now
        if now > self._scenario.duration:
            return
        outage = self._scenario.outage
        if outage is None or not outage[0] <= now < outage[1]:
            self._discover(client)
        self._timeline.after(DISCOVERY_INTERVAL, lambda: self._rediscover(client))

    def _discover(self, client: Contestant, *, first: bool = False) -> None:
        now = self._timeline.now
        sightings = [
            Sighting(
                node.index,
                online=not node.refuses(now),
                published=node.plan.rtt if node.plan.published is None else node.plan.published,
                probe=None if node.vanished(now) else node.plan.rtt,
            )
            for node in self._nodes
            if node.plan.joins <= now or (first and not node.plan.joins)
        ]
        client.discover(sightings, now)

    def _arrive(self) -> None:
        wait = self._arrivals.expovariate(self._scenario.rate)
        moment = self._timeline.now + wait
        if moment < self._scenario.duration:
            self._timeline.at(moment, self._arrived)

    def _arrived(self) -> None:
        number = int(self._arrivals.random() * len(self._clients))
        sizes, weights = zip(*self._scenario.sizes, strict=True)
        size = self._arrivals.choices(sizes, weights)[0]
        self.result.requests += 1
        Journey(self, number, size).go()
        self._arrive()

    def send(self, journey: Journey, index: int, token: object) -> None:
        """Send one attempt; the journey hears of it exactly once."""
        timeline, node, result = self._timeline, self._nodes[index], self.result
        sent = timeline.now
        done = False
        result.attempts += 1
        result.per_node[index] += 1
        result.timeline.append((sent, index))

        def finish(outcome: Outcome, first_byte: float | None) -> None:
            nonlocal done
            if done:
                return
            done = True
            if outcome is Outcome.THROTTLED:
                result.throttled += 1
            elif outcome is not Outcome.SUCCESS:
                result.failed_attempts += 1
            self._clients[journey.number].settle(token, outcome, timeline.now, first_byte)
            journey.ended(index, outcome)

        def reply(answer: Answer) -> None:
            timeline.after(node.plan.rtt / 2, lambda: finish(MEANING[answer], timeline.now - sent))

        node.coming[self._address(journey.number)] += 1
        timeline.after(
            node.plan.rtt / 2, lambda: node.receive(self._address(journey.number), journey.size, reply)
        )
        timeline.after(self._scenario.attempt_timeout, lambda: finish(Outcome.TIMEOUT, None))

    def client(self, number: int) -> Contestant:
        """The router of one client."""
        return self._clients[number]

    @property
    def timeline(self) -> Timeline:
        """The clock."""
        return self._timeline


class Journey:
    """One request with its attempts."""

    def __init__(self, race: Race, number: int, size: int) -> None:
        self.number = number
        self.size = size
        self._race = race
        self._started = race.timeline.now
        self._tried: set[int] = set()
        self._failures = 0

    def go(self) -> None:
        """Make the next attempt, as soon as a rate limit lets one have it."""
        timeline = self._race.timeline
        found = self._race.client(self.number).pick(self._tried, self.size, timeline.now)
        if isinstance(found, float):
            timeline.after(found, self.go)
            return
        index, token = found
        self._race.send(self, index, token)

    def ended(self, index: int, outcome: Outcome) -> None:
        """One attempt ended: done, failed, or on to the next."""
        result, timeline = self._race.result, self._race.timeline
        if outcome is Outcome.SUCCESS:
            took = timeline.now - self._started
            result.latencies.append(took)
            result.finished.append((self._started, took))
            return
        self._failures += 1
        self._tried.add(index)
        client = self._race.client(self.number)
        if self._failures >= ATTEMPTS or not client.may_retry(outcome):
            result.failed += 1
            result.latencies.append(timeline.now - self._started)
            result.finished.append((self._started, timeline.now - self._started))
            return
        timeline.after(client.delay(self._failures, self._tried), self.go)
