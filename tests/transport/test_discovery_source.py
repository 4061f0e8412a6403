"""What one discovery asks, and what it makes of the answers."""

from __future__ import annotations

import asyncio

import pytest
import virtual_time

from flashback_async.config import FlashbackSettings
from flashback_async.errors import ConfigurationError, DiscoveryError
from flashback_async.routing.endpoint import Endpoint, EndpointStatus
from flashback_async.transport.discovery_source import ControlPlaneSource, StaticSource
from flashback_async.transport.trust import EndpointTrust

from .scripted_control_plane import ScriptedControlPlane, minute, node

B = frozenset({"b"})
IDS = {"b": "id-b"}


def _source(control_plane, **settings):
    settings = FlashbackSettings(jwt="t", **{"bucket_ids": IDS, **settings})
    trust = EndpointTrust.from_settings(settings)
    return ControlPlaneSource(control_plane, trust, settings, clock=asyncio.get_running_loop().time)


def _latencies(found):
    return {report.endpoint.id: report.latency_of("b") for report in found.reports}


class TestStaticSource:
    """Endpoints that somebody wrote down."""

    async def test_urls_become_endpoints_named_by_host(self):
        """Everything is online, nothing is known of latencies."""
        source = StaticSource(["https://s3.example.com/", "http://127.0.0.1:9000", "https://s3.example.com"])
        found = await source.discover(frozenset())
        assert [(report.endpoint.id, report.endpoint.url) for report in found.reports] == [
            ("s3.example.com", "https://s3.example.com"),
            ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ]
        assert {report.status for report in found.reports} == {EndpointStatus.ONLINE}
        assert source.is_constant

    async def test_own_ids_are_kept(self):
        """An endpoint may bring its id and region."""
        endpoint = Endpoint(id="mine", url="https://s3.example.com", region="eu")
        (report,) = (await StaticSource([endpoint]).discover(frozenset())).reports
        assert report.endpoint is endpoint

    @pytest.mark.parametrize(
        ("endpoints", "message"),
        [
            ([], "give at least one"),
            (["http://s3.example.com"], "unencrypted"),
            (["http://localhost", "https://localhost"], "share an id or a host"),
            ([Endpoint("a", "https://a"), Endpoint("a", "https://b")], "share an id"),
        ],
    )
    def test_what_cannot_work_is_refused(self, endpoints, message):
        """Nothing, plain http, and two endpoints of one name."""
        with pytest.raises(ConfigurationError, match=message):
            StaticSource(endpoints)


class TestControlPlaneSource:
    """Endpoints that the control plane lists."""

    @virtual_time.scenario
    async def test_only_nodes_are_asked_for_while_no_bucket_is_in_use(self):
        """No bucket, no question about buckets; no organization, no question about it."""
        control_plane = ScriptedControlPlane(node(1), node(2, status="OFFLINE"))
        source = _source(control_plane)
        found = await source.discover(frozenset())
        assert [(r.endpoint.id, r.status.name) for r in found.reports] == [
            ("203.0.113.1", "ONLINE"), ("203.0.113.2", "OFFLINE"),
        ]  # fmt: skip
        assert control_plane.calls == [("list_nodes",)]
        assert not source.is_constant

    @virtual_time.scenario
    async def test_everything_is_asked_for_side_by_side(self):
        """Three lists cost the time of the slowest one."""
        control_plane = ScriptedControlPlane(node(1))
        control_plane.private = [{"url": "https://node1.flashback.tech", "id": "uuid", "status": "active"}]
        control_plane.minutes = [minute(1, 42)]
        control_plane.delay = 1.0
        found = await _source(control_plane, org_id="org").discover(B)
        assert asyncio.get_running_loop().time() == 1.0
        assert _latencies(found) == {"203.0.113.1": 0.042, "uuid": None}
        assert found.reports[1].status is EndpointStatus.ONLINE
        assert sorted(control_plane.calls) == [
            ("list_nodes",), ("node_minute_stats", "id-b"), ("organization_nodes", "org"),
        ]  # fmt: skip

    @virtual_time.scenario
    async def test_names_are_resolved_first(self):
        """A bucket without a given id is looked up; rows come by id, or by name as in the guide."""
        control_plane = ScriptedControlPlane(node(1), node(2))
        control_plane.buckets = [{"id": "uuid-b", "bucket": "b"}]
        control_plane.minutes = [minute(1, 42, "uuid-b"), minute(2, 43, "b"), minute(1, 1, "another")]
        found = await _source(control_plane, bucket_ids={}).discover(B)
        assert _latencies(found) == {"203.0.113.1": 0.042, "203.0.113.2": 0.043}
        assert control_plane.asked("node_minute_stats") == [["uuid-b"]]
        assert found.unmatched_rows == 0

    @virtual_time.scenario
    async def test_an_unknown_name_leaves_latencies_unknown(self):
        """Routing goes on without; no statistics are asked for."""
        control_plane = ScriptedControlPlane(node(1))
        found = await _source(control_plane, bucket_ids={}).discover(B)
        assert _latencies(found) == {"203.0.113.1": None}
        assert control_plane.asked("node_minute_stats") == []
        assert found.degraded == ""

    @virtual_time.scenario
    async def test_dropped_rows_are_added_up(self):
        """Malformed rows of every table, and nodes on hosts that are not allowed."""
        control_plane = ScriptedControlPlane(node(1), node(2, url="https://s3.evil.com"))
        control_plane.dropped = {"list_nodes": 1, "organization_nodes": 10, "node_minute_stats": 100,
                                 "bucket_status": 1000}  # fmt: skip
        found = await _source(control_plane, org_id="o").discover(B)
        assert found.dropped_rows == 1112

    @pytest.mark.parametrize("method", ["list_nodes", "organization_nodes"])
    def test_without_a_list_of_nodes_discovery_fails(self, method):
        """The essential answers fail with their own error, and the others are not waited for."""

        async def scenario():
            control_plane = ScriptedControlPlane(node(1))
            control_plane.failures[method] = (error := DiscoveryError("list", status=503))
            error.__cause__ = OSError("why")
            with pytest.raises(DiscoveryError, match="list") as caught:
                await _source(control_plane, org_id="o").discover(B)
            assert caught.value is error
            assert isinstance(caught.value.__cause__, OSError)

        virtual_time.run(scenario())

    @virtual_time.scenario
    async def test_filters_of_the_settings_apply(self):
        """Regions and excluded nodes."""
        control_plane = ScriptedControlPlane(node(1, region="eu"), node(2, region="us"), node(3, region="eu"))
        found = await _source(control_plane, regions="eu", exclude_nodes="203.0.113.3").discover(B)
        assert [report.endpoint.id for report in found.reports] == ["203.0.113.1"]

    @virtual_time.scenario
    async def test_an_empty_table_says_why_it_is_empty(self):
        """Nothing listed, or nothing left: the error names the settings that decided."""
        control_plane = ScriptedControlPlane()
        with pytest.raises(DiscoveryError, match=r"no node that serves storage.*FB_BASE_URL"):
            await _source(control_plane).discover(B)
        control_plane.nodes = [node(1, url="a.evil.com"), node(2), node(3), node(4, region="us")]
        source = _source(control_plane, regions="us", exclude_nodes="203.0.113.4")
        with pytest.raises(
            DiscoveryError, match=r"lists 4 nodes.*1 with addresses.*2 outside FB_REGIONS, 1 named"
        ):
            await source.discover(B)


class TestFigures:
    """Latencies: welcome, never essential."""

    @virtual_time.scenario
    async def test_failing_statistics_are_bridged_for_a_minute(self):
        """The last figures stand in; after a minute, latencies are unknown; what is missing is said."""
        control_plane = ScriptedControlPlane(node(1))
        control_plane.minutes = [minute(1, 42)]
        source = _source(control_plane)
        assert (await source.discover(B)).degraded == ""
        control_plane.failures["node_minute_stats"] = DiscoveryError("stats are down", status=500)
        await asyncio.sleep(59.9)
        found = await source.discover(B)
        assert _latencies(found) == {"203.0.113.1": 0.042}
        assert found.degraded == "statistics of nodes (stats are down)"
        await asyncio.sleep(0.1)
        assert _latencies(await source.discover(B)) == {"203.0.113.1": None}
        assert control_plane.asked("bucket_status") == []
        control_plane.failures.clear()
        assert _latencies(await source.discover(B)) == {"203.0.113.1": 0.042}

    @virtual_time.scenario
    async def test_silence_costs_a_quarter_of_the_time(self):
        """Figures that do not come are not waited for until the discovery itself fails."""
        for method, fallback in (("list_buckets", 0), ("node_minute_stats", 0), ("bucket_status", 1)):
            control_plane = ScriptedControlPlane(node(1))
            control_plane.buckets = [{"id": "id-b", "bucket": "b"}]
            control_plane.silent = {method}
            began = asyncio.get_running_loop().time()
            found = await _source(control_plane, bucket_ids={}, discovery_timeout=8.0).discover(B)
            assert asyncio.get_running_loop().time() - began == 2.0
            assert "no answer within 2 s" in found.degraded
            assert len(found.reports) == 1
            assert len(control_plane.asked("bucket_status")) == fallback

    @virtual_time.scenario
    async def test_failing_lookups_leave_known_buckets_alone(self):
        """A name that cannot be resolved does not cost the figures of the others."""
        control_plane = ScriptedControlPlane(node(1))
        control_plane.minutes = [minute(1, 42)]
        control_plane.failures["list_buckets"] = DiscoveryError("buckets are down")
        found = await _source(control_plane).discover(frozenset({"b", "new"}))
        assert _latencies(found) == {"203.0.113.1": 0.042}
        assert found.degraded == "ids of buckets (buckets are down)"

    @virtual_time.scenario
    async def test_rows_that_fit_no_node_call_for_the_buckets_status(self):
        """Without a fitting row, the status of the bucket (which names addresses) fills in, every time."""
        control_plane = ScriptedControlPlane(node(1), node(2))
        control_plane.minutes = [minute(1, 42, nodeId="who-knows")]
        control_plane.statuses["id-b"] = [
            {"ip": "203.0.113.1", "status": "ONLINE", "latencyMs": "45"},
            {"ip": "203.0.113.2", "status": "OFFLINE", "latency_ms": 0},
        ]
        source = _source(control_plane)
        for _ in range(2):
            found = await source.discover(B)
            assert _latencies(found) == {"203.0.113.1": 0.045, "203.0.113.2": None}
            assert [report.serves("b") for report in found.reports] == [True, False]
            assert found.unmatched_rows == 1
        assert control_plane.asked("bucket_status") == [["id-b"], ["id-b"]]

    @virtual_time.scenario
    async def test_retired_statistics_call_for_the_buckets_status(self):
        """A control plane without the table of statistics still has the other one."""
        control_plane = ScriptedControlPlane(node(1))
        control_plane.failures["node_minute_stats"] = DiscoveryError("gone", status=404)
        control_plane.statuses["id-b"] = [{"ip": "203.0.113.1", "status": "ONLINE", "latencyMs": 45}]
        assert _latencies(await _source(control_plane).discover(B)) == {"203.0.113.1": 0.045}

    @virtual_time.scenario
    async def test_a_status_that_does_not_help_rests(self):
        """If the status fits no node either, or fails, a minute passes before it is asked for again."""
        for failure in (None, DiscoveryError("status is down")):
            control_plane = ScriptedControlPlane(node(1))
            control_plane.statuses["id-b"] = [{"ip": "10.0.0.9", "status": "ONLINE"}]
            if failure is not None:
                control_plane.failures["bucket_status"] = failure
            source = _source(control_plane)
            found = await source.discover(B)
            assert found.degraded == ("" if failure is None else "status of bucket b (status is down)")
            await asyncio.sleep(59.9)
            await source.discover(B)
            assert len(control_plane.asked("bucket_status")) == 1
            await asyncio.sleep(0.1)
            await source.discover(B)
            assert len(control_plane.asked("bucket_status")) == 2

    @virtual_time.scenario
    async def test_few_buckets_are_asked_about_at_once(self):
        """With many silent buckets, eight are asked about per discovery, in turn; answers serve meanwhile."""
        control_plane = ScriptedControlPlane(node(1))
        names = {f"b{number:02}": f"id-{number:02}" for number in range(20)}
        control_plane.statuses = {
            bucket_id: [{"ip": "203.0.113.1", "status": "ONLINE", "latency_ms": 5}]
            for bucket_id in names.values()
        }
        source = _source(control_plane, bucket_ids=names)
        known = []
        for _ in range(5):
            (report,) = (await source.discover(frozenset(names))).reports
            known.append(len(report.reported_latency))
            await asyncio.sleep(10.0)
        assert known == [8, 16, 20, 20, 20]
        asked = [bucket_id for (bucket_id,) in control_plane.asked("bucket_status")]
        assert (len(asked), set(asked[:20])) == (40, set(names.values()))
