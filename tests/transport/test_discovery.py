"""When discovery runs, what it keeps, and whom it spares. Virtual time, exact times."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest
import virtual_time

from flashback_async.config import FlashbackSettings
from flashback_async.errors import ClientClosedError, ConfigurationError, DiscoveryError
from flashback_async.routing import Endpoint, EndpointReport, OperationKind, Router
from flashback_async.transport.discovery import BUCKETS_KEPT, Discovery
from flashback_async.transport.discovery_source import ControlPlaneSource, Discovered, StaticSource
from flashback_async.transport.trust import EndpointTrust

from .scripted_control_plane import ScriptedControlPlane, minute, node

REPORT = EndpointReport(Endpoint("a", "https://a.flashback.tech"))


def now():
    return round(asyncio.get_running_loop().time(), 6)


class Source:
    """Plays a script: one step per discovery, the last one for ever. An exception is raised."""

    is_constant = False

    def __init__(self, *steps, takes=0.0):
        self.steps = list(steps) or [Discovered((REPORT,))]
        self.takes = takes
        self.times = []
        self.buckets = []
        self.cancelled = 0

    async def discover(self, buckets):
        self.times.append(now())
        self.buckets.append(sorted(buckets))
        try:
            await asyncio.sleep(self.takes)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return step


class Table:
    """Stands in for the router."""

    def __init__(self):
        self.applied = []

    def apply_discovery(self, reports, *, now):
        self.applied.append((round(now, 6), tuple(reports)))


def _discovery(source, table=None, *, random=0.5, **options):
    loop = asyncio.get_running_loop()
    return Discovery(source, table or Table(), clock=loop.time, random=lambda: random, **options)


class TestLife:
    """Start, close, and everything in between."""

    @virtual_time.scenario
    async def test_start_awaits_the_first_discovery(self):
        """When `start()` returns, the table is there; then it is renewed every interval."""
        source, table = Source(takes=0.25), Table()
        discovery = _discovery(source, table)
        await discovery.start()
        assert table.applied == [(0.25, (REPORT,))]
        await asyncio.sleep(30.0)
        await discovery.aclose()
        assert source.times == [0.0, 10.0, 20.0, 30.0]

    @pytest.mark.parametrize(("random", "interval"), [(0.0, 9.0), (0.5, 10.0), (0.999, 10.998)])
    def test_the_interval_varies_by_a_tenth(self, random, interval):
        """Processes started together drift apart."""

        async def scenario():
            source = Source()
            discovery = _discovery(source, random=random)
            await discovery.start()
            await asyncio.sleep(25.0)
            await discovery.aclose()
            return source.times

        assert virtual_time.run(scenario()) == pytest.approx([0.0, interval, 2 * interval])

    @pytest.mark.parametrize(
        ("step", "message"),
        [
            (DiscoveryError("down", status=503), "down"),
            (Discovered(()), "no endpoint"),
            (KeyError("bug"), "crashed: KeyError"),
        ],
    )
    def test_a_failed_start_leaves_nothing(self, step, message):
        """The error comes through, no task is left, and a later start may succeed."""

        async def scenario():
            source, table = Source(step, Discovered((REPORT,))), Table()
            discovery = _discovery(source, table)
            with pytest.raises(DiscoveryError, match=message):
                await discovery.start()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert (table.applied, discovery.status().failures) == ([], 1)
            await discovery.start()
            assert len(table.applied) == 1
            await discovery.aclose()

        virtual_time.run(scenario())

    @pytest.mark.parametrize("ticks", range(6))
    def test_closing_at_the_end_of_the_start_ends_it(self, ticks):
        """At whatever moment it is closed, no task appears afterwards."""

        async def scenario():
            discovery = _discovery(Source(takes=1.0))
            starting = asyncio.create_task(discovery.start())
            await asyncio.sleep(1.0)
            for _ in range(ticks):
                await asyncio.sleep(0)
            await discovery.aclose()
            await asyncio.wait({starting})
            starting.exception()
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            with pytest.raises(ClientClosedError):
                await discovery.refresh()

        virtual_time.run(scenario())

    @virtual_time.scenario
    async def test_errors_of_configuration_come_through_as_they_are(self):
        """A wrong setting is not dressed up as a failed discovery."""
        with pytest.raises(ConfigurationError, match="org_id"):
            await _discovery(Source(ConfigurationError("org_id"))).start()

    @virtual_time.scenario
    async def test_a_start_that_takes_too_long_fails(self):
        """The timeout holds for the first discovery as for the others, and the source is cancelled."""
        source = Source(takes=3600.0)
        discovery = _discovery(source, timeout=5.0)
        with pytest.raises(DiscoveryError, match="longer than 5 s"):
            await discovery.start()
        assert (now(), source.cancelled, discovery.status().failures) == (5.0, 1, 1)

    @virtual_time.scenario
    async def test_a_cancelled_start_leaves_nothing(self):
        """Cancelling the start cancels what it began."""
        source = Source(takes=3600.0)
        starting = asyncio.create_task(_discovery(source).start())
        await asyncio.sleep(1.0)
        starting.cancel()
        await asyncio.wait({starting})
        assert (starting.cancelled(), source.cancelled) == (True, 1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    @virtual_time.scenario
    async def test_starting_twice_is_starting_once(self):
        """At the same time or later, and a cancelled starter does not stop the other."""
        source = Source(takes=1.0)
        discovery = _discovery(source)
        starters = [asyncio.create_task(discovery.start()) for _ in range(3)]
        await asyncio.sleep(0.5)
        starters[0].cancel()
        with pytest.raises(ClientClosedError):
            await discovery.refresh()
        await asyncio.wait(starters)
        await discovery.start()
        await asyncio.sleep(8.9)
        assert source.times == [0.0]
        await asyncio.sleep(0.2)
        await discovery.aclose()
        assert source.times == [0.0, 10.0]

    @virtual_time.scenario
    async def test_closing_cancels_and_awaits(self):
        """A discovery under way is cancelled, and has ended when `aclose()` returns; twice is fine."""
        source = Source()
        discovery = _discovery(source)
        await asyncio.create_task(discovery.start())
        source.takes = 3600.0
        await asyncio.sleep(11.0)
        await asyncio.gather(discovery.aclose(), discovery.aclose())
        await discovery.aclose()
        assert source.cancelled == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}

    @virtual_time.scenario
    async def test_closing_during_the_start_ends_it(self):
        """Who still starts learns that it was closed, and no task appears afterwards."""
        source = Source(takes=5.0)
        discovery = _discovery(source)
        starting = asyncio.create_task(discovery.start())
        await asyncio.sleep(1.0)
        await discovery.aclose()
        with pytest.raises(ClientClosedError):
            await starting
        assert asyncio.all_tasks() == {asyncio.current_task()}

    @virtual_time.scenario
    async def test_it_starts_again_after_closing(self):
        """Another start makes another task."""
        source = Source()
        discovery = _discovery(source)
        for _ in range(2):
            await discovery.start()
            await asyncio.sleep(5.0)
            await discovery.aclose()
        assert source.times == [0.0, 5.0]

    @virtual_time.scenario
    async def test_before_start_and_after_close_nothing_is_asked(self):
        """Explicit calls say so, the request path's calls do nothing."""
        source = Source()
        discovery = _discovery(source)
        for _ in range(2):
            with pytest.raises(ClientClosedError, match="start the client"):
                await discovery.refresh()
            discovery.request_refresh()
            await discovery.start()
            await discovery.aclose()
        discovery.request_refresh()
        await asyncio.sleep(60.0)
        assert source.times == [0.0, 0.0]


def test_it_restarts_in_another_loop(caplog):
    """An instance that was closed works in the next loop: nothing of the first one is kept."""

    async def scenario():
        await discovery.start()
        discovery.request_refresh()
        await asyncio.sleep(1.0)
        await discovery.aclose()

    source = Source()
    discovery = Discovery(source, Table(), clock=lambda: 0.0, random=lambda: 0.5, interval=0.2)
    virtual_time.run(scenario())
    virtual_time.run(scenario())
    assert caplog.records == []


class TestStaticEndpoints:
    """A list that never changes."""

    @virtual_time.scenario
    async def test_is_applied_once_and_costs_nothing(self):
        """No task, no repetition, never stale; a refresh is possible."""
        table = Table()
        discovery = _discovery(StaticSource(["https://a.example.com"]), table)
        await discovery.start()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        discovery.request_refresh()
        discovery.want_bucket("b")
        await asyncio.sleep(3600.0)
        assert len(table.applied) == 1
        status = discovery.status()
        assert (status.age, status.stale, status.discoveries) == (0.0, False, 1)
        await discovery.refresh()
        assert len(table.applied) == 2
        await discovery.aclose()


class TestRefresh:
    """Discovering out of turn."""

    @virtual_time.scenario
    async def test_concurrent_callers_share_one(self):
        """Also with the background task; one caller's cancellation spares the others."""
        source = Source()
        discovery = _discovery(source)
        await discovery.start()
        source.takes = 2.0
        await asyncio.sleep(9.0)
        callers = [asyncio.create_task(discovery.refresh()) for _ in range(5)]
        await asyncio.sleep(1.5)
        callers[0].cancel()
        await asyncio.wait(callers)
        assert [caller.cancelled() for caller in callers] == [True, False, False, False, False]
        assert (source.times, source.cancelled) == ([0.0, 9.0], 0)
        await asyncio.sleep(7.9)
        assert source.times == [0.0, 9.0]
        await asyncio.sleep(0.2)
        assert source.times == [0.0, 9.0, 19.0]
        await discovery.aclose()

    @virtual_time.scenario
    async def test_a_failure_keeps_the_table(self):
        """The caller gets the error, the router nothing."""
        table = Table()
        source = Source(Discovered((REPORT,)), DiscoveryError("down"), Discovered(()), ZeroDivisionError())
        discovery = _discovery(source, table)
        await discovery.start()
        for message in ("down", "no endpoint", "crashed: ZeroDivisionError"):
            with pytest.raises(DiscoveryError, match=message):
                await discovery.refresh()
        assert len(table.applied) == 1
        assert (discovery.status().discoveries, discovery.status().failures) == (1, 3)
        await discovery.aclose()

    @virtual_time.scenario
    async def test_urgent_requests_are_answered_once_per_half_second(self):
        """A thousand failing requests a second cause two discoveries a second, the first one at once."""
        source = Source()
        discovery = _discovery(source)
        await discovery.start()
        await asyncio.sleep(3.0)
        for _ in range(1200):
            discovery.request_refresh()
            await asyncio.sleep(0.001)
        await asyncio.sleep(5.0)
        assert source.times == [0.0, 3.0, 3.5, 4.0, 4.5]
        await discovery.aclose()

    @virtual_time.scenario
    async def test_an_urgent_request_during_a_discovery_is_not_lost(self):
        """What failed after the discovery began may not be in its answer: another one follows."""
        source = Source(takes=1.0)
        discovery = _discovery(source)
        await discovery.start()
        discovery.request_refresh()
        await asyncio.sleep(0.5)
        discovery.request_refresh()
        await asyncio.sleep(5.0)
        assert source.times == [0.0, 1.0, 2.0]
        await discovery.aclose()

    @virtual_time.scenario
    async def test_a_refresh_serves_the_urgent_request(self):
        """Somebody else's discovery that began after the request is as good."""
        source = Source()
        discovery = _discovery(source)
        await discovery.start()
        await asyncio.sleep(0.2)
        discovery.request_refresh()
        await discovery.refresh()
        await asyncio.sleep(5.0)
        assert source.times == [0.0, 0.2]
        await discovery.aclose()

    @pytest.mark.parametrize(
        ("random", "expected"),
        [(0.0, [0.5, 1.0, 2.0, 4.0, 8.0, 9.0, 9.0]), (0.5, [0.5, 0.75, 1.5, 3.0, 6.0, 10.0, 10.0])],
    )
    def test_a_control_plane_in_trouble_is_not_stormed(self, random, expected):
        """While discovery fails, urgent requests are served less and less often, up to the interval."""

        async def scenario():
            source = Source(Discovered((REPORT,)), DiscoveryError("down"))
            discovery = _discovery(source, random=random)
            await discovery.start()
            for _ in range(4000):
                discovery.request_refresh()
                await asyncio.sleep(0.01)
            await discovery.aclose()
            return [b - a for a, b in itertools.pairwise(source.times)]

        assert virtual_time.run(scenario())[:7] == pytest.approx(expected, abs=0.02)

    @virtual_time.scenario
    async def test_the_control_planes_wish_is_granted(self):
        """After `Retry-After: 40` neither the interval nor failing requests ask before; a person may."""
        source = Source(
            Discovered((REPORT,)), DiscoveryError("429", status=429, retry_after=40.0), Discovered((REPORT,))
        )
        discovery = _discovery(source)
        await discovery.start()
        await asyncio.sleep(12.0)
        discovery.request_refresh()
        await asyncio.sleep(37.9)
        assert source.times == [0.0, 10.0]
        await asyncio.sleep(0.2)
        assert source.times == [0.0, 10.0, 50.0]
        await discovery.refresh()
        assert source.times == [0.0, 10.0, 50.0, 50.1]
        await discovery.aclose()


class TestBuckets:
    """Asking about the buckets in use."""

    @virtual_time.scenario
    async def test_a_bucket_is_asked_about_from_the_next_discovery_on(self):
        """Before the start it waits for it; afterwards a new name is urgent, a known one is not."""
        source = Source()
        discovery = _discovery(source)
        discovery.want_bucket("a")
        await discovery.start()
        await asyncio.sleep(3.0)
        for name in ("a", "b", "a", "b"):
            discovery.want_bucket(name)
        await asyncio.sleep(5.0)
        assert (source.times, source.buckets) == ([0.0, 3.0], [["a"], ["a", "b"]])
        await discovery.aclose()

    @virtual_time.scenario
    async def test_buckets_are_bounded(self):
        """A program that touches thousands of buckets does not ask about all of them."""
        source = Source()
        discovery = _discovery(source)
        await discovery.start()
        for number in range(BUCKETS_KEPT * 10):
            discovery.want_bucket(f"b{number}")
        await discovery.refresh()
        assert len(source.buckets[-1]) == BUCKETS_KEPT
        await discovery.aclose()


class TestStatus:
    """What there is to see."""

    @virtual_time.scenario
    async def test_counts_and_age(self):
        """Counters, the age of the table, and what was missing from the last answer."""
        partial = Discovered((REPORT,), unmatched_rows=2, dropped_rows=3, degraded="no statistics")
        discovery = _discovery(Source(Discovered((REPORT,)), partial, DiscoveryError("down")))
        status = discovery.status()
        assert (status.age, status.stale, status.discoveries, status.last_error) == (None, False, 0, "")
        await discovery.start()
        await asyncio.sleep(4.0)
        assert (discovery.status().age, discovery.status().last_error) == (4.0, "")
        await asyncio.sleep(8.0)
        status = discovery.status()
        assert (status.age, status.unmatched_rows, status.dropped_rows) == (2.0, 2, 3)
        assert status.last_error == "no statistics"
        await asyncio.sleep(10.0)
        status = discovery.status()
        assert (status.discoveries, status.failures, status.last_error) == (2, 1, "down")
        assert (status.age, status.unmatched_rows, status.stale) == (12.0, 2, False)
        await discovery.aclose()

    @virtual_time.scenario
    async def test_three_misses_or_a_minute_make_it_stale(self):
        """Whichever comes first; one success mends it."""
        down = DiscoveryError("down")
        source = Source(Discovered((REPORT,)), down, down, down, Discovered((REPORT,)))
        discovery = _discovery(source)
        await discovery.start()
        for at, stale in ((29.9, False), (30.1, True), (39.9, True), (40.1, False)):
            await asyncio.sleep(at - now())
            assert discovery.status().stale is stale
        source.takes = 3600.0
        slow = _discovery(source, timeout=3000.0)
        source.takes = 0.0
        await discovery.aclose()
        await slow.start()
        source.takes = 3600.0
        for age, stale in ((60.0, False), (60.1, True)):
            await asyncio.sleep(age - slow.status().age)
            assert slow.status().stale is stale
        await slow.aclose()

    @virtual_time.scenario
    async def test_a_slow_rhythm_is_not_stale(self):
        """With an interval of five minutes, a table of four minutes is as fresh as it was asked for."""
        discovery = _discovery(Source(), interval=300.0)
        await discovery.start()
        await asyncio.sleep(240.0)
        assert not discovery.status().stale
        await discovery.aclose()

    @virtual_time.scenario
    async def test_a_shared_table_brings_its_age(self):
        """What was read from somebody else is as old as it says."""
        discovery = _discovery(Source(Discovered((REPORT,), age=8.0)))
        await discovery.start()
        assert discovery.status().age == 8.0
        await discovery.aclose()


class TestLog:
    """State changes once, never per tick."""

    @virtual_time.scenario
    async def test_failures_are_told_once(self, caplog):
        """The first failure, the staleness, and the end of it."""
        caplog.set_level(logging.DEBUG)
        down = DiscoveryError("down")
        discovery = _discovery(Source(Discovered((REPORT,)), *[down] * 20, Discovered((REPORT,))))
        await discovery.start()
        await asyncio.sleep(250.0)
        await discovery.aclose()
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
            ("WARNING", "discovery failed, the last table of endpoints stays: down"),
            ("WARNING", "discovery keeps failing, the table of endpoints may be out of date: down"),
            ("INFO", "discovery works again after 20 failures"),
        ]
        assert {record.name for record in caplog.records} == {"flashback_async.discovery"}

    @virtual_time.scenario
    async def test_a_failed_start_is_not_logged(self, caplog):
        """The caller has the error already."""
        with pytest.raises(DiscoveryError):
            await _discovery(Source(DiscoveryError("down"))).start()
        assert caplog.records == []

    @virtual_time.scenario
    async def test_degradation_is_told_once(self, caplog):
        """What is missing, rows that fit nobody, and the end of it."""
        caplog.set_level(logging.INFO)
        partial = Discovered((REPORT,), degraded="no statistics", unmatched_rows=4)
        discovery = _discovery(Source(partial, partial, partial, Discovered((REPORT,))))
        await discovery.start()
        await asyncio.sleep(60.0)
        await discovery.aclose()
        assert [record.getMessage() for record in caplog.records] == [
            "discovery works in part: no statistics",
            "4 rows of statistics name no listed node",
            "discovery is complete again",
        ]


class TestCrash:
    """Bugs stay in the background."""

    @virtual_time.scenario
    async def test_a_crash_is_logged_once_and_survived(self, caplog):
        """The table stays, the task is restarted, the failure counts, and the traceback is in the log."""
        table = Table()
        source = Source(Discovered((REPORT,)), *[KeyError("bug")] * 3, Discovered((REPORT,)))
        discovery = _discovery(source, table)
        await discovery.start()
        discovery.want_bucket("b")
        discovery.request_refresh()
        await asyncio.sleep(60.0)
        status = discovery.status()
        assert status.failures == 3
        assert status.discoveries >= 2
        assert status.last_error == ""
        assert len(table.applied) == status.discoveries
        crashes = [record for record in caplog.records if record.exc_info]
        assert [str(record.exc_info[1]) for record in crashes] == ["'bug'"]
        await discovery.aclose()

    @virtual_time.scenario
    async def test_a_crash_after_success_is_news(self, caplog):
        """Two bugs with a success in between are two log lines."""
        found = Discovered((REPORT,))
        discovery = _discovery(Source(found, KeyError("first"), found, KeyError("second"), found))
        await discovery.start()
        await asyncio.sleep(60.0)
        await discovery.aclose()
        crashes = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
        assert crashes == ["'first'", "'second'"]

    @virtual_time.scenario
    async def test_a_router_that_raises_is_a_crash_like_any_other(self, caplog):
        """The bug may sit behind the seam."""

        class Broken(Table):
            def apply_discovery(self, reports, *, now):
                super().apply_discovery(reports, now=now)
                if len(self.applied) == 2:
                    raise RuntimeError("bug")

        table = Broken()
        discovery = _discovery(Source(), table)
        await discovery.start()
        await asyncio.sleep(35.0)
        assert len(table.applied) == 4
        assert discovery.status().failures == 1
        await discovery.aclose()


@virtual_time.scenario
async def test_the_whole_control_plane_side_feeds_the_router():
    """Nodes, statistics and trust end up in the router's choice; a dead control plane changes nothing."""
    loop = asyncio.get_running_loop()
    control_plane = ScriptedControlPlane(node(1), node(2), node(3, url="https://evilflashback.tech"))
    control_plane.buckets = [{"id": "id-b", "bucket": "photos"}]
    control_plane.minutes = [minute(1, 300), minute(2, 20, nodeStatus="Online"), minute(1, 1, "other")]
    settings = FlashbackSettings(jwt="t")
    source = ControlPlaneSource(
        control_plane, EndpointTrust.from_settings(settings), settings, clock=loop.time
    )
    router = Router(random=lambda: 0.5)
    discovery = Discovery(source, router, clock=loop.time, random=lambda: 0.5)
    await discovery.start()
    discovery.want_bucket("photos")
    await asyncio.sleep(1.0)
    assert router.best("photos", OperationKind.READ, now=loop.time()).id == "203.0.113.2"
    for method in ("list_nodes", "node_minute_stats"):
        control_plane.failures[method] = DiscoveryError("down", status=503)
    await asyncio.sleep(600.0)
    assert router.best("photos", OperationKind.READ, now=loop.time()).id == "203.0.113.2"
    status = discovery.status()
    assert (status.stale, status.dropped_rows, status.last_error) == (True, 1, "down")
    await discovery.aclose()
