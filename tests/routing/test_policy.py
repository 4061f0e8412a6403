"""The policy: its defaults are the documented numbers, and values that cannot work are refused by name."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, asdict, fields, replace
from math import inf, nan

import pytest

from flashback_async.errors import ConfigurationError
from flashback_async.routing import RoutingPolicy

NAMES = [item.name for item in fields(RoutingPolicy)]
WHOLE = [item.name for item in fields(RoutingPolicy) if isinstance(item.default, int)]
SHARES = [name for name in NAMES if name.endswith(("_share", "_jitter"))]
AT_LEAST_ONE = ["floor_samples", "attempts", "breaker_window", "breaker_consecutive", "hedge_samples"]
ABOVE_ZERO = [
    "decay_time",
    "penalty_time",
    "limiter_search",
    "limiter_hold",
    "limiter_window",
    "limiter_sample",
    "limiter_minimum",
    "hedge_window",
]


def test_the_defaults_are_the_documented_numbers():
    """Each default is the number of the specification's table."""
    assert asdict(RoutingPolicy()) == {
        "floor_samples": 16,
        "window_minimum": 0.015,
        "window_share": 0.25,
        "window_deviations": 2.0,
        "smoothing_limit": 0.2,
        "smoothing_time": 0.25,
        "decay_time": 10.0,
        "usual_share": 0.5,
        "penalty": 0.25,
        "penalty_time": 4.0,
        "penalty_limit": 5.0,
        "silence_minimum": 0.15,
        "silence_factor": 4.0,
        "warm_outcomes": 5,
        "bucket_outcomes": 5,
        "bucket_limit": 64,
        "small_body": 65_536,
        "large_body": 1_048_576,
        "read_slo": 0.0,
        "subset_from": 20,
        "subset_near": 6,
        "subset_drawn": 6,
        "subset_time": 2.0,
        "panic_share": 0.5,
        "breaker_consecutive": 5,
        "breaker_share": 0.5,
        "breaker_minimum": 10,
        "breaker_window": 10,
        "open_time": 1.0,
        "open_time_limit": 60.0,
        "open_time_jitter": 0.5,
        "healthy_time": 10.0,
        "trial_limit": 60.0,
        "limiter_search_share": 0.6,
        "limiter_search": 2.0,
        "limiter_hold_share": 0.85,
        "limiter_hold": 6.0,
        "limiter_window": 6.0,
        "limiter_sample": 1.0,
        "limiter_minimum": 0.5,
        "calm_time": 30.0,
        "retry_after_limit": 300.0,
        "preference_wait": 1.0,
        "attempts": 3,
        "backoff": 0.05,
        "backoff_limit": 20.0,
        "budget": 500,
        "retry_cost": 14,
        "throttle_cost": 5,
        "hedge_share": 0.05,
        "hedge_minimum": 0.01,
        "hedge_samples": 200,
        "hedge_outcomes": 20,
        "hedge_window": 10.0,
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-1, -1e-9, nan, inf, "1", None, True, [1]])
def test_no_field_takes_what_is_not_a_number_from_zero_on(name, value):
    """Negative, not a number, infinite, a text or a bool: refused, and the message names field and value."""
    with pytest.raises(ConfigurationError) as caught:
        RoutingPolicy(**{name: value})
    assert str(caught.value) == f"RoutingPolicy.{name}={value!r} must be a number of at least 0"


@pytest.mark.parametrize("name", WHOLE)
def test_counts_are_whole(name):
    """Counts and sizes are whole numbers."""
    with pytest.raises(ConfigurationError, match=rf"RoutingPolicy\.{name}=2\.5 must be a whole number"):
        RoutingPolicy(**{name: 2.5})


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(WHOLE)))
def test_a_whole_number_of_seconds_is_fine(name):
    """Where a float is meant an int will do."""
    assert getattr(RoutingPolicy(**{name: 1}), name) == 1


@pytest.mark.parametrize("name", SHARES)
def test_shares_lie_between_zero_and_one(name):
    """A share may be 0 or 1, and no more."""
    for value in (0, 1):
        if value or name not in ABOVE_ZERO:
            assert getattr(RoutingPolicy(**{name: value}), name) == value
    with pytest.raises(ConfigurationError, match=rf"RoutingPolicy\.{name}=1\.1 is a share; give 0\.\.1"):
        RoutingPolicy(**{name: 1.1})


def test_these_are_the_shares():
    """The fields named so are exactly the shares, the jitter among them."""
    assert SHARES == [
        "window_share",
        "usual_share",
        "panic_share",
        "breaker_share",
        "open_time_jitter",
        "limiter_search_share",
        "limiter_hold_share",
        "hedge_share",
    ]


@pytest.mark.parametrize("name", AT_LEAST_ONE)
def test_some_counts_must_be_at_least_one(name):
    """No samples, no attempts, no window or no faults make no algorithm."""
    assert getattr(RoutingPolicy(**{name: 1}), name) == 1
    with pytest.raises(ConfigurationError, match=rf"RoutingPolicy\.{name}=0 must be at least 1"):
        RoutingPolicy(**{name: 0})


@pytest.mark.parametrize("name", ABOVE_ZERO)
def test_what_is_divided_by_must_be_above_zero(name):
    """Times and rates that something is divided by cannot be zero, but may be small."""
    assert getattr(RoutingPolicy(**{name: 0.001}), name) == 0.001
    with pytest.raises(ConfigurationError, match=rf"RoutingPolicy\.{name}=0\.0 must be above 0"):
        RoutingPolicy(**{name: 0.0})


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(AT_LEAST_ONE) - set(ABOVE_ZERO)))
def test_every_other_field_may_be_zero(name):
    """Zero switches a feature off."""
    assert getattr(RoutingPolicy(**{name: 0}), name) == 0


def test_a_policy_is_a_value():
    """Frozen, equal by content, picklable, and changed by copying, which checks again."""
    policy = RoutingPolicy(attempts=5)
    assert policy == RoutingPolicy(attempts=5) != RoutingPolicy()
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert replace(policy, attempts=4).attempts == 4
    with pytest.raises(FrozenInstanceError):
        policy.attempts = 4
    with pytest.raises(ConfigurationError):
        replace(policy, attempts=0)
    with pytest.raises(TypeError):
        RoutingPolicy(16)
