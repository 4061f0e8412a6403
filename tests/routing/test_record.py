"""The record of one endpoint: which figures a request moves, what is expected of the next one, silence."""

from __future__ import annotations

from math import exp

import pytest

from flashback_async.routing import Outcome, RoutingPolicy
from flashback_async.routing.attempt import Attempt
from flashback_async.routing.policy import KIB, MIB
from flashback_async.routing.record import EndpointRecord

from .fleet import (
    CALLER_FAULT,
    CANCELLED,
    FAULT,
    MIDDLE,
    OPEN,
    READ,
    SUCCESS,
    THROTTLED,
    TIMEOUT,
    WRITE,
    report,
)

POLICY = RoutingPolicy()


def record(*, published=None, policy: RoutingPolicy = POLICY) -> EndpointRecord:
    return EndpointRecord(report("a", published=published), policy, MIDDLE)


def attempt(
    tested: EndpointRecord, *, now: float = 0.0, kind=READ, bucket=None, quick: bool = True
) -> Attempt:
    made = Attempt(tested, tested.breaker.permit(now), bucket=bucket, kind=kind, is_quick=quick, started=now)
    tested.enter(made, now)
    return made


def serve(
    tested: EndpointRecord,
    outcome: Outcome = SUCCESS,
    first_byte: float | None = None,
    *,
    now: float = 0.0,
    started: float | None = None,
    times: int = 1,
    **details,
) -> None:
    for _ in range(times):
        made = attempt(tested, now=now if started is None else started, **details)
        tested.leave(made, outcome, now)
        tested.learn(made, outcome, now, first_byte)


def expected(
    tested: EndpointRecord, *, bucket=None, kind=READ, now: float = 0.0
) -> tuple[float | None, float]:
    floor, excess, _ = tested.expected(bucket, kind, now)
    return floor, excess


# --- counters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "requests", "failures", "throttled"),
    [
        (SUCCESS, 1, 0, 0),
        (CALLER_FAULT, 1, 0, 0),
        (FAULT, 1, 1, 0),
        (TIMEOUT, 1, 1, 0),
        (THROTTLED, 1, 0, 1),
        (CANCELLED, 0, 0, 0),
    ],
)
def test_outcomes_are_counted_as_what_they_are(outcome, requests, failures, throttled):
    """Each answer is a request, faults and 429s have counters of their own, a cancelled one was not made."""
    tested = record()
    serve(tested, outcome)
    assert (tested.requests, tested.failures, tested.throttled) == (requests, failures, throttled)
    assert tested.in_flight == tested.load == 0


def test_load_is_requests_plus_bodies():
    """What waits for a first byte and what is being read both weigh."""
    tested = record()
    attempt(tested)
    tested.streaming += 2
    assert (tested.in_flight, tested.load) == (1, 3)


@pytest.mark.parametrize(("outcomes", "is_warm"), [(0, False), (4, False), (5, True)])
def test_five_outcomes_make_an_endpoint_warm(outcomes, is_warm):
    """An endpoint with a request in flight may get another one only after five outcomes of that kind."""
    tested = record()
    serve(tested, FAULT, times=outcomes)
    assert tested.is_warm(READ)
    attempt(tested)
    assert tested.is_warm(READ) is is_warm
    assert not tested.is_warm(WRITE)


# --- what moves which figure -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [READ, WRITE])
def test_reads_and_writes_keep_separate_figures(kind):
    """What reads tell says nothing of writes, and the other way round."""
    tested = record()
    serve(tested, first_byte=0.020, kind=kind, times=5)
    serve(tested, FAULT, first_byte=1.0, kind=kind)
    other = WRITE if kind is READ else READ
    assert expected(tested, kind=kind) == (0.020, 1.0)
    assert expected(tested, kind=other) == (None, 0.0)


def test_an_upload_that_is_not_quick_gives_no_sample_but_counts_for_warmth():
    """The first byte after a long upload says nothing of latency, but that it was answered."""
    tested = record()
    serve(tested, first_byte=30.0, kind=WRITE, quick=False, times=5)
    assert expected(tested, kind=WRITE) == (None, 0.0)
    attempt(tested)
    assert tested.is_warm(WRITE)


def test_an_answer_without_a_measured_first_byte_gives_no_sample():
    """Where the shell could not measure, nothing is learned but that it was answered."""
    tested = record()
    serve(tested, SUCCESS, None, times=5)
    serve(tested, CALLER_FAULT, None)
    assert expected(tested) == (None, 0.0)


@pytest.mark.parametrize("outcome", [FAULT, TIMEOUT])
@pytest.mark.parametrize(("first_byte", "excess"), [(None, 3.0), (0.001, 0.25), (0.4, 0.4), (60.0, 5.0)])
def test_a_fault_raises_the_excess_and_is_no_sample(outcome, first_byte, excess):
    """A fault costs what it took, measured or from the start, 0.25 s at least; it never is a floor."""
    tested = record()
    serve(tested, outcome, first_byte, started=7.0, now=10.0)
    assert expected(tested, now=10.0) == (None, excess)


def test_a_refusal_can_only_make_an_endpoint_look_slower():
    """A quick 404 does not make a slow endpoint fast; a slow one counts as it is."""
    tested = record()
    serve(tested, CALLER_FAULT, 0.100)
    assert expected(tested) == (0.100, 0.0)
    serve(tested, CALLER_FAULT, 0.001, now=1.0)
    assert expected(tested, now=1.0) == (0.100, 0.0)
    serve(tested, CALLER_FAULT, 0.600, now=2.0)
    assert expected(tested, now=2.0) == (0.100, pytest.approx(0.2 * 0.5))


@pytest.mark.parametrize("outcome", [THROTTLED, CANCELLED])
def test_throttled_and_cancelled_answers_are_no_samples(outcome):
    """A quick 429 makes nobody look fast, nor slow."""
    tested = record()
    serve(tested, first_byte=0.100, times=5)
    serve(tested, outcome, 0.001, now=1.0, times=20)
    assert expected(tested, now=1.0) == (0.100, 0.0)


# --- buckets -----------------------------------------------------------------------------------------------


def test_a_bucket_has_figures_of_its_own_from_five_outcomes_on():
    """With four outcomes the endpoint's figures serve, with five the bucket's."""
    tested = record()
    serve(tested, first_byte=0.010, bucket="near", times=5)
    serve(tested, first_byte=0.200, bucket="far", times=4)
    assert expected(tested, bucket="far")[0] == 0.010
    serve(tested, first_byte=0.200, bucket="far")
    assert expected(tested, bucket="far")[0] == 0.200
    assert (
        expected(tested, bucket="near")[0]
        == expected(tested)[0]
        == expected(tested, bucket="new")[0]
        == 0.010
    )


def test_a_new_bucket_gets_the_endpoints_figure_shifted_by_the_published_difference():
    """Learned on a bucket 20 ms behind the node, expected of one 120 ms behind it: 100 ms more."""
    tested = record(published={"near": 0.020, "far": 0.120})
    serve(tested, first_byte=0.050, bucket="near", times=5)
    assert expected(tested, bucket="near")[0] == pytest.approx(0.050)
    assert expected(tested, bucket="far")[0] == pytest.approx(0.150)
    assert expected(tested, bucket="unpublished")[0] == 0.050


def test_a_bucket_that_only_failed_borrows_the_floor():
    """Five failures on a bucket give it no floor: the endpoint's serves, and the endpoint has the penalty."""
    tested = record()
    serve(tested, first_byte=0.010, bucket="good", times=5)
    serve(tested, FAULT, 1.0, bucket="bad", times=5)
    assert expected(tested, bucket="bad") == (0.010, 1.0)


def test_only_so_many_buckets_are_kept():
    """Of more buckets than the limit, the one that was not used for longest is forgotten."""
    tested = record(policy=RoutingPolicy(bucket_limit=2))
    for name, first_byte in [("a", 0.1), ("b", 0.2), ("a", 0.1), ("c", 0.3)]:
        serve(tested, first_byte=first_byte, bucket=name, times=5)
    floors = {name: expected(tested, bucket=name)[0] for name in "abc"}
    assert floors == {"a": 0.1, "b": 0.1, "c": 0.3}, (
        "b was used least recently, and shows the endpoint's floor"
    )


def test_using_a_bucket_again_drops_none():
    """As long as there are no more buckets than the limit, all of them are kept, however they are used."""
    tested = record(policy=RoutingPolicy(bucket_limit=2))
    for name, first_byte in [("a", 0.2), ("b", 0.1), ("b", 0.1)]:
        serve(tested, first_byte=first_byte, bucket=name, times=5)
    assert [expected(tested, bucket=name)[0] for name in "ab"] == [0.2, 0.1]


def test_a_limit_of_no_buckets_keeps_the_current_one_only():
    """A limit of zero is not an error; each new bucket replaces the last."""
    tested = record(policy=RoutingPolicy(bucket_limit=0))
    serve(tested, first_byte=0.2, bucket="a", times=5)
    serve(tested, first_byte=0.1, bucket="b", times=5)
    assert expected(tested, bucket="a")[0] == 0.1


# --- priors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rtt", "published", "floor"),
    [
        (None, None, None),
        (0.030, None, 0.030),
        (None, 0.020, 0.020),
        (0.030, 0.020, 0.050),
        (0.0, 0.020, 0.020),
        (0.0, None, 0.0),
        (0.030, 0.0, 0.030),
    ],
)
def test_the_prior_is_the_probe_plus_the_published_leg(rtt, published, floor):
    """Before any answer: round trip to the node + the node's leg; a measured zero counts, a published not."""
    tested = record(published=published)
    tested.probe_rtt = rtt
    assert expected(tested) == (None if floor is None else pytest.approx(floor), 0.0)


def test_a_failed_probe_drops_the_prior():
    """An endpoint deaf to the probe is unknown, whatever is published, and known again once it answers."""
    tested = record(published=0.020)
    tested.probe_failed = True
    assert expected(tested) == (None, 0.0)
    assert tested.probed_out
    serve(tested, first_byte=0.3)
    assert not tested.probed_out


def test_what_was_observed_beats_the_prior():
    """One answer of our own replaces probe and published numbers."""
    tested = record(published=0.020)
    tested.probe_rtt = 0.001
    serve(tested, first_byte=0.300)
    assert expected(tested)[0] == 0.300


# --- throughput --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "rate", "failures", "excess"),
    [
        (SUCCESS, 5 * MIB, 0, 0.0),
        (CANCELLED, None, 0, 0.0),
        (FAULT, None, 1, 0.25),
        (TIMEOUT, None, 1, 0.25),
    ],
)
def test_a_body_tells_throughput_and_a_broken_one_costs(outcome, rate, failures, excess):
    """A complete body gives a rate for its kind, a broken one a penalty, one that was left nothing."""
    tested = record()
    made = attempt(tested)
    tested.learn_body(made, outcome, 1.0, 10 * MIB, 2.0)
    assert tested.throughput(READ) == rate
    assert tested.throughput(WRITE) is None
    assert tested.failures == failures
    assert expected(tested, now=1.0) == (None, excess)


# --- silence -----------------------------------------------------------------------------------------------


def test_nothing_in_flight_is_no_silence():
    """Who is not asked need not answer."""
    tested = record()
    assert tested.silence(1_000.0) == 0.0
    serve(tested, now=1.0)
    assert tested.silence(1_000.0) == 0.0


def test_silence_runs_from_the_first_waiting_request_or_the_last_answer():
    """It counts from when waiting began, or from the last answer, whichever was later."""
    tested = record()
    first = attempt(tested, now=10.0)
    attempt(tested, now=11.0)
    assert tested.silence(13.0) == 3.0
    assert tested.silence(9.0) == 0.0
    tested.leave(first, SUCCESS, 14.0)
    assert tested.silence(14.5) == 0.5


def test_silence_knows_no_origin_of_time():
    """Before the zero of the clock silence runs like after it."""
    tested = record()
    attempt(tested, now=-10.0)
    assert tested.silence(-8.0) == 2.0


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not CANCELLED])
def test_every_answer_breaks_the_silence(outcome):
    """Whatever came of it, something completed."""
    tested = record()
    answered = attempt(tested, now=0.0)
    attempt(tested, now=0.0)
    tested.leave(answered, outcome, 5.0)
    assert tested.silence(6.0) == 1.0


def test_a_cancelled_request_does_not_break_the_silence():
    """That we gave up is no sign of life."""
    tested = record()
    given_up = attempt(tested, now=0.0)
    attempt(tested, now=0.0)
    tested.leave(given_up, CANCELLED, 5.0)
    assert tested.silence(6.0) == 6.0


def test_a_long_upload_is_not_silent():
    """Only quick requests wait in silence; an upload in progress has a timeout of its own."""
    tested = record()
    upload = attempt(tested, now=0.0, kind=WRITE, quick=False)
    assert tested.silence(100.0) == 0.0
    attempt(tested, now=100.0)
    assert tested.silence(101.0) == 1.0
    tested.leave(upload, SUCCESS, 101.0)
    assert tested.silence(101.5) == 0.5


# --- trials, lateness, others' requests --------------------------------------------------------------------


def test_a_trial_is_ranked_by_distance():
    """While the next request would be a trial, the excess of before is not held against the endpoint."""
    tested = record()
    serve(tested, first_byte=0.010, times=5)
    for _ in range(5):
        tested.breaker.record(tested.breaker.permit(0.0), FAULT, 0.0)
    serve(tested, FAULT, 4.0)
    assert tested.breaker.state is OPEN
    assert not tested.trial_due(0.5)
    assert expected(tested, now=0.5) == (0.010, pytest.approx(4.0 * exp(-0.05)))
    assert tested.trial_due(1.0)
    assert expected(tested, now=1.0) == (0.010, 0.0)


@pytest.mark.parametrize("outcome", [SUCCESS, FAULT, TIMEOUT, CALLER_FAULT])
def test_late_results_are_counted_and_teach_nothing(outcome):
    """What was sent before the breaker moved counts as a request, and moves no figure any more."""
    tested = record()
    late, body = attempt(tested, bucket="photos"), attempt(tested)
    for _ in range(5):
        tested.breaker.record(tested.breaker.permit(0.0), FAULT, 0.0)
    tested.leave(late, outcome, 5.0)
    tested.learn(late, outcome, 5.0, 2.0)
    tested.learn_body(body, outcome, 5.0, 10 * MIB, 1.0)
    assert tested.requests == 1
    assert tested.failures == 2 * outcome.is_fault
    assert expected(tested, bucket="photos", now=0.5) == (None, 0.0)
    assert tested.throughput(READ) is None


def test_forgiving_reaches_every_figure():
    """After a good trial no kind and no bucket remembers the failures."""
    tested = record()
    for kind in (READ, WRITE):
        serve(tested, first_byte=0.010, kind=kind, bucket="photos", times=5)
        serve(tested, FAULT, 4.0, kind=kind, bucket="photos")
    tested.forgive(1.0)
    for kind in (READ, WRITE):
        for bucket in ("photos", None):
            assert expected(tested, kind=kind, bucket=bucket, now=1.0) == (0.010, 0.0)


def test_requests_of_others_teach_too():
    """What somebody saw with a client of their own moves the figure of its kind, and counts for warmth."""
    tested = record()
    for _ in range(4):
        tested.observe(READ, 0.040, 0.0)
    assert expected(tested) == (0.040, 0.0)
    tested.penalise(READ, 0.0)
    assert expected(tested) == (0.040, 0.25)
    attempt(tested)
    assert tested.is_warm(READ)
    assert expected(tested, kind=WRITE) == (None, 0.0)


def test_entering_is_what_the_limiter_counts():
    """Each request takes from the rate limit when it starts, whatever comes of it."""
    tested = record()
    for _ in range(20):
        attempt(tested, now=10.0)
    tested.limiter.throttled(10.0, 10.0)
    assert tested.limiter.rate == pytest.approx(12.0)


def test_sizes_have_names():
    """A KiB is 1,024 bytes and a MiB is 1,024 KiB."""
    assert (KIB, MIB) == (1_024, 1_048_576)
