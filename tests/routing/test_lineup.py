"""The lineup decides what the stages decide, with less work: both run side by side on the same chance."""

from __future__ import annotations

from random import Random

import pytest

from flashback_async.routing import EndpointStatus, Outcome, Router, RoutingPolicy, Wait

from .fleet import CANCELLED, FAULT, READ, SUCCESS, THROTTLED, TIMEOUT, WRITE, Fleet, report

NOBODY = ("nobody",)
"""Who was tried, if it is somebody unknown: it changes no decision, and sends the pick through the stages."""

OUTCOMES = [SUCCESS] * 30 + [FAULT, FAULT, TIMEOUT, Outcome.CALLER_FAULT, CANCELLED]


class Twins:
    """Two routers that live through the same, one picking by lineups, one by the stages of `picker`."""

    def __init__(self, seed: int, policy: RoutingPolicy) -> None:
        self.chance = Random(seed)
        self.quick = Router(policy=policy, random=Random(seed).random)
        self.staged = Router(policy=policy, random=Random(seed).random)
        self.held = []
        self.now = 0.0

    def both(self, act) -> None:
        act(self.quick)
        act(self.staged)

    def acquire(self, bucket, kind, size) -> None:
        quick = self.quick.acquire(bucket, kind, (), size, now=self.now)
        staged = self.staged.acquire(bucket, kind, NOBODY, size, now=self.now)
        assert isinstance(quick, Wait) is isinstance(staged, Wait)
        if isinstance(quick, Wait):
            assert quick == staged
        else:
            assert quick.endpoint == staged.endpoint
            assert quick.permit.trial is staged.permit.trial
            self.held.append((quick, staged))

    def settle(self, outcome, first_byte) -> None:
        quick, staged = self.held.pop(self.chance.randrange(len(self.held)))
        details = {"now": self.now, "first_byte": first_byte}
        self.quick.settle(quick, outcome, **details)
        self.staged.settle(staged, outcome, **details)


def reports(chance: Random, count: int):
    return [
        report(
            f"n{index}",
            published=chance.choice([None, 0.0, 0.02, {"photos": 0.05, None: 0.01}, {"other": 0.2}]),
            status=chance.choice([EndpointStatus.ONLINE] * 9 + [EndpointStatus.OFFLINE]),
            offline=chance.choice([(), (), (), ("photos",)]),
        )
        for index in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 5, 12, 19, 20, 40])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("policy", [RoutingPolicy(), RoutingPolicy(read_slo=0.05)], ids=["window", "slo"])
def test_lineups_decide_what_the_stages_decide(count, seed, policy):
    """Same world, same chance: the same endpoint, the same wait, the same trial, the same draws, at each pick."""
    twins, chance = Twins(seed, policy), Random(seed * 100 + count)
    speed = [chance.choice([0.005, 0.01, 0.03, 0.1, 0.3]) for _ in range(count)]
    found = reports(chance, count)
    twins.both(lambda router: router.apply_discovery(found, now=0.0))
    for _ in range(600):
        twins.now += chance.choice([0.0, 0.0, 0.001, 0.01, 0.2, 1.5])
        roll = chance.random()
        if roll < 0.55:
            bucket = chance.choice(["photos", "photos", "other", None])
            twins.acquire(bucket, chance.choice([READ, READ, WRITE]), chance.choice([None, 100, 1 << 19]))
        elif roll < 0.9 and twins.held:
            index = int(twins.held[-1][0].endpoint.id[1:])
            first_byte = speed[index] * chance.choice([0.9, 1.0, 1.1, 4.0])
            outcome = chance.choice(OUTCOMES if chance.random() < 0.9 else [THROTTLED, FAULT])
            twins.settle(outcome, first_byte)
        elif roll < 0.97:
            name, rtt = f"n{chance.randrange(count)}", chance.choice([None, 0.001, 0.05])
            twins.both(lambda router, name=name, rtt=rtt: router.record_probe(name, rtt, now=twins.now))
        elif roll < 0.98:
            again = reports(chance, count)
            twins.both(lambda router, again=again: router.apply_discovery(again, now=twins.now))
    assert twins.quick.snapshot(now=twins.now) == twins.staged.snapshot(now=twins.now)


@pytest.mark.parametrize("outcome", [SUCCESS, FAULT, CANCELLED])
def test_a_trial_that_ends_is_seen_by_the_next_pick(outcome):
    """However a half-open trial ends, the next pick knows: back in the lineup, out, or free for another trial."""
    fleet = Fleet("a", "b", random=lambda: 0.0)
    for name in "ab":
        fleet.know(name, 0.010)
    fleet.trip("a", now=1.0)
    assert fleet.ask(now=1.2).endpoint.id == "b"
    trial = fleet.ask("a", now=2.0)
    assert trial.permit.trial
    assert {fleet.ask(now=2.0).endpoint.id for _ in range(5)} == {"b"}
    fleet.router.settle(trial, outcome, now=2.1, first_byte=0.010)
    asked = {fleet.ask(now=2.1).endpoint.id for _ in range(8)}
    assert ("a" in asked) is (outcome is not FAULT)


def test_many_buckets_are_forgotten_and_found_again():
    """More buckets than are kept: each pick is as right as the first one."""
    fleet = Fleet(*(report(name, offline=["b7"] if name == "a" else []) for name in "ab"))
    for number in [*range(200), 7]:
        attempt = fleet.ask(now=0.0, bucket=f"b{number}")
        if number == 7:
            assert attempt.endpoint.id == "b"
        fleet.router.settle(attempt, CANCELLED, now=0.0)
