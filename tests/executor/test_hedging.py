"""A second attempt beside one that is late: who is asked when, who wins, and what is left of the other.

In the manner of trio's `_tests/test_highlevel_open_tcp_stream.py`: scenario in, exact times out, nothing left
open. Reads usually take 20 ms here, so that is when one is late; the endpoints are asked in the order a, b, c.

Facts marked "Finagle" are those of twitter/finagle at 4feb34cb949918c572a6152327212e062527bd62 (Apache-2.0),
`finagle-core/src/test/scala/com/twitter/finagle/client/BackupRequestFilterTest.scala`.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import pytest
from virtual_time import run, scenario

from flashback_async.errors import (
    ClientClosedError,
    DeadlineExceededError,
    EndpointConnectError,
    EndpointTimeoutError,
    FlashbackError,
    ObjectNotFoundError,
)
from flashback_async.routing import Router, RoutingPolicy
from flashback_async.testing import Break, MemoryEndpoints, Step

from .scenes import (
    CALLER_FAULT,
    CANCELLED,
    CLOSED,
    FAULT,
    HALF_OPEN,
    MIB,
    READ,
    SUCCESS,
    THROTTLED,
    TIMEOUT,
    Scene,
    now,
    pattern,
)
from .test_cancellation import CancelAt, listed, streamed
from .test_loop_lag import block, watched

if TYPE_CHECKING:
    from collections.abc import Iterable

SIZE = 150_000
USUAL = 0.02
"""Seconds that a read takes here, and after which another one is sent."""

HAIR = 5e-10
"""Seconds; so close that a loop deals with both in one turn."""


def ok(after: float = 0.0, **how) -> Step:
    return Step(after=after, **how)


def reset(after: float) -> Step:
    return Step.reset(after=after)


def warm(scene: Scene, name: str = "a", *, hedges: int = 5, usual: float = USUAL) -> None:
    """It has answered in 20 ms so often that the budget pays for so many hedges; all others are far."""
    scene.discover(4 * usual)
    for _ in range(20 * hedges):
        attempt = scene.router.acquire("bucket", READ, now=now(), only=name)
        scene.router.hedge_delay(attempt, now=now())
        scene.router.settle(attempt, SUCCESS, now=now(), first_byte=usual)
    scene.router.settled.clear()
    scene.router.details.clear()


def hedging(a: Iterable[Step] | Step, b: Iterable[Step] | Step, *others, hedges: int = 5, **options) -> Scene:
    """A scene in which late reads are hedged, with an object."""
    scripts = dict(zip("abcd", (a, b, *others), strict=False))
    scene = Scene(scripts, hedging=True, **options)
    scene.store.put("bucket", "key", pattern(SIZE))
    warm(scene, hedges=hedges)
    return scene


VERBS = {
    "head": lambda scene, **how: scene.head_object("bucket", "key", **how),
    "exists": lambda scene, **how: scene.object_exists("bucket", "key", **how),
    "get": lambda scene, **how: scene.get_object("bucket", "key", **how),
    "range": lambda scene, **how: scene.get_object("bucket", "key", range=(5, 99), **how),
    "stream": streamed,
}

# What a and b do -> who is asked when, when it ends, how the attempts are settled, hedges sent and won.
RACES = {
    "in time": (ok(0.015), ok(), [("a", 0.0)], 0.015, [("a", SUCCESS)], (0, 0)),
    "just in time": (ok(0.02), ok(), [("a", 0.0)], 0.02, [("a", SUCCESS)], (0, 0)),
    "a hair late": (
        ok(0.02 + 4 * HAIR),
        ok(1.0),
        [("a", 0.0), ("b", 0.02)],
        0.020000002,
        [("a", SUCCESS), ("b", CANCELLED)],
        (1, 0),
    ),
    "the hedge wins": (
        ok(1.0),
        ok(0.02),
        [("a", 0.0), ("b", 0.02)],
        0.04,
        [("b", SUCCESS), ("a", CANCELLED)],
        (1, 1),
    ),
    "the first wins": (
        ok(0.03),
        ok(1.0),
        [("a", 0.0), ("b", 0.02)],
        0.03,
        [("a", SUCCESS), ("b", CANCELLED)],
        (1, 0),
    ),
    "both in the same moment": (
        ok(0.05),
        ok(0.03),
        [("a", 0.0), ("b", 0.02)],
        0.05,
        [("a", SUCCESS), ("b", CANCELLED)],
        (1, 0),
    ),
    "the hedge a hair before": (
        ok(0.05),
        ok(0.03 - HAIR),
        [("a", 0.0), ("b", 0.02)],
        0.05,
        [("a", SUCCESS), ("b", SUCCESS)],
        (1, 0),
    ),
    "a black hole": (
        Step.silent(),
        ok(),
        [("a", 0.0), ("b", 0.02)],
        0.02,
        [("b", SUCCESS), ("a", CANCELLED)],
        (1, 1),
    ),
    "a failure in time is a failover": (
        reset(0.01),
        ok(0.015),
        [("a", 0.0), ("b", 0.01)],
        0.025,
        [("a", FAULT), ("b", SUCCESS)],
        (0, 0),
    ),
    "the first fails late": (
        reset(0.03),
        ok(0.05),
        [("a", 0.0), ("b", 0.02)],
        0.07,
        [("a", FAULT), ("b", SUCCESS)],
        (1, 1),
    ),
    "the first is throttled late": (
        Step.throttled(after=0.03),
        ok(0.05),
        [("a", 0.0), ("b", 0.02)],
        0.07,
        [("a", THROTTLED), ("b", SUCCESS)],
        (1, 1),
    ),
    "the hedge fails": (
        ok(1.0),
        reset(0.01),
        [("a", 0.0), ("b", 0.02)],
        1.0,
        [("b", FAULT), ("a", SUCCESS)],
        (1, 0),
    ),
    "the hedge is throttled": (
        ok(0.5),
        Step.throttled(),
        [("a", 0.0), ("b", 0.02)],
        0.5,
        [("b", THROTTLED), ("a", SUCCESS)],
        (1, 0),
    ),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", RACES)
def test_who_wins_and_when(name, verb):
    """The first answer ends the race at its own moment; both attempts are settled, and nothing is left."""
    a, b, asked, ended, settled, counted = RACES[name]

    async def play():
        scene = hedging(a, b)
        found = await VERBS[verb](scene)
        assert (scene.asked, now()) == (asked, ended)
        assert sorted(scene.router.settled, key=str) == sorted(settled, key=str)
        assert (scene.monitor.hedges, scene.monitor.hedges_won) == counted
        assert scene.monitor.attempts == len(asked)
        if verb == "get":
            won = next(who for who, outcome in settled if outcome is SUCCESS)
            assert (found.body, found.endpoint, found.attempts) == (pattern(SIZE), won, len(asked))
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_off_by_default():
    """Without the setting a late read is waited for, however late."""
    scene = Scene({"a": ok(4.0), "b": ok()})
    scene.store.put("bucket", "key", b"")
    warm(scene)
    await scene.get_object("bucket", "key")
    assert (scene.asked, now()) == ([("a", 0.0)], 4.0)


@pytest.mark.parametrize(
    "verb",
    [
        lambda scene: scene.put_object("bucket", "key", b"x"),
        lambda scene: scene.delete_object("bucket", "key"),
        listed,
        *[
            lambda scene, verb=verb, how=how: verb(scene, **how)
            for verb in VERBS.values()
            for how in ({"endpoint": "a"}, {"retry": False})
        ],
    ],
)
def test_what_is_never_hedged(verb):
    """Writes, listings, pinned calls and `retry=False` are sent once, however late."""

    async def play():
        scene = hedging(ok(1.0), ok())
        await verb(scene)
        assert {name for name, _ in scene.asked} == {"a"}
        assert (scene.monitor.hedges, scene.leaks()) == (0, {})

    run(play())


@scenario
async def test_nothing_is_hedged_before_it_is_known_what_late_is():
    """A fresh client waits; after twenty answers it does not."""
    scene = Scene({"a": [ok(3.0)] + [ok(USUAL)] * 19 + [ok(3.0)], "b": ok()}, hedging=True)
    scene.store.put("bucket", "key", b"")
    for _ in range(20):
        await scene.head_object("bucket", "key", endpoint="a")
    assert scene.monitor.hedges == 0
    begun = now()
    warm(scene, hedges=1)
    scene["b"].requests.clear()
    await scene.head_object("bucket", "key")
    assert [name for name, _ in scene.asked][-2:] == ["a", "b"]
    assert now() - begun == pytest.approx(USUAL)


@scenario
async def test_an_attempt_that_would_time_out_first_is_not_hedged():
    """Finagle: where late is longer than can be waited for, no backup is sent. The rest is a failover."""
    for usual, hedges in [(0.5, 0), (0.49, 1)]:
        scene = Scene({"a": [ok(0.9)], "b": ok()}, hedging=True, first_byte=0.5)
        scene.store.put("bucket", "key", b"")
        warm(scene, usual=usual)
        begun = now()
        await scene.head_object("bucket", "key")
        assert [name for name, _ in scene.asked] == ["a", "b"]
        assert (scene.monitor.hedges, now() - begun) == (hedges, pytest.approx(usual))


@scenario
async def test_all_failures_are_told():
    """If both fail, the error is that of the first, and lists both with what each took."""
    scene = hedging(reset(0.03), Step.error(503, after=0.05), attempts=1)
    with pytest.raises(EndpointConnectError) as caught:
        await scene.get_object("bucket", "key")
    error = caught.value
    assert [(each.endpoint, round(each.elapsed, 9)) for each in error.attempts] == [("a", 0.03), ("b", 0.05)]
    assert [each.error.partition(":")[0] for each in error.attempts] == [
        "EndpointConnectError",
        "EndpointServerError",
    ]
    assert error.endpoint == "a"
    assert (scene.router.settled, round(now(), 9)) == ([("a", FAULT), ("b", FAULT)], 0.07)
    assert (scene.troubles, scene.leaks()) == (2, {})


@scenario
async def test_both_failed_is_one_failed_attempt():
    """A hedge uses up no retry: after both have failed the next endpoint is asked, at once, and is the
    second of two attempts.
    """
    scene = hedging(reset(0.03), reset(0.05), ok(0.1), attempts=2)
    found = await scene.get_object("bucket", "key")
    assert scene.asked == [("a", 0.0), ("b", 0.02), ("c", 0.07)]
    assert (found.endpoint, found.attempts, round(now(), 9)) == ("c", 3, 0.17)
    assert (scene.monitor.attempts, scene.monitor.retries, scene.monitor.hedges) == (3, 1, 1)


@scenario
async def test_a_failed_hedge_makes_nothing_worse():
    """After a failure that may be retried, a hedge that found no connection does not end the operation."""
    scene = hedging(reset(0.5), ok(), ok(), connections=1, pool=0.1)
    holding = asyncio.create_task(scene.pool.lease(scene["b"].endpoint, READ, timeout=1.0))
    await asyncio.sleep(0)
    found = await scene.get_object("bucket", "key")
    assert (found.endpoint, scene.asked) == ("c", [("a", 0.0), ("c", 0.5)])
    assert scene.router.settled == [("b", CANCELLED), ("a", FAULT), ("c", SUCCESS)]
    (await holding).release()
    assert scene.leaks() == {}


@scenario
async def test_a_retry_is_hedged_like_a_first_attempt():
    """Every attempt may be late; a hedge goes to none that was tried."""
    scene = hedging(reset(0.01), ok(1.0), ok(0.1))
    found = await scene.get_object("bucket", "key")
    assert scene.asked == [("a", 0.0), ("b", 0.01), ("c", 0.03)]
    assert (found.endpoint, found.attempts, round(now(), 9)) == ("c", 3, 0.13)


@scenario
async def test_nobody_left_to_hedge_with():
    """Where every other endpoint was tried, the late one is waited for."""
    scene = hedging(reset(0.01), ok(1.0))
    await scene.get_object("bucket", "key")
    assert (scene.asked, scene.monitor.hedges, now()) == ([("a", 0.0), ("b", 0.01)], 0, 1.01)


@pytest.mark.parametrize("who", "ab")
def test_an_answer_of_the_service_ends_the_race(who):
    """404 is what every endpoint would say: it is raised at once, whoever says it, and the other one goes."""

    async def play():
        gone, slow = Step.error(404, after=0.03 if who == "a" else 0.01), ok(1.0)
        scene = hedging(*((gone, slow) if who == "a" else (slow, gone)))
        with pytest.raises(ObjectNotFoundError) as caught:
            await scene.get_object("bucket", "key")
        other = "b" if who == "a" else "a"
        assert (now(), caught.value.endpoint, caught.value.attempts) == (0.03, who, ())
        assert scene.router.settled == [(who, CALLER_FAULT), (other, CANCELLED)]
        assert (scene.troubles, scene.leaks()) == (0, {})

    run(play())


@scenario
async def test_a_failure_that_was_covered_up_is_seen_nevertheless():
    """A node that fails while its hedge succeeds calls for a discovery, and counts as one failure there."""
    scene = hedging(reset(0.03), ok(0.05))
    await scene.get_object("bucket", "key")
    assert (scene.troubles, scene.at("a").failures, scene.monitor.retries) == (1, 1, 0)
    assert scene.router.snapshot(now=now()).retry_budget == 500


@scenario
async def test_the_deadline_ends_both():
    """When the caller's time is up, neither endpoint is to blame, and both are listed."""
    scene = hedging(Step.silent(), Step.silent())
    with pytest.raises(DeadlineExceededError) as caught:
        await scene.head_object("bucket", "key", timeout=0.5)
    assert [(each.endpoint, round(each.elapsed, 9)) for each in caught.value.attempts] == [
        ("a", 0.5),
        ("b", 0.48),
    ]
    assert {outcome for _, outcome in scene.router.settled} == {CANCELLED}
    assert (now(), scene.leaks()) == (0.5, {})


@scenario
async def test_each_has_a_timer_of_its_own():
    """The first times out after its 5 s, the hedge after its own; then it is as if the first were alone."""
    scene = hedging(Step.silent(), Step.silent(), attempts=1)
    with pytest.raises(EndpointTimeoutError):
        await scene.head_object("bucket", "key")
    assert (scene.router.settled, now()) == ([("a", TIMEOUT), ("b", TIMEOUT)], 5.02)


@scenario
async def test_waiting_for_a_connection_is_late_too():
    """A hedge also helps where the first endpoint has no connection free; that says nothing of its speed."""
    scene = hedging(ok(), ok(0.01), connections=1)
    lease = await scene.pool.lease(scene["a"].endpoint, READ, timeout=1.0)
    before = scene.at("a")
    found = await scene.get_object("bucket", "key")
    assert (found.endpoint, scene.asked, now()) == ("b", [("b", 0.02)], 0.03)
    assert scene.router.settled == [("b", SUCCESS), ("a", CANCELLED)]
    assert scene.at("a") == before
    lease.release()
    assert scene.leaks() == {}


@scenario
async def test_an_unknown_error_of_the_first_is_raised():
    """What is not of S3, raised by the first attempt, is the caller's as it is, even a TimeoutError."""
    scene = hedging(ok(), ok(1.0))
    lease = scene.pool.lease

    async def failing(endpoint, kind, *, timeout):
        if endpoint.id == "a":
            await asyncio.sleep(0.5)
            raise TimeoutError("of a credentials provider")
        return await lease(endpoint, kind, timeout=timeout)

    scene.pool.lease = failing
    with pytest.raises(TimeoutError, match="of a credentials provider"):
        await scene.get_object("bucket", "key")
    assert (now(), scene.router.settled) == (0.5, [("a", CANCELLED), ("b", CANCELLED)])
    assert scene.leaks() == {}


@scenario
async def test_a_client_that_closes_says_so():
    """What is not of S3 ends the race as it is, and the other attempt is cancelled."""
    scene = hedging(ok(1.0), ok())
    lease = scene.pool.lease

    async def closing(endpoint, kind, *, timeout):
        if endpoint.id == "b":
            raise ClientClosedError("the client was closed while the operation ran")
        return await lease(endpoint, kind, timeout=timeout)

    scene.pool.lease = closing
    with pytest.raises(ClientClosedError):
        await scene.get_object("bucket", "key")
    assert (now(), scene.router.settled) == (0.02, [("b", CANCELLED), ("a", CANCELLED)])
    assert scene.leaks() == {}


@pytest.mark.parametrize(("after", "asked"), [(0.21, ["a"]), (1.0, ["a", "b"])])
def test_a_blocked_loop_makes_nobody_late(after, asked):
    """Time in which our own loop was blocked is nobody's: the hedge goes out that much later, and what the
    loser is held to have taken is that much less.
    """

    async def play():
        with watched() as lag:
            scene = hedging(ok(after), ok(0.1), lag=lag)
            await asyncio.sleep(1.04)
            block(0.2, at=1.045)  # of which the tick of 1.05 sees 0.195
            await scene.head_object("bucket", "key")
            assert [name for name, _ in scene.asked] == asked
            if "b" in asked:
                assert scene.asked[1][1] == pytest.approx(1.255)
                assert scene.router.details[-1]["at_least"] == pytest.approx(0.12)

    run(play())


# --- budget, limits, breakers ------------------------------------------------------------------------------


@scenario
async def test_an_exhausted_budget_waits():
    """Finagle: no backup is sent when its budget is exhausted; the answer of the original is returned."""
    scene = hedging(ok(1.0), ok(0.1), hedges=1)
    taken = [await scene.get_object("bucket", "key") for _ in range(2)]
    assert [each.endpoint for each in taken] == ["b", "a"]
    assert (scene.monitor.hedges, scene.monitor.hedges_won) == (1, 1)
    assert scene.router.snapshot(now=now()).hedge_budget == 0


@scenario
async def test_a_storm_stays_within_the_budget():
    """Five hundred reads at once at an endpoint that went silent: one in twenty is hedged, and the retries
    that save the others come from their own budget.
    """
    scene = hedging(Step.silent(), [ok(2.0)] * 40, hedges=1, first_byte=1.0, connections=1_000)
    scene.router.apply_discovery(scene.endpoints.reports()[:1], now=now())
    tasks = [asyncio.create_task(scene.head_object("bucket", "key")) for _ in range(500)]
    await asyncio.sleep(0.01)
    scene.discover()
    others = [asyncio.create_task(scene.put_object("bucket", "x", b"", endpoint="b")) for _ in range(40)]
    await asyncio.gather(*tasks)
    # 20 reads before and 500 now; when these are sent again, nothing is late any more.
    assert (scene.monitor.hedges, scene.monitor.hedges_won) == (26, 26)
    assert scene.monitor.retries == 500 - 26
    await asyncio.gather(*others, return_exceptions=True)
    assert scene.leaks() == {}


@scenario
async def test_a_hedge_leaves_open_breakers_and_limits_alone():
    """Neither a trial nor the wait for a token is worth a hedge; the next endpoint is, where there is one."""
    for others, winner in [((), "a"), ((ok(),), "c")]:
        scene = hedging(ok(1.0), ok(), *others)
        await scene.trip("b")
        warm(scene)
        assert (await scene.get_object("bucket", "key")).endpoint == winner
        assert scene.at("b").in_flight == len(scene["b"].requests) == 0
        assert scene.breakers() - {CLOSED} != set()
    scene = hedging(ok(1.0), [Step.throttled(60.0)])
    with pytest.raises(FlashbackError):
        await scene.head_object("bucket", "key", endpoint="b", retry=False)
    assert (await scene.get_object("bucket", "key")).endpoint == "a"
    assert len(scene["b"].requests) == 1


@scenario
async def test_a_trial_is_waited_for():
    """A half-open endpoint that is slow is judged by its answer, not given up for a hedge again and again."""
    scene = hedging([ok(1.0)], ok())
    await scene.trip("a")
    assert scene.router.snapshot(now=now()).hedge_budget > 0
    begun = now()
    assert (await scene.get_object("bucket", "key")).endpoint == "a"
    assert (now() - begun, scene.monitor.hedges) == (pytest.approx(1.0), 0)
    assert scene.at("a").breaker is CLOSED


@scenario
async def test_losing_moves_no_breaker_and_no_limit():
    """An endpoint that loses a hundred races in a row is slow, and nothing else."""
    scene = hedging(ok(0.5), ok(), policy=RoutingPolicy(hedge_share=1.0), first_byte=1.0)
    for _ in range(100):
        late = scene.router.acquire("bucket", READ, now=now(), only="a")
        scene.router.settle(late, CANCELLED, now=now(), at_least=0.5)
    shown = scene.at("a")
    assert (shown.breaker, shown.failures, shown.rate_limit, shown.in_flight) == (CLOSED, 0, None, 0)


@scenario
async def test_a_loser_is_expected_to_take_longer():
    """What the loser was waited for raises its endpoint's expected first byte, as far as a sample would."""
    scene = hedging(ok(1.0), ok(0.2))
    assert scene.at("a").read_latency == pytest.approx(USUAL)
    await scene.head_object("bucket", "key")
    assert scene.router.details[-1]["at_least"] == pytest.approx(0.22)
    assert scene.at("a").read_latency == pytest.approx(USUAL + 0.2 * 0.2)


@scenario
async def test_a_hedge_that_lost_late_is_slow_too():
    """A hedge that was waited for and lost all the same raises its endpoint's expected first byte."""
    scene = hedging(ok(0.52), ok(1.0))
    scene.router.settle(
        scene.router.acquire("bucket", READ, now=now(), only="b"), SUCCESS, now=now(), first_byte=0.1
    )
    scene.router.settled.clear()
    before = scene.at("b").read_latency
    await scene.head_object("bucket", "key")
    assert scene.router.settled == [("a", SUCCESS), ("b", CANCELLED)]
    assert scene.at("b").read_latency == pytest.approx(before + 0.2 * (0.5 - before))


@scenario
async def test_a_hedge_that_lost_early_says_nothing():
    """A hedge that was cancelled a moment after it was sent leaves the figures of its endpoint alone."""
    scene = hedging(ok(0.021), ok(1.0))
    await scene.head_object("bucket", "key", endpoint="b")
    before = scene.at("b").read_latency
    await scene.head_object("bucket", "key")
    assert (scene.router.settled[-1], scene.at("b").read_latency) == (("b", CANCELLED), before)


# What Finagle records: (original, backup) -> times that count for what is late, hedges sent and won. Its
# backup goes out after 1 s. Where ours differs, the second line says how.
FINAGLE = {
    "the backup completes first": (ok(9.0), ok(1.0), {2.0, 1.0}, (1, 1)),
    "the original completes first": (ok(2.0), ok(9.0), {2.0}, (1, 0)),  # there 1.0 too: see below
    "the original fails first": (reset(1.5), ok(1.0), {1.0}, (1, 1)),  # there won: 0
    "the backup fails first": (ok(3.0), reset(0.5), {3.0}, (1, 0)),
    "the original times out": (Step.silent(), ok(4.9), {5.0, 4.9}, (1, 1)),  # there won: 0
}


@pytest.mark.parametrize("name", FINAGLE)
def test_finagle_what_counts(name):
    """Finagle: the winner and the one it superseded count with what they took, timeouts too; failures are
    fast, and do not. A backup that fails is waited out, and so is an original. Two things differ: a loser
    counts only above what is usual (a hedge that lost after a moment would make hedges quicker), and a hedge
    has won whenever its answer is the one that counts.
    """
    a, b, recorded, counted = FINAGLE[name]

    async def play():
        policy = RoutingPolicy(hedge_samples=100, hedge_outcomes=1, hedge_share=0.5)
        scene = Scene({"a": a, "b": b}, hedging=True, policy=policy)
        scene.store.put("bucket", "key", b"")
        warm(scene, usual=1.0)
        await scene.head_object("bucket", "key")
        times = set()
        for (_, outcome), details in zip(scene.router.settled, scene.router.details, strict=True):
            if outcome is SUCCESS:
                times.add(details["first_byte"])
            elif outcome is TIMEOUT:
                times.add(5.0)
            elif details["at_least"] is not None and details["at_least"] > 1.0:
                times.add(details["at_least"])
        assert times == recorded
        assert (scene.monitor.hedges, scene.monitor.hedges_won) == counted
        assert [at for _, at in scene.asked] == [0.0, 1.0]

    run(play())


# --- bodies ------------------------------------------------------------------------------------------------


@scenario
async def test_the_body_comes_from_the_winner():
    """After the headers the race is over: the whole body is the winner's, and the loser's is closed."""
    scene = hedging(ok(0.05), ok(0.03 - HAIR, pace=1.0))
    async with scene.stream_object("bucket", "key") as stream:
        assert (stream.endpoint, stream.attempts) == ("a", 2)
        assert scene.endpoints.open_bodies == scene.endpoints.leases == 1
        assert await stream.read() == pattern(SIZE)
    assert scene.router.finished == [("b", CANCELLED), ("a", SUCCESS)]
    assert scene.leaks() == {}


@pytest.mark.parametrize("how", Break)
def test_a_hedged_body_that_breaks_is_resumed(how):
    """A body that was won by a hedge survives its node like any other, byte for byte; the headers of the
    rest are hedged again.
    """

    async def play():
        scene = hedging([ok(1.0), ok()], [Step.broken(70_000, how, after=0.01)], ok())
        found = await scene.get_object("bucket", "key")
        assert (found.body, found.attempts) == (pattern(SIZE), 3)
        assert [name for name, _ in scene.asked] == ["a", "b", "a"]
        assert scene.ranges[-1][1] == "bytes=70000-149999"
        assert (scene.monitor.resumed, scene.leaks()) == (1, {})

    run(play())


@scenario
async def test_the_headers_of_a_resumed_body_are_hedged():
    """When the rest is late at the next endpoint, it comes from the one after."""
    scene = hedging([Step.broken(70_000)], [ok(2.0)], ok(0.01))
    found = await scene.get_object("bucket", "key")
    assert (found.body, found.endpoint, found.attempts) == (pattern(SIZE), "c", 3)
    assert [name for name, _ in scene.asked] == ["a", "b", "c"]
    assert scene.leaks() == {}


@scenario
async def test_a_slow_body_is_not_late():
    """Only the headers are raced; a body may take its time."""
    scene = hedging(ok(0.01, pace=1.0), ok())
    assert (await scene.get_object("bucket", "key")).endpoint == "a"
    assert scene.monitor.hedges == 0


@scenario
async def test_throughput_is_the_winners():
    """The bytes of a large body count for the endpoint that sent them."""
    scene = hedging(ok(1.0), ok(0.01, pace=0.5, piece=MIB // 2))
    scene.store.put("bucket", "large", bytes(2 * MIB))
    await scene.get_object("bucket", "large")
    assert scene.at("b").read_throughput == pytest.approx(MIB)
    assert scene.at("a").read_throughput is None


# --- cancellation ------------------------------------------------------------------------------------------

FATES = {
    "in time": (ok(0.01), ok()),
    "the hedge wins": (ok(1.0), ok(0.02)),
    "the first wins": (ok(0.03), ok(1.0)),
    "both in the same moment": (ok(0.05), ok(0.03)),
    "the hedge a hair before": (ok(0.05), ok(0.03 - HAIR)),
    "the first fails late": ([reset(0.03)], ok(0.05)),
    "the hedge fails": (ok(0.1), [reset(0.01)]),
    "both fail": ([reset(0.03)], [reset(0.05)]),
    "both silent": ([Step.silent()], [Step.silent()]),
    "a body that breaks": (ok(1.0), [Step.broken(70_000, after=0.01)]),
    "no connection": (ok(0.5), ok(0.5)),
}


def scene_of(fate: str) -> Scene:
    a, b = FATES[fate]
    return hedging(a, b, ok(), first_byte=2.0, connections=1 if fate == "no connection" else 64)


async def check(scene: Scene, fate: str) -> None:
    """Nothing is held, nobody is blamed for a cancellation, and the endpoints serve."""
    assert scene.leaks() == {}
    faults = 2 if fate in {"both fail", "both silent"} else 1
    for row in scene.router.snapshot(now=now()).endpoints:
        assert row.breaker is CLOSED
        assert row.failures <= faults
    for name in "abc":
        scene[name].script.clear()
        scene[name].then = ok()
        assert (await scene.head_object("bucket", "key", endpoint=name, retry=False)).size == SIZE


async def cancelled_at(point: int, verb: str, fate: str, *, late: bool) -> bool:
    scene = scene_of(fate)
    held = None
    if fate == "no connection":
        held = asyncio.create_task(scene.head_object("bucket", "key", endpoint="a"))
        await asyncio.sleep(0)
    cancel_at = CancelAt(VERBS[verb](scene), point, late=late)

    async def play():
        return await cancel_at

    task = asyncio.create_task(play())
    await asyncio.wait([task])
    if held is not None:
        await held
    if cancel_at.hit:
        assert task.cancelled(), f"the cancellation at point {point} was swallowed: {task}"
    else:
        task.result()
    await check(scene, fate)
    return cancel_at.hit


@pytest.mark.parametrize("late", [False, True], ids=["while waiting", "at the last moment"])
@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("verb", ["head", "get", "stream"])
def test_cancelled_at_every_await(verb, fate, late):
    """Wherever a hedged read is cancelled: both attempts end, and no permit, lease, body or task is left."""
    point = 1
    while run(cancelled_at(point, verb, fate, late=late)):
        point += 1
    assert point > 1, "it never waited, so nothing was tested"


MOMENTS = [0.0, 0.005, 0.01, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07]


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("fate", FATES)
def test_cancelled_twice_at_any_moment(fate, moment, steps):
    """Who is cancelled again while it waits for the losers still waits for them."""

    async def play():
        scene = scene_of(fate)
        task = asyncio.create_task(scene.get_object("bucket", "key"))
        await asyncio.sleep(moment)
        for _ in range(steps):
            await asyncio.sleep(0)
        told = [task.cancel()]
        for _ in range(3):
            await asyncio.sleep(0)
            told.append(task.cancel())
        await asyncio.wait([task])
        assert task.cancelled() is told[0]
        await check(scene, fate)

    run(play())


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_loop_that_shuts_down_leaves_nothing(moment, steps):
    """When every task is cancelled at once, as at the end of `asyncio.run`, even one that has not begun yet
    gives its permit back: the router may live on in another loop.
    """

    async def play():
        scene = scene_of("the hedge wins")
        mine = asyncio.current_task()
        tasks = [asyncio.create_task(scene.get_object("bucket", "key")) for _ in range(3)]
        await asyncio.sleep(moment)
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {mine}:
            task.cancel()
        await asyncio.wait(tasks)
        await check(scene, "the hedge wins")

    run(play())


@scenario
async def test_the_callers_cancellation_is_neutral():
    """A read that is cancelled in mid-race tells nothing of either endpoint, and its message is kept."""
    scene = hedging(ok(1.0), ok(1.0))
    before = [row.read_latency for row in scene.router.snapshot(now=now()).endpoints]
    task = asyncio.create_task(scene.get_object("bucket", "key"))
    await asyncio.sleep(0.5)
    task.cancel("told so")
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value.args == ("told so",)
    assert scene.router.settled == [("a", CANCELLED), ("b", CANCELLED)]
    assert [details["at_least"] for details in scene.router.details] == [None, None]
    assert [row.read_latency for row in scene.router.snapshot(now=now()).endpoints] == before
    assert (now(), scene.leaks()) == (0.5, {})


@scenario
async def test_a_cancelled_race_frees_a_trial():
    """A half-open endpoint whose trial is cancelled admits the next one, hedging or not."""
    scene = hedging([ok(1.0)], ok())
    await scene.trip("a")
    task = asyncio.create_task(scene.get_object("bucket", "key", endpoint="a"))
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.wait([task])
    assert scene.at("a").breaker is HALF_OPEN
    await scene.get_object("bucket", "key", endpoint="a")
    assert scene.at("a").breaker is CLOSED


# --- as a whole --------------------------------------------------------------------------------------------


@scenario
async def test_statistics_tell_of_hedges():
    """`FlashbackSettings(hedging=True)` is all it takes; `stats()` shows what was sent, won and is left."""
    endpoints = MemoryEndpoints.of("a", "b")
    endpoints.store.put("bucket", "key", b"data")
    async with endpoints.client(hedging=True, router=Router(random=Random(1).random)) as fb:
        for name in "ab":
            endpoints[name].script.extend([ok(0.07)] * 3)
            endpoints[name].then = ok(0.05)
        for _ in range(40):
            await fb.get_object("bucket", "key")
        assert (fb.stats().hedges, fb.stats().hedge_budget) == (0, 2)
        endpoints[(await fb.pick_endpoint("bucket")).id].script.append(ok(1.0))
        attempts = [(await fb.get_object("bucket", "key")).attempts for _ in range(19)]
        stats = fb.stats()
        assert (stats.hedges, stats.hedges_won, stats.hedge_budget) == (1, 1, 1)
        assert sorted(attempts) == [1] * 18 + [2]
        assert (stats.operations, stats.attempts, stats.retries, stats.retry_budget) == (59, 60, 0, 500)
    assert endpoints.leases == endpoints.open_bodies == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_tail_falls_and_the_load_hardly_grows(seed):
    """Where every endpoint has a tail that no routing can avoid, hedging cuts the 99th percentile to less
    than half, for at most 5 % more requests.
    """

    def measured(*, hedged: bool) -> tuple[float, int, int]:
        async def play():
            chance = Random(seed)
            scene = Scene(ids="abc", hedging=hedged, random=chance.random)
            scene.store.put("bucket", "key", b"")
            for name in "abc":
                scene[name].script.extend(
                    ok(chance.uniform(0.04, 0.06) if chance.random() > 0.03 else 2.0) for _ in range(3_000)
                )
            times = []

            async def one(begin: float) -> None:
                await asyncio.sleep(begin)
                begun = now()
                await scene.head_object("bucket", "key")
                times.append(now() - begun)

            await asyncio.gather(*(one(chance.uniform(0, 60)) for _ in range(3_000)))
            assert scene.leaks() == {}
            return sorted(times)[int(0.99 * len(times))], scene.monitor.attempts, scene.monitor.hedges

        return run(play())

    plain, sent, none = measured(hedged=False)
    cut, sent_more, hedges = measured(hedged=True)
    assert (sent, none, sent_more) == (3_000, 0, 3_000 + hedges)
    assert hedges <= 0.05 * 3_000
    assert plain == 2.0
    assert cut < 1.0
