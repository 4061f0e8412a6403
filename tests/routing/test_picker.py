"""The pick, stage by stage, each on rows that are plain data, then frequencies of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from types import SimpleNamespace

import pytest

from flashback_async.routing import RoutingPolicy, Wait
from flashback_async.routing.picker import (
    Demand,
    Scored,
    admitting,
    best,
    budgeted,
    choose,
    eligible,
    pick,
    scored,
    untried,
    warm,
    window,
)
from flashback_async.routing.policy import MIB
from flashback_async.routing.record import Expectation

from .fleet import READ, TINY, chances

POLICY = RoutingPolicy()
PURE_WINDOW = RoutingPolicy(window_share=0.0, window_deviations=0.0)
ANY = Demand(None, READ)


@dataclass(eq=False)
class Row:
    """An endpoint's record as the picker sees it, with every answer given in advance."""

    name: str
    floor: float | None = 0.010
    excess: float = 0.0
    deviation: float = 0.0
    load: int = 0
    quiet: float = 0.0
    rate: float | None = None
    admits: bool = True
    wait: float = 0.0
    serving: bool = True
    proven: bool = True
    probed_out: bool = False
    calm: bool = True

    @property
    def report(self):
        return SimpleNamespace(endpoint=SimpleNamespace(id=self.name), serves=lambda bucket: self.serving)

    @property
    def in_flight(self) -> int:
        return self.load - self.load // 2

    @property
    def streaming(self) -> int:
        return self.load // 2

    @property
    def breaker(self):
        return SimpleNamespace(admits=lambda now: self.admits)

    @property
    def limiter(self):
        return SimpleNamespace(wait=lambda now: self.wait, is_calm=lambda now: self.calm)

    def is_warm(self, kind) -> bool:
        return self.proven or self.load == 0

    def expected(self, bucket, kind, now) -> Expectation:
        return Expectation(self.floor, self.excess, self.deviation)

    def silence(self, now) -> float:
        return self.quiet

    def throughput(self, kind) -> float | None:
        return self.rate


def rows(names: str, **details) -> list[Row]:
    return [Row(name, **details) for name in names]


def names(found) -> str:
    return "".join(row.name for row in found)


def score_of(row: Row, *others: Row, size: int | None = None, policy: RoutingPolicy = POLICY) -> float:
    return scored([row, *others], Demand(None, READ, (), size), 0.0, policy)[0].score


# --- 1 eligible, 2 untried ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("serving", "kept"),
    [("abc", "abc"), ("b", "b"), ("ac", "ac"), ("", "abc")],
    ids=lambda text: text or "none",
)
def test_eligible_is_who_serves_or_else_everybody(serving, kept):
    """Only endpoints that serve the bucket; if none does, every known one as a last resort."""
    table = [Row(name, serving=name in serving) for name in "abc"]
    assert names(eligible(table, "photos")) == kept


@pytest.mark.parametrize(
    ("tried", "kept"),
    [((), "abc"), (("b",), "ac"), (("x",), "abc"), (("a", "b"), "c"), (("a", "b", "c"), "abc")],
)
def test_untried_excludes_who_was_asked_unless_nobody_is_left(tried, kept):
    """Who failed this operation is asked again only when all of them did."""
    assert names(untried(rows("abc"), tried)) == kept


# --- 3 admitting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "admit", "panic"),
    [
        (1, 0, True),
        (1, 1, False),
        (2, 0, True),
        (2, 1, False),
        (3, 1, True),
        (3, 2, False),
        (4, 1, True),
        (4, 2, False),
        (5, 2, True),
        (5, 3, False),
        (10, 4, True),
        (10, 5, False),
        (11, 5, True),
        (11, 6, False),
    ],
)
def test_fewer_than_half_admitting_is_panic(total, admit, panic):
    """Breakers count while half of the endpoints or more admit; below that they are ignored, unrounded."""
    table = [Row(str(index % 10), admits=index < admit) for index in range(total)]
    found = admitting(table, table, 0.0, POLICY)
    assert len(found) == (total if panic else admit)


@pytest.mark.parametrize(
    ("admit", "candidates", "kept"),
    [
        ("abcd", "abcd", "abcd"),
        ("abc", "cd", "c"),
        ("ab", "bcd", "b"),
        ("a", "cd", "cd"),
        ("", "cd", "cd"),
        ("ab", "cd", "ab"),
    ],
    ids=[
        "all admit",
        "untried and admitting",
        "half is no panic",
        "panic keeps to the untried",
        "all open: panic",
        "those left do not admit: again one that does",
    ],
)
def test_panic_is_judged_by_the_eligible_and_applied_to_the_untried(admit, candidates, kept):
    """The share is that of all eligible endpoints; the choice is among the untried ones."""
    table = [Row(name, admits=name in admit) for name in "abcd"]
    left = [row for row in table if row.name in candidates]
    assert names(admitting(table, table if left == table else left, 0.0, POLICY)) == kept


@pytest.mark.parametrize("candidates", ["abc", "c"])
def test_without_panic_there_is_still_somebody_to_ask(candidates):
    """With a panic share of zero and every breaker open, the pick fails open all the same."""
    table = rows("abc", admits=False)
    left = table if candidates == "abc" else table[2:]
    assert names(admitting(table, left, 0.0, RoutingPolicy(panic_share=0.0))) == candidates


# --- 4 budgeted, 5 warm ------------------------------------------------------------------------------------


def test_budgeted_is_who_has_a_token():
    """Endpoints at their rate limit are left out while another one has a token."""
    table = [Row("a", wait=0.2), Row("b"), Row("c", wait=TINY), Row("d")]
    assert names(budgeted(table, 0.0)) == "bd"


def test_without_a_token_anywhere_the_soonest_is_waited_for():
    """If nobody has a token, the answer is to wait for the first that will have one."""
    assert budgeted([Row("a", wait=0.2), Row("b", wait=0.05)], 0.0) == Wait(0.05)


@pytest.mark.parametrize(
    ("proven", "busy", "kept"),
    [("abc", "abc", "abc"), ("ab", "abc", "ab"), ("ab", "ab", "abc"), ("", "ab", "c"), ("", "abc", "abc")],
    ids=["all proven", "unknown and busy", "unknown and idle", "only the idle one", "none qualifies: all"],
)
def test_an_unknown_endpoint_gets_one_request_at_a_time(proven, busy, kept):
    """Warm are proven endpoints and those without a request in flight; if there are none, all."""
    table = [Row(name, proven=name in proven, load=int(name in busy)) for name in "abc"]
    assert names(warm(table, READ)) == kept


# --- 6 score -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "others", "factor"),
    [
        (0, (0,), 1.0),
        (0, (9,), 1.0),
        (1, (1,), 1.0),
        (4, (4, 4), 1.0),
        (3, (1,), 4 / 3),
        (9, (0,), 10 / 5.5),
        (8, (2, 2), 9 / 5),
    ],
)
def test_load_above_the_mean_scales_the_excess_only(load, others, factor):
    """The excess is scaled by max(1, (load + 1) / (mean load + 1)); the floor, being distance, is not."""
    crowd = [Row("o", load=other) for other in others]
    assert score_of(Row("a", floor=0.2, excess=0.1, load=load), *crowd) == pytest.approx(0.2 + 0.1 * factor)
    assert score_of(Row("a", floor=0.2, load=load), *crowd) == 0.2


@pytest.mark.parametrize(
    ("floor", "excess", "quiet", "score"),
    [
        (0.010, 0.0, 0.150, 0.010),
        (0.010, 0.0, 0.150 + TINY, 0.150 + TINY),
        (0.010, 0.0, 2.0, 2.0),
        (0.100, 0.0, 0.400, 0.100),
        (0.100, 0.0, 0.401, 0.401),
        (0.050, 0.050, 0.400, 0.100),
        (0.050, 0.050, 0.401, 0.401),
        (0.0, 0.0, 0.1, 0.0),
    ],
)
def test_silence_longer_than_four_scores_is_the_score(floor, excess, quiet, score):
    """Silence beyond max(150 ms, 4 x score) while requests wait counts as the latency; up to it, not."""
    assert score_of(Row("a", floor=floor, excess=excess, quiet=quiet)) == pytest.approx(score, abs=1e-12)


def test_an_unknown_endpoint_costs_as_much_as_the_best_floor():
    """Of whom nothing is known, nothing bad is known: it is found out."""
    assert score_of(Row("a", floor=None), Row("b", floor=0.030), Row("c", floor=0.020)) == 0.020
    assert score_of(Row("a", floor=None), Row("b", floor=None)) == 0.0
    assert score_of(Row("a", floor=None, excess=0.25), Row("b", floor=0.020)) == pytest.approx(0.27)


def test_an_unknown_endpoint_whose_probe_failed_costs_the_most():
    """Unknown, and deaf to the probe: anybody else first; but known, its own figures count."""
    assert score_of(Row("a", floor=None, probed_out=True), Row("b", floor=0.020)) == pytest.approx(5.02)
    assert score_of(Row("a", floor=0.1, probed_out=True), Row("b", floor=0.020)) == 0.1


def test_a_measured_zero_is_the_best_floor_there_is():
    """A floor of zero is a value."""
    assert score_of(Row("a", floor=0.0), Row("b", floor=0.020)) == 0.0
    assert score_of(Row("a", floor=None), Row("b", floor=0.0), Row("c", floor=0.020)) == 0.0


@pytest.mark.parametrize(
    ("size", "rate", "other", "extra"),
    [
        (None, 10 * MIB, MIB, 0.0),
        (0, 10 * MIB, MIB, 0.0),
        (MIB - 1, 10 * MIB, MIB, 0.0),
        (MIB, 10 * MIB, MIB, 0.1),
        (100 * MIB, 10 * MIB, MIB, 10.0),
        (100 * MIB, None, 20 * MIB, 5.0),
        (100 * MIB, None, None, 0.0),
    ],
)
def test_a_known_large_size_adds_its_transfer_time(size, rate, other, extra):
    """From 1 MiB on the score is longer by size / throughput; an unknown rate is taken for the fastest."""
    row = Row("a", floor=0.010, rate=rate)
    assert score_of(row, Row("b", rate=other), size=size) == pytest.approx(0.010 + extra)


@pytest.mark.parametrize(
    ("row", "size", "base", "score"),
    [
        (Row("a", excess=0.030), None, 0.040, 0.040),
        (Row("a", excess=0.030, load=3), None, 0.040, 0.058),
        (Row("a", excess=0.030, load=3, quiet=2.0), None, 2.0, 2.0),
        (Row("a", excess=0.030, load=3, rate=10 * MIB), MIB, 0.140, 0.158),
        (Row("a", floor=None, excess=0.030, load=3), None, 0.040, 0.058),
        (Row("a", floor=None, probed_out=True), None, 5.010, 5.010),
    ],
)
def test_the_base_is_the_score_without_load(row, size, base, score):
    """What an endpoint costs when idle is the same sum with its excess unscaled."""
    found = scored([row, Row("b")], Demand(None, READ, (), size), 0.0, POLICY)[0]
    assert (found.base, found.score) == (pytest.approx(base), pytest.approx(score))


# --- 7 window ----------------------------------------------------------------------------------------------


def window_of(scores: dict[str, float], *, deviation: float = 0.0, policy: RoutingPolicy = POLICY) -> str:
    least = min(scores, key=scores.get)
    table = [
        Scored(Row(name), score, score, deviation if name == least else 9.0) for name, score in scores.items()
    ]
    return names(row.record for row in window(table, policy))


@pytest.mark.parametrize(
    ("scores", "deviation", "kept"),
    [
        ({"a": 0.010}, 0.0, "a"),
        ({"a": 0.010, "b": 0.0249}, 0.0, "ab"),
        ({"a": 0.010, "b": 0.0251}, 0.0, "a"),
        ({"a": 0.200, "b": 0.249}, 0.0, "ab"),
        ({"a": 0.200, "b": 0.251}, 0.0, "a"),
        ({"a": 0.010, "b": 0.049}, 0.020, "ab"),
        ({"a": 0.010, "b": 0.051}, 0.020, "a"),
        ({"b": 0.020, "c": 0.5, "a": 0.010}, 0.0, "ba"),
        ({"a": 0.0, "b": 0.015, "c": 0.0151}, 0.0, "ab"),
    ],
)
def test_the_window_is_the_widest_of_its_three_terms(scores, deviation, kept):
    """Width = max(15 ms, 25 % of the best, two mean deviations of the best), the edge included."""
    assert window_of(scores, deviation=deviation) == kept


@pytest.mark.parametrize(
    ("costs", "kept"),
    [
        ({"a": (0.010, 0.010), "b": (0.020, 0.026)}, "a"),
        ({"a": (0.010, 0.024), "b": (0.020, 0.020)}, "ab"),
        ({"a": (0.010, 0.500), "b": (0.020, 0.020)}, "b"),
        ({"a": (0.010, 0.500), "b": (0.100, 0.100)}, "b"),
        ({"a": (0.010, 0.090), "b": (0.060, 0.100)}, "a"),
        ({"a": (0.010, 0.500), "b": (0.020, 0.034), "c": (0.030, 0.035)}, "b"),
    ],
    ids=[
        "load pushes one out",
        "load within the window is fine",
        "load pushes the best out",
        "outside, one is left: the least score",
        "a burst does not widen the window",
        "a burst on the best does not move the window",
    ],
)
def test_the_window_stands_on_the_best_when_idle(costs, kept):
    """Load decides who is within the window, never where the window is; if nobody is, the least score is."""
    table = [Scored(Row(name), base, score, 0.0) for name, (base, score) in costs.items()]
    assert names(row.record for row in window(table, POLICY)) == kept


# --- 8 choose ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chance", "loads", "chosen"),
    [
        ((0.0, 0.0), (1, 1, 1), "a"),
        ((0.0, 0.0), (2, 1, 1), "b"),
        ((0.0, 0.99), (2, 1, 1), "c"),
        ((0.99, 0.0), (0, 1, 1), "a"),
        ((0.99, 0.99), (0, 1, 1), "c"),
        ((0.5, 0.0), (1, 1, 0), "b"),
        ((0.5, 0.99), (1, 1, 0), "c"),
        ((1.0, 1.0), (1, 1, 1), "c"),
    ],
)
def test_the_less_loaded_of_two_distinct_ones_is_chosen(chance, loads, chosen):
    """Two different endpoints by chance, the one with fewer requests wins, the first of the pair on a tie."""
    table = [Row(name, load=load) for name, load in zip("abc", loads, strict=True)]
    assert choose(table, chances(*chance)).name == chosen


def test_a_single_endpoint_is_chosen_without_chance():
    """Nothing is drawn where there is nothing to decide."""

    def never() -> float:
        raise AssertionError

    assert choose([Row("a")], never).name == "a"
    assert pick([Row("a")], ANY, now=0.0, policy=POLICY, random=never).name == "a"
    assert pick([Row("a"), Row("b", floor=9.0)], ANY, now=0.0, policy=POLICY, random=never).name == "a"


# --- all of it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        ({}, "a"),
        ({"a": {"serving": False}}, "b"),
        ({"a": {"admits": False}}, "b"),
        ({"a": {"wait": 1.0}}, "b"),
        ({"a": {"proven": False, "load": 1}}, "b"),
        ({"a": {"excess": 0.5}}, "b"),
        ({"a": {"quiet": 0.5}}, "b"),
        ({"a": {"floor": None, "probed_out": True}}, "b"),
        ({"a": {"serving": False}, "b": {"admits": False}}, "c"),
        ({"a": {"serving": False}, "b": {"serving": False}, "c": {"serving": False}}, "a"),
        ({"a": {"admits": False}, "b": {"admits": False}}, "a"),
    ],
)
def test_the_stages_together(changes, chosen):
    """Each stage alone moves the pick from the nearest endpoint to the next; fail-open moves it back."""
    table = [
        Row(name, **{"floor": floor, **changes.get(name, {})})
        for name, floor in [("a", 0.01), ("b", 0.1), ("c", 0.3)]
    ]
    assert pick(table, ANY, now=0.0, policy=POLICY, random=chances(0.0)).name == chosen


@pytest.mark.parametrize(
    ("calm", "tried", "chosen"),
    [("abc", "a", "b"), ("ac", "a", "c"), ("", "a", "b"), ("ac", "", "a"), ("ac", "x", "a")],
)
def test_a_retry_prefers_who_answered_no_429_lately(calm, tried, chosen):
    """The nearest of those that are calm; whoever is left if nobody is; first attempts do not care."""
    table = [
        Row(name, floor=floor, calm=name in calm) for name, floor in [("a", 0.01), ("b", 0.1), ("c", 0.3)]
    ]
    demand = Demand(None, READ, tuple(tried))
    assert pick(table, demand, now=0.0, policy=POLICY, random=chances(0.0)).name == chosen


def test_tried_endpoints_are_passed_over_in_the_pick():
    """The second attempt goes elsewhere, the fourth of three starts again with the nearest."""
    table = [Row("a", floor=0.01), Row("b", floor=0.1), Row("c", floor=0.3)]
    order, tried = "", []
    for _ in range(4):
        demand = Demand(None, READ, tuple(tried))
        order += pick(table, demand, now=0.0, policy=POLICY, random=chances(0.0)).name
        tried.append(order[-1])
    assert order == "abca"


def test_waiting_is_for_those_that_may_be_asked():
    """An endpoint behind an open breaker, or tried before, is no reason not to wait for the others."""
    table = [Row("a", admits=False), Row("b", wait=0.5), Row("c", wait=0.7)]
    assert pick(table, ANY, now=0.0, policy=POLICY, random=chances(0.0)) == Wait(0.5)
    assert pick(table, Demand(None, READ, ("b",)), now=0.0, policy=POLICY, random=chances(0.0)) == Wait(0.7)


def test_the_best_is_the_least_score_without_chance():
    """`best` names where a pick would tend to: the least score of those that may be asked, load included."""
    table = [Row("a", floor=0.1), Row("b", floor=0.02), Row("c", floor=0.01, admits=False)]
    assert best(table, ANY, now=0.0, policy=POLICY).name == "b"


@pytest.mark.parametrize("seed", range(300))
def test_a_pick_from_anything_is_somebody_or_a_wait(seed):
    """Whatever the rows are like, the pick is one of them or a positive wait, and the best is one of them."""
    dice = Random(seed)
    table = [
        Row(
            name,
            floor=dice.choice([None, 0.0, dice.random()]),
            excess=dice.choice([0.0, dice.random() * 5]),
            deviation=dice.random() / 10,
            load=dice.choice([0, 0, 1, 50]),
            quiet=dice.choice([0.0, dice.random() * 10]),
            rate=dice.choice([None, 1e6]),
            admits=dice.random() < 0.5,
            wait=dice.choice([0.0, dice.random()]),
            serving=dice.random() < 0.5,
            proven=dice.random() < 0.5,
            probed_out=dice.random() < 0.2,
        )
        for name in "abcdefghij"[: dice.randrange(1, 11)]
    ]
    tried = dice.sample([row.name for row in table], dice.randrange(len(table) + 1))
    demand = Demand("photos", READ, tried, dice.choice([None, 0, 10 * MIB]))
    policy = RoutingPolicy(panic_share=dice.choice([0.0, 0.5, 1.0]))
    found = pick(table, demand, now=1.0, policy=policy, random=dice.random)
    assert found.seconds > 0 if isinstance(found, Wait) else found in table
    assert best(table, demand, now=1.0, policy=policy) in table
