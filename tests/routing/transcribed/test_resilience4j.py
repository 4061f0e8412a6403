"""The sliding windows and the half-open permits of resilience4j.

Source: github.com/resilience4j/resilience4j at af9e7c9, Apache-2.0:
`resilience4j-core/src/test/.../metrics/SlidingTimeWindowMetricsTest.java` and
`resilience4j-circuitbreaker/src/test/.../internal/CircuitBreakerStateMachineTest.java`.

Transcribed: every step of the time-based window of five seconds with its totals; the failure-rate trips,
waits, half-open permits, ignored exceptions and the return to closed, with their times.
`transitionToOpenState()` is one failure with a threshold of one here; an ignored exception is a cancelled
attempt.

Differences:

- Four calls are permitted half-open, and their failure rate decides; here one is, and it decides.
- A success that completes the minimum of calls may open it there; here only a failure opens it.
- The wait grows by half there, and doubles here.
- A half-open state that lasts too long (1 s) opens again there; here the trial that never ended is given up
  and the next caller gets one, for nobody has seen a failure.
- An illegal transition raises there; here an event that does not fit changes nothing.
- Windows of a number of calls, slow calls, and the states disabled, forced open and metrics only have no
  counterpart.
"""

from __future__ import annotations

import pytest

from flashback_async.routing.breaker import Breaker
from routing.fleet import CANCELLED, CLOSED, FAULT, HALF_OPEN, MIDDLE, OPEN, SUCCESS
from routing.transcribed.sequences import counted, replay, settings

STANDARD = settings(share=0.5, minimum=5, window=20, open_time=5.0)
"""50 % of at least five calls in 20 s; open for five seconds."""
AT_ONCE = settings(consecutive=1, open_time=5.0, trial_limit=1.0)
"""The first failure opens it: how these tests get an open breaker."""

# (seconds, call that ended then, (calls, failures) in the window of five seconds)
WINDOWS = {
    "testRecordSuccess": [(0.0, SUCCESS, (1, 0))],
    "testRecordError": [(0.0, FAULT, (1, 1))],
    "shouldClearSlidingTimeWindowMetrics": [
        (0.0, FAULT, (1, 1)),
        (0.1, SUCCESS, (2, 1)),
        (0.8, FAULT, (3, 2)),
        (4.8, None, (3, 2)),
        (5.8, None, (0, 0)),
        (5.9, SUCCESS, (1, 0)),
        (10.9, SUCCESS, (1, 0)),
    ],
    "testSlidingTimeWindowMetrics": [
        (0.0, FAULT, (1, 1)),
        (0.1, SUCCESS, (2, 1)),
        (0.2, SUCCESS, (3, 1)),
        (1.2, SUCCESS, (4, 1)),
        (2.2, SUCCESS, (5, 1)),
        (3.2, FAULT, (6, 2)),
        (4.2, SUCCESS, (7, 2)),
        (5.2, SUCCESS, (5, 1)),
        (6.2, SUCCESS, (5, 1)),
        (11.2, SUCCESS, (1, 0)),
    ],
}


@pytest.mark.parametrize("steps", WINDOWS.values(), ids=WINDOWS)
def test_sliding_time_window_metrics(steps):
    """A call is in the window for the second it ended in and the four after it, and then gone."""
    history = []
    for now, outcome, expected in steps:
        if outcome is not None:
            history.append((now, outcome))
        assert counted(history, window=5, now=now) == expected, now


def test_should_open_after_failure_rate_threshold_exceeded_2():
    """One call a second: two failures of five are below 50 %, three of six are not."""
    replay(
        STANDARD,
        [
            (0.0, SUCCESS, CLOSED),
            (1.0, SUCCESS, CLOSED),
            (2.0, SUCCESS, CLOSED),
            (3.0, FAULT, CLOSED),
            (4.0, FAULT, CLOSED),
            (5.0, FAULT, OPEN),
        ],
    )


THREE_OF_FIVE = [
    (0.0, FAULT, CLOSED),
    (0.0, FAULT, CLOSED),
    (0.0, FAULT, CLOSED),
    (0.0, SUCCESS, CLOSED),
]


def test_should_open_after_failure_rate_threshold_exceeded():
    """Four calls are too few to judge, at 75 % too; a fifth that fails opens it, and a call is refused."""
    tested = replay(STANDARD, [*THREE_OF_FIVE, (0.0, FAULT, OPEN), (0.0, None, OPEN)])
    assert tested.reason == "4 of 5 calls failed in 20 s"


def test_difference_a_success_never_opens():
    """Their fifth call is a success and opens it at 60 %; here it waits for the next failure."""
    tested = replay(STANDARD, [*THREE_OF_FIVE, (0.0, SUCCESS, CLOSED), (0.0, FAULT, OPEN)])
    assert tested.reason == "4 of 6 calls failed in 20 s"


def test_should_transition_to_half_open_after_wait_duration():
    """Refused at once and after 3 s of the 5 s that it stays open; permitted after 6 s, and then half-open."""
    tested = replay(AT_ONCE, [(0.0, FAULT, OPEN), (0.0, None, OPEN), (3.0, None, OPEN)])
    assert tested.permit(6.0).trial
    assert tested.state is HALF_OPEN


def test_should_transition_to_half_open_after_wait_interval():
    """The second wait is longer: 6 s are not enough, 11 s are (theirs 7.5 s, ours 10 s)."""
    replay(
        AT_ONCE,
        [
            (0.0, FAULT, OPEN),
            (0.0, None, OPEN),
            (3.0, None, OPEN),
            (6.0, FAULT, OPEN),
            (12.0, None, OPEN),
            (17.0, SUCCESS, CLOSED),
        ],
    )


def test_difference_the_wait_doubles():
    """After two waits of 5 and 10 s here, where theirs were 5 and 7.5 s."""
    replay(AT_ONCE, [(0.0, FAULT, OPEN), (5.0, FAULT, OPEN), (12.5, None, OPEN), (14.999, None, OPEN)])


@pytest.mark.parametrize(
    ("first", "state"),
    [(FAULT, OPEN), (SUCCESS, CLOSED)],
    ids=[
        "shouldTransitionBackToOpenStateWhenFailureRateIsAboveThreshold",
        "shouldReleasePermissionWhenExceptionIgnored",
    ],
)
def test_back_from_half_open(first, state):
    """Failures (theirs 75 %) lead back to open, successes (theirs 75 %) to closed: here the first of them does."""
    replay(AT_ONCE, [(0.0, FAULT, OPEN), (5.0, CANCELLED, HALF_OPEN), (5.0, first, state)])


def test_difference_one_failed_trial_opens():
    """`shouldTransitionBackToClosedStateWhenFailureIsBelowThreshold`: failure, then three successes; here open."""
    replay(AT_ONCE, [(0.0, FAULT, OPEN), (5.0, FAULT, OPEN), (5.0, None, OPEN)])


def test_metrics_are_reset_when_it_closes():
    """After the return to closed nothing is counted of before: the next calls are the first ones."""
    replay(
        STANDARD,
        [
            *THREE_OF_FIVE,
            (0.0, FAULT, OPEN),
            (5.0, SUCCESS, CLOSED),
            (5.0, FAULT, CLOSED),
            (5.0, FAULT, CLOSED),
            (5.0, FAULT, CLOSED),
            (5.0, FAULT, CLOSED),
            (5.0, FAULT, OPEN),
        ],
    )


def test_only_so_many_calls_are_permitted_half_open():
    """Half-open permits one call (theirs: four) and refuses the others, and so it does the next time."""
    tested = replay(AT_ONCE, [(0.0, FAULT, OPEN)])
    trial = tested.permit(5.0)
    assert [tested.admits(5.0) for _ in range(2)] == [False, False]
    tested.record(trial, FAULT, 5.0)
    assert tested.permit(15.0).trial
    assert [tested.admits(15.0) for _ in range(2)] == [False, False]


def test_should_increase_counter_on_release_permission():
    """A permit that is given back unused can be taken by the next caller."""
    tested = replay(AT_ONCE, [(0.0, FAULT, OPEN)])
    trial = tested.permit(5.0)
    assert not tested.admits(5.0)
    tested.record(trial, CANCELLED, 5.0)
    assert tested.admits(5.0)
    assert tested.permit(5.0).trial


def test_should_ignore_exceptions_and_then_transition_to_closed():
    """Four ignored exceptions leave it half-open and keep no permit; the success after them closes it."""
    replay(
        AT_ONCE,
        [
            (0.0, FAULT, OPEN),
            (5.0, CANCELLED, HALF_OPEN),
            (5.0, CANCELLED, HALF_OPEN),
            (5.0, CANCELLED, HALF_OPEN),
            (5.0, CANCELLED, HALF_OPEN),
            (5.0, SUCCESS, CLOSED),
        ],
    )


def test_should_not_allow_transition_from_closed_to_half_open():
    """A closed breaker does not become half-open, whoever wants a trial; here that is no error."""
    tested = Breaker(STANDARD, MIDDLE)
    tested.hasten(0.0)
    assert not tested.permit(0.0).trial
    assert (tested.state, tested.generation) == (CLOSED, 0)


def test_difference_a_half_open_state_has_no_end():
    """After 1 s without a result theirs opens; ours stays half-open, gives the trial to another, and forgets it."""
    tested = replay(AT_ONCE, [(0.0, FAULT, OPEN)])
    lost = tested.permit(5.0)
    assert not tested.admits(5.999)
    assert tested.admits(6.0)
    assert tested.state is HALF_OPEN
    second = tested.permit(6.0)
    tested.record(lost, FAULT, 7.0)
    assert tested.state is HALF_OPEN
    tested.record(second, SUCCESS, 7.0)
    assert tested.state is CLOSED
