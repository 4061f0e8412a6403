"""What the router says of its own choices."""

from __future__ import annotations

import pytest

from flashback_async.routing import EndpointStatus
from flashback_async.routing.explain import Verdict
from flashback_async.routing.policy import MIB

from .fleet import CLOSED, FAULT, HALF_OPEN, OPEN, READ, SUCCESS, THROTTLED, WRITE, Fleet, report


def told(fleet, name, *, now, bucket=None, kind=READ, tried=(), size=None):
    """The explanation of one endpoint."""
    rows = fleet.router.explain(bucket, kind, tried=tried, size=size, now=now)
    return next(row for row in rows if row.endpoint.id == name)


def words(row):
    """Verdict and reason."""
    return row.verdict, row.reason


def test_an_empty_table_is_explained_by_nothing():
    """Asking why before the first discovery is no error."""
    assert Fleet().router.explain(None, now=0.0) == ()


def test_explaining_changes_nothing():
    """The same question twice has the same answer, and takes no permit, no token and no count."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.010)
    before = fleet.router.snapshot(now=1.0)
    assert fleet.router.explain(None, now=1.0) == fleet.router.explain(None, now=1.0)
    assert fleet.router.snapshot(now=1.0) == before


def test_the_running_ones_are_told_with_their_figures():
    """Who may be chosen next is told with what it costs and what would still count as equal."""
    fleet = Fleet("a", "b", "c")
    for name, first_byte in (("a", 0.010), ("b", 0.020), ("c", 0.200)):
        fleet.know(name, first_byte)
    row = told(fleet, "a", now=0.0)
    assert row.in_the_running
    assert words(row) == (
        Verdict.PREFERRED,
        "one of 2 that share the traffic: 10 ms expected; up to 25 ms counts as equal",
    )
    assert (row.floor, row.excess, row.score, row.load, row.breaker) == (0.010, 0.0, 0.010, 0, CLOSED)
    assert (row.rate_limit, row.retry_in, row.outcomes, row.expected) == (None, 0.0, 5, 0.010)


def test_the_only_one_is_the_best():
    """Without company there is nobody to share with."""
    fleet = Fleet("a")
    fleet.know("a", 1.5)
    assert told(fleet, "a", now=0.0).reason == "the best: 1.5 s expected; up to 1.9 s counts as equal"


def test_a_far_one_is_told_what_would_do():
    """Who is too slow is told what it takes and what would do."""
    fleet = Fleet("a", "c")
    fleet.know("a", 0.0042)
    fleet.know("c", 0.200)
    row = told(fleet, "c", now=0.0)
    assert not row.in_the_running
    assert words(row) == (Verdict.SLOWER, "slower: 200 ms expected; 19 ms would do")
    assert told(fleet, "a", now=0.0).reason == "the best: 4.2 ms expected; up to 19 ms counts as equal"


def test_a_slow_one_is_told_with_its_distance_and_what_comes_on_top():
    """Who is near and slow is told so: the distance is one figure, failures and slow answers are another."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.010)
    fleet.know("b", 0.010)
    fleet.run("b", FAULT, now=0.0, first_byte=0.001)
    assert told(fleet, "b", now=0.0).reason == (
        "slower: 260 ms expected (10 ms distance + 250 ms for slow or failed answers of late); 25 ms would do"
    )


@pytest.mark.parametrize(("load", "said"), [(1, "1 request"), (9, "9 requests")])
def test_a_busy_one_is_told_with_its_load(load, said):
    """Who is out for its load is told so."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.010)
    fleet.know("b", 0.010)
    fleet.run("b", now=0.0, first_byte=0.060)
    fleet.run("b", now=1.0, first_byte=0.160)
    for _ in range(load):
        fleet.ask("b", now=1.0)
    row = told(fleet, "b", now=1.0)
    assert row.verdict is Verdict.SLOWER
    assert row.reason.endswith(f" ms for {said} under way); 25 ms would do")


def test_a_large_body_is_told_where_it_decides():
    """Where the size of the body makes one slower, it is told beside the load."""
    fleet = Fleet("a", "b")
    for name, seconds in (("a", 1.0), ("b", 4.0)):
        fleet.know(name, 0.010)
        attempt = fleet.ask(name, now=0.0)
        fleet.router.settle(attempt, SUCCESS, now=0.0, first_byte=0.010, streamed=True)
        fleet.router.finish(attempt, SUCCESS, now=0.0, bytes_moved=8 * MIB, seconds=seconds)
    assert told(fleet, "b", now=0.0, size=8 * MIB).reason == (
        "slower: 4.0 s expected (10 ms distance + 4.0 s for a body of 8 MiB); 1.3 s would do"
    )
    fleet.run("b", FAULT, now=0.0, first_byte=0.001)
    fleet.ask("b", now=0.0)
    assert "for 1 request under way and a body of 8 MiB)" in told(fleet, "b", now=0.0, size=8 * MIB).reason


def test_what_the_control_plane_says_is_told():
    """Nodes that discovery ruled out are told by its own word, for the node and for the bucket."""
    fleet = Fleet("a", report("b", status=EndpointStatus.DISCONNECTED), report("c", offline={"photos"}))
    assert words(told(fleet, "b", now=0.0, bucket="photos")) == (
        Verdict.OFFLINE,
        "the control plane says it is disconnected; asked only if no node is online",
    )
    assert words(told(fleet, "c", now=0.0, bucket="photos")) == (
        Verdict.CUT_OFF,
        "the control plane says it cannot reach photos; asked only if no node can",
    )
    assert told(fleet, "c", now=0.0, bucket="films").in_the_running


def test_the_last_resort_is_told():
    """When the control plane rules everybody out, all are asked, and each is told why nevertheless."""
    fleet = Fleet(report("a", status=EndpointStatus.OFFLINE), report("b", offline={"photos"}))
    fleet.know("a", 0.010)
    fleet.know("b", 0.010)
    assert told(fleet, "a", now=0.0, bucket="photos").reason.endswith(
        "counts as equal. The control plane says it is offline, but no node is better off: last resort"
    )
    assert told(fleet, "b", now=0.0, bucket="photos").reason.endswith(
        "The control plane says it cannot reach photos, but no node is better off: last resort"
    )
    assert "last resort" not in told(fleet, "b", now=0.0, bucket="films").reason


def test_one_that_was_tried_is_told_so():
    """A request's own history counts in the explanation as in the pick."""
    assert words(told(Fleet("a", "b"), "a", now=0.0, tried={"a"})) == (
        Verdict.TRIED,
        "this request failed here before; it comes back only if no other node is left",
    )


def test_an_open_breaker_is_told_with_its_reason_and_its_end():
    """Who is out is told why, and when somebody looks again."""
    fleet = Fleet("a", "b")
    fleet.trip("a", now=0.0)
    row = told(fleet, "a", now=0.4)
    assert row.breaker is OPEN
    assert row.score is None
    assert row.retry_in == pytest.approx(0.6)
    assert words(row) == (Verdict.OUT, "out: 5 failures in a row; one request will try it in 600 ms")


def test_a_trial_is_told_before_and_while_it_runs():
    """Who may have its trial is told so; who has it is not available."""
    fleet = Fleet("a", "b")
    fleet.trip("a", now=0.0)
    assert told(fleet, "a", now=1.0).reason.endswith(
        ". It was out (5 failures in a row): its next request is the trial"
    )
    fleet.ask("a", now=1.0)
    row = told(fleet, "a", now=1.1)
    assert row.breaker is HALF_OPEN
    assert words(row) == (
        Verdict.ON_TRIAL,
        "was out (5 failures in a row); one request is there now to see if it is back",
    )


def test_panic_is_told():
    """When breakers are ignored because most are open, that is the reason given."""
    fleet = Fleet("a", "b", "c")
    fleet.trip("a", now=0.0)
    fleet.trip("b", now=0.0)
    fleet.run("c", FAULT, now=0.0, times=4, first_byte=0.0)
    rows = fleet.router.explain(None, READ, now=0.1)
    assert all(row.in_the_running for row in rows)
    assert rows[0].reason.endswith(". It is out (5 failures in a row), but so are most, and all are asked")
    assert "so are most" not in rows[2].reason


def test_a_rate_limit_is_told_with_the_wait():
    """Who is at its learned limit is told the limit and when the next request may go."""
    fleet = Fleet("a", "b")
    fleet.run("a", THROTTLED, now=0.0)
    row = told(fleet, "a", now=0.0)
    assert (row.rate_limit, row.retry_in) == (0.6, pytest.approx(1 / 0.6))
    assert words(row) == (
        Verdict.RATE_LIMITED,
        "it answered 429 (asked for less), so it gets 0.6 requests/s for now; the next one may go in 1.7 s",
    )


def test_when_all_are_at_their_limit_each_is_told_so():
    """A pick that would have to wait rules nobody in, and tells where requests go first."""
    fleet = Fleet("a", "b")
    fleet.run("a", THROTTLED, now=0.0)
    fleet.run("b", THROTTLED, now=0.0, retry_after=30.0)
    rows = fleet.router.explain(None, READ, now=0.0)
    assert [row.in_the_running for row in rows] == [False, False]
    limited = "Every node that could serve is limited, so requests wait; they go"
    assert rows[0].reason.endswith(f"in 1.7 s. {limited} here first")
    assert rows[1].reason.endswith(f"in 30.0 s. {limited} elsewhere first, in 1.7 s")


def test_a_new_one_is_told_how_much_is_known():
    """Who is new and busy is told how much is known of it."""
    fleet = Fleet("a", "b")
    fleet.know("b", 0.010)
    fleet.run("a", now=0.0, times=2, first_byte=0.010)
    fleet.ask("a", now=0.0)
    assert words(told(fleet, "a", now=0.0)) == (
        Verdict.NEW,
        "new, 2 of 5 requests seen: it gets one at a time until then, and has one now",
    )


def test_silence_is_told_with_who_waits():
    """Who answers nothing is told how long, and how many wait for it."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.010)
    fleet.know("b", 0.010)
    fleet.ask("a", now=0.0)
    fleet.ask("a", now=0.1)
    assert words(told(fleet, "a", now=0.5)) == (
        Verdict.SILENT,
        "silent: nothing came back for 500 ms, with 2 requests waiting",
    )


def test_a_failed_probe_is_told():
    """Who never answered anything is told by its last probe; who answered before, by both."""
    fleet = Fleet("a", "b")
    fleet.know("b", 0.010)
    for name in ("a", "b"):
        fleet.router.record_probe(name, None, now=0.0)
    assert words(told(fleet, "a", now=0.0)) == (
        Verdict.PROBE_FAILED,
        "its last probe failed and no request was answered yet: it comes last",
    )
    assert told(fleet, "b", now=0.0).reason == (
        "the best: 10 ms expected (its last probe failed); up to 25 ms counts as equal"
    )


@pytest.mark.parametrize(
    ("rtt", "published", "said"),
    [
        (0.012, 0.030, "42 ms expected (nothing observed yet: 12 ms round trip + 30 ms published)"),
        (0.012, None, "12 ms expected (nothing observed yet: 12 ms round trip)"),
        (None, 0.030, "30 ms expected (nothing observed yet: 30 ms published)"),
        (None, None, "nothing known of its distance yet"),
    ],
)
def test_a_guess_is_told_as_one(rtt, published, said):
    """Before anything was observed, the figure is told with what it is made of."""
    fleet = Fleet(report("a", published=published))
    if rtt is not None:
        fleet.router.record_probe("a", rtt, now=0.0)
    row = told(fleet, "a", now=0.0)
    assert row.reason.startswith(f"the best: {said}; up to ")
    assert row.expected == (None if rtt is published is None else row.score)
    fleet.know("a", 0.020, kind=WRITE)
    assert told(fleet, "a", now=0.0).reason.startswith(f"the best: {said}; up to ")
    assert told(fleet, "a", now=0.0, kind=WRITE).reason.startswith("the best: 20 ms expected; up to ")


def test_one_that_only_ever_failed_has_no_distance():
    """Failures are no measurement: who never answered is told by them alone."""
    fleet = Fleet("a", "b")
    fleet.know("b", 0.010)
    fleet.run("a", FAULT, now=0.0, first_byte=0.001)
    assert told(fleet, "a", now=0.0).reason == (
        "slower: nothing known of its distance yet (250 ms for slow or failed answers of late); "
        "25 ms would do"
    )


def test_who_was_ruled_out_early_is_told_with_its_figures():
    """What is expected of one that is out is its figures without a load; unknown stays unknown."""
    fleet = Fleet("a", "b", "c")
    fleet.know("a", 0.010)
    fleet.trip("a", now=0.0)
    fleet.trip("b", now=0.0)
    fleet.know("c", 0.010)
    fleet.discover("a", "b", "c", "d", now=0.0)
    row = told(fleet, "a", now=0.1)
    assert row.score is None
    assert row.expected == pytest.approx(row.floor + row.excess)
    assert told(fleet, "b", now=0.1).expected is None


def test_verdicts_are_in_order():
    """The order of the verdicts is that of how near one is to getting a request: commands sort by it."""
    verdicts = list(Verdict)
    assert verdicts[0] is Verdict.PREFERRED
    assert verdicts.index(Verdict.SLOWER) < verdicts.index(Verdict.RATE_LIMITED) < verdicts.index(Verdict.OUT)
    assert verdicts[-1] is Verdict.OFFLINE


def test_a_retry_is_told_why_it_avoids_who_answered_429():
    """The first attempt may go there, a retry goes elsewhere, and both are told."""
    fleet = Fleet("a", "b", "c")
    for name in "abc":
        fleet.know(name, 0.010)
    fleet.run("b", THROTTLED, now=1.0)
    rows = {row.endpoint.id: row for row in fleet.router.explain(None, READ, tried=("a",), now=9.0)}
    assert rows["b"].verdict is Verdict.RATE_LIMITED
    assert rows["b"].reason == "it answered 429 (asked for less) lately; a retry goes where nobody did"
    assert rows["c"].in_the_running
    again = {row.endpoint.id: row for row in fleet.router.explain(None, READ, now=9.0)}
    assert again["b"].in_the_running
