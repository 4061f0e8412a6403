"""The breaker: its table, its thresholds to both sides, its one trial, and nothing from older generations."""

from __future__ import annotations

from itertools import product

import pytest

from flashback_async.routing import Outcome, RoutingPolicy
from flashback_async.routing.breaker import TRANSITIONS, Breaker, BreakerEvent, FaultWindow, Permit

from .fleet import (
    CALLER_FAULT,
    CANCELLED,
    CLOSED,
    FAULT,
    HALF_OPEN,
    MIDDLE,
    OPEN,
    SUCCESS,
    THROTTLED,
    TIMEOUT,
    TINY,
    chances,
)

POLICY = RoutingPolicy()
ONLY_SHARE = RoutingPolicy(breaker_consecutive=1_000)
ONLY_CONSECUTIVE = RoutingPolicy(breaker_minimum=1_000)


def breaker(policy: RoutingPolicy = POLICY, random=MIDDLE) -> Breaker:
    return Breaker(policy, random)


def call(tested: Breaker, outcome: Outcome, *, now: float, times: int = 1) -> None:
    for _ in range(times):
        tested.record(tested.permit(now), outcome, now)


def tripped(*, now: float = 0.0, policy: RoutingPolicy = POLICY, random=MIDDLE) -> Breaker:
    made = breaker(policy, random)
    call(made, FAULT, now=now, times=5)
    assert made.state is OPEN
    return made


def on_trial(*, now: float = 1.0) -> tuple[Breaker, Permit]:
    made = tripped()
    trial = made.permit(now)
    assert trial.trial
    assert made.state is HALF_OPEN
    return made, trial


def view(tested: Breaker) -> tuple[object, ...]:
    return (tested.state, tested.generation, tested.opened, tested.retry_at, tested.reason)


# --- the table ---------------------------------------------------------------------------------------------

EXPECTED = {
    (CLOSED, BreakerEvent.TRIPPED): OPEN,
    (CLOSED, BreakerEvent.COOLED): None,
    (CLOSED, BreakerEvent.TRIAL_SUCCEEDED): None,
    (CLOSED, BreakerEvent.TRIAL_FAILED): None,
    (OPEN, BreakerEvent.TRIPPED): None,
    (OPEN, BreakerEvent.COOLED): HALF_OPEN,
    (OPEN, BreakerEvent.TRIAL_SUCCEEDED): None,
    (OPEN, BreakerEvent.TRIAL_FAILED): None,
    (HALF_OPEN, BreakerEvent.TRIPPED): None,
    (HALF_OPEN, BreakerEvent.COOLED): None,
    (HALF_OPEN, BreakerEvent.TRIAL_SUCCEEDED): CLOSED,
    (HALF_OPEN, BreakerEvent.TRIAL_FAILED): OPEN,
}


def test_the_table_has_exactly_these_rows():
    """The transitions are the four that are documented, and every other pair has no row."""
    assert EXPECTED.keys() == set(product((CLOSED, OPEN, HALF_OPEN), BreakerEvent))
    assert {pair: state for pair, state in EXPECTED.items() if state is not None} == TRANSITIONS


class Case:
    """A breaker in some state, a trial of an earlier or the present generation, and the time."""

    def __init__(self, state) -> None:
        self.tested, self.trial = on_trial()
        self.now = 1.0
        if state is CLOSED:
            self.tested.record(self.trial, SUCCESS, self.now)
        elif state is OPEN:
            self.tested.record(self.trial, FAULT, self.now)
        assert self.tested.state is state

    def fire(self, event: BreakerEvent) -> None:
        if event is BreakerEvent.TRIPPED:
            call(self.tested, FAULT, now=self.now, times=20)
        elif event is BreakerEvent.COOLED:
            self.tested.permit(self.now + 30.0)
        else:
            outcome = SUCCESS if event is BreakerEvent.TRIAL_SUCCEEDED else FAULT
            self.tested.record(self.trial, outcome, self.now)


@pytest.mark.parametrize(("state", "event"), EXPECTED, ids=lambda value: value.value)
def test_each_event_moves_each_state_as_the_table_says(state, event):
    """Every event in every state moves it as drawn; without a row, state and generation stay."""
    case = Case(state)
    generation = case.tested.generation
    case.fire(event)
    target = EXPECTED[state, event]
    assert case.tested.state is (target or state)
    assert case.tested.generation == generation + (target is not None)


# --- what trips it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [FAULT, TIMEOUT])
@pytest.mark.parametrize(("faults", "state"), [(4, CLOSED), (5, OPEN)])
def test_five_faults_in_a_row_trip(fault, faults, state):
    """Four faults in a row leave it closed, the fifth opens it; a timeout is a fault."""
    tested = breaker()
    call(tested, fault, now=1.0, times=faults)
    assert tested.state is state
    assert tested.reason == ("5 failures in a row" if state is OPEN else "")
    assert tested.opened == (state is OPEN)


@pytest.mark.parametrize(
    ("between", "state"),
    [(SUCCESS, CLOSED), (CALLER_FAULT, CLOSED), (THROTTLED, OPEN), (CANCELLED, OPEN)],
)
def test_what_proves_life_ends_a_row_and_what_is_neutral_does_not(between, state):
    """A success or a refusal between faults starts the row anew; a 429 or a cancelled call is no call."""
    tested = breaker(ONLY_CONSECUTIVE)
    call(tested, FAULT, now=1.0, times=4)
    call(tested, between, now=1.0, times=50)
    call(tested, FAULT, now=1.0)
    assert tested.state is state


def test_consecutive_faults_count_however_far_apart():
    """Five faults in a row trip also when they are minutes apart: nothing said otherwise meanwhile."""
    tested = breaker()
    for minute in range(5):
        call(tested, FAULT, now=60.0 * minute)
    assert tested.state is OPEN


@pytest.mark.parametrize(
    ("successes", "opening_fault"),
    [(0, 10), (1, 9), (4, 6), (5, 5), (6, 6), (10, 10), (17, 17)],
)
def test_half_of_at_least_ten_calls_trip(successes, opening_fault):
    """The share opens it with the first fault that makes faults half of ten calls or more, not one before."""
    tested = breaker(ONLY_SHARE)
    call(tested, SUCCESS, now=1.0, times=successes)
    call(tested, FAULT, now=1.0, times=opening_fault - 1)
    assert tested.state is CLOSED
    call(tested, FAULT, now=1.0)
    assert tested.state is OPEN
    assert tested.reason == f"{opening_fault} of {successes + opening_fault} calls failed in 10 s"


@pytest.mark.parametrize("neutral", [THROTTLED, CANCELLED])
def test_neutral_outcomes_are_not_calls(neutral):
    """429s and cancelled calls count neither as calls nor as faults of the share."""
    tested = breaker(ONLY_SHARE)
    call(tested, neutral, now=1.0, times=100)
    call(tested, FAULT, now=1.0, times=9)
    assert tested.state is CLOSED
    call(tested, FAULT, now=1.0)
    assert tested.state is OPEN


def test_a_success_never_opens():
    """Where the tenth call is a success, five faults of ten wait for the next fault."""
    tested = breaker(ONLY_SHARE)
    call(tested, FAULT, now=1.0, times=5)
    call(tested, SUCCESS, now=1.0, times=5)
    assert tested.state is CLOSED


@pytest.mark.parametrize(
    ("start", "end", "counted"),
    [
        (0.0, 9.0, True),
        (0.0, 10.0 - TINY, True),
        (0.0, 10.0, False),
        (0.999, 10.0 - TINY, True),
        (0.999, 10.0, False),
        (1.0, 10.5, True),
        (1.0, 11.0, False),
        (100.0, 500.0, False),
    ],
)
def test_the_window_is_ten_whole_seconds(start, end, counted):
    """A call is counted in its own second and the nine that follow, by the whole second, to the edge."""
    tested = FaultWindow(10)
    tested.add(fault=True, now=start)
    assert tested.counts(end) == ((1, 1) if counted else (0, 0))
    breaker_too = breaker(ONLY_SHARE)
    call(breaker_too, FAULT, now=start, times=9)
    call(breaker_too, FAULT, now=end)
    assert breaker_too.state is (OPEN if counted else CLOSED)


def test_the_window_adds_calls_of_its_seconds():
    """Calls and faults of all seconds within are summed, and drop out one second at a time."""
    tested = FaultWindow(3)
    for second, (calls, faults) in enumerate([(4, 1), (2, 2), (5, 0)]):
        for index in range(calls):
            tested.add(fault=index < faults, now=second + 0.5)
    assert [tested.counts(now) for now in (2.9, 3.0, 4.0, 5.0)] == [(11, 3), (7, 2), (5, 0), (0, 0)]
    tested.add(fault=True, now=1_000.0)
    assert tested.counts(1_000.0) == (1, 1)


# --- how long it stays open --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chance", "spread"), [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (0.75, 1.25), (1.0 - 2**-53, 1.5)]
)
def test_open_time_doubles_to_its_cap_with_jitter(chance, spread):
    """It stays open 1, 2, 4, 8, 16, 32, 60, 60 s, times 1 +- 50 % as chance has it."""
    tested = tripped(random=chances(chance))
    lengths, now = [tested.retry_at], 0.0
    for _ in range(7):
        now = tested.retry_at
        call(tested, FAULT, now=now)
        lengths.append(tested.retry_at - now)
    assert lengths == pytest.approx([spread * time for time in (1, 2, 4, 8, 16, 32, 60, 60)])
    assert tested.opened == 8


def test_a_breaker_that_fails_for_ever_still_has_a_number():
    """A hundred failed trials overflow nothing; the cap holds."""
    tested = tripped()
    for _ in range(100):
        call(tested, FAULT, now=tested.retry_at)
    before = tested.retry_at
    call(tested, FAULT, now=before)
    assert tested.retry_at == pytest.approx(before + 60.0)


def test_it_admits_exactly_when_its_time_is_up():
    """A hair before the open time ends it admits nothing, at its end it admits."""
    tested = tripped()
    assert tested.retry_at == 1.0
    assert not tested.admits(1.0 - TINY)
    assert not tested.permit(1.0 - TINY).trial
    assert tested.admits(1.0)
    assert tested.permit(1.0).trial


def test_asking_changes_nothing():
    """`admits` is a question, in every state and at every time."""
    for tested in (breaker(), tripped(), on_trial()[0]):
        before = view(tested)
        for now in (0.0, 1.0, 1_000.0):
            tested.admits(now)
        assert view(tested) == before


@pytest.mark.parametrize(
    ("healthy", "time"),
    [(10.0 - TINY, 8.0), (10.0, 4.0), (20.0 - TINY, 4.0), (20.0, 2.0), (30.0, 1.0), (1_000.0, 1.0)],
)
def test_ten_healthy_seconds_take_one_doubling_back(healthy, time):
    """After opening for 1, 2 and 4 s, every ten healthy seconds make the next time half as long."""
    tested = tripped()
    for _ in range(2):
        call(tested, FAULT, now=tested.retry_at)
    closed_at = tested.retry_at
    call(tested, SUCCESS, now=closed_at)
    assert tested.state is CLOSED
    call(tested, FAULT, now=closed_at + healthy, times=5)
    assert tested.retry_at - (closed_at + healthy) == pytest.approx(time)


def test_a_single_fault_ends_a_healthy_stretch():
    """Six healthy seconds, a fault and six more are not ten healthy seconds."""
    tested = tripped()
    call(tested, SUCCESS, now=1.0)
    call(tested, FAULT, now=7.0)
    call(tested, SUCCESS, now=7.0)
    call(tested, FAULT, now=13.0, times=5)
    assert tested.retry_at - 13.0 == pytest.approx(2.0)


def test_time_out_of_order_is_no_unhealthy_stretch():
    """Threads may report a little out of order; that must not make the open time longer."""
    tested = breaker()
    for now in (100.2, 100.1, 100.0, 100.1, 100.0):
        call(tested, FAULT, now=now)
    assert tested.retry_at - 100.0 == pytest.approx(1.0)


def test_health_may_be_told_not_to_count():
    """With a healthy time of zero no doubling is ever taken back."""
    tested = tripped(policy=RoutingPolicy(healthy_time=0.0))
    call(tested, SUCCESS, now=1.0)
    call(tested, FAULT, now=5_000.0, times=5)
    assert tested.retry_at == pytest.approx(5_002.0)


def test_somebody_elses_success_hastens_the_trial():
    """An open breaker whose endpoint was seen to come back admits its trial at once."""
    tested = tripped()
    tested.hasten(0.25)
    assert (tested.state, tested.retry_at, tested.generation) == (OPEN, 0.25, 1)
    assert not tested.admits(0.25 - TINY)
    assert tested.permit(0.25).trial


def test_hastening_never_delays_and_moves_no_other_state():
    """Where the time is up already, or there is none to wait for, nothing changes."""
    for tested, now in ((breaker(), 0.5), (tripped(), 50.0), (on_trial()[0], 0.5)):
        before = view(tested)
        tested.hasten(now)
        assert view(tested) == before


# --- the trial ---------------------------------------------------------------------------------------------


def test_half_open_admits_exactly_one():
    """Of fifty callers that come when the time is up, one gets the trial, and nobody else is admitted."""
    tested = tripped()
    permits = [tested.permit(1.0) for _ in range(50)]
    assert [permit.trial for permit in permits] == [True] + [False] * 49
    assert not tested.admits(1.0)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (SUCCESS, CLOSED),
        (CALLER_FAULT, CLOSED),
        (FAULT, OPEN),
        (TIMEOUT, OPEN),
        (THROTTLED, HALF_OPEN),
        (CANCELLED, HALF_OPEN),
    ],
)
def test_every_end_of_a_trial_releases_it(outcome, state):
    """Success closes, failure opens for longer, anything neutral lets the next caller try at once."""
    tested, trial = on_trial()
    tested.record(trial, outcome, 1.5)
    assert tested.state is state
    if state is OPEN:
        assert tested.reason == f"trial failed ({outcome.value})"
        assert tested.retry_at == pytest.approx(1.5 + 2.0)
    else:
        assert tested.admits(1.5)
        assert tested.permit(1.5).trial is (state is HALF_OPEN)


def test_only_the_owner_ends_a_trial():
    """An equal permit in somebody else's hands ends nothing."""
    tested, trial = on_trial()
    before = view(tested)
    tested.record(Permit(trial.generation, trial=True), SUCCESS, 1.5)
    assert view(tested) == before
    assert not tested.admits(1.5)


def test_a_trial_ends_once():
    """What its owner says after the end is dropped."""
    tested, trial = on_trial()
    tested.record(trial, CANCELLED, 1.5)
    tested.record(trial, SUCCESS, 1.5)
    assert tested.state is HALF_OPEN


def test_an_abandoned_trial_is_replaced_after_its_limit():
    """A trial that nobody ends keeps others out for 60 s, not for ever; then the next one decides."""
    tested, abandoned = on_trial(now=1.0)
    assert not tested.admits(61.0 - TINY)
    assert tested.admits(61.0)
    successor = tested.permit(61.0)
    assert successor.trial
    assert not tested.admits(61.0)
    tested.record(abandoned, FAULT, 62.0)
    assert tested.state is HALF_OPEN
    tested.record(successor, SUCCESS, 62.0)
    assert tested.state is CLOSED


def test_an_abandoned_trial_counts_until_it_is_replaced():
    """Late but still the owner: its success closes."""
    tested, late = on_trial(now=1.0)
    tested.record(late, SUCCESS, 500.0)
    assert tested.state is CLOSED


@pytest.mark.parametrize(("policy", "faults"), [(ONLY_CONSECUTIVE, 5), (ONLY_SHARE, 10)])
def test_a_closed_breaker_starts_counting_anew(policy, faults):
    """After the trial neither the row nor the window of before is remembered."""
    tested = breaker(policy)
    call(tested, FAULT, now=0.0, times=faults)
    call(tested, SUCCESS, now=1.0)
    call(tested, FAULT, now=1.1, times=faults - 1)
    assert tested.state is CLOSED
    call(tested, FAULT, now=1.1)
    assert tested.state is OPEN


# --- what changes nothing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", Outcome)
def test_results_of_an_older_generation_are_dropped(outcome):
    """What was sent before the breaker opened changes nothing any more: open, half-open, or closed again."""
    tested = breaker()
    early = [tested.permit(0.0) for _ in range(60)]
    call(tested, FAULT, now=0.0, times=5)
    for step in (
        lambda: None,
        lambda: tested.permit(1.0),
        lambda: tested.record(tested.permit(61.0), SUCCESS, 61.0),
    ):
        step()
        before, admits = view(tested), tested.admits(61.0)
        for permit in early:
            tested.record(permit, outcome, 61.0)
        assert view(tested) == before
        assert tested.admits(61.0) is admits
    assert tested.state is CLOSED


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("state", [OPEN, HALF_OPEN])
def test_panic_permits_change_nothing(outcome, state):
    """A permit taken where the breaker does not admit has no say, whatever comes of it."""
    tested = tripped() if state is OPEN else on_trial()[0]
    now = 0.5 if state is OPEN else 1.5
    before = view(tested)
    call(tested, outcome, now=now, times=100)
    assert view(tested) == before
    assert not tested.admits(now)


def test_cancellation_is_neutral():
    """A thousand cancelled calls leave no trace in a closed breaker."""
    tested = breaker()
    call(tested, FAULT, now=0.0, times=4)
    before = view(tested)
    call(tested, CANCELLED, now=0.0, times=1_000)
    assert view(tested) == before
    call(tested, FAULT, now=0.0)
    assert tested.state is OPEN
