"""The server selection tests of the MongoDB drivers.

Source: github.com/mongodb/mongo-python-driver at ebc4bff, Apache-2.0: the JSON files of
`test/server_selection/{rtt,in_window,server_selection}` and `TestProse.test_load_balancing` of
`test/test_server_selection_in_window.py`.

Transcribed: every vector of the moving average; every table of pick frequencies with its rounds and its
tolerance; every selection table whose suitable servers do not depend on who else was left out; the prose
test. Servers that the read preference or the tags rule out are, here, nodes that do not serve the bucket.
The terms of our window that Mongo does not have (25 % of the best, two mean deviations) are turned off.

Differences:

- A falling round trip counts at once here (the floor), and by a fifth there.
- Where no server is suitable, Mongo fails the operation; here every node is a last resort, for the control
  plane may be wrong.
- A preference with a second choice (`primaryPreferred`, `secondaryPreferred`) gives way when all of the
  first choice were tried. We know no second choice: who cannot serve the bucket is not asked while somebody
  can, and a node that was tried is asked again.
- Parsing of tag sets, staleness and server types has no counterpart.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import pytest

from flashback_async.errors import NoEndpointAvailableError
from flashback_async.routing import RoutingPolicy
from flashback_async.routing.latency import LatencyFigure
from routing.fleet import CANCELLED, Fleet, report
from routing.transcribed.traffic import Traffic

ONLY_15_MS = RoutingPolicy(window_minimum=0.015, window_share=0.0, window_deviations=0.0)
ANY_DISTANCE = RoutingPolicy(window_minimum=1_000.0, window_share=0.0, window_deviations=0.0)
MS = 1e-3


# --- rtt -----------------------------------------------------------------------------------------------------

RTT = [
    ("first_value", None, 10, 10),
    ("first_value_zero", None, 0, 0),
    ("value_test_1", 0, 5, 1),
    ("value_test_2", 3.1, 36, 9.68),
    ("value_test_3", 9.12, 9.12, 9.12),
    ("value_test_4", 1, 1_000, 200.8),
    ("value_test_5", 0, 0.25, 0.05),
]


@pytest.mark.parametrize(
    ("average", "sample", "then"), [case[1:] for case in RTT], ids=[case[0] for case in RTT]
)
def test_rtt_moving_average(average, sample, then):
    """The first round trip is the average, a later one moves it by a fifth; a measured zero is a value."""
    figure = LatencyFigure(RoutingPolicy())
    fleet = Fleet("a")
    for now, value in ((0.0, average), (1.0, sample)):
        if value is not None:
            figure.observe(value * MS, now)
            fleet.run("a", now=now, first_byte=value * MS)
    assert figure.floor + figure.excess(1.0) == pytest.approx(then * MS)
    assert fleet.at("a", now=1.0).read_latency == pytest.approx(then * MS)


def test_difference_a_falling_round_trip_counts_at_once():
    """From 10 ms, Mongo's average falls to 9 ms with a sample of 5 ms; ours is 5 ms, the new floor."""
    figure = LatencyFigure(RoutingPolicy())
    figure.observe(10 * MS, 0.0)
    figure.observe(5 * MS, 1.0)
    assert figure.floor + figure.excess(1.0) == pytest.approx(5 * MS)


# --- in_window -----------------------------------------------------------------------------------------------


class Frequencies(NamedTuple):
    operations: dict[str, int]
    rounds: int
    tolerance: float
    expected: dict[str, float]


IN_WINDOW = {
    "equilibrium": Frequencies({"a": 5, "b": 5, "c": 5}, 2_000, 0.05, {"a": 0.33, "b": 0.33, "c": 0.33}),
    "rs-equilibrium": Frequencies({"a": 6, "b": 6, "c": 6}, 2_000, 0.05, {"a": 0.33, "b": 0.33, "c": 0.33}),
    "three-choices, rs-three-choices": Frequencies(
        {"a": 3, "b": 6, "c": 20}, 2_000, 0.05, {"a": 0.66, "b": 0.33, "c": 0}
    ),
    "one-least-two-tied": Frequencies(
        {"a": 16, "b": 10, "c": 16}, 2_000, 0.05, {"a": 0.165, "b": 0.66, "c": 0.165}
    ),
    "two-least": Frequencies({"a": 10, "b": 10, "c": 16}, 2_000, 0.05, {"a": 0.5, "b": 0.5, "c": 0}),
    "two-choices": Frequencies({"a": 0, "b": 5}, 100, 0, {"a": 1, "b": 0}),
    "many-choices": Frequencies(
        {"a": 0, "b": 5, "c": 5, "d": 10, "e": 10, "f": 20, "g": 20, "h": 50, "i": 60},
        10_000,
        0.03,
        {
            "a": 0.22,
            "b": 0.18,
            "c": 0.18,
            "d": 0.125,
            "e": 0.125,
            "f": 0.074,
            "g": 0.074,
            "h": 0.0277,
            "i": 0,
        },
    ),
}


@pytest.mark.parametrize("case", IN_WINDOW.values(), ids=IN_WINDOW)
def test_in_window_frequencies(case):
    """At 35 ms each, the less busy of two random endpoints is chosen: so often, and never where it says 0."""
    fleet = Fleet(*case.operations, policy=ONLY_15_MS, random=Random(1).random)
    for name, operations in case.operations.items():
        fleet.know(name, 35 * MS)
        for _ in range(operations):
            fleet.ask(name, now=0.0)
    picked = fleet.picks(case.rounds, now=0.0)
    for name, frequency in case.expected.items():
        share = picked.get(name, 0) / case.rounds
        assert share == pytest.approx(frequency, abs=case.tolerance if frequency else 0.0)


def test_prose_load_balancing():
    """Ten tasks read ten times each from two nodes, one of them busy for 500 ms: it gets a quarter at most."""
    fleet = Fleet("delayed", "other", policy=RoutingPolicy(window_minimum=30.0), random=Random(1).random)
    for name in ("delayed", "other"):
        fleet.know(name, 5 * MS)
    traffic = Traffic(fleet, {"delayed": 0.5, "other": 5 * MS})
    for _ in range(10):
        traffic.send(0.0)
    traffic.until(0.01)
    traffic.sent.clear()

    def task(left: int):
        def again(now: float) -> None:
            if left > 1:
                traffic.send(now, then=task(left - 1))

        return again

    for _ in range(10):
        traffic.send(0.01, then=task(10))
    traffic.until(60.0)
    assert traffic.sent.total() == 100
    assert 0 < traffic.sent["delayed"] / 100 <= 0.25


# --- server_selection ----------------------------------------------------------------------------------------


class Selection(NamedTuple):
    """Letters are servers, as in the files; `ruled_out` by read preference or tags."""

    files: str
    round_trips: dict[str, int]
    suitable: str
    window: str
    ruled_out: str = ""
    deprioritized: str = ""


SELECTION = [
    Selection("LoadBalanced/*/*", {"g": 0}, "g", "g"),
    Selection(
        "ReplicaSetNoPrimary/read/{Nearest,Secondary,PrimaryPreferred,SecondaryPreferred}",
        {"b": 5, "c": 100},
        "bc",
        "b",
    ),
    Selection("ReplicaSetNoPrimary/read/Nearest_multiple", {"b": 10, "c": 20}, "bc", "bc"),
    Selection(
        "ReplicaSetNoPrimary/read/Secondary_multi_{tags,tags2}", {"b": 5, "c": 5}, "b", "b", ruled_out="c"
    ),
    Selection(
        "ReplicaSetNoPrimary/read/Deprioritized{Nearest,Secondary,PrimaryPreferred,SecondaryPreferred}",
        {"b": 5, "c": 100},
        "c",
        "c",
        deprioritized="b",
    ),
    Selection(
        "ReplicaSetNoPrimary/read/Deprioritized{Nearest,Secondary,PrimaryPreferred,SecondaryPreferred}"
        "OnlyMatchingTags",
        {"b": 5, "c": 100},
        "b",
        "b",
        ruled_out="c",
        deprioritized="b",
    ),
    Selection("ReplicaSetWithPrimary/read/Nearest", {"b": 5, "c": 100, "a": 26}, "abc", "b"),
    Selection("ReplicaSetWithPrimary/read/Nearest_multiple", {"b": 10, "c": 100, "a": 20}, "abc", "ab"),
    Selection(
        "ReplicaSetWithPrimary/read/{Secondary,SecondaryPreferred}",
        {"b": 5, "c": 100, "a": 26},
        "bc",
        "b",
        ruled_out="a",
    ),
    Selection(
        "ReplicaSetWithPrimary/{read/{Primary,PrimaryPreferred,PrimaryPreferred_non_matching,"
        "SecondaryPreferred_non_matching},write/SecondaryPreferred}",
        {"b": 5, "c": 100, "a": 26},
        "a",
        "a",
        ruled_out="bc",
    ),
    Selection(
        "ReplicaSetWithPrimary/read/SecondaryPreferred_empty_tags", {"a": 5, "b": 5}, "b", "b", ruled_out="a"
    ),
    Selection(
        "ReplicaSetWithPrimary/read/SecondaryPreferred_tags", {"a": 5, "b": 5}, "a", "a", ruled_out="b"
    ),
    Selection(
        "ReplicaSetWithPrimary/read/DeprioritizedNearest",
        {"b": 5, "c": 100, "a": 26},
        "ac",
        "a",
        deprioritized="b",
    ),
    Selection(
        "ReplicaSetWithPrimary/read/DeprioritizedNearestStateChange",
        {"b": 5, "c": 100, "a": 25},
        "ac",
        "a",
        deprioritized="b",
    ),
    Selection(
        "ReplicaSetWithPrimary/read/Deprioritized{Nearest,Secondary}OnlyMatchingTags",
        {"b": 5, "c": 100, "a": 26},
        "b",
        "b",
        ruled_out="ac",
        deprioritized="b",
    ),
    Selection(
        "ReplicaSetWithPrimary/read/Deprioritized{Primary,PrimaryPreferredOnlyMatchingTags}",
        {"b": 5, "c": 5, "a": 5},
        "a",
        "a",
        ruled_out="bc",
        deprioritized="a",
    ),
    Selection(
        "ReplicaSetWithPrimary/read/DeprioritizedSecondary",
        {"b": 5, "c": 100, "a": 26},
        "bc",
        "b",
        ruled_out="a",
        deprioritized="bc",
    ),
    Selection(
        "ReplicaSetWithPrimary/read/DeprioritizedAllPrimaryPreferred",
        {"b": 5, "c": 5, "a": 5},
        "a",
        "a",
        ruled_out="bc",
        deprioritized="bca",
    ),
    Selection(
        "ReplicaSetWithPrimary/read/DeprioritizedAllSecondaryPreferred",
        {"b": 5, "c": 5, "a": 5},
        "bc",
        "bc",
        ruled_out="a",
        deprioritized="bca",
    ),
    Selection(
        "ReplicaSetWithPrimary/write/DeprioritizedSecondaryPreferred",
        {"a": 26, "b": 5, "c": 100},
        "a",
        "a",
        ruled_out="bc",
        deprioritized="a",
    ),
    Selection(
        "Sharded/*/{Nearest,Primary,PrimaryPreferred,Secondary,SecondaryPreferred}",
        {"g": 5, "h": 35},
        "gh",
        "g",
    ),
    Selection("Sharded/*/DeprioritizedNearest", {"g": 5, "h": 10}, "h", "h", deprioritized="g"),
    Selection(
        "Sharded/*/Deprioritized{Primary,PrimaryPreferred,Secondary,SecondaryPreferred}",
        {"g": 5, "h": 5},
        "h",
        "h",
        deprioritized="g",
    ),
    Selection("Single/*/SecondaryPreferred", {"a": 5}, "a", "a"),
    Selection("Single/*/Deprioritized", {"a": 5}, "a", "a", deprioritized="a"),
]


def nodes(case: Selection, policy: RoutingPolicy, learned: str) -> Fleet:
    """The servers of a table; those ruled out do not serve the bucket."""
    rows = [report(name, offline={"photos"} if name in case.ruled_out else ()) for name in case.round_trips]
    fleet = Fleet(*rows, policy=policy, random=Random(1).random)
    for name, ms in case.round_trips.items():
        if learned == "probes":
            fleet.router.record_probe(name, ms * MS, now=0.0)
        else:
            fleet.know(name, ms * MS)
    return fleet


def chosen(case: Selection, fleet: Fleet) -> tuple[str, str]:
    """Who is in the running, as explained; and who was picked in fifty rounds."""
    told = fleet.router.explain("photos", tried=case.deprioritized, now=0.0)
    picked = set()
    for _ in range(50):
        attempt = fleet.ask(bucket="photos", tried=case.deprioritized, now=0.0)
        picked.add(attempt.endpoint.id)
        fleet.router.settle(attempt, CANCELLED, now=0.0)
    running = sorted(row.endpoint.id for row in told if row.in_the_running)
    return "".join(running), "".join(sorted(picked))


@pytest.mark.parametrize("learned", ["probes", "answers"])
@pytest.mark.parametrize("case", SELECTION, ids=[case.files for case in SELECTION])
def test_selection(case, learned):
    """Whatever distance is: the suitable ones; with 15 ms: those in the latency window, and nobody else."""
    assert chosen(case, nodes(case, ANY_DISTANCE, learned)) == (case.suitable, case.suitable)
    assert chosen(case, nodes(case, ONLY_15_MS, learned)) == (case.window, case.window)


def test_selection_without_any_server():
    """`Unknown/*/SecondaryPreferred`: with no server at all, there is an error."""
    with pytest.raises(NoEndpointAvailableError):
        Fleet().ask(now=0.0)


@pytest.mark.parametrize(
    "case",
    [
        Selection(
            "ReplicaSetNoPrimary/{read/{Primary,*_non_matching},write/SecondaryPreferred}",
            {"b": 5, "c": 100},
            "bc",
            "b",
            ruled_out="bc",
        ),
        Selection(
            "ReplicaSetNoPrimary/read/DeprioritizedPrimary",
            {"b": 5, "c": 100},
            "c",
            "c",
            ruled_out="bc",
            deprioritized="b",
        ),
        Selection(
            "ReplicaSetWithPrimary/read/{Nearest,Secondary}_non_matching",
            {"b": 5, "c": 100, "a": 26},
            "abc",
            "b",
            ruled_out="abc",
        ),
        Selection(
            "Unknown/*/ghost, ReplicaSetNoPrimary/read/PossiblePrimary*", {"a": 5}, "a", "a", ruled_out="a"
        ),
    ],
    ids=lambda case: case.files,
)
def test_difference_nobody_suitable_is_a_last_resort(case):
    """Where Mongo finds no suitable server and fails, every node is asked as if it were suitable."""
    assert chosen(case, nodes(case, ANY_DISTANCE, "answers")) == (case.suitable, case.suitable)
    assert chosen(case, nodes(case, ONLY_15_MS, "answers")) == (case.window, case.window)


@pytest.mark.parametrize(
    ("case", "mongodb"),
    [
        (
            Selection(
                "ReplicaSetWithPrimary/read/DeprioritizedPrimaryPreferred",
                {"b": 5, "c": 5, "a": 5},
                "a",
                "a",
                ruled_out="bc",
                deprioritized="a",
            ),
            "bc",
        ),
        (
            Selection(
                "ReplicaSetWithPrimary/read/DeprioritizedSecondaryPreferred",
                {"b": 5, "c": 100, "a": 5},
                "bc",
                "b",
                ruled_out="a",
                deprioritized="bc",
            ),
            "a",
        ),
        (
            Selection(
                "ReplicaSetWithPrimary/read/DeprioritizedSecondaryPreferredOnlyMatchingTags",
                {"b": 5, "c": 100, "a": 5},
                "b",
                "b",
                ruled_out="ac",
                deprioritized="b",
            ),
            "a",
        ),
    ],
    ids=lambda value: getattr(value, "files", value),
)
def test_difference_no_second_choice(case, mongodb):
    """Mongo turns to a server of second choice; we ask a node that serves the bucket again instead."""
    assert chosen(case, nodes(case, ONLY_15_MS, "answers")) == (case.window, case.window)
    assert not set(case.window) & set(mongodb)
