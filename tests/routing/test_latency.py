"""Latency figures: the floor is distance, the excess is everything above it and fades, exact numbers."""

from __future__ import annotations

from math import exp
from random import Random

import pytest

from flashback_async.routing import RoutingPolicy
from flashback_async.routing.latency import LatencyFigure, ThroughputFigure
from flashback_async.routing.policy import MIB

POLICY = RoutingPolicy()


def figure(*samples: float, policy: RoutingPolicy = POLICY, now: float = 0.0) -> LatencyFigure:
    made = LatencyFigure(policy)
    for sample in samples:
        made.observe(sample, now)
    return made


def test_nothing_observed_is_nothing_known():
    """Before the first answer there is no floor, no excess, no deviation."""
    tested = figure()
    assert tested.floor is None
    assert tested.floor_for(0.020) is None
    assert tested.excess(100.0) == 0.0
    assert tested.deviation == 0.0


def test_the_floor_is_the_least_of_the_last_sixteen():
    """The least sample is the floor for as long as it is one of the last sixteen, then it is forgotten."""
    tested = figure(0.010, *[0.030] * 14, 0.020)
    assert tested.floor == 0.010
    tested.observe(0.050, 0.0)
    assert tested.floor == 0.020


def test_a_measured_zero_is_a_floor():
    """Zero seconds, measured, is a value and not "unknown"."""
    assert figure(0.0).floor == 0.0
    assert figure(0.5, 0.0).floor_for(None) == 0.0


def test_the_first_sample_has_no_excess():
    """One answer says how far the endpoint is, nothing about how busy."""
    tested = figure(0.250)
    assert (tested.floor, tested.excess(0.0), tested.deviation) == (0.250, 0.0, 0.0)


@pytest.mark.parametrize(
    ("pause", "weight"),
    [
        (0.0, 0.0),
        (0.01, 1 - exp(-0.01 / 0.25)),
        (0.05, 1 - exp(-0.05 / 0.25)),
        (0.056, 0.2),
        (1.0, 0.2),
        (3_600.0, 0.2),
    ],
)
def test_the_weight_of_a_sample_is_min_of_a_fifth_and_its_time(pause, weight):
    """The weight is min(0.2, 1 - e^(-dt / 250 ms)): together they share one weight."""
    tested = figure(0.100)
    tested.observe(0.600, pause)
    assert tested.excess(pause) == pytest.approx(weight * 0.5)
    assert tested.deviation == pytest.approx(weight * 0.5)


def test_without_a_smoothing_time_every_sample_has_full_weight():
    """A smoothing time of zero switches the sharing off."""
    tested = figure(0.100, policy=RoutingPolicy(smoothing_time=0.0))
    tested.observe(0.600, 0.0)
    assert tested.excess(0.0) == pytest.approx(0.1)


def test_the_excess_fades_with_ten_seconds():
    """What nobody confirms is e times less after ten seconds, whether or not anybody asked meanwhile."""
    tested = figure()
    tested.penalise(1.0, 5.0)
    assert tested.excess(5.0) == 1.0
    assert tested.excess(15.0) == pytest.approx(exp(-1))
    assert tested.excess(25.0) == pytest.approx(exp(-2))
    assert tested.excess(4.0) == 1.0, "an older time is not a reason to grow"


@pytest.mark.parametrize(
    ("elapsed", "excess"), [(0.0, 0.25), (0.25, 0.25), (0.4, 0.4), (5.0, 5.0), (60.0, 5.0)]
)
def test_a_failure_costs_a_quarter_second_or_its_time_up_to_five(elapsed, excess):
    """A fast error must not look fast: at least 0.25 s, at most 5 s, else what it took."""
    tested = figure(0.010)
    tested.penalise(elapsed, 0.0)
    assert tested.excess(0.0) == excess
    assert tested.floor == 0.010


def test_a_failure_never_lowers_the_excess():
    """A fast failure after a slow one leaves what the slow one said, as far as it has not faded."""
    tested = figure()
    tested.penalise(3.0, 0.0)
    tested.penalise(0.0, 1.0)
    assert tested.excess(1.0) == pytest.approx(3.0 * exp(-0.1))
    tested.penalise(0.0, 60.0)
    assert tested.excess(60.0) == 0.25


def test_a_penalty_may_be_limited_below_itself():
    """The cap wins over the least penalty."""
    tested = figure(policy=RoutingPolicy(penalty=2.0, penalty_limit=1.0))
    tested.penalise(0.0, 0.0)
    assert tested.excess(0.0) == 1.0


@pytest.mark.parametrize(("failing", "seconds"), [(1, 4.0), (2, 4.0), (4, 8.0), (12, 24.0)])
def test_a_fine_fades_sooner_than_what_was_measured(failing, seconds):
    """The 0.25 s of a fast failure are gone within seconds; the more endpoints fail, the longer they last."""
    tested = figure(0.010)
    tested.penalise(0.001, 10.0, failing=failing)
    assert tested.excess(10.0) == 0.25
    assert tested.excess(9.0) == 0.25
    assert tested.excess(10.0 + seconds) == pytest.approx(0.25 * exp(-1))
    assert tested.fined_until() == pytest.approx(10.0 + 3 * seconds)


def test_without_a_fine_there_is_nothing_to_wait_for():
    """A policy may do without: a failure then costs what it took, and is over at once for the others."""
    tested = figure(0.010, policy=RoutingPolicy(penalty=0.0))
    tested.penalise(0.5, 10.0)
    assert (tested.excess(10.0), tested.fined_until()) == (0.5, 10.0)


def test_good_answers_wear_a_penalty_off():
    """With good answers every 100 ms, a penalty of 0.25 s is down to 15 ms within six seconds."""
    tested = figure(0.010)
    tested.penalise(0.0, 0.0)
    now = 0.0
    while tested.excess(now) > 0.015:
        now += 0.1
        tested.observe(0.010, now)
    assert 0.5 < now < 6.0


def test_slow_answers_raise_the_excess_to_what_they_are():
    """Answers that stay slow are believed: the excess ends where they are, in spite of fading."""
    tested = figure(0.010)
    for second in range(1, 13):
        tested.observe(0.210, second / 2)
    assert tested.excess(6.0) == pytest.approx(0.2, rel=0.35)
    assert tested.excess(6.0) < 0.2


def test_the_excess_has_a_cap():
    """One endless answer counts as five seconds of excess, not as an hour."""
    tested = figure(0.010)
    tested.observe(3_600.0, 1.0)
    assert tested.excess(1.0) == 5.0


def test_the_deviation_is_smoothed_like_the_excess():
    """Deviation: EWMA of |sample - (floor + excess)| with the weight of the sample."""
    tested = figure(0.100)
    tested.observe(0.200, 1.0)
    assert tested.deviation == pytest.approx(0.2 * 0.1)
    excess = 0.0075 + (0.2 * 0.1 - 0.0075) * exp(-1 / 10)
    tested.observe(0.100, 2.0)
    assert tested.deviation == pytest.approx(0.8 * 0.02 + 0.2 * excess)
    assert tested.excess(2.0) == pytest.approx(0.8 * excess)


def test_forgiving_voids_the_excess_and_keeps_the_floor():
    """After a good trial the failures of before say nothing; distance and usual excess are what they were."""
    tested = figure(0.010, 0.012, 0.012)
    tested.penalise(5.0, 1.0)
    tested.forgive(2.0)
    assert (tested.floor, tested.excess(2.0)) == (0.010, pytest.approx(0.002))


@pytest.mark.parametrize(
    ("published", "floor"),
    [(None, 0.050), (0.020, 0.050), (0.025, 0.055), (0.100, 0.130), (0.005, 0.035), (1e-9, 0.030 + 1e-9)],
)
def test_the_floor_is_shifted_by_the_difference_of_the_published_legs(published, floor):
    """What was learned on a bucket 20 ms behind the node serves for a bucket that is nearer or farther."""
    tested = LatencyFigure(POLICY)
    tested.observe(0.050, 0.0, published=0.020)
    tested.observe(0.060, 0.0, published=0.020)
    assert tested.floor_for(published) == pytest.approx(floor)


@pytest.mark.parametrize(
    ("samples", "usual"),
    [
        ([0.010], 0.0),
        ([0.010, 0.012], 0.002),
        ([0.010, 0.012, 0.014], 0.002),
        ([0.010, 0.012, 0.014, 0.900], 0.004),
        ([0.010] * 9 + [0.900] * 7, 0.0),
        ([0.010, 0.017, 0.017], 0.007),
        ([0.010, 0.018, 0.018], 0.0075),
        ([0.010, 3.0, 3.0], 0.0075),
    ],
)
def test_the_excess_fades_to_the_usual_one(samples, usual):
    """Left alone, an endpoint is expected to answer at its median, at most half the narrowest window more."""
    tested = figure(*samples)
    tested.penalise(5.0, 0.0)
    assert tested.excess(1_000.0) == pytest.approx(usual, abs=1e-9)


def test_the_excess_may_fade_to_nothing():
    """With a share of zero nothing is usual."""
    tested = figure(0.010, 0.030, 0.030, policy=RoutingPolicy(usual_share=0.0))
    tested.penalise(5.0, 0.0)
    assert tested.excess(1_000.0) == pytest.approx(0.0, abs=1e-9)


def test_a_shifted_floor_is_never_negative():
    """Published numbers may contradict what we measured; the floor stops at zero."""
    tested = LatencyFigure(POLICY)
    tested.observe(0.010, 0.0, published=0.500)
    assert tested.floor_for(0.020) == 0.0


def test_only_samples_with_a_published_leg_can_be_shifted():
    """A sample without a published leg counts for the plain floor only."""
    tested = LatencyFigure(POLICY)
    tested.observe(0.010, 0.0)
    assert tested.floor_for(0.020) == 0.010
    tested.observe(0.050, 0.0, published=0.020)
    assert tested.floor_for(0.020) == pytest.approx(0.050)
    assert tested.floor_for(None) == 0.010


@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_the_formulas_written_out(seed):
    """On random samples and pauses every figure equals the definitions of the specification, recomputed."""
    dice = Random(seed)
    tested, samples, excess, usual, deviation, now = figure(), [], 0.0, 0.0, 0.0, 0.0
    fine, fading = 0.0, 4.0
    for _ in range(400):
        pause = dice.choice([0.0, 0.001, 0.02, 0.3, 7.0])
        now += pause
        faded = usual + (excess - usual) * exp(-pause / 10)
        fine *= exp(-pause / fading)
        if dice.random() < 0.2:
            elapsed = dice.choice([0.0, 0.5, 9.0])
            failing = dice.choice([1, 2, 3, 6])
            tested.penalise(elapsed, now, failing=failing)
            excess, fine, fading = (
                max(faded, min(5.0, elapsed)),
                0.25,
                {1: 4.0, 2: 4.0, 3: 6.0, 6: 12.0}[failing],
            )
        else:
            sample = dice.lognormvariate(-4, 1)
            alpha = 0.2 if tested.floor is None and not fine else min(0.2, 1 - exp(-pause / 0.25))
            samples = [*samples, sample][-16:]
            error = sample - min(samples) - faded
            deviation = (1 - alpha) * deviation + alpha * abs(error)
            excess = min(5.0, max(0.0, faded + alpha * error))
            usual = min(sorted(samples)[len(samples) // 2] - min(samples), 0.5 * 0.015)
            fine *= 1 - alpha
            tested.observe(sample, now)
            assert tested.floor == min(samples)
        assert tested.excess(now) == pytest.approx(max(excess, fine), abs=1e-5)
        assert tested.deviation == pytest.approx(deviation)


# --- throughput --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "seconds", "rate"),
    [(MIB - 1, 1.0, None), (MIB, 1.0, MIB), (MIB, 0.0, None), (MIB, -1.0, None), (10 * MIB, 2.0, 5 * MIB)],
)
def test_throughput_is_learned_from_bodies_of_a_mebibyte(size, seconds, rate):
    """Bodies below 1 MiB, or without a duration, tell nothing of throughput."""
    tested = ThroughputFigure(POLICY)
    tested.observe(size, seconds)
    assert tested.rate == rate


def test_throughput_is_smoothed():
    """A second body moves the estimate by a fifth of the difference."""
    tested = ThroughputFigure(POLICY)
    tested.observe(10 * MIB, 1.0)
    tested.observe(20 * MIB, 1.0)
    assert tested.rate == pytest.approx(12 * MIB)
