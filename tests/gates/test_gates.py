"""The gates of the routing design, on one seed and on short scenarios; `nox -s full` runs five seeds in full."""

from __future__ import annotations

from functools import cache

import pytest
from simulation import gates
from simulation.contestants import Guide, Oracle, Ours
from simulation.race import Race
from simulation.scenario import all_scenarios

from flashback_async.routing import RoutingPolicy

SHORT, WHOLE = 0.4, 1.0
LENGTHS = {
    # A few large bodies make its 99th percentile.
    "S17": WHOLE,
    # The first failure of each of six bad nodes weighs more, the fewer requests follow.
    "S10": WHOLE,
    # So do the requests of the 150 ms in which nobody can know, where there is only one near node.
    "S22": WHOLE,
    "S23": WHOLE,
}
KEYS = [scenario.key for scenario in all_scenarios()]
SEEDS = (1, 2, 3, 4, 5)
NEVER = 1e9


def scenario_of(key, length=None):
    """One scenario, as long as it takes to mean something."""
    found = all_scenarios(LENGTHS.get(key, SHORT) if length is None else length)
    return next(scenario for scenario in found if scenario.key == key)


@cache
def oracle_of(key, seed, length=None):
    """What the oracle made of it: the same in every test."""
    return Race(scenario_of(key, length), Oracle, seed=seed).run()


def violations(key, make, *, seed=1, length=None):
    """The gates that a router misses."""
    ours = Race(scenario_of(key, length), make, seed=seed).run()
    return list(gates.violations(ours, oracle_of(key, seed, length)))


@pytest.mark.parametrize("key", KEYS)
def test_every_gate_holds(key):
    """Tail near the oracle's, hardly a failed attempt, bad nodes left and found again, no crowd on one node."""
    assert violations(key, Ours) == []


@pytest.mark.full
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("key", KEYS)
def test_every_gate_holds_on_five_seeds(key, seed):
    """The same in full length, with one set of parameters, whatever the dice say."""
    assert violations(key, Ours, seed=seed, length=WHOLE) == []


def ours(policy=None, **options):
    """Our router with another policy."""
    return lambda random: Ours(random, policy, **options)


@pytest.mark.parametrize(
    ("stage", "key", "make"),
    [
        (
            "window",
            "S21",
            ours(RoutingPolicy(window_minimum=0.0, window_share=0.0, window_deviations=0.0)),
        ),
        ("penalty", "S9", ours(RoutingPolicy(penalty=0.0))),
        ("silence", "S22", ours(RoutingPolicy(silence_minimum=NEVER))),
        ("floor", "S2", ours(RoutingPolicy(floor_samples=1))),
        ("limiter", "S15", ours(RoutingPolicy(limiter_minimum=NEVER))),
        ("tried-exclusion", "S23", ours(exclude_tried=False)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_stage_earns_its_place(stage, key, make):
    """Without it, a scenario that is won with it is lost."""
    assert violations(key, make), f"{key} needs no {stage}"


def test_the_gates_can_be_missed():
    """The guide's algorithm fails where one node must serve everything."""
    assert violations("S4", Guide)
