"""Hypothesis drives a router through any order of calls; what must hold at every step is an invariant.

The runs are derandomised: the same examples on every machine, so that CI neither flickers nor forgets.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flashback_async.errors import NoEndpointAvailableError
from flashback_async.routing import Attempt, Outcome, Router, RoutingPolicy, Wait
from flashback_async.routing.attempt import AttemptState
from flashback_async.routing.policy import MIB

from .fleet import CANCELLED, CLOSED, FAULT, HALF_OPEN, READ, SUCCESS, THROTTLED, TIMEOUT, WRITE, report

IDS = ("a", "b", "c")
# Breakers that trip early: the properties do not depend on the numbers, and short runs get everywhere.
POLICY = RoutingPolicy(breaker_consecutive=2, breaker_minimum=4, hedge_share=0.5, hedge_outcomes=1)
TRIAL_LIMIT = 60.0
LONGER_THAN_ANYTHING = 400.0
"""More than the longest open time with its jitter, the trial limit, and the longest Retry-After."""

rows = st.one_of(
    st.just([(name, "", False) for name in IDS]),
    st.lists(
        st.tuples(st.sampled_from(IDS), st.sampled_from(["", "", "https://moved.example"]), st.booleans()),
        max_size=5,
    ),
)
outcomes = st.sampled_from([*Outcome, *[SUCCESS, FAULT, TIMEOUT] * 3])
seconds = st.sampled_from([0.0, 0.001, 0.05, 0.5, 5.0])
pauses = st.sampled_from([0.0, 0.01, 0.2, 1.0, 1.5, 1.5, 3.0, 10.0, 61.0, 301.0])


class RouterMachine(RuleBasedStateMachine):
    """Everything that callers may do, in any order, with time between."""

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.router = Router(policy=POLICY, random=Random(seed).random)
        self.now = 0.0
        self.held: list[Attempt] = []
        self.bodies: list[Attempt] = []
        self.ids = set(IDS)
        self.router.apply_discovery([report(name) for name in IDS], now=0.0)
        self.paid = 0

    # --- what may happen ---

    @rule(pause=pauses)
    def time_passes(self, pause: float) -> None:
        self.now += pause

    @rule(found=rows)
    def discover(self, found: list[tuple[str, str, bool]]) -> None:
        news = [
            report(name, url=url, offline=["photos"] if is_offline else []) for name, url, is_offline in found
        ]
        self.router.apply_discovery(news, now=self.now)
        self.ids = {name for name, _, _ in found}

    @rule(name=st.sampled_from(IDS), rtt=st.one_of(st.none(), seconds))
    def probe(self, name: str, rtt: float | None) -> None:
        before = self.breakers()
        self.router.record_probe(name, rtt, now=self.now)
        assert self.breakers() == before, "a probe touches no breaker"

    @rule(
        bucket=st.sampled_from([None, "photos"]),
        kind=st.sampled_from([READ, WRITE]),
        tried=st.sets(st.sampled_from(IDS)),
        size=st.sampled_from([None, 0, 10 * MIB]),
        count=st.integers(1, 6),
    )
    def acquire(self, bucket, kind, tried, size, count) -> None:
        for _ in range(count):
            before = self.counts()
            told = self.router.explain(bucket, kind, tried=tried, size=size, now=self.now)
            running = {row.endpoint.id for row in told if row.in_the_running}
            assert {row.endpoint.id for row in told} == self.ids
            assert self.counts() == before, "explaining changes nothing"
            try:
                choice = self.router.acquire(bucket, kind, tried, size, now=self.now)
            except NoEndpointAvailableError:
                assert not self.ids, "no pick fails while the table is non-empty"
                return
            assert self.ids
            if isinstance(choice, Wait):
                assert 0 < choice.seconds <= LONGER_THAN_ANYTHING
                assert self.counts() == before, "a wait consumes no attempt"
                assert running == set(), "who explains and who picks agree"
                return
            assert choice.endpoint.id in running, "who explains and who picks agree"
            self.held.append(choice)

    @rule(name=st.sampled_from(IDS), count=st.integers(1, 4))
    def acquire_pinned(self, name: str, count: int) -> None:
        for _ in range(count):
            try:
                choice = self.router.acquire(None, READ, now=self.now, only=name)
            except NoEndpointAvailableError:
                assert name not in self.ids
                return
            if isinstance(choice, Attempt):
                assert choice.endpoint.id == name
                self.held.append(choice)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 100), tried=st.sets(st.sampled_from(IDS)), count=st.integers(1, 3))
    def hedge(self, which: int, tried: set[str], count: int) -> None:
        late = self.held[which % len(self.held)]
        for _ in range(count):
            told = self.router.hedge_delay(late, now=self.now)
            assert told is None or (told >= 0.01 and late.kind is READ and not late.permit.trial)
        left, before = self.shown().hedge_budget, self.counts()
        attempt = self.router.hedge(late, tried, None, now=self.now)
        if attempt is None:
            assert (self.shown().hedge_budget, self.counts()) == (left, before), "a refusal consumes nothing"
            return
        assert self.shown().hedge_budget == left - 1
        assert attempt.endpoint.id not in tried
        assert attempt.record is not late.record
        assert attempt.record.breaker.state is CLOSED
        assert not attempt.permit.trial
        assert self.breakers() == before[2], "a hedge moves no breaker"
        self.held.append(attempt)

    @rule(name=st.sampled_from(IDS), ends=st.lists(outcomes, min_size=1, max_size=4), pause=pauses)
    def requests_come_and_go(self, name: str, ends: list[Outcome], pause: float) -> None:
        self.use_one_endpoint(name, ends, pause)

    def use_one_endpoint(self, name: str, ends: list[Outcome], pause: float) -> None:
        for outcome in ends:
            if name in self.ids:
                choice = self.router.acquire(None, READ, now=self.now, only=name)
                if isinstance(choice, Attempt):
                    self.end(choice, outcome, first_byte=0.01)
        self.now += pause

    @rule(name=st.sampled_from(IDS), pause=st.sampled_from([0.0, 1.5, LONGER_THAN_ANYTHING]))
    def outage(self, name: str, pause: float) -> None:
        """An endpoint fails for others while some requests stay under way, and perhaps recovers."""
        self.use_one_endpoint(name, [FAULT, FAULT], pause)
        if pause:
            self.use_one_endpoint(name, [SUCCESS], 0.0)

    @precondition(lambda self: self.held)
    @rule(
        which=st.integers(0, 100),
        outcome=outcomes,
        first_byte=st.one_of(st.none(), seconds),
        retry_after=st.sampled_from([None, 0.0, 2.0, 1_000.0]),
        streamed=st.booleans(),
        at_least=st.one_of(st.none(), seconds),
    )
    def settle(self, which, outcome, first_byte, retry_after, streamed, at_least) -> None:
        attempt = self.held.pop(which % len(self.held))
        details = {"retry_after": retry_after, "streamed": streamed, "at_least": at_least}
        self.end(attempt, outcome, first_byte=first_byte, **details)
        with pytest.raises(RuntimeError):
            self.router.settle(attempt, outcome, now=self.now)

    @precondition(lambda self: self.held)
    @rule(count=st.integers(1, 8))
    def cancel_some(self, count: int) -> None:
        for attempt in self.held[:count]:
            self.end(attempt, CANCELLED)
        del self.held[:count]

    @precondition(lambda self: self.held)
    @rule(name=st.sampled_from(IDS), outcome=outcomes, streamed=st.booleans())
    def end_all_at_one_endpoint(self, name, outcome, streamed) -> None:
        ending = [attempt for attempt in self.held if attempt.endpoint.id == name]
        self.held = [attempt for attempt in self.held if attempt.endpoint.id != name]
        for attempt in ending:
            self.end(attempt, outcome, first_byte=0.001, streamed=streamed)

    @precondition(lambda self: self.bodies)
    @rule(which=st.integers(0, 100))
    def confirm(self, which: int) -> None:
        attempt = self.bodies[which % len(self.bodies)]
        before, is_late = self.all_of(attempt), self.is_late(attempt)
        self.router.confirm(attempt, now=self.now)
        assert not is_late or self.all_of(attempt) == before, "late completions change nothing"

    @precondition(lambda self: self.bodies)
    @rule(which=st.integers(0, 100), outcome=outcomes, size=st.sampled_from([0, MIB, 100 * MIB]))
    def finish(self, which: int, outcome: Outcome, size: int) -> None:
        attempt = self.bodies.pop(which % len(self.bodies))
        check = self.expectation(attempt, outcome)
        self.router.finish(attempt, outcome, now=self.now, bytes_moved=size, seconds=0.5)
        check()
        with pytest.raises(RuntimeError):
            self.router.finish(attempt, outcome, now=self.now)

    @rule(name=st.sampled_from(IDS), outcome=outcomes, first_byte=st.one_of(st.none(), seconds))
    def report(self, name: str, outcome: Outcome, first_byte: float | None) -> None:
        was = {row.endpoint.id: row.breaker for row in self.shown().endpoints}
        before = self.breakers()
        counted = self.router.report(name, outcome, now=self.now, first_byte=first_byte)
        assert counted is (was.get(name) is CLOSED), "reports count only while closed"
        assert counted or self.breakers() == before

    @rule(outcome=st.sampled_from([FAULT, THROTTLED]), count=st.integers(1, 40))
    def retry(self, outcome: Outcome, count: int) -> None:
        for _ in range(count):
            load = len(self.held) + len(self.bodies)
            capacity = max(500, 14 * (load and load + 1))
            cost = 5 if outcome is THROTTLED else 14
            paid = self.router.pay_for_retry(outcome)
            assert paid == (cost if self.paid + cost <= capacity else None), "retries stay within the budget"
            self.paid += paid or 0

    @rule(amount=st.sampled_from([1, 5, 14, 1_000]))
    def refund(self, amount: int) -> None:
        self.router.refund_retry(amount)
        self.paid = max(0, self.paid - amount)

    # --- what must hold ---

    @invariant()
    def in_flight_is_what_is_in_flight(self) -> None:
        shown = self.shown()
        assert (shown.in_flight, shown.streaming) == (len(self.held), len(self.bodies))
        for row in shown.endpoints:
            assert row.in_flight >= 0
            assert row.streaming >= 0
        assert sum(row.in_flight for row in shown.endpoints) <= shown.in_flight
        assert {row.endpoint.id for row in shown.endpoints} == self.ids

    @invariant()
    def at_most_one_trial_per_endpoint(self) -> None:
        trials: dict[int, int] = {}
        for attempt in (*self.held, *self.bodies):
            is_running = attempt.permit.trial and not self.is_late(attempt)
            if is_running and self.now - attempt.started < TRIAL_LIMIT:
                trials[id(attempt.record)] = trials.get(id(attempt.record), 0) + 1
        assert all(count == 1 for count in trials.values())

    @invariant()
    def the_table_is_sane(self) -> None:
        for row in self.shown().endpoints:
            assert row.retry_in >= 0
            assert row.throttled <= row.requests
            for figure in (row.read_latency, row.write_latency):
                assert figure is None or 0 <= figure < float("inf")

    def teardown(self) -> None:
        """From any state: at rest nothing is in flight, and time plus one success closes every breaker."""
        if not hasattr(self, "router"):
            return
        keep_waiting = len(self.held) % 2
        if not keep_waiting:
            self.come_to_rest()
        self.now += LONGER_THAN_ANYTHING
        for name in self.ids:
            attempt = self.router.acquire(None, READ, now=self.now, only=name)
            assert isinstance(attempt, Attempt), "after so long nobody waits"
            self.router.settle(attempt, SUCCESS, now=self.now)
        assert all(row.breaker is CLOSED for row in self.shown().endpoints)
        self.come_to_rest()
        shown = self.shown()
        assert (shown.in_flight, shown.streaming) == (0, 0)
        assert all((row.in_flight, row.streaming) == (0, 0) for row in shown.endpoints)

    # --- words ---

    def end(self, attempt: Attempt, outcome: Outcome, **details) -> None:
        check = self.expectation(attempt, outcome)
        self.router.settle(attempt, outcome, now=self.now, **details)
        if attempt.state is AttemptState.STREAMING:
            self.bodies.append(attempt)
        else:
            check()

    def expectation(self, attempt: Attempt, outcome: Outcome):
        """What must be true of the breaker after the end of `attempt`, from what is true now."""
        breaker, permit, is_late = attempt.record.breaker, attempt.permit, self.is_late(attempt)
        before, all_before = self.breaker_of(attempt), self.all_of(attempt)
        has_no_say = breaker.state is not CLOSED and not permit.trial
        is_neutral = not outcome.is_fault and not outcome.proves_alive

        def check() -> None:
            if is_late:
                assert self.all_of(attempt) == all_before, "late completions change nothing"
            elif has_no_say or is_neutral:
                assert self.breaker_of(attempt) == before, "panic permits and neutral ends move no breaker"
            if permit.trial and not is_late and self.now - attempt.started < TRIAL_LIMIT:
                assert breaker.state is not HALF_OPEN or breaker.admits(self.now), "every end frees the trial"

        return check

    def come_to_rest(self) -> None:
        for attempt in self.held:
            self.router.settle(attempt, CANCELLED, now=self.now)
        for body in self.bodies:
            self.router.finish(body, CANCELLED, now=self.now)
        self.held, self.bodies = [], []

    def shown(self):
        return self.router.snapshot(now=self.now)

    def counts(self) -> tuple[object, ...]:
        shown = self.shown()
        return shown.in_flight, shown.streaming, self.breakers()

    def breakers(self) -> list[tuple[object, ...]]:
        return [
            (row.endpoint.id, row.breaker, row.opened, row.breaker_reason) for row in self.shown().endpoints
        ]

    @staticmethod
    def breaker_of(attempt: Attempt) -> tuple[object, ...]:
        breaker = attempt.record.breaker
        return breaker.state, breaker.generation, breaker.opened, breaker.retry_at, breaker.reason

    def all_of(self, attempt: Attempt) -> tuple[object, ...]:
        record = attempt.record
        figures = [
            (record.expected(bucket, kind, self.now), record.throughput(kind))
            for bucket in (None, "photos")
            for kind in (READ, WRITE)
        ]
        return *self.breaker_of(attempt), *figures

    @staticmethod
    def is_late(attempt: Attempt) -> bool:
        return attempt.permit.generation != attempt.record.breaker.generation


def test_any_order_of_calls_keeps_the_promises():
    """In-flight is exact, one trial at a time, no pick fails, retries fit the budget, breakers recover."""
    run_state_machine_as_test(
        RouterMachine,
        settings=settings(
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=120,
            stateful_step_count=50,
            suppress_health_check=list(HealthCheck),
        ),
    )


def any_step(machine: RouterMachine, dice: Random) -> None:
    """One of the rules with arguments by chance; weighted so that attempts are held for a while."""
    name = dice.choice(IDS)
    outcome = dice.choice([*Outcome, *[SUCCESS, FAULT, TIMEOUT] * 3])
    kind, first_byte = dice.choice([READ, WRITE]), dice.choice([None, 0.0, 0.05, 5.0])
    which, pause = dice.randrange(100), dice.choice([0.0, 0.01, 1.0, 1.5, 3.0, 61.0, 301.0])
    found = [(each, "", False) for each in IDS]
    if dice.random() < 0.3:
        found = [(name, dice.choice(["", "https://moved.example"]), dice.random() < 0.5)]
    steps = {
        "pass": (3, lambda: machine.time_passes(pause)),
        "discover": (1, lambda: machine.discover(found)),
        "probe": (1, lambda: machine.probe(name, first_byte)),
        "acquire": (4, lambda: machine.acquire("photos", kind, {name}, None, dice.randrange(1, 5))),
        "pin": (3, lambda: machine.acquire_pinned(name, dice.randrange(1, 4))),
        "use": (3, lambda: machine.use_one_endpoint(name, [outcome, outcome], pause)),
        "outage": (2, lambda: machine.outage(name, dice.choice([0.0, 1.5, LONGER_THAN_ANYTHING]))),
        "report": (1, lambda: machine.report(name, outcome, first_byte)),
        "retry": (1, lambda: machine.retry(dice.choice([FAULT, THROTTLED]), dice.randrange(40))),
        "refund": (1, lambda: machine.refund(dice.choice([1, 14, 1_000]))),
    }
    if machine.held:
        steps["settle"] = (
            9,
            lambda: machine.settle(
                which, outcome, first_byte, dice.choice([None, 2.0]), dice.random() < 0.5, first_byte
            ),
        )
        steps["hedge"] = (2, lambda: machine.hedge(which, {name}, dice.randrange(1, 4)))
        steps["end all"] = (1, lambda: machine.end_all_at_one_endpoint(name, outcome, dice.random() < 0.5))
        steps["cancel"] = (1, lambda: machine.cancel_some(dice.randrange(1, 4)))
    if machine.bodies:
        steps["confirm"] = (3, lambda: machine.confirm(which))
        steps["finish"] = (3, lambda: machine.finish(which, outcome, dice.choice([0, 100 * MIB])))
    weights = [weight for weight, _ in steps.values()]
    dice.choices([step for _, step in steps.values()], weights)[0]()


@pytest.mark.parametrize("seed", range(40))
def test_long_runs_keep_the_promises(seed):
    """The same machine for many steps on end: the states that short runs do not reach."""
    dice, machine = Random(seed), RouterMachine()
    machine.start(seed)
    for _ in range(500):
        any_step(machine, dice)
        machine.in_flight_is_what_is_in_flight()
        machine.at_most_one_trial_per_endpoint()
        machine.the_table_is_sane()
    machine.teardown()
