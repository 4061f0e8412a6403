"""The circuit breaker of Linkerd's proxy: consecutive failures or success rate, and the back-off.

Source: github.com/linkerd/linkerd2-proxy at 29637b6, Apache-2.0: `linkerd/app/outbound/src/http/breaker/`
`unified.rs`, `success_rate.rs`, `consecutive_failures.rs` and `integration_tests.rs`.

Transcribed: which response trips it, and for which of its two reasons; the totals of the window of ten
buckets; the waits, the single probe and its verdicts. Where those tests use 429 to lower the success rate,
a fault stands here, with the rule on consecutive failures off. A response that a classifier accepts is an
answer of the caller's making.

Differences:

- A 429 lowers the success rate and fails a probe there; here it is the limiter's business, and the breaker
  takes no side: no trip, and a trial that got one is given to the next caller.
- A 429 or a `RESOURCE_EXHAUSTED` ends a run of consecutive failures there, and not here, for the same
  reason.
- There the success rate must be below the threshold; here the share of failures may equal it.
- There zero turns a rule off; here a share of zero is the strictest rule, and the number of calls turns it
  off.
- After a recovery the wait starts at its base again there; here each ten healthy seconds take one doubling
  back, so that an endpoint that flaps is asked less and less.
- Which task ends when a channel closes has no counterpart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashback_async.routing.breaker import Breaker
from routing.fleet import (
    CALLER_FAULT,
    CLOSED,
    FAULT,
    HALF_OPEN,
    MIDDLE,
    OPEN,
    SUCCESS,
    THROTTLED,
    Fleet,
)
from routing.transcribed.sequences import NEVER, counted, replay, settings

if TYPE_CHECKING:
    from flashback_async.routing import RoutingPolicy

_JUST_ABOVE = 1e-6


def unified(*, consecutive: int, threshold: float, minimum: int) -> RoutingPolicy:
    """Their settings as ours: zero turns a rule off, and the rate must be below the threshold, not at it."""
    return settings(
        consecutive=consecutive or NEVER,
        share=min(1.0, 1.0 - threshold + _JUST_ABOVE),
        minimum=minimum if threshold else NEVER,
        limit=100.0,
    )


def every(seconds: float, *outcomes, start: float = 0.0):
    return [(start + seconds * number, outcome) for number, outcome in enumerate(outcomes)]


RUN, RATE = "failures in a row", "calls failed in 10 s"

# (max_failures, threshold, min_requests, responses, number of the one that trips or None, why)
TRIPS = {
    "starts_open": (3, 0.8, 1, [], None, ""),
    "trips_on_consecutive_failures": (3, 0.0, 1, every(0.1, FAULT, FAULT, FAULT), 3, RUN),
    "success_resets_consecutive_count": (
        3,
        0.0,
        1,
        every(0.1, FAULT, FAULT, SUCCESS, FAULT, FAULT),
        None,
        "",
    ),
    "trips_on_low_success_rate": (100, 0.8, 1, every(1.0, SUCCESS, FAULT), 2, RATE),
    "success_rate_counts_5xx": (100, 0.8, 1, [(0.0, FAULT)], 1, RATE),
    "cold_start_protects_success_rate": (100, 0.8, 5, every(1.0, FAULT, FAULT, FAULT, FAULT), None, ""),
    "consecutive_failures_ignores_429": (3, 0.1, 100, [(0.1, THROTTLED)] * 5, None, ""),
    "threshold_zero_disables_success_rate": (
        100,
        0.0,
        1,
        every(1.0, SUCCESS, *[FAULT] * 10),
        None,
        "",
    ),
    "min_requests_zero_trips_on_first_failure": (100, 0.8, 0, [(0.0, FAULT)], 1, RATE),
    "both_policies_disabled_never_trips": (0, 0.0, 1, every(1.0, *[FAULT] * 10, *[THROTTLED] * 10), None, ""),
    "idle_reengages_cold_start_with_success": (
        100,
        0.5,
        3,
        [*every(1.0, SUCCESS, SUCCESS, SUCCESS, FAULT), (204.0, SUCCESS), (204.01, FAULT)],
        None,
        "",
    ),
    "idle_reengages_cold_start_with_failure": (
        100,
        0.5,
        3,
        [*every(1.0, SUCCESS, SUCCESS, SUCCESS, FAULT), *every(0.01, FAULT, FAULT, FAULT, start=204.0)],
        7,
        RATE,
    ),
    "dual_mode_success_rate_trips_before_consecutive": (
        5,
        0.8,
        3,
        every(1.0, SUCCESS, FAULT, FAULT),
        3,
        RATE,
    ),
    "consecutive_trip_reports_consecutive_reason": (3, 0.0, 1, every(0.1, FAULT, FAULT, FAULT), 3, RUN),
    "success_rate_trip_reports_low_success_rate_reason": (
        0,
        0.5,
        1,
        every(1.0, SUCCESS, FAULT, FAULT),
        3,
        RATE,
    ),
    "simultaneous_threshold_cross_reports_consecutive_reason": (
        3,
        0.8,
        3,
        every(1.0, FAULT, FAULT, FAULT),
        3,
        RUN,
    ),
    "success_rate.rs: threshold_one_trips_on_any_failure_once_min_met": (
        0,
        1.0,
        4,
        [(0.0, SUCCESS)] * 3 + [(0.0, FAULT)],
        4,
        RATE,
    ),
    "success_rate.rs: cold_start_holds_until_min_requests": (0, 0.5, 5, [(0.0, FAULT)] * 5, 5, RATE),
    "success_rate.rs: failure_burst_trips_independent_of_rate": (
        0,
        0.5,
        5,
        every(1.0, FAULT, FAULT, FAULT, FAULT, FAULT),
        5,
        RATE,
    ),
    "success_rate.rs: unreachable_min_requests_never_trips": (0, 1.0, NEVER, [(0.0, FAULT)] * 50, None, ""),
    "integration_tests.rs: unified_trips_on_consecutive_failures": (
        3,
        0.8,
        100,
        every(0.05, FAULT, FAULT, FAULT),
        3,
        RUN,
    ),
}


@pytest.mark.parametrize(
    ("consecutive", "threshold", "minimum", "responses", "trips", "reason"), TRIPS.values(), ids=TRIPS
)
def test_trips(consecutive, threshold, minimum, responses, trips, reason):
    """It opens at exactly that response and for that reason, or at none of them."""
    policy = unified(consecutive=consecutive, threshold=threshold, minimum=minimum)
    states = [OPEN if number == trips else CLOSED for number in range(1, len(responses) + 1)]
    tested = replay(policy, [(*response, state) for response, state in zip(responses, states, strict=True)])
    assert tested.reason.endswith(reason)
    assert bool(tested.reason) is bool(trips)


def test_difference_the_share_of_failures_may_equal_the_threshold():
    """One failure of two is 50 %: not below a threshold of a half there, but half of the calls here."""
    evens = [(0.0, SUCCESS, CLOSED), (1.0, FAULT, OPEN)]
    replay(settings(share=0.5, minimum=1), evens)
    tested = Breaker(unified(consecutive=0, threshold=0.5, minimum=1), MIDDLE)
    for now, outcome, _ in evens:
        tested.record(tested.permit(now), outcome, now)
    assert tested.state is CLOSED


def test_difference_a_429_is_not_the_breakers_business():
    """Ten 429s lower their success rate to nothing; here they open nothing, and set a rate limit instead."""
    assert counted([(0.0, THROTTLED)] * 10, window=10, now=0.0) == (0, 0)
    fleet = Fleet("a", policy=unified(consecutive=1, threshold=0.8, minimum=1))
    fleet.run("a", THROTTLED, now=0.0)
    assert fleet.at("a", now=0.0).breaker is CLOSED
    assert fleet.at("a", now=0.0).rate_limit is not None


def test_difference_a_429_ends_no_run_of_failures():
    """Two failures, a 429, a failure: theirs starts counting anew at the 429, ours has seen three."""
    replay(
        unified(consecutive=3, threshold=0.0, minimum=1),
        [(0.0, FAULT, CLOSED), (0.1, FAULT, CLOSED), (0.2, THROTTLED, CLOSED), (0.3, FAULT, OPEN)],
    )


# (responses, when it is read, (all, failed) in the window of ten seconds)
DAY = 86_400.0
TOTALS = {
    "empty_window_does_not_trip": ([], 0.0, (0, 0)),
    "samples_age_out_after_window, before": ([(0.0, FAULT)] * 5, 0.0, (5, 5)),
    "samples_age_out_after_window, after": ([(0.0, FAULT)] * 5 + [(11.0, SUCCESS)], 11.0, (1, 0)),
    "ratio_recovers_as_failures_expire, before": ([(0.0, FAULT)] * 2 + [(6.0, SUCCESS)] * 8, 6.0, (10, 2)),
    "ratio_recovers_as_failures_expire, after": (
        [(0.0, FAULT)] * 2 + [(6.0, SUCCESS)] * 8 + [(11.0, SUCCESS)],
        11.0,
        (9, 0),
    ),
    "buckets_roll_and_expire_in_order, before": ([(0.0, FAULT), (5.0, SUCCESS)], 5.0, (2, 1)),
    "buckets_roll_and_expire_in_order, after": (
        [(0.0, FAULT), (5.0, SUCCESS), (10.5, SUCCESS)],
        10.5,
        (2, 0),
    ),
    "large_gap_clears_entire_window": ([(0.0, FAULT)] * 5 + [(1_000.0, SUCCESS)], 1_000.0, (1, 0)),
    "idle_gap_beyond_u32_steps_does_not_wedge_window": (
        [(0.0, FAULT), *every(1.0, SUCCESS, FAULT, SUCCESS, start=60 * DAY)],
        60 * DAY + 2,
        (3, 1),
    ),
}


@pytest.mark.parametrize(("responses", "now", "totals"), TOTALS.values(), ids=TOTALS)
def test_success_rate_window(responses, now, totals):
    """`success_rate.rs`: the window holds exactly the responses of its ten buckets, however long the gap was."""
    assert counted(responses, window=10, now=now) == totals


def test_transitions():
    """`consecutive_failures.rs`: 1 s, a failed probe, 2 s, one success; stragglers in between change nothing."""
    tested = Breaker(unified(consecutive=2, threshold=0.0, minimum=1), MIDDLE)
    straggler, first, second = (tested.permit(0.0) for _ in range(3))
    tested.record(first, FAULT, 0.0)
    assert tested.state is CLOSED
    tested.record(second, FAULT, 0.0)
    assert tested.state is OPEN
    assert not tested.admits(0.5)
    probe = tested.permit(1.0)
    assert tested.state is HALF_OPEN
    assert not tested.admits(1.0)
    tested.record(probe, FAULT, 1.0)
    assert tested.state is OPEN
    assert not tested.admits(2.0)
    tested.record(straggler, SUCCESS, 2.0)
    assert tested.state is OPEN
    probe = tested.permit(3.0)
    assert tested.state is HALF_OPEN
    assert not tested.admits(3.0)
    tested.record(probe, SUCCESS, 3.0)
    assert tested.state is CLOSED


def test_backoff_grows_to_its_ceiling():
    """With a base of 1 s and a ceiling of 100 s, failed probes wait 1, 2, 4, ... 64, 100, 100 s."""
    tested = replay(unified(consecutive=1, threshold=0.0, minimum=1), [(0.0, FAULT, OPEN)])
    now, waits = 0.0, []
    for _ in range(9):
        waits.append(tested.retry_at - now)
        now = tested.retry_at
        tested.record(tested.permit(now), FAULT, now)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0, 100.0]


TRIPPED_BY_THREE = [(0.1, FAULT, CLOSED), (0.2, FAULT, CLOSED), (0.3, FAULT, OPEN)]


@pytest.mark.parametrize(
    ("verdict", "state"),
    [(SUCCESS, CLOSED), (CALLER_FAULT, CLOSED), (FAULT, OPEN)],
    ids=[
        "probation_success_reopens",
        "probation_success_on_classified_5xx",
        "unified_failed_probe_advances_backoff",
    ],
)
def test_probation(verdict, state):
    """After the base wait one response decides: what was accepted reopens the circuit, a failure shuts it."""
    policy = unified(consecutive=3, threshold=0.8, minimum=100)
    replay(policy, [*TRIPPED_BY_THREE, (1.299, None, OPEN), (1.301, verdict, state)])


def test_a_failed_probe_waits_longer_than_the_base():
    """`unified_failed_probe_advances_backoff`: the base wait after a failed probe is not enough, twice is."""
    policy = unified(consecutive=2, threshold=0.8, minimum=100)
    steps = [(0.0, FAULT, CLOSED), (0.05, FAULT, OPEN), (1.05, FAULT, OPEN), (2.15, None, OPEN)]
    replay(policy, [*steps, (3.05, SUCCESS, CLOSED)])


def test_difference_a_429_is_no_verdict_on_a_probe():
    """`probation_failure_on_429`: there it shuts the circuit; here the next caller may try at once."""
    policy = unified(consecutive=3, threshold=0.8, minimum=100)
    replay(policy, [*TRIPPED_BY_THREE, (1.3, THROTTLED, HALF_OPEN), (1.3, SUCCESS, CLOSED)])


def test_probation_admits_single_probe():
    """While the probe is out nobody else is admitted."""
    tested = replay(unified(consecutive=3, threshold=0.8, minimum=100), TRIPPED_BY_THREE)
    assert tested.permit(1.3).trial
    assert not tested.admits(1.3)
    assert not tested.permit(1.3).trial


def test_slow_healthy_probe_reopens():
    """A probe that takes five times the base wait is still the only one, and its verdict counts."""
    tested = replay(unified(consecutive=3, threshold=0.8, minimum=100), TRIPPED_BY_THREE)
    probe = tested.permit(1.3)
    assert not tested.admits(6.3)
    assert tested.state is HALF_OPEN
    tested.record(probe, SUCCESS, 6.3)
    assert tested.state is CLOSED


def test_success_rate_recovers():
    """`success_rate_recovers_after_decay`: a recovery empties the window; one failure after it trips nothing."""
    replay(
        unified(consecutive=0, threshold=0.5, minimum=3),
        [
            (0.0, SUCCESS, CLOSED),
            (1.0, SUCCESS, CLOSED),
            (2.0, SUCCESS, CLOSED),
            (3.0, FAULT, CLOSED),
            (4.0, FAULT, CLOSED),
            (5.0, FAULT, CLOSED),
            (6.0, FAULT, OPEN),
            (7.0, SUCCESS, CLOSED),
            (7.01, FAULT, CLOSED),
            *[(float(second), SUCCESS, CLOSED) for second in range(8, 28)],
        ],
    )


def test_difference_a_recovery_does_not_reset_the_wait():
    """`backoff_resets_to_base_on_retrip`: 1.05 s after the second trip theirs probes; ours, not healthy long, waits 2 s."""
    replay(
        unified(consecutive=2, threshold=0.0, minimum=1),
        [
            (0.0, FAULT, CLOSED),
            (0.1, FAULT, OPEN),
            (1.1, SUCCESS, CLOSED),
            (1.2, FAULT, CLOSED),
            (1.3, FAULT, OPEN),
            (2.35, None, OPEN),
            (3.299, None, OPEN),
            (3.301, SUCCESS, CLOSED),
        ],
    )


def test_the_wait_is_the_base_again_after_ten_healthy_seconds():
    """The same a while later: an endpoint that was healthy for ten seconds is probed after 1 s as theirs is."""
    replay(
        unified(consecutive=2, threshold=0.0, minimum=1),
        [
            (0.0, FAULT, CLOSED),
            (0.1, FAULT, OPEN),
            (1.1, SUCCESS, CLOSED),
            (11.2, FAULT, CLOSED),
            (11.3, FAULT, OPEN),
            (12.35, SUCCESS, CLOSED),
        ],
    )
