"""The router's contract: acquire, settle once, finish, confirm, report; the table; the events; the budget."""

from __future__ import annotations

from random import Random

import pytest

from flashback_async.errors import NoEndpointAvailableError
from flashback_async.routing import (
    Attempt,
    BreakerChanged,
    Endpoint,
    EndpointJoined,
    EndpointLeft,
    EndpointStatus,
    Outcome,
    RateLearned,
    Router,
    RoutingPolicy,
    Wait,
)
from flashback_async.routing.policy import KIB, MIB

from .fleet import (
    CALLER_FAULT,
    CANCELLED,
    CLOSED,
    FAULT,
    HALF_OPEN,
    OPEN,
    READ,
    SUCCESS,
    THROTTLED,
    TIMEOUT,
    WRITE,
    Fleet,
    chances,
    report,
)


def load(fleet: Fleet) -> tuple[int, int]:
    shown = fleet.router.snapshot(now=0.0)
    return shown.in_flight, shown.streaming


# --- acquire -----------------------------------------------------------------------------------------------


def test_an_attempt_names_its_endpoint():
    """`acquire` returns an attempt that says whom to ask, for what, since when."""
    fleet = Fleet("a")
    attempt = fleet.router.acquire("photos", WRITE, now=4.0)
    assert isinstance(attempt, Attempt)
    assert attempt.endpoint == Endpoint(id="a", url="https://a.example", region="")
    assert (attempt.bucket, attempt.kind, attempt.started) == ("photos", WRITE, 4.0)
    assert repr(attempt) == "<Attempt write at a, open>"
    fleet.router.settle(attempt, SUCCESS, now=4.1)
    assert repr(attempt) == "<Attempt write at a, settled>"


def test_the_default_policy_is_the_documented_one():
    """A router without a policy works by the defaults, one with a policy by that."""
    assert Router(random=Random(1).random).policy == RoutingPolicy()
    assert Router(policy=RoutingPolicy(attempts=7), random=Random(1).random).policy.attempts == 7


def test_each_attempt_is_one_request_in_flight():
    """Picking and counting are one step."""
    fleet = Fleet("a", "b")
    attempts = [fleet.ask(now=0.0) for _ in range(7)]
    assert load(fleet) == (7, 0)
    assert sum(fleet.at(name, now=0.0).in_flight for name in "ab") == 7
    for attempt in attempts:
        fleet.router.settle(attempt, SUCCESS, now=0.1)
    assert load(fleet) == (0, 0)


def test_an_empty_table_is_the_only_reason_not_to_answer():
    """Before the first discovery, and after an empty one, there is nobody to ask."""
    router = Router(random=chances(0.5))
    for _ in range(2):
        with pytest.raises(NoEndpointAvailableError):
            router.acquire("photos", READ, now=0.0)
        with pytest.raises(NoEndpointAvailableError):
            router.best("photos", READ, now=0.0)
        router.apply_discovery([], now=0.0)
    router.apply_discovery([report("a")], now=0.0)
    assert isinstance(router.acquire("photos", READ, now=0.0), Attempt)


@pytest.mark.parametrize(
    "status", [status for status in EndpointStatus if status is not EndpointStatus.ONLINE]
)
def test_endpoints_that_are_not_online_are_a_last_resort(status):
    """While one is online only that is asked; when none is, all are."""
    fleet = Fleet("a", report("b", status=status))
    assert fleet.picks(20, now=0.0) == {"a": 20}
    fleet.discover(report("a", status=status), report("b", status=status), now=1.0)
    assert fleet.picks(20, now=1.0).keys() <= {"a", "b"}


def test_a_node_that_cannot_reach_a_bucket_serves_the_others():
    """Membership is per bucket: offline for one, asked for the next."""
    fleet = Fleet(report("a", offline=["photos"], published=0.001), report("b", published=0.2))
    assert fleet.picks(10, now=0.0, bucket="photos") == {"b": 10}
    assert fleet.picks(10, now=0.0, bucket="films") == {"a": 10}


def test_attempts_go_to_different_endpoints():
    """With what was tried excluded, three attempts are at three endpoints, and a fourth starts again."""
    fleet = Fleet("a", "b", "c")
    tried: list[str] = []
    for _ in range(3):
        tried.append(fleet.ask(now=0.0, tried=tried).endpoint.id)
    assert sorted(tried) == ["a", "b", "c"]
    assert fleet.ask(now=0.0, tried=tried).endpoint.id in tried


def test_a_pinned_call_goes_where_it_is_pinned():
    """`only` overrules status, figures and breaker, and knows no other endpoint."""
    fleet = Fleet("a", report("b", status=EndpointStatus.OFFLINE))
    fleet.know("a", 0.001)
    fleet.trip("b", now=0.0)
    assert fleet.ask("b", now=0.1).endpoint.id == "b"
    with pytest.raises(NoEndpointAvailableError, match="'x' is not in the table"):
        fleet.router.acquire(None, READ, now=0.1, only="x")


def test_a_pinned_call_behind_an_open_breaker_has_no_say():
    """It is allowed to try, and what comes of it changes nothing."""
    fleet = Fleet("a", "b")
    fleet.trip("b", now=0.0)
    fleet.router.drain_events()
    fleet.run("b", SUCCESS, now=0.5, times=20, first_byte=0.001)
    assert fleet.at("b", now=0.5).breaker is OPEN
    assert fleet.moves() == []


# --- wait --------------------------------------------------------------------------------------------------


def test_wait_consumes_no_attempt():
    """At the rate limit the answer is how long to wait; nothing is in flight, counted or changed."""
    fleet = Fleet("a")
    fleet.run("a", THROTTLED, now=10.0, retry_after=2.0)
    fleet.router.drain_events()
    before = fleet.router.snapshot(now=10.0)
    for _ in range(100):
        assert fleet.router.acquire(None, READ, now=10.0) == Wait(2.0)
        assert fleet.router.acquire(None, READ, now=10.0, only="a") == Wait(2.0)
    assert fleet.router.snapshot(now=10.0) == before
    assert fleet.router.drain_events() == []
    assert fleet.ask(now=12.0).endpoint.id == "a"


def test_nobody_waits_while_another_endpoint_has_a_token():
    """One endpoint at its limit sends its requests to the next."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.001)
    fleet.know("b", 0.300)
    fleet.run("a", THROTTLED, now=1.0, retry_after=60.0)
    assert fleet.picks(10, now=1.0) == {"b": 10}


# --- settle ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("first", Outcome)
@pytest.mark.parametrize("second", Outcome)
def test_settle_exactly_once(first, second, streamed):
    """A second `settle` raises, and changes nothing."""
    fleet = Fleet("a", "b")
    attempt = fleet.ask("a", now=0.0)
    fleet.router.settle(attempt, first, now=0.1, streamed=streamed)
    before = fleet.router.snapshot(now=0.2)
    with pytest.raises(RuntimeError, match="already settled; settle exactly once"):
        fleet.router.settle(attempt, second, now=0.2)
    assert fleet.router.snapshot(now=0.2) == before


@pytest.mark.parametrize("outcome", Outcome)
def test_a_streamed_body_moves_load_from_in_flight_to_streaming(outcome):
    """After the headers of a streamed body one less is in flight and one more streaming; without one, not."""
    fleet = Fleet("a")
    attempt = fleet.ask("a", now=0.0)
    fleet.router.settle(attempt, outcome, now=0.1, streamed=True)
    assert load(fleet) == (0, int(outcome is SUCCESS))
    fleet.router.finish(attempt, CANCELLED, now=0.2)
    assert load(fleet) == (0, 0)


def test_first_bytes_decide_who_is_asked():
    """Where answers come sooner, requests go: 20 ms beats 200 ms."""
    fleet = Fleet("far", "near", random=Random(3).random)
    fleet.know("far", 0.200)
    fleet.know("near", 0.020)
    assert fleet.picks(50, now=1.0) == {"near": 50}
    assert fleet.router.best(None, READ, now=1.0).id == "near"


@pytest.mark.parametrize(
    ("kind", "size", "is_quick"),
    [
        (READ, None, True),
        (READ, 100 * MIB, True),
        (WRITE, None, True),
        (WRITE, 64 * KIB, True),
        (WRITE, 64 * KIB + 1, False),
    ],
)
def test_only_reads_and_small_bodies_are_latency(kind, size, is_quick):
    """A PUT above 64 KiB gives no latency sample; every read does."""
    fleet = Fleet("a")
    fleet.run("a", SUCCESS, now=0.0, first_byte=0.5, kind=kind, size=size)
    shown = fleet.at("a", now=0.0)
    latency = shown.read_latency if kind is READ else shown.write_latency
    assert latency == (0.5 if is_quick else None)


def test_a_429_is_neutral_to_score_and_breaker_and_teaches_the_limit():
    """THROTTLED leaves figures and breaker alone; the limit is 0.6 x the rate admitted lately."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.020, now=9.5)
    attempts = [fleet.ask("a", now=10.0) for _ in range(15)]
    for attempt in attempts:
        fleet.router.settle(attempt, THROTTLED, now=10.0, first_byte=0.0, retry_after=3.0)
    shown = fleet.at("a", now=10.0)
    assert (shown.breaker, shown.read_latency, shown.failures, shown.throttled) == (CLOSED, 0.020, 0, 15)
    assert shown.rate_limit == pytest.approx(0.6 * 20)
    assert shown.retry_in == 3.0


def test_retry_after_counts_only_with_a_429():
    """A Retry-After that comes with another answer is no wish of the rate limit."""
    fleet = Fleet("a")
    for outcome in set(Outcome) - {THROTTLED}:
        fleet.run("a", outcome, now=0.0, retry_after=60.0)
    assert fleet.at("a", now=0.0).rate_limit is None
    assert fleet.ask("a", now=0.0)


# --- finish ------------------------------------------------------------------------------------------------


def stream(fleet: Fleet, name: str, *, now: float, first_byte: float = 0.010) -> Attempt:
    attempt = fleet.ask(name, now=now)
    fleet.router.settle(attempt, SUCCESS, now=now, first_byte=first_byte, streamed=True)
    return attempt


def test_finish_comes_once_and_after_settle():
    """Finishing what was not settled, or was finished, raises and changes nothing."""
    fleet = Fleet("a")
    attempt = fleet.ask("a", now=0.0)
    with pytest.raises(RuntimeError, match="settle it first, finish it once"):
        fleet.router.finish(attempt, SUCCESS, now=0.1)
    assert load(fleet) == (1, 0)
    fleet.router.settle(attempt, SUCCESS, now=0.1, streamed=True)
    assert repr(attempt) == "<Attempt read at a, streaming>"
    fleet.router.finish(attempt, SUCCESS, now=0.2)
    assert repr(attempt) == "<Attempt read at a, finished>"
    with pytest.raises(RuntimeError, match="settle it first, finish it once"):
        fleet.router.finish(attempt, SUCCESS, now=0.3)
    with pytest.raises(RuntimeError, match="already settled"):
        fleet.router.settle(attempt, SUCCESS, now=0.3)
    assert load(fleet) == (0, 0)


def test_unstreamed_attempts_may_be_finished_for_their_throughput():
    """A whole body that was settled after its end may still tell its rate; the load is not touched."""
    fleet = Fleet("a")
    attempt = fleet.ask("a", now=0.0)
    fleet.router.settle(attempt, SUCCESS, now=2.0)
    fleet.router.finish(attempt, SUCCESS, now=2.0, bytes_moved=10 * MIB, seconds=2.0)
    assert load(fleet) == (0, 0)
    assert fleet.at("a", now=2.0).read_throughput == 5 * MIB


@pytest.mark.parametrize(("size", "rate"), [(MIB - 1, None), (MIB, MIB / 4)])
def test_throughput_comes_from_bodies_of_a_mebibyte(size, rate):
    """Bodies from 1 MiB on tell the rate of their endpoint."""
    fleet = Fleet("a")
    fleet.router.finish(stream(fleet, "a", now=0.0), SUCCESS, now=4.0, bytes_moved=size, seconds=4.0)
    assert fleet.at("a", now=4.0).read_throughput == rate


def test_a_large_object_goes_where_the_rate_is():
    """From 1 MiB on the known size weighs: far and broad beats near and narrow; small reads go near."""
    fleet = Fleet("near", "broad", random=Random(5).random)
    for name, first_byte, seconds in [("near", 0.010, 10.0), ("broad", 0.100, 0.1)]:
        fleet.know(name, first_byte)
        body = stream(fleet, name, now=0.0, first_byte=first_byte)
        fleet.router.finish(body, SUCCESS, now=0.0, bytes_moved=10 * MIB, seconds=seconds)
    assert fleet.ask(now=5.0, size=MIB).endpoint.id == "broad"
    assert fleet.ask(now=5.0, size=MIB - 1).endpoint.id == "near"
    assert fleet.ask(now=5.0).endpoint.id == "near"


@pytest.mark.parametrize("outcome", [FAULT, TIMEOUT])
def test_a_broken_body_is_one_fault_of_its_breaker(outcome):
    """Five good headers whose bodies break trip the breaker by share: each body is one fault."""
    fleet = Fleet("a", "b", policy=RoutingPolicy(breaker_consecutive=1_000))
    for _ in range(5):
        assert fleet.at("a", now=0.0).breaker is CLOSED
        fleet.router.finish(stream(fleet, "a", now=0.0), outcome, now=0.0)
    shown = fleet.at("a", now=0.0)
    assert (shown.breaker, shown.failures, shown.requests) == (OPEN, 5, 5)


def test_a_broken_body_of_an_older_generation_is_dropped():
    """A body that began before the breaker opened says nothing after it has closed again."""
    fleet = Fleet("a", "b")
    bodies = [stream(fleet, "a", now=0.0) for _ in range(20)]
    fleet.trip("a", now=0.0)
    fleet.run("a", SUCCESS, now=1.0, first_byte=0.010)
    latency = fleet.at("a", now=2.0).read_latency
    for body in bodies:
        fleet.router.finish(body, FAULT, now=2.0)
    shown = fleet.at("a", now=2.0)
    assert (shown.breaker, shown.read_latency, shown.streaming) == (CLOSED, latency, 0)


@pytest.mark.parametrize("outcome", [SUCCESS, CALLER_FAULT, CANCELLED, THROTTLED])
def test_a_body_that_ends_well_or_was_left_does_not_move_a_closed_breaker(outcome):
    """The headers counted already; the end of the body counts only if it broke."""
    fleet = Fleet("a", "b")
    body = stream(fleet, "a", now=0.0)
    fleet.run("a", FAULT, now=0.0, times=4)
    fleet.router.finish(body, outcome, now=0.0)
    fleet.run("a", FAULT, now=0.0)
    assert fleet.at("a", now=0.0).breaker is OPEN


# --- the half-open trial -----------------------------------------------------------------------------------


def trial(fleet: Fleet, *, now: float = 1.0) -> Attempt:
    """The one trial of "a", whose breaker opened a second before."""
    fleet.trip("a", now=now - 1.0)
    fleet.router.drain_events()
    attempt = fleet.ask("a", now=now)
    assert fleet.at("a", now=now).breaker is HALF_OPEN
    return attempt


def test_a_trial_without_a_streamed_body_ends_with_settle():
    """What is settled after its end decides there and then."""
    fleet = Fleet("a", "b")
    fleet.router.settle(trial(fleet), SUCCESS, now=1.1, first_byte=0.010)
    assert fleet.moves() == [("a", OPEN, HALF_OPEN), ("a", HALF_OPEN, CLOSED)]
    assert fleet.at("a", now=1.1).read_latency == pytest.approx(0.010)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (SUCCESS, CLOSED),
        (CALLER_FAULT, CLOSED),
        (FAULT, OPEN),
        (TIMEOUT, OPEN),
        (CANCELLED, HALF_OPEN),
        (THROTTLED, HALF_OPEN),
    ],
)
def test_a_trial_with_a_streamed_body_ends_with_the_body(outcome, state):
    """Good headers do not close the breaker; the end of the body decides."""
    fleet = Fleet("a", "b")
    attempt = trial(fleet)
    fleet.router.settle(attempt, SUCCESS, now=1.1, streamed=True)
    assert fleet.at("a", now=1.1).breaker is HALF_OPEN
    fleet.router.finish(attempt, outcome, now=1.2)
    assert fleet.at("a", now=1.2).breaker is state


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not SUCCESS])
def test_a_trial_that_got_no_body_ends_with_its_answer(outcome):
    """Where no body follows after all, `settle` ends the trial also of a streamed call."""
    fleet = Fleet("a", "b")
    fleet.router.settle(trial(fleet), outcome, now=1.1, streamed=True)
    expected = {FAULT: OPEN, TIMEOUT: OPEN, CALLER_FAULT: CLOSED}.get(outcome, HALF_OPEN)
    assert fleet.at("a", now=1.1).breaker is expected
    if expected is HALF_OPEN:
        fleet.run("b", THROTTLED, now=1.1, retry_after=9.0)
        fleet.run("a", SUCCESS, now=5.0)
        assert fleet.at("a", now=5.0).breaker is CLOSED, "the trial was free again"


def test_a_mebibyte_of_the_body_confirms_the_trial():
    """After 1 MiB of a long body the breaker closes, without waiting for the end."""
    fleet = Fleet("a", "b")
    attempt = trial(fleet)
    fleet.router.settle(attempt, SUCCESS, now=1.1, streamed=True)
    fleet.router.confirm(attempt, now=1.2)
    assert fleet.moves() == [("a", OPEN, HALF_OPEN), ("a", HALF_OPEN, CLOSED)]
    assert load(fleet) == (0, 1)
    fleet.router.confirm(attempt, now=1.3)
    fleet.router.finish(attempt, SUCCESS, now=9.0)
    assert fleet.at("a", now=9.0).breaker is CLOSED
    assert fleet.moves() == []


def test_what_breaks_after_the_confirmation_is_one_fault():
    """The rest of a confirmed body belongs to the generation that the trial began: one fault, no more."""
    fleet = Fleet("a", "b")
    attempt = trial(fleet)
    fleet.router.settle(attempt, SUCCESS, now=1.1, streamed=True)
    fleet.router.confirm(attempt, now=1.2)
    fleet.router.finish(attempt, FAULT, now=1.3)
    assert fleet.at("a", now=1.3).breaker is CLOSED
    fleet.run("a", FAULT, now=1.3, times=4)
    assert fleet.at("a", now=1.3).breaker is OPEN


def test_confirming_anything_else_does_nothing():
    """An attempt that is no trial, not streaming, or over, confirms nothing."""
    fleet = Fleet("a", "b")
    plain = stream(fleet, "b", now=0.0)
    attempt = trial(fleet)
    before = fleet.router.snapshot(now=1.0)
    fleet.router.confirm(plain, now=1.0)
    fleet.router.confirm(attempt, now=1.0)
    assert fleet.router.snapshot(now=1.0) == before
    fleet.router.settle(attempt, CANCELLED, now=1.1)
    fleet.router.confirm(attempt, now=1.2)
    assert fleet.at("a", now=1.2).breaker is HALF_OPEN


def test_a_late_confirmation_takes_no_trial_of_others():
    """A trial that was given up after 60 s and replaced confirms nothing, and never becomes a trial again."""
    fleet = Fleet("a", "b")
    given_up = trial(fleet, now=1.0)
    fleet.router.settle(given_up, SUCCESS, now=1.1, streamed=True)
    fleet.run("a", FAULT, now=61.0)
    assert fleet.at("a", now=61.0).breaker is OPEN
    fleet.router.drain_events()
    before = fleet.at("a", now=100.0)
    fleet.router.confirm(given_up, now=100.0)
    fleet.router.finish(given_up, SUCCESS, now=100.0)
    assert fleet.moves() == []
    after = fleet.at("a", now=100.0)
    assert (after.breaker, after.opened, before.streaming, after.streaming) == (OPEN, 2, 1, 0)
    fleet.run("a", SUCCESS, now=100.0)
    assert fleet.at("a", now=100.0).breaker is CLOSED


def test_while_the_trial_runs_others_go_elsewhere():
    """One trial at a time: with a trial at the nearest endpoint, everybody else is sent to the next."""
    fleet = Fleet("a", "b", random=Random(2).random)
    fleet.know("a", 0.001)
    fleet.know("b", 0.200)
    fleet.trip("a", now=0.0)
    assert fleet.picks(20, now=0.4) == {"b": 20}
    first = fleet.ask(now=2.0)
    assert first.endpoint.id == "a"
    assert fleet.picks(20, now=2.0) == {"b": 20}
    fleet.router.settle(first, SUCCESS, now=2.1, first_byte=0.001)
    assert fleet.picks(20, now=2.1) == {"a": 20}


# --- report ------------------------------------------------------------------------------------------------


def test_reported_failures_trip_the_breaker():
    """Five failures seen with a client of one's own count like five of ours."""
    fleet = Fleet("a", "b")
    assert [fleet.router.report("a", FAULT, now=0.0) for _ in range(5)] == [True] * 5
    assert fleet.moves() == [("a", CLOSED, OPEN)]


def test_reported_answers_move_the_latency():
    """A reported first byte is a sample, a reported failure a penalty."""
    fleet = Fleet("a")
    assert fleet.router.report("a", SUCCESS, now=0.0, first_byte=0.030)
    assert fleet.at("a", now=0.0).read_latency == 0.030
    assert fleet.router.report("a", FAULT, now=0.0)
    assert fleet.at("a", now=0.0).read_latency == pytest.approx(0.280)
    assert fleet.router.report("a", SUCCESS, now=0.0)
    assert fleet.at("a", now=0.0).read_latency == pytest.approx(0.280)


@pytest.mark.parametrize("outcome", [CALLER_FAULT, THROTTLED, CANCELLED])
def test_reported_refusals_are_no_samples(outcome):
    """A quick 404, 429 or cancelled call makes no endpoint look fast, reported no more than observed."""
    fleet = Fleet("a")
    fleet.know("a", 0.100)
    fleet.router.report("a", outcome, now=0.0, first_byte=0.001)
    assert fleet.at("a", now=0.0).read_latency == 0.100


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("state", [OPEN, HALF_OPEN])
def test_reports_count_only_while_closed(outcome, state):
    """Without a permit nobody ends a trial, or an open time: the report is refused and changes nothing."""
    fleet = Fleet("a", "b")
    fleet.trip("a", now=0.0)
    if state is HALF_OPEN:
        fleet.ask("a", now=1.0)
    fleet.router.drain_events()
    before = fleet.router.snapshot(now=1.0)
    assert fleet.router.report("a", outcome, now=1.0, first_byte=0.001) is False
    assert fleet.router.snapshot(now=1.0) == before
    assert fleet.router.drain_events() == []


def test_a_report_about_a_stranger_is_refused():
    """An endpoint that is not in the table, or no longer, has no figures to move."""
    fleet = Fleet("a")
    assert fleet.router.report("x", FAULT, now=0.0) is False


# --- discovery and probes ----------------------------------------------------------------------------------


def test_statistics_survive_a_table_swap():
    """Figures, counters, breaker, limit and probe of a survivor are what they were; news are taken over."""
    fleet = Fleet("a", "b", "c")
    fleet.know("a", 0.020)
    fleet.run("a", THROTTLED, now=0.0)
    fleet.router.record_probe("a", 0.004, now=0.0)
    fleet.trip("b", now=0.0)
    attempt = fleet.ask("c", now=0.0)
    before = {name: fleet.at(name, now=0.5) for name in "abc"}
    fleet.discover("c", "b", "a", "d", now=0.5)
    assert {name: fleet.at(name, now=0.5) for name in "abc"} == before
    assert fleet.router.snapshot(now=0.5).discovered_at == 0.5
    fleet.router.settle(attempt, SUCCESS, now=0.6)
    assert fleet.at("c", now=0.6).requests == 1


def test_an_id_with_a_new_url_starts_anew():
    """The same name at another address is somebody else: no figure, no breaker, no limit is inherited."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.020)
    fleet.trip("a", now=0.0)
    old = fleet.ask("a", now=0.0)
    fleet.discover(report("a", url="https://new.example"), "b", now=0.1)
    shown = fleet.at("a", now=0.1)
    assert (shown.endpoint.url, shown.breaker, shown.read_latency, shown.requests, shown.opened) == (
        "https://new.example",
        CLOSED,
        None,
        0,
        0,
    )
    assert (shown.in_flight, fleet.router.snapshot(now=0.1).in_flight) == (0, 1)
    fleet.router.settle(old, FAULT, now=0.2)
    assert fleet.at("a", now=0.2) == shown
    assert load(fleet) == (0, 0)


def test_what_left_is_gone_with_its_statistics():
    """An endpoint that leaves and comes back under the same URL starts anew as well."""
    fleet = Fleet("a", "b")
    fleet.trip("a", now=0.0)
    fleet.discover("b", now=0.1)
    assert fleet.picks(5, now=0.1) == {"b": 5}
    fleet.discover("a", "b", now=0.2)
    assert (fleet.at("a", now=0.2).breaker, fleet.at("a", now=0.2).failures) == (CLOSED, 0)


def test_a_probe_is_a_prior_until_there_is_an_observation():
    """Probed round trip + published leg ranks endpoints nobody asked; the first answer replaces it."""
    fleet = Fleet(report("a", published=0.005), report("b", published=0.050))
    fleet.router.record_probe("a", 0.200, now=0.0)
    fleet.router.record_probe("b", 0.010, now=0.0)
    assert fleet.at("a", now=0.0).read_latency == pytest.approx(0.205)
    assert fleet.router.best(None, READ, now=0.0).id == "b"
    fleet.run("b", SUCCESS, now=0.0, first_byte=0.700)
    assert fleet.router.best(None, READ, now=0.0).id == "a"


def test_a_failed_probe_drops_the_prior_and_touches_no_breaker():
    """None makes the endpoint unknown again, a hundred of them open nothing, and a good one restores it."""
    fleet = Fleet(report("a", published=0.005), "b")
    fleet.router.record_probe("a", 0.010, now=0.0)
    fleet.router.record_probe("b", 0.300, now=0.0)
    for tick in range(100):
        fleet.router.record_probe("a", None, now=float(tick))
    shown = fleet.at("a", now=100.0)
    assert (shown.read_latency, shown.breaker, shown.failures) == (None, CLOSED, 0)
    assert fleet.moves() == []
    assert fleet.router.best(None, READ, now=100.0).id == "b", "whom nobody answers from comes last"
    fleet.router.record_probe("a", 0.010, now=100.0)
    assert fleet.at("a", now=100.0).read_latency == pytest.approx(0.015)


def test_the_first_good_probe_after_a_failed_one_hastens_the_trial():
    """The endpoint was away and is back: its open breaker admits the trial at once, and only that."""
    fleet = Fleet("a", "b")
    fleet.run("a", TIMEOUT, now=10.0, times=5)
    fleet.router.record_probe("a", 0.010, now=10.1)
    assert fleet.at("a", now=10.1).retry_in == pytest.approx(0.9), "a trial may cost a request seconds"
    fleet.router.record_probe("a", None, now=10.2)
    assert fleet.at("a", now=10.2).retry_in == pytest.approx(0.8)
    fleet.router.record_probe("a", 0.010, now=10.3)
    shown = fleet.at("a", now=10.3)
    assert (shown.breaker, shown.retry_in) == (OPEN, 0.0)
    assert fleet.ask("a", now=10.3)
    assert fleet.at("a", now=10.3).breaker is HALF_OPEN


def test_the_first_good_probe_after_a_failed_one_voids_what_failures_taught():
    """Two timeouts open no breaker, but are remembered for a minute; not once the endpoint is known to be back."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.010)
    fleet.run("a", TIMEOUT, now=1.0, times=2, first_byte=5.0)
    fleet.router.record_probe("a", 0.010, now=1.5)
    assert fleet.at("a", now=1.5).read_latency > 4.0
    fleet.router.record_probe("a", None, now=2.0)
    assert fleet.at("a", now=2.0).read_latency > 4.0
    fleet.router.record_probe("a", 0.010, now=3.0)
    assert fleet.at("a", now=3.0).read_latency == 0.010


def test_a_trial_from_before_the_endpoint_came_back_decides_nothing():
    """It was sent into the void, and times out after the probe was answered: the next request is the trial."""
    fleet = Fleet("a", "b")
    fleet.run("a", TIMEOUT, now=10.0, times=5)
    fleet.router.record_probe("a", None, now=10.5)
    trial = fleet.ask("a", now=11.0)
    fleet.router.record_probe("a", 0.010, now=12.0)
    fleet.router.settle(trial, TIMEOUT, now=16.0, first_byte=5.0)
    shown = fleet.at("a", now=16.0)
    assert (shown.breaker, shown.retry_in, shown.failures) == (HALF_OPEN, 0.0, 6)
    fleet.run("a", SUCCESS, now=16.0, first_byte=0.010)
    shown = fleet.at("a", now=16.0)
    assert (shown.breaker, shown.read_latency) == (CLOSED, 0.010)


def test_a_good_probe_hastens_the_trial_where_errors_opened_the_breaker():
    """A trial that fails fast costs little: a node that answers the probe gets one, however long it was out."""
    fleet = Fleet("a", "b")
    fleet.trip("a", now=10.0)
    fleet.router.record_probe("a", 0.010, now=10.1)
    shown = fleet.at("a", now=10.1)
    assert (shown.breaker, shown.retry_in) == (OPEN, 0.0)
    fleet.run("a", TIMEOUT, now=10.1)
    fleet.router.record_probe("a", 0.010, now=10.2)
    assert fleet.at("a", now=10.2).retry_in == pytest.approx(1.9), "now a trial would cost a request seconds"


def test_a_probe_of_a_stranger_is_ignored():
    """A probe may come back after its endpoint left."""
    fleet = Fleet("a")
    before = fleet.router.snapshot(now=1.0)
    fleet.router.record_probe("x", 0.010, now=1.0)
    assert fleet.router.snapshot(now=1.0) == before


@pytest.mark.parametrize("published", [0.0, -1.0, float("nan"), float("inf")])
def test_published_nonsense_is_unknown_and_never_fastest(published):
    """A node that publishes zero, less or no number gets no prior, not the best one."""
    fleet = Fleet(report("a", published=published), report("b", published=0.050))
    assert fleet.at("a", now=0.0).read_latency is None
    fleet.router.record_probe("a", 0.100, now=0.0)
    assert fleet.at("a", now=0.0).read_latency == pytest.approx(0.100)
    assert fleet.router.best(None, READ, now=0.0).id == "b"


def test_a_measured_zero_is_a_value():
    """A round trip or first byte of zero seconds was measured: known, and the best."""
    fleet = Fleet("a", "b")
    fleet.router.record_probe("a", 0.0, now=0.0)
    fleet.router.record_probe("b", 0.100, now=0.0)
    assert fleet.at("a", now=0.0).read_latency == 0.0
    fleet.run("a", SUCCESS, now=0.0, first_byte=0.0)
    assert fleet.at("a", now=0.0).read_latency == 0.0
    assert fleet.picks(10, now=1.0) == {"a": 10}


# --- best --------------------------------------------------------------------------------------------------


def test_best_takes_nothing():
    """Asking for the best endpoint takes no permit, no token and no trial."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.001)
    fleet.trip("a", now=0.0)
    fleet.router.drain_events()
    before = fleet.router.snapshot(now=1.0)
    assert {fleet.router.best("photos", READ, now=1.0).id for _ in range(20)} == {"a"}
    assert fleet.router.snapshot(now=1.0) == before
    assert fleet.moves() == []


# --- events ------------------------------------------------------------------------------------------------


def test_events_happen_once_and_in_order():
    """Every change of state is told once, with what one needs to log it; draining empties."""
    fleet = Fleet()
    fleet.discover("a", "b", now=0.0)
    fleet.trip("a", now=10.0)
    fleet.run("a", FAULT, now=10.5)
    fleet.run("a", FAULT, now=11.0)
    fleet.run("a", SUCCESS, now=13.0)
    fleet.run("b", THROTTLED, now=13.0, times=1, retry_after=7.0)
    fleet.discover(report("a", url="https://new.example"), now=14.0)
    assert fleet.router.drain_events() == [
        EndpointJoined("a", "https://a.example"),
        EndpointJoined("b", "https://b.example"),
        BreakerChanged("a", CLOSED, OPEN, "5 failures in a row", 1.0),
        BreakerChanged("a", OPEN, HALF_OPEN, "", 0.0),
        BreakerChanged("a", HALF_OPEN, OPEN, "trial failed (endpoint fault)", 2.0),
        BreakerChanged("a", OPEN, HALF_OPEN, "", 0.0),
        BreakerChanged("a", HALF_OPEN, CLOSED, "", 0.0),
        RateLearned("b", 0.6, 7.0),
        EndpointLeft("a", "https://a.example"),
        EndpointLeft("b", "https://b.example"),
        EndpointJoined("a", "https://new.example"),
    ]
    assert fleet.router.drain_events() == []


def test_the_same_discovery_again_is_no_news():
    """A table that did not change makes no events."""
    fleet = Fleet("a", "b")
    fleet.discover("b", "a", now=1.0)
    assert fleet.router.drain_events() == []


def test_a_limit_is_learned_once():
    """Further 429s adjust the limit without another event."""
    fleet = Fleet("a")
    attempts = [fleet.ask("a", now=0.0) for _ in range(20)]
    for attempt in attempts:
        fleet.router.settle(attempt, THROTTLED, now=0.1)
    fleet.run("a", THROTTLED, now=60.0)
    assert fleet.router.drain_events() == [RateLearned("a", pytest.approx(12.0), None)]


def test_what_left_the_table_makes_no_more_events():
    """Late results of an endpoint that left are not told as if they were of its successor's."""
    fleet = Fleet("a", "b")
    attempts = [fleet.ask("a", now=0.0) for _ in range(12)]
    fleet.discover(report("a", url="https://new.example"), "b", now=1.0)
    fleet.router.drain_events()
    for index, attempt in enumerate(attempts):
        fleet.router.settle(attempt, FAULT if index < 6 else THROTTLED, now=2.0)
    assert fleet.router.drain_events() == []
    assert load(fleet) == (0, 0)


def test_events_nobody_drains_do_not_grow_for_ever():
    """Of events that nobody takes only the latest thousand are kept."""
    fleet = Fleet()
    for index in range(800):
        fleet.discover(f"n{index}", now=float(index))
    events = fleet.router.drain_events()
    assert len(events) == 1_000
    assert events[-1] == EndpointJoined("n799", "https://n799.example")


# --- retries -----------------------------------------------------------------------------------------------


def test_retries_are_paid_from_one_budget():
    """A retry costs 14 tokens, after a 429 five; a refund gives back what was paid."""
    router = Fleet("a").router
    assert router.pay_for_retry(FAULT) == 14
    assert router.pay_for_retry(THROTTLED) == 5
    assert router.snapshot(now=0.0).retry_budget == 481
    router.refund_retry(14)
    assert router.snapshot(now=0.0).retry_budget == 495


def test_requests_in_flight_and_bodies_widen_the_budget():
    """Fifty requests, half of them streaming, allow 50 x 14 tokens, and 14 for the one that asks."""
    fleet = Fleet("a")
    for index in range(50):
        attempt = fleet.ask("a", now=0.0)
        if index % 2:
            fleet.router.settle(attempt, SUCCESS, now=0.0, streamed=True)
    assert fleet.router.snapshot(now=0.0).retry_budget == 700
    paid = [fleet.router.pay_for_retry(TIMEOUT) for _ in range(51)]
    assert paid == [14] * 51


def test_all_that_fail_at_once_can_be_retried():
    """A node dies with forty requests in flight: each settles, pays and goes on, the last one as well."""
    fleet = Fleet("a", "b")
    attempts = [fleet.ask("a", now=0.0) for _ in range(40)]
    for attempt in attempts:
        fleet.router.settle(attempt, FAULT, now=1.0)
        assert fleet.router.pay_for_retry(FAULT) == 14
        fleet.ask("b", now=1.0)


@pytest.mark.parametrize(
    ("hop", "tried", "seconds"),
    [(1, ("a",), 0.0), (1, ("a", "b"), 0.025), (2, ("a",), 0.025), (2, ("b", "a"), 0.05), (3, ("a",), 0.05)],
)
def test_backoff_asks_whether_somebody_is_left(hop, tried, seconds):
    """The first hop to an untried endpoint is immediate; otherwise 50 ms x 2^n with full jitter."""
    assert Fleet("a", "b").router.backoff(hop, tried) == pytest.approx(seconds)


# --- nothing leaks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("stage", ["waiting", "streaming", "trial", "streaming trial", "confirmed", "left"])
def test_whatever_is_cancelled_nothing_is_in_flight_at_rest(stage, outcome):
    """However an attempt ends, at whatever stage, the counters are zero and the next trial is free."""
    fleet = Fleet("a", "b")
    needs_trial = "trial" in stage or stage == "confirmed"
    attempt = trial(fleet) if needs_trial else fleet.ask("a", now=1.0)
    if stage == "left":
        fleet.discover("b", now=1.0)
    if stage in {"streaming", "streaming trial", "confirmed"}:
        fleet.router.settle(attempt, SUCCESS, now=1.1, streamed=True)
        if stage == "confirmed":
            fleet.router.confirm(attempt, now=1.1)
        fleet.router.finish(attempt, outcome, now=1.2)
    else:
        fleet.router.settle(attempt, outcome, now=1.2)
    assert load(fleet) == (0, 0)
    assert all((row.in_flight, row.streaming) == (0, 0) for row in fleet.router.snapshot(now=1.2).endpoints)
    if stage != "left":
        fleet.run("a", SUCCESS, now=100.0)
        assert fleet.at("a", now=100.0).breaker is CLOSED
