"""Membership: what a discovery changes, and what it leaves alone; rows of a discovery and what they mean."""

from __future__ import annotations

from itertools import product
from math import inf, nan

import pytest

from flashback_async.errors import NoEndpointAvailableError
from flashback_async.routing import (
    Endpoint,
    EndpointJoined,
    EndpointLeft,
    EndpointReport,
    EndpointStatus,
    RoutingPolicy,
)
from flashback_async.routing.catalog import updated
from flashback_async.routing.table import Table

from .fleet import MIDDLE, report

A, B, C = report("a"), report("b"), report("c")
A_MOVED = report("a", url="https://elsewhere.example")
A_OFFLINE = report("a", status=EndpointStatus.OFFLINE, published=0.5)


def known(*rows: EndpointReport) -> dict[str, EndpointReport]:
    return {row.endpoint.id: row for row in rows}


@pytest.mark.parametrize(
    ("before", "news", "after", "joined", "left"),
    [
        ((), (), (), (), ()),
        ((), (A, B), (A, B), (A, B), ()),
        ((A, B), (A, B), (A, B), (), ()),
        ((A, B), (B, A), (B, A), (), ()),
        ((A, B), (B, C), (B, C), (C,), (A,)),
        ((A, B), (), (), (), (A, B)),
        ((A,), (A_OFFLINE,), (A_OFFLINE,), (), ()),
        ((A, B), (A_MOVED, B), (A_MOVED, B), (A_MOVED,), (A,)),
        ((A,), (A, A_MOVED), (A,), (), ()),
        ((A,), (A_MOVED, A), (A_MOVED,), (A_MOVED,), (A,)),
    ],
    ids=[
        "nothing",
        "first discovery",
        "the same",
        "another order",
        "one comes, one goes",
        "all go",
        "another status",
        "another URL",
        "twice: the first row counts",
        "twice: the first row counts, moved",
    ],
)
def test_old_plus_news_is_new(before, news, after, joined, left):
    """Missing endpoints leave, new ones join, one with another URL does both; the rest survives."""
    change = updated(known(*before), iter(news))
    assert list(change.reports.values()) == list(after)
    assert change.joined == joined
    assert change.left == left


def test_the_input_is_not_touched():
    """What was known is another value afterwards, not a changed one."""
    before = known(A, B)
    updated(before, (C,))
    assert before == known(A, B)


# --- the table ---------------------------------------------------------------------------------------------


def table(*rows: EndpointReport, old: Table | None = None, now: float = 1.0) -> Table:
    return (old or Table({})).updated(rows, now=now, policy=RoutingPolicy(), random=MIDDLE)[0]


def test_a_new_table_leaves_the_old_one_as_it_was():
    """A discovery makes a new table: who still holds the old one sees its members, unchanged."""
    old = table(A, B)
    new, events = old.updated((B, C, A_MOVED), now=2.0, policy=RoutingPolicy(), random=MIDDLE)
    assert [row.report for row in old.rows] == [A, B]
    assert [row.report for row in new.rows] == [B, C, A_MOVED]
    assert (old.discovered_at, new.discovered_at) == (1.0, 2.0)
    assert events == [
        EndpointLeft("a", A.endpoint.url),
        EndpointJoined("c", C.endpoint.url),
        EndpointJoined("a", A_MOVED.endpoint.url),
    ]


def test_a_survivor_keeps_its_record_and_a_successor_does_not():
    """The record stays with the same id and URL; under another URL a new one begins."""
    old = table(A, B)
    new = table(A_MOVED, report("b", published=0.1), old=old)
    assert new.records["b"] is old.records["b"]
    assert new.records["b"].report.latency_of(None) == 0.1
    assert new.records["a"] is not old.records["a"]
    assert [new.holds(record) for record in old.rows] == [False, True]


def test_an_empty_table_says_what_to_do():
    """Nobody to ask is an error whose text names the way out."""
    with pytest.raises(NoEndpointAvailableError, match=r"FB_ENDPOINTS.*refresh\(\)"):
        Table({}).all()
    assert Table({}).discovered_at is None


def test_an_unknown_pin_names_the_known_ones():
    """A pinned id that is not in the table is an error that lists what is."""
    with pytest.raises(NoEndpointAvailableError, match="'x' is not in the table; known ones: a, b") as caught:
        table(A, B).only("x", 0.0)
    assert caught.value.detail == {"x": "not in the table"}
    with pytest.raises(NoEndpointAvailableError, match="known ones: none"):
        Table({}).only("x", 0.0)
    assert table(A, B).only("b", 0.0).report is B


# --- rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("published", "bucket", "latency"),
    [
        ({}, "photos", None),
        ({"photos": 0.02}, "photos", 0.02),
        ({"photos": 0.02}, "films", None),
        ({"photos": 0.02}, None, None),
        ({"photos": 0.02, None: 0.3}, "films", 0.3),
        ({"photos": 0.02, None: 0.3}, None, 0.3),
        ({"photos": 0.0}, "photos", None),
        ({"photos": 0}, "photos", None),
        ({"photos": -0.02}, "photos", None),
        ({"photos": nan}, "photos", None),
        ({"photos": inf}, "photos", None),
        ({"photos": -inf}, "photos", None),
        ({"photos": None}, "photos", None),
        ({"photos": 1e-9}, "photos", 1e-9),
    ],
)
def test_published_zero_negative_and_nonsense_mean_unknown(published, bucket, latency):
    """A published latency is a number above zero, of the bucket or else of the node; all else is unknown."""
    assert report("a", published=published).latency_of(bucket) == latency


@pytest.mark.parametrize(("status", "bucket"), list(product(EndpointStatus, ["photos", "films", None])))
def test_only_an_online_node_that_reaches_the_bucket_serves_it(status, bucket):
    """A node serves what it is online for; a bucket it cannot reach it does not serve."""
    row = report("a", status=status, offline=["films"])
    assert row.serves(bucket) is (status is EndpointStatus.ONLINE and bucket != "films")


def test_a_report_without_details_is_online_everywhere():
    """A bare endpoint is online, publishes nothing and serves everything."""
    row = EndpointReport(endpoint=Endpoint(id="a", url="https://a.example"))
    assert row.status is EndpointStatus.ONLINE
    assert row.latency_of("photos") is None
    assert row.serves("photos")
    assert row.serves(None)
    assert row.endpoint.region == ""
