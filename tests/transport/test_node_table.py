"""The join of nodes, statistics and filters into reports."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashback_async.routing.endpoint import EndpointStatus
from flashback_async.transport.control_plane import BucketNode, Node, NodeMinute
from flashback_async.transport.node_table import endpoint_status, join, node_key
from flashback_async.transport.trust import EndpointTrust

ONLINE, OFFLINE = EndpointStatus.ONLINE, EndpointStatus.OFFLINE
DISCONNECTED, UNKNOWN = EndpointStatus.DISCONNECTED, EndpointStatus.UNKNOWN


def _node(name="us-east-1-aws", *, url=None, status="ONLINE", **fields):
    return Node(url=url or f"*-{name}.flashback.tech", status=status, **fields)


def _minute(node_id, latency_ms=None, status="ONLINE", at=None):
    updated = None if at is None else datetime(2026, 1, 15, 10, 30, at, tzinfo=UTC)
    return NodeMinute(
        node_id=node_id, bucket_id="b", status=status, latency_ms=latency_ms, last_updated=updated
    )


def _join(nodes, figures=None, **filters):
    trust = EndpointTrust(["flashback.tech"], control_plane="http://127.0.0.1:1")
    return join(nodes, figures or {}, admit=trust.admit, **filters)


def _ids(table):
    return [report.endpoint.id for report in table.reports]


class TestNames:
    """What an endpoint is called."""

    def test_id_then_address_then_host(self):
        """The control plane's id where there is one, else a unique address, else the host."""
        nodes = [
            _node("a", id="uuid-1", ip="203.0.113.1"),
            _node("b", ip="203.0.113.2"),
            _node("c", ip="203.0.113.9"),
            _node("d", ip="203.0.113.9"),
            _node("e"),
        ]
        assert _ids(_join(nodes)) == [
            "203.0.113.2",
            "s3-c.flashback.tech",
            "s3-d.flashback.tech",
            "s3-e.flashback.tech",
            "uuid-1",
        ]

    def test_names_do_not_depend_on_the_order(self):
        """However the list is ordered, and whatever is listed twice, every URL has the same name."""
        nodes = [
            _node("a", id="x", ip="1.1.1.1"),
            _node("b", id="x", ip="2.2.2.2"),
            _node("c", id="2.2.2.2", ip="x"),
            _node("d", ip="1.1.1.1"),
            _node("d", ip="4.4.4.4", status="OFFLINE"),
            _node("e", id="https://s3-a.flashback.tech"),
        ]
        reports = _join(nodes).reports
        assert all(_join(order).reports == reports for order in itertools.permutations(nodes))
        assert {report.endpoint.url: report.endpoint.id for report in reports} == {
            "https://s3-a.flashback.tech": "s3-a.flashback.tech",
            "https://s3-b.flashback.tech": "s3-b.flashback.tech",
            "https://s3-c.flashback.tech": "s3-c.flashback.tech",
            "https://s3-d.flashback.tech": "s3-d.flashback.tech",
            "https://s3-e.flashback.tech": "s3-e.flashback.tech",
        }

    @given(st.lists(st.tuples(*[st.sampled_from(["", "p", "q", "s3-a.flashback.tech"])] * 2,
                              st.sampled_from("abcd"))))  # fmt: skip
    def test_no_two_endpoints_share_a_name(self, rows):
        """Whatever ids and addresses are listed, ids are unique and URLs are, too."""
        reports = _join(_node(name, id=node_id, ip=ip) for node_id, ip, name in rows).reports
        assert len({report.endpoint.id for report in reports}) == len(reports)
        assert len({report.endpoint.url for report in reports}) == len(reports)

    def test_ports_tell_hosts_apart(self):
        """Nodes on one machine are different endpoints."""
        nodes = [_node(url=f"http://127.0.0.1:{port}", ip="127.0.0.1") for port in (9001, 9002)]
        assert _ids(_join(nodes)) == ["127.0.0.1:9001", "127.0.0.1:9002"]

    def test_spellings_of_one_name_are_one_key(self):
        """Case, scheme, path and interface do not matter."""
        same = [
            "S3-eu.flashback.tech",
            "https://gcs-eu.flashback.tech/",
            "*-eu.flashback.tech",
            "blob-eu.flashback.tech",
        ]
        assert {node_key(text) for text in same} == {"*-eu.flashback.tech"}
        assert [node_key(text) for text in ("203.0.113.1", "s3-uuid", "s3x.org")] == [
            "203.0.113.1",
            "s3-uuid",
            "s3x.org",
        ]


class TestStatus:
    """What the statuses mean."""

    @pytest.mark.parametrize(
        ("text", "public", "private"),
        [
            ("ONLINE", ONLINE, ONLINE),
            ("Online", ONLINE, ONLINE),
            ("active", UNKNOWN, ONLINE),
            ("RUNNING", UNKNOWN, ONLINE),
            ("Offline", OFFLINE, OFFLINE),
            ("disconnected", DISCONNECTED, DISCONNECTED),
            ("ERROR", DISCONNECTED, DISCONNECTED),
            ("maintenance", UNKNOWN, UNKNOWN),
            ("", UNKNOWN, UNKNOWN),
        ],
    )
    def test_any_case_and_vocabulary(self, text, public, private):
        """`active` and `running` are online for private nodes only; what is not known is not online."""
        assert endpoint_status(text, private=False) is public
        assert endpoint_status(text, private=True) is private
        nodes = [_node(status=text)], [_node(status=text, org_id="o")]
        assert [_join(rows).reports[0].status for rows in nodes] == [public, private]

    def test_a_node_in_both_lists_is_one_endpoint(self):
        """The organization's list knows the id and says "active"; the public list knows how the node is."""
        listed = _node(status="OFFLINE", ip="203.0.113.1", region="us-west-2", latency_ms=9.0)
        registered = _node(status="active", id="uuid", org_id="o", ip="203.0.113.1")
        for rows in ([listed, registered], [registered, listed]):
            (report,) = _join(rows).reports
            assert (report.endpoint.id, report.status, report.endpoint.region) == (
                "uuid",
                OFFLINE,
                "us-west-2",
            )
            assert report.reported_latency == {None: 0.009}

    def test_an_empty_status_does_not_hide_a_known_one(self):
        """Of two rows, the one that knows something counts."""
        rows = [_node(status=""), _node(status="active", org_id="o")]
        assert [_join(order).reports[0].status for order in (rows, rows[::-1])] == [ONLINE, ONLINE]

    def test_the_later_of_two_rows_counts(self):
        """Duplicates are settled by their time, and equal ones in favour of the node."""
        early, late = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2))
        rows = [_node(status="ONLINE", last_updated=early), _node(status="OFFLINE", last_updated=late)]
        assert [_join(order).reports[0].status for order in (rows, rows[::-1])] == [OFFLINE, OFFLINE]
        rows = [_node(status="ONLINE"), _node(status="OFFLINE")]
        assert [_join(order).reports[0].status for order in (rows, rows[::-1])] == [ONLINE, ONLINE]


class TestFigures:
    """How rows of statistics find their node."""

    @pytest.mark.parametrize(
        "node_id",
        [
            "uuid-1", "UUID-1", "203.0.113.1", "s3-us-east-1-aws.flashback.tech",
            "*-us-east-1-aws.flashback.tech", "blob-us-east-1-aws.flashback.tech", "https://s3-us-east-1-aws.flashback.tech",
            "https://gcs-us-east-1-aws.flashback.tech/", "S3-US-EAST-1-AWS.flashback.tech",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize(
        "url", ["*-us-east-1-aws.flashback.tech", "https://gcs-us-east-1-aws.flashback.tech"]
    )
    def test_any_name_of_a_node_will_do(self, node_id, url):
        """Id, address, host, URL or pattern: the row is found, and its milliseconds become seconds."""
        nodes = [_node(url=url, id="uuid-1", ip="203.0.113.1"), _node("other", ip="203.0.113.2")]
        table = _join(nodes, {"bucket": [_minute(node_id, 42.0)]})
        found = {report.endpoint.id: dict(report.reported_latency) for report in table.reports}
        assert found == {"uuid-1": {"bucket": 0.042}, "203.0.113.2": {}}
        assert (table.unmatched_rows, table.silent_buckets) == (0, frozenset())

    def test_addresses_of_bucket_status_join_as_well(self):
        """The other table names nodes by address."""
        row = BucketNode(node_id="203.0.113.1", status="ONLINE", latency_ms=45.0)
        (report,) = _join([_node(ip="203.0.113.1")], {"bucket": [row]}).reports
        assert report.reported_latency == {"bucket": 0.045}

    def test_unknown_names_are_counted(self):
        """Rows that fit no node are counted, and a bucket with no other row is silent."""
        figures = {"a": [_minute("nobody"), _minute("203.0.113.1")], "b": [_minute("nobody")], "c": []}
        table = _join([_node(ip="203.0.113.1")], figures)
        assert (table.unmatched_rows, table.silent_buckets) == (2, {"b", "c"})

    def test_a_shared_name_identifies_nobody(self):
        """Two nodes behind one address: the address could mean either of them, address and port do not."""
        nodes = [_node(url=f"http://127.0.0.1:{port}", ip="127.0.0.1") for port in (9001, 9002)]
        table = _join(nodes, {"b": [_minute("127.0.0.1", 1.0), _minute("127.0.0.1:9002", 2.0)]})
        assert [dict(report.reported_latency) for report in table.reports] == [{}, {"b": 0.002}]
        assert table.unmatched_rows == 1

    def test_a_usable_node_is_meant_rather_than_a_refused_one(self):
        """A node that is listed twice, once with an address that is not allowed, still gets its figures."""
        nodes = [_node(ip="1.1.1.1"), _node(url="https://s3.evil.com", ip="1.1.1.1")]
        for order in (nodes, nodes[::-1]):
            table = _join(order, {"b": [_minute("1.1.1.1", 3.0)]})
            assert [dict(report.reported_latency) for report in table.reports] == [{"b": 0.003}]

    def test_an_id_beats_an_equal_address(self):
        """A name that is one node's id and another one's address means the id."""
        nodes = [_node("a", id="203.0.113.5"), _node("b", ip="203.0.113.5")]
        table = _join(nodes, {"b": [_minute("203.0.113.5", 3.0)]})
        found = {report.endpoint.url[8:12]: dict(report.reported_latency) for report in table.reports}
        assert found == {"s3-a": {"b": 0.003}, "s3-b": {}}

    def test_a_host_without_its_port_is_found(self):
        """Statistics may leave out the port as long as that is clear."""
        (report,) = _join(
            [_node(url="https://s3-x.flashback.tech:8443")], {"b": [_minute("*-x.flashback.tech", 1.0)]}
        ).reports
        assert report.reported_latency == {"b": 0.001}

    @pytest.mark.parametrize(
        ("status", "offline"),
        [
            ("ONLINE", False),
            ("", False),
            ("OFFLINE", True),
            ("DISCONNECTED", True),
            ("WHATEVER", True),
            ("ACTIVE", True),
        ],
    )
    def test_a_bucket_may_be_offline_on_an_online_node(self, status, offline):
        """The row's status counts for its bucket only."""
        rows = {"b": [_minute("1.1.1.1", 0.0, status)], "other": [_minute("1.1.1.1", 7.0)]}
        (report,) = _join([_node(ip="1.1.1.1")], rows).reports
        assert report.status is ONLINE
        assert report.serves("b") is not offline
        assert report.serves("other")
        assert report.reported_latency == {"other": 0.007}

    def test_active_rows_of_private_nodes_are_online(self):
        """The vocabulary of registration may reach the statistics, too."""
        rows = {"b": [_minute("1.1.1.1", 5.0, "RUNNING")]}
        (report,) = _join([_node(ip="1.1.1.1", org_id="o", status="active")], rows).reports
        assert report.serves("b")

    def test_of_two_rows_the_later_counts(self):
        """Duplicates are settled by time; between equals by good news; never by their order."""
        cases = [
            ([_minute("1.1.1.1", 5.0, at=1), _minute("1.1.1.1", 9.0, "OFFLINE", at=2)], True, {"b": 0.009}),
            ([_minute("1.1.1.1", 5.0, at=1), _minute("1.1.1.1", 9.0, "OFFLINE")], False, {"b": 0.005}),
            ([_minute("1.1.1.1", 9.0, "OFFLINE"), _minute("1.1.1.1", 5.0)], False, {"b": 0.005}),
            ([_minute("1.1.1.1", 9.0), _minute("1.1.1.1", 5.0)], False, {"b": 0.005}),
            ([_minute("1.1.1.1"), _minute("1.1.1.1", 5.0)], False, {"b": 0.005}),
        ]
        for rows, offline, latency in cases:
            for order in (rows, rows[::-1]):
                (report,) = _join([_node(ip="1.1.1.1")], {"b": order}).reports
                assert ("b" in report.offline_buckets, dict(report.reported_latency)) == (offline, latency)

    def test_the_nodes_own_latency_is_kept_apart(self):
        """The figure of the node list serves buckets without one."""
        rows = {"b": [_minute("1.1.1.1", 5.0)]}
        (report,) = _join([_node(ip="1.1.1.1", latency_ms=20.0)], rows).reports
        assert (report.latency_of("b"), report.latency_of("other")) == (0.005, 0.02)


class TestFilters:
    """Which nodes do not become endpoints."""

    NODES = (
        _node("us-east-1-aws", ip="203.0.113.1", region="us-east-1"),
        _node("eu-central-1-gcp", ip="203.0.113.2", region="eu-central-1", id="uuid-2"),
        _node(url="https://s3.evil.com", ip="203.0.113.3", region="us-east-1"),
    )

    def test_refused_addresses_are_counted_and_their_rows_understood(self):
        """A node that must not be used is left out; statistics about it are no mystery."""
        table = _join(self.NODES, {"b": [_minute("203.0.113.3", 1.0)]})
        assert _ids(table) == ["203.0.113.1", "uuid-2"]
        assert (table.refused_rows, table.unmatched_rows, table.silent_buckets) == (1, 0, frozenset())
        assert table.skipped == {"with addresses that FB_ALLOWED_DOMAINS does not allow": 1}

    def test_regions_keep_only_their_nodes(self):
        """Case does not matter; rows about other regions are understood."""
        table = _join(self.NODES, {"b": [_minute("203.0.113.2", 1.0)]}, regions=["US-East-1"])
        assert (_ids(table), table.unmatched_rows) == (["203.0.113.1"], 0)
        assert table.skipped["outside FB_REGIONS"] == 1

    @pytest.mark.parametrize(
        "name",
        ["uuid-2", "UUID-2", "203.0.113.2", "s3-eu-central-1-gcp.flashback.tech",
         "*-eu-central-1-gcp.flashback.tech", "https://gcs-eu-central-1-gcp.flashback.tech"],
    )  # fmt: skip
    def test_excluded_nodes_are_left_out_by_any_name(self, name):
        """Id, address, host or pattern."""
        table = _join(self.NODES, exclude=[name])
        assert _ids(table) == ["203.0.113.1"]
        assert table.skipped["named in FB_EXCLUDE_NODES"] == 1

    def test_nothing_is_left_of_nothing(self):
        """No nodes make an empty table with silent buckets."""
        table = _join([], {"b": [_minute("x")]})
        assert (table.reports, table.unmatched_rows, table.silent_buckets) == ((), 1, {"b"})
