"""What the router says of its own choices."""

from __future__ import annotations

from flashback_async.routing import EndpointStatus

from .fleet import CLOSED, FAULT, HALF_OPEN, OPEN, READ, THROTTLED, Fleet, report


def told(fleet, name, *, now, bucket=None, tried=(), size=None):
    """The explanation of one endpoint."""
    rows = fleet.router.explain(bucket, READ, tried=tried, size=size, now=now)
    return next(row for row in rows if row.endpoint.id == name)


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
    assert row.reason == "one of 2 as good as the best: 10 ms expected, up to 25 ms counts as equal"
    assert (row.floor, row.excess, row.score, row.load, row.breaker) == (0.010, 0.0, 0.010, 0, CLOSED)
    assert (row.rate_limit, row.outcomes) == (None, 5)


def test_the_only_one_is_the_best():
    """Without company there is nobody to be equal to."""
    fleet = Fleet("a")
    fleet.know("a", 1.5)
    assert told(fleet, "a", now=0.0).reason == "the best: 1.5 s expected, up to 1.9 s counts as equal"


def test_a_far_one_is_told_with_its_distance():
    """Who is too slow is told what its time is made of, and what would do."""
    fleet = Fleet("a", "c")
    fleet.know("a", 0.010)
    fleet.know("c", 0.200)
    row = told(fleet, "c", now=0.0)
    assert not row.in_the_running
    assert row.reason == "slower: 200 ms expected (200 ms distance + 0 ms on top), 25 ms would do"


def test_a_busy_one_is_told_with_its_load():
    """Who is out for its load is told so."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.010)
    fleet.know("b", 0.010)
    fleet.run("b", now=0.0, first_byte=0.030)
    fleet.run("b", now=1.0, first_byte=0.060)
    for _ in range(9):
        fleet.ask("b", now=1.0)
    row = told(fleet, "b", now=1.0)
    assert not row.in_the_running
    assert row.reason.endswith("weighed with 9 requests there), 25 ms would do")


def test_what_the_control_plane_says_is_told():
    """Nodes that discovery ruled out are told by its own word, for the node and for the bucket."""
    fleet = Fleet("a", report("b", status=EndpointStatus.DISCONNECTED), report("c", offline={"photos"}))
    assert told(fleet, "b", now=0.0, bucket="photos").reason == "the control plane says it is disconnected"
    assert (
        told(fleet, "c", now=0.0, bucket="photos").reason == "the control plane says it cannot reach photos"
    )
    assert told(fleet, "c", now=0.0, bucket="films").in_the_running


def test_one_that_was_tried_is_told_so():
    """A request's own history counts in the explanation as in the pick."""
    assert told(Fleet("a", "b"), "a", now=0.0, tried={"a"}).reason == "this request already tried it"


def test_an_open_breaker_is_told_with_its_reason_and_its_end():
    """Who is out is told why, and for how long."""
    fleet = Fleet("a", "b")
    fleet.trip("a", now=0.0)
    row = told(fleet, "a", now=0.4)
    assert row.breaker is OPEN
    assert row.score is None
    assert row.reason == "out for another 0.6 s: 5 failures in a row"


def test_a_trial_is_told_before_and_while_it_runs():
    """Who may have its trial is told so; who has it is not available."""
    fleet = Fleet("a", "b")
    fleet.trip("a", now=0.0)
    assert told(fleet, "a", now=1.0).reason.endswith("its next request is the trial of its breaker")
    fleet.ask("a", now=1.0)
    row = told(fleet, "a", now=1.1)
    assert row.breaker is HALF_OPEN
    assert row.reason == "on trial: one request is deciding whether it is back"


def test_panic_is_told():
    """When breakers are ignored because most are open, that is the reason given."""
    fleet = Fleet("a", "b", "c")
    fleet.trip("a", now=0.0)
    fleet.trip("b", now=0.0)
    fleet.run("c", FAULT, now=0.0, times=4, first_byte=0.0)
    rows = fleet.router.explain(None, READ, now=0.1)
    assert all(row.in_the_running for row in rows)
    assert rows[0].reason.endswith("its breaker is open, but so are most: breakers are ignored")
    assert "breakers are ignored" not in rows[2].reason


def test_a_rate_limit_is_told_with_the_wait():
    """Who is at its learned limit is told the limit and when the next request may go."""
    fleet = Fleet("a", "b")
    fleet.run("a", THROTTLED, now=0.0)
    row = told(fleet, "a", now=0.0)
    assert row.rate_limit == 0.5
    assert row.reason == (
        "at its rate limit of 0.5 requests/s, learned from its 429s; the next request may go in 2.00 s"
    )


def test_when_all_are_at_their_limit_each_is_told_so():
    """A pick that would have to wait rules nobody in."""
    fleet = Fleet("a", "b")
    for name in ("a", "b"):
        fleet.run(name, THROTTLED, now=0.0)
    assert [row.in_the_running for row in fleet.router.explain(None, READ, now=0.0)] == [False, False]


def test_a_new_one_is_told_how_far_it_is():
    """Who is new and busy is told how much is known of it."""
    fleet = Fleet("a", "b")
    fleet.know("b", 0.010)
    fleet.run("a", now=0.0, times=2, first_byte=0.010)
    fleet.ask("a", now=0.0)
    assert told(fleet, "a", now=0.0).reason == "new, 2 of 5 outcomes seen: one request at a time"


def test_silence_is_told_with_who_waits():
    """Who answers nothing is told how long, and how many wait for it."""
    fleet = Fleet("a", "b")
    fleet.know("a", 0.010)
    fleet.know("b", 0.010)
    fleet.ask("a", now=0.0)
    fleet.ask("a", now=0.1)
    assert told(fleet, "a", now=0.5).reason == "silent for 0.50 s with 2 requests waiting"


def test_a_failed_probe_is_told():
    """Who never answered anything is told by its last probe."""
    fleet = Fleet("a", "b")
    fleet.know("b", 0.010)
    fleet.router.record_probe("a", None, now=0.0)
    assert told(fleet, "a", now=0.0).reason == "its last probe failed, and nothing else is known of it"
