"""The breaker tests of sony/gobreaker.

Source: github.com/sony/gobreaker at fed8e9e, MIT: `v2/gobreaker_test.go` and
`v2/twostep_gobreaker_test.go`.

Transcribed: the names of the states, the sequences of the default, the custom, the rolling-window and the
two-step breaker with their numbers, generations, excluded errors and custom successes. An excluded error is
a cancelled attempt here, and an error that counts as a success is a fault of the caller.

Differences:

- Half open, `MaxRequests` (3, 2) trials may run and all must succeed there; here one runs and one success
  closes.
- There the state turns half-open when the time is up; here when somebody asks for the trial then.
- `Interval` forgets everything at once every 30 s and starts a generation; here the window slides second by
  second, and only transitions start generations.
- There a bucket has `BucketPeriod` (3 s), here always 1 s.
- Negative durations mean the default there, and are refused here.
- A panic in the request counts as a failure there; here the outcome is told, and bugs are told as
  cancelled.
- Its parallel tests are not transcribed: the breaker runs under the lock of the router
  (`test_router_threads.py`).
"""

from __future__ import annotations

import pytest

from flashback_async.errors import ConfigurationError
from flashback_async.routing import BreakerState, RoutingPolicy
from flashback_async.routing.breaker import Breaker
from routing.fleet import CALLER_FAULT, CANCELLED, CLOSED, FAULT, HALF_OPEN, MIDDLE, OPEN, SUCCESS
from routing.transcribed.sequences import NEVER, counted, replay, settings

DEFAULT = settings(consecutive=6, open_time=60.0, limit=60.0)
"""More than five failures in a row; open for a minute."""
CUSTOM = settings(share=0.6, minimum=3, window=30, open_time=90.0, limit=90.0)
"""60 % of at least three in 30 s; open for a minute and a half."""


def test_state_constants():
    """The states are called closed, half-open and open, and there is no other."""
    assert sorted(state.value for state in BreakerState) == ["closed", "half-open", "open"]


def test_new_circuit_breaker():
    """A new breaker is closed, has counted nothing and admits a call."""
    tested = Breaker(DEFAULT, MIDDLE)
    assert tested.state is CLOSED
    assert tested.admits(0.0)
    assert counted([], window=30, now=0.0) == (0, 0)


def test_difference_negative_durations_are_refused():
    """`newNegativeDurationCB`: an interval of -30 s or a timeout of -90 s is no setting."""
    with pytest.raises(ConfigurationError, match="breaker_window=-30"):
        settings(window=-30)
    with pytest.raises(ConfigurationError, match="open_time=-90"):
        settings(open_time=-90.0)


FAILED_FIVE_TIMES = [(0.0, FAULT, CLOSED)] * 5
OPENED_BY_THE_SIXTH = [
    *FAILED_FIVE_TIMES,
    (0.0, SUCCESS, CLOSED),
    (0.0, FAULT, CLOSED),
    (0.0, FAULT, CLOSED),
    (0.0, FAULT, CLOSED),
    (0.0, FAULT, CLOSED),
    (0.0, FAULT, CLOSED),
    (0.0, FAULT, OPEN),
]


def test_default_circuit_breaker():
    """Six in a row open it for a minute; a failed trial opens it for another one, a good one closes it."""
    replay(
        DEFAULT,
        [
            *OPENED_BY_THE_SIXTH,
            (0.0, None, OPEN),
            (59.999, None, OPEN),
            (60.999, FAULT, OPEN),
            (120.998, None, OPEN),
            (120.999000001, SUCCESS, CLOSED),
        ],
    )


def test_two_step_circuit_breaker():
    """A trial in progress keeps others out; one that ends excluded lets the next in; failure opens, success closes."""
    tested = replay(DEFAULT, [*OPENED_BY_THE_SIXTH, (59.999, None, OPEN)])
    trial = tested.permit(60.999)
    assert tested.state is HALF_OPEN
    assert not tested.admits(60.999)
    tested.record(trial, CANCELLED, 61.099)
    assert tested.state is HALF_OPEN
    assert tested.admits(61.099)
    tested.record(tested.permit(61.099), FAULT, 61.099)
    assert tested.state is OPEN
    assert not tested.admits(121.098)
    tested.record(tested.permit(121.099000001), SUCCESS, 121.099000001)
    assert tested.state is CLOSED


HALF_FAIL = [(0.0, outcome, CLOSED) for outcome in [SUCCESS, FAULT, CANCELLED] * 5]


def test_custom_circuit_breaker():
    """Half of the calls fail: closed; two of three after the interval: open; excluded trials: half-open still."""
    replay(
        CUSTOM,
        [
            *HALF_FAIL,
            (30.999, FAULT, CLOSED),
            (30.999, SUCCESS, CLOSED),
            (30.999, FAULT, OPEN),
            (120.998, None, OPEN),
            (120.999000001, CANCELLED, HALF_OPEN),
            (120.999000001, CANCELLED, HALF_OPEN),
            (120.999000001, CANCELLED, HALF_OPEN),
            (120.999000001, CANCELLED, HALF_OPEN),
            (120.999000001, FAULT, OPEN),
            (210.999, None, OPEN),
        ],
    )


def test_custom_circuit_breaker_counts():
    """Of five successes, five failures and five excluded calls, ten count; they are forgotten after the interval."""
    history = [(now, outcome) for now, outcome, _ in HALF_FAIL]
    assert counted(history, window=30, now=0.0) == (10, 5)
    history.append((29.999, SUCCESS))
    assert counted(history, window=30, now=29.999) == (11, 5)


def test_difference_the_window_slides():
    """One millisecond before their interval ends they forget a success with it; here it still weighs 30 s later."""
    before_the_end = (29.999, SUCCESS)
    history = [(now, outcome) for now, outcome, _ in HALF_FAIL]
    assert counted([*history, before_the_end, (30.999, FAULT)], window=30, now=30.999) == (2, 1)
    replay(
        CUSTOM,
        [
            *HALF_FAIL,
            (*before_the_end, CLOSED),
            (30.999, FAULT, CLOSED),
            (30.999, SUCCESS, CLOSED),
            (30.999, FAULT, CLOSED),
            (30.999, FAULT, OPEN),
        ],
    )


def test_difference_one_good_trial_closes():
    """They want three successes (`MaxRequests`) before it closes; here the first one does."""
    replay(
        CUSTOM,
        [(0.0, SUCCESS, CLOSED), (0.0, FAULT, CLOSED), (0.0, FAULT, OPEN), (90.0, SUCCESS, CLOSED)],
    )


ROLLING = [
    # seconds, calls then, (calls, failures) in the window of 30 s
    (0.0, [SUCCESS, FAULT, CANCELLED] * 5, (10, 5)),
    (3.0, [SUCCESS], (11, 5)),
    (5.0, [SUCCESS, CANCELLED], (12, 5)),
    (7.0, [CANCELLED, SUCCESS], (13, 5)),
    (9.0, [FAULT], (14, 6)),
    (12.0, [SUCCESS, FAULT], (16, 7)),
    (15.0, [SUCCESS, FAULT], (18, 8)),
    (18.0, [SUCCESS, FAULT], (20, 9)),
    (21.0, [SUCCESS, FAULT], (22, 10)),
    (24.0, [SUCCESS, FAULT], (24, 11)),
    (27.0, [SUCCESS, FAULT], (26, 12)),
    (30.0, [FAULT], (17, 8)),
    (30.0, [FAULT], (18, 9)),
    (30.0, [FAULT], (19, 10)),
    (30.0, [FAULT], (20, 11)),
    (30.0, [FAULT], (21, 12)),
    (30.0, [FAULT], (22, 13)),
]


def test_rolling_window_circuit_breaker():
    """The oldest bucket goes when the window has moved past it; 13 of 22 is closed, 14 of 23 is above 60 %."""
    history = []
    for now, outcomes, expected in ROLLING:
        history.extend((now, outcome) for outcome in outcomes)
        assert counted(history, window=30, now=now) == expected, now
    tested = replay(
        CUSTOM,
        [
            *[(now, outcome, CLOSED) for now, outcome in history],
            (30.0, FAULT, OPEN),
            (119.999, None, OPEN),
            (120.000000001, SUCCESS, CLOSED),
        ],
    )
    assert tested.reason == "14 of 23 calls failed in 30 s"


@pytest.mark.parametrize("late", [SUCCESS, FAULT])
def test_generation(late):
    """The result of a request from an earlier generation has no effect, whatever it is."""
    policy = settings(consecutive=1, open_time=1.0)
    tested = Breaker(policy, MIDDLE)
    slow = tested.permit(29.0)
    tested.record(tested.permit(29.0), FAULT, 29.0)
    tested.record(tested.permit(30.0), SUCCESS, 30.0)
    assert tested.state is CLOSED
    before = tested.generation
    tested.record(slow, late, 30.5)
    assert (tested.state, tested.generation) == (CLOSED, before)


def test_difference_only_transitions_start_a_generation():
    """A request that outlasts their interval is dropped with it; here it counts when it ends, if nothing opened."""
    tested = Breaker(settings(consecutive=1, window=30), MIDDLE)
    slow = tested.permit(29.0)
    tested.record(slow, FAULT, 30.5)
    assert tested.state is OPEN


def test_custom_is_successful():
    """Errors that count as successes open nothing, however many; six that do not, do."""
    answers = [(0.0, CALLER_FAULT)] * 5
    assert counted(answers, window=30, now=0.0) == (5, 0)
    replay(
        DEFAULT,
        [*[(*answer, CLOSED) for answer in answers], *FAILED_FIVE_TIMES, (0.0, FAULT, OPEN)],
    )


def test_is_excluded_and_is_successful_combination():
    """Three excluded, three successes and two failures are five calls, two of them failures, both in a row."""
    history = [(0.0, CANCELLED)] * 3
    assert counted(history, window=30, now=0.0) == (0, 0)
    history += [(0.0, SUCCESS)] * 3
    assert counted(history, window=30, now=0.0) == (3, 0)
    history += [(0.0, FAULT)] * 2
    assert counted(history, window=30, now=0.0) == (5, 2)
    in_a_row = RoutingPolicy(breaker_consecutive=2, breaker_minimum=NEVER)
    replay(in_a_row, [*[(*step, CLOSED) for step in history[:-1]], (0.0, FAULT, OPEN)])
