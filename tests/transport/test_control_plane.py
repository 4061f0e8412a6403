"""The control plane's client: request shapes, every form of answer, tries, limits, errors."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import pickle
import re
from collections import deque

import aiohttp
import pytest
import virtual_time
from aiohttp import web
from aioresponses import CallbackResult, aioresponses

from flashback_async.config import FlashbackSettings
from flashback_async.errors import ClientClosedError, ConfigurationError, DiscoveryError
from flashback_async.transport.auth import StaticToken
from flashback_async.transport.control_plane import ControlPlane, Node, NodeMinute, Rows

from .local_server import serving
from .tokens import jwt

BASE = "https://backend.flashback.tech"
TOKEN = jwt(exp=4e9)
ORG = "550e8400-e29b-41d4-a716-446655440000"
BUCKET = "123e4567-e89b-12d3-a456-426614174000"
ANY = re.compile(r"https://backend\.flashback\.tech/.*")

NODES = [
    {"ip": "203.0.113.10", "region": "us-east-1", "version": "1.2.3", "status": "ONLINE", "latencyMs": 42,
     "lastUpdated": "2026-01-15T10:30:00.000Z", "url": "https://s3-us-east-1-aws.flashback.tech",
     "nodeServices": 1},
    {"ip": "203.0.113.20", "region": "us-east-1", "version": "1.2.3", "status": "Online",
     "url": "*-us-east-1-gcp.flashback.tech", "nodeServices": 3},
    {"ip": "203.0.113.60", "region": "us-east-1", "status": "ONLINE", "url": "ai-us.flashback.tech",
     "nodeServices": 2},
]  # fmt: skip


class Service:
    """The control plane's side: answers what it is told to, and remembers every request."""

    def __init__(self, *answers):
        self.answers = deque(answers)
        self.requests = []
        self.tokens = []
        self.times = []

    def __call__(self, url, **request):
        self.requests.append(f"GET {url.raw_path_qs}")
        self.tokens.append(request["headers"]["Authorization"].removeprefix("Bearer "))
        self.times.append(round(asyncio.get_running_loop().time(), 3))
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, payload, *headers = answer if isinstance(answer, tuple) else (200, answer)
        body = payload if isinstance(payload, str) else json.dumps(payload)
        return CallbackResult(status=status, body=body, headers=headers[0] if headers else {})


class Renewing:
    """Tokens t1, t2, ..."""

    def __init__(self, error=None):
        self.count = 1
        self.error = error

    async def token(self):
        return f"t{self.count}"

    async def renewed(self, refused):
        assert refused == f"t{self.count}"
        if self.error is not None:
            raise self.error
        self.count += 1
        return f"t{self.count}"


def _ask(method, *arguments, service, random=0.5, **options):
    """One call in virtual time against `service`; its result, or the error, and the clock at the end."""

    async def scenario():
        loop = asyncio.get_running_loop()
        options.setdefault("token", TOKEN)
        with aioresponses() as mocked:
            mocked.get(ANY, callback=service, repeat=True)
            async with ControlPlane(clock=loop.time, random=lambda: random, **options) as control_plane:
                try:
                    return await getattr(control_plane, method)(*arguments), loop.time()
                except DiscoveryError as error:
                    return error, loop.time()

    return virtual_time.run(scenario())


def _result(method, *arguments, service, **options):
    result, _ = _ask(method, *arguments, service=service, **options)
    if isinstance(result, DiscoveryError):
        raise result
    return result


class TestRequests:
    """What is asked, and how."""

    def test_nodes_are_asked_for_with_the_service_bit(self):
        """`nodeServices=1` is always sent, with the token; JSON is asked for."""
        service = Service({"success": True, "data": NODES})
        _result("list_nodes", service=service)
        assert service.requests == ["GET /node?nodeServices=1"]
        assert service.tokens == [TOKEN]

    def test_private_nodes_are_asked_for_by_organization(self):
        """The organization is part of the path."""
        service = Service([])
        _result("organization_nodes", ORG, service=service)
        assert service.requests == [f"GET /organization/{ORG}/nodes"]

    def test_bucket_ids_are_joined_by_commas_in_one_parameter(self):
        """Several ids make one parameter, none makes no parameter, duplicates are sent once."""
        service = Service([])
        _result("node_minute_stats", service=service)
        _result("node_minute_stats", ["a", "b", "a"], service=service)
        assert service.requests == ["GET /stats/nodes/minute", "GET /stats/nodes/minute?bucketId=a,b"]

    def test_many_bucket_ids_are_split(self):
        """More than fifty ids are asked for in several requests, whose rows are joined."""
        service = Service([{"nodeId": "n", "bucketId": "b"}, 5])
        rows = _result("node_minute_stats", [f"b{number}" for number in range(120)], service=service)
        assert [request.count(",") + 1 for request in service.requests] == [50, 50, 20]
        assert (len(rows), rows.dropped) == (3, 3)

    def test_status_and_buckets_have_their_paths(self):
        """The other two questions."""
        service = Service([])
        _result("bucket_status", BUCKET, service=service)
        _result("list_buckets", service=service)
        assert service.requests == [f"GET /bucket/{BUCKET}/status", "GET /bucket"]

    @pytest.mark.parametrize("wrong", ["", "a/b", "..", "a,b", "ü", "a\n", "x" * 200, None, 5])
    def test_ids_that_are_none_are_refused(self, wrong):
        """An id never becomes part of another path or another parameter."""
        for method, arguments in (
            ("organization_nodes", (wrong,)),
            ("bucket_status", (wrong,)),
            ("node_minute_stats", ([wrong],)),
        ):
            with pytest.raises(ConfigurationError, match="is no id"):
                _ask(method, *arguments, service=Service([]))

    def test_one_string_is_no_list_of_ids(self):
        """A forgotten bracket is named instead of asking for buckets called 1, 2, 3."""
        with pytest.raises(ConfigurationError, match="give a list"):
            _ask("node_minute_stats", "123", service=Service([]))


class TestAnswers:
    """Every contradiction of the documentation, accepted."""

    @pytest.mark.parametrize(
        "payload",
        [
            {"success": True, "data": NODES, "total": 3},
            NODES,
            {"data": {"nodes": NODES}},
            {"nodes": NODES},
            {"success": None, "data": NODES},
        ],
    )
    def test_lists_come_bare_or_in_an_envelope(self, payload):
        """An envelope, an older bare list, or an envelope in an envelope: the same rows."""
        nodes = _result("list_nodes", service=Service(payload))
        assert [node.ip for node in nodes] == ["203.0.113.10", "203.0.113.20"]
        assert nodes.dropped == 0

    def test_a_node_is_read_whole(self):
        """Every documented field has its name, with its unit."""
        node = _result("list_nodes", service=Service(NODES))[0]
        assert node == Node(
            url="https://s3-us-east-1-aws.flashback.tech",
            ip="203.0.113.10",
            region="us-east-1",
            version="1.2.3",
            status="ONLINE",
            latency_ms=42.0,
            last_updated=dt.datetime(2026, 1, 15, 10, 30, tzinfo=dt.UTC),
            services=1,
        )
        assert hash(node) == hash(pickle.loads(pickle.dumps(node)))
        with pytest.raises(ValueError, match="frozen"):
            node.ip = "x"

    @pytest.mark.parametrize(
        ("services", "kept"),
        [
            (1, True),
            (3, True),
            ("1", True),
            (1.0, True),
            (None, True),
            ("?", True),
            (0, False),
            (2, False),
            ("6", False),
        ],
    )
    def test_only_storage_nodes_are_kept(self, services, kept):
        """The bit is checked here too; a control plane that does not tell means storage."""
        row = {"url": "a.flashback.tech", "nodeServices": services}
        assert len(_result("list_nodes", service=Service([row]))) == kept
        assert len(_result("organization_nodes", ORG, service=Service([row]))) == kept
        assert len(_result("list_nodes", service=Service([{"url": "a.flashback.tech"}]))) == 1

    def test_private_nodes_know_their_organization(self):
        """Whether the row says so or not, it came from the organization's list."""
        rows = [{"url": "a", "id": "1", "status": "active"}, {"url": "b", "id_org": "other"}]
        nodes = _result("organization_nodes", ORG, service=Service(rows))
        assert [(node.id, node.org_id, node.status) for node in nodes] == [
            ("1", ORG, "ACTIVE"), ("", "other", ""),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("raw", "latency"),
        [
            (42, 42.0), ("42.5", 42.5), (0, None), ("0", None), (None, None), (-1, None), ("", None),
            ("fast", None), (True, None), ({}, None), ("nan", None), ("inf", None), (10**400, None),
        ],
    )  # fmt: skip
    def test_latency_is_a_positive_number_or_unknown(self, raw, latency):
        """Zero, null and nonsense never look fast; numbers may be text; both spellings count."""
        for name in ("latency_ms", "latencyMs"):
            minute = {"nodeId": "n", "bucketId": "b", name: raw}
            assert _result("node_minute_stats", service=Service([minute]))[0].latency_ms == latency
            assert _result("list_nodes", service=Service([{"url": "a", name: raw}]))[0].latency_ms == latency
            status = {"nodeStatus": [{"ip": "i", name: raw}]}
            assert _result("bucket_status", BUCKET, service=Service(status)).nodes[0].latency_ms == latency

    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            ("2026-01-15T10:30:00Z", "2026-01-15T10:30:00+00:00"),
            ("2026-01-15T10:30:00.500Z", "2026-01-15T10:30:00.500000+00:00"),
            ("2026-01-15T11:30:00+01:00", "2026-01-15T11:30:00+01:00"),
            ("2026-01-15T10:30:00", "2026-01-15T10:30:00+00:00"),
            (1768473000, "2026-01-15T10:30:00+00:00"),
            ("1768473000000", "2026-01-15T10:30:00+00:00"),
            ("yesterday", None), (None, None), ([], None), (1e300, None), (-1e18, None),
        ],
    )  # fmt: skip
    def test_times_come_in_several_forms(self, raw, expected):
        """ISO with and without zone, seconds and milliseconds; anything else is unknown."""
        node = _result("list_nodes", service=Service([{"url": "a", "lastUpdated": raw}]))[0]
        assert (node.last_updated and node.last_updated.isoformat()) == expected

    def test_minute_rows_come_in_both_generations(self):
        """`bucketId` was `unitId`, and the status has any case."""
        rows = [
            {"nodeId": "203.0.113.10", "bucketId": BUCKET, "nodeStatus": "Online", "latency_ms": 42},
            {"nodeId": 7, "unitId": BUCKET, "status": "disconnected"},
        ]
        first, second = _result("node_minute_stats", [BUCKET], service=Service({"data": rows}))
        assert first == NodeMinute(node_id="203.0.113.10", bucket_id=BUCKET, status="ONLINE", latency_ms=42)
        assert (second.node_id, second.bucket_id, second.status) == ("7", BUCKET, "DISCONNECTED")

    @pytest.mark.parametrize(
        "wrap", [lambda r: {"bucketId": BUCKET, "nodeStatus": r}, lambda r: {"data": r}, list]
    )
    def test_bucket_status_names_nodes_by_address(self, wrap):
        """No `success` field is needed."""
        rows = [
            {
                "ip": "192.168.1.100",
                "region": "us-east-1",
                "version": "1",
                "status": "ONLINE",
                "latency_ms": 45,
            }
        ]
        status = _result("bucket_status", BUCKET, service=Service(wrap([*rows, None])))
        assert (status.bucket_id, status.dropped) == (BUCKET, 1)
        assert [(node.node_id, node.status, node.latency_ms) for node in status.nodes] == [
            ("192.168.1.100", "ONLINE", 45.0)
        ]

    def test_buckets_map_names_to_ids_and_keep_no_credentials(self):
        """The provider's key and secret do not stay in memory."""
        row = {"id": BUCKET, "name": "My Bucket", "bucket": "my-bucket", "storageType": "S3", "key": "AKIA",
               "secret": {"hidden": 1}, "endpoint": "https://s3.amazonaws.com", "region": "us-east-1",
               "status": "ONLINE", "workspaceId": "w"}  # fmt: skip
        for payload in ({"success": True, "buckets": [row]}, [row]):
            (bucket,) = _result("list_buckets", service=Service(payload))
            assert (bucket.id, bucket.bucket, bucket.name) == (BUCKET, "my-bucket", "My Bucket")
            assert "AKIA" not in repr(bucket)
            assert "hidden" not in repr(bucket)

    @pytest.mark.parametrize(
        ("method", "arguments", "good", "bad"),
        [
            ("list_nodes", (), {"url": "a"},
             [{}, {"url": ""}, {"url": None}, {"url": ["a"]}, {"url": "a\x1b[0m"}, {"url": "a" * 5000},
              {"url": True}, {"url": "a", "ip": {}}]),
            ("node_minute_stats", (), {"nodeId": "n", "bucketId": "b"}, [{"nodeId": "n"}, {"bucketId": "b"}]),
            ("list_buckets", (), {"id": "i", "bucket": "b"}, [{"id": "../i", "bucket": "b"}, {"id": "i"}]),
        ],
    )  # fmt: skip
    def test_a_bad_row_costs_itself_only(self, method, arguments, good, bad):
        """Rows without what identifies them, and rows that are none, are dropped and counted."""
        rows = [*bad, None, 5, "row", [], good]
        result = _result(method, *arguments, service=Service(rows))
        assert isinstance(result, tuple)
        assert (len(result), result.dropped) == (1, len(rows) - 1)

    async def test_a_table_has_at_most_ten_thousand_rows(self):
        """What is beyond is dropped and counted."""
        rows = [{"url": f"n{number}"} for number in range(10_003)]

        async def handler(request):
            return web.json_response(rows)

        async with serving(handler) as base_url, ControlPlane(base_url, token="t") as control_plane:
            nodes = await control_plane.list_nodes()
        assert (len(nodes), nodes.dropped) == (10_000, 3)

    def test_rows_survive_pickling(self):
        """The count travels with the rows."""
        rows = pickle.loads(pickle.dumps(Rows([1, 2], dropped=3)))
        assert (rows, rows.dropped) == ((1, 2), 3)

    @pytest.mark.parametrize("payload", [{"success": True}, {"data": "x"}, {"data": {}}, 5, "text"])
    def test_json_without_rows_is_no_table(self, payload):
        """An answer without a list is an error, not an empty table."""
        error, _ = _ask("list_nodes", service=Service(payload if payload != "text" else '"text"'))
        assert re.match(r"GET /node answered no list under data or nodes; check FB_BASE_URL", str(error))

    def test_null_rows_are_no_rows(self):
        """Some servers send null for nothing."""
        assert _result("list_nodes", service=Service({"data": None})) == ()

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ({"success": False, "message": "no"}, r"GET /node answered 200 \(no\); check FB_BASE_URL"),
            ({"success": False, "error_code": "X", "message": "y"}, r"\(X: y\)"),
            ((200, "<html><title>Sign in</title></html>"), r"200 without JSON \(Sign in\).*proxies"),
            ((403, {"success": False, "message": "no"}), r"answered 403 \(no\); check FB_BASE_URL"),
            ((404, "<h1>404</h1>"), r"answered 404 \(404\)"),
            ((302, "", {"Location": "https://login.example.com/x"}), "login.example.com; the token is not"),
            ((400, {}), "answered 400"),
            ((501, {}), "answered 501"),
        ],
    )  # fmt: skip
    def test_a_no_is_final_and_typed(self, answer, message):
        """Refusals are not repeated; the error names method, path, status and what to do, not the token."""
        service = Service(answer)
        error, took = _ask("list_nodes", service=service)
        assert re.search(message, str(error))
        assert TOKEN not in str(error)
        assert error.status == (answer[0] if isinstance(answer, tuple) else 200)
        assert (len(service.requests), took) == (1, 0.0)


class TestTries:
    """What is asked again, when, and how often."""

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_transient_errors_are_tried_again(self, status):
        """Three tries with a growing, jittered pause; the third may succeed."""
        service = Service((status, "<html>"), (status, {}), NODES)
        _result("list_nodes", service=service, random=0.5)
        assert service.times == [0.0, 0.1, 0.3]
        assert len(_result("list_nodes", service=Service((status, ""), NODES), random=0.0)) == 2

    def test_the_third_failure_is_final(self):
        """The error is the last one's, with its status."""
        service = Service((500, {}), (500, {}), (502, "<h1>Bad Gateway</h1>"), NODES)
        error, _ = _ask("list_nodes", service=service)
        assert (error.status, len(service.requests)) == (502, 3)
        assert "Bad Gateway" in str(error)

    def test_lost_connections_are_tried_again(self):
        """A connection that breaks once costs a pause."""
        service = Service(aiohttp.ServerDisconnectedError(), NODES)
        assert len(_result("list_nodes", service=service)) == 2

    def test_retry_after_is_waited_for(self):
        """The control plane's wish comes on top of the jitter, so that clients do not return together."""
        service = Service((429, "<h1>429</h1>", {"Retry-After": "3"}), NODES)
        _result("list_nodes", service=service, random=0.5)
        assert service.times == [0.0, 3.1]

    def test_a_wish_beyond_the_deadline_fails_at_once(self):
        """Waiting would be in vain: the error carries the wish, and the caller decides."""
        service = Service((429, {}, {"Retry-After": "20"}))
        error, took = _ask("list_nodes", service=service, timeout=10.0)
        assert (error.status, error.retry_after, took) == (429, 20.0, 0.0)
        assert "FB_DISCOVERY_INTERVAL" in str(error)

    def test_the_deadline_is_for_everything(self):
        """Pauses and tries together stay below the timeout."""
        service = Service((503, {}, {"Retry-After": "4"}))
        error, took = _ask("list_nodes", service=service, timeout=5.0, random=0.0)
        assert (error.status, took, len(service.requests)) == (503, 4.0, 2)

    def test_a_slow_token_counts_against_the_deadline(self):
        """A token source that does not answer cannot hold a call for ever."""

        class Slow(Renewing):
            async def token(self):
                await asyncio.sleep(3600)

        error, took = _ask("list_nodes", service=Service(NODES), token=Slow(), timeout=5.0)
        assert took == 5.0
        assert re.search("GET /node: no answer from https://backend.flashback.tech within 5 s", str(error))

    def test_a_refused_token_is_renewed_once(self):
        """401, a new token, the same request again; it is not one of the three tries."""
        service = Service((401, {"error_code": "NO_AUTH_USER"}), (503, {}), (503, {}), NODES)
        assert len(_result("list_nodes", service=service, token=Renewing())) == 2
        assert service.tokens == ["t1", "t2", "t2", "t2"]

    def test_a_renewed_token_that_is_refused_is_final(self):
        """Two refusals in one call end it."""
        service = Service((401, {}))
        error, _ = _ask("list_nodes", service=service, token=Renewing())
        assert service.tokens == ["t1", "t2"]
        assert error.status == 401
        assert "renewed token was refused too" in str(error)

    def test_a_token_that_cannot_be_renewed_names_the_remedy(self):
        """The error of the token source comes through."""
        service = Service((401, {}))
        error, _ = _ask("list_nodes", service=service, token=jwt(exp=5))
        assert (error.status, len(service.requests)) == (401, 1)
        assert re.search("expired.*FB_JWT.*FB_REFRESH_TOKEN", str(error))

    def test_a_foreign_token_source_cannot_break_the_header(self):
        """What a token source returns is checked before it is sent."""

        class Broken(Renewing):
            async def token(self):
                return "a\r\nHost: evil"

        error, _ = _ask("list_nodes", service=Service(NODES), token=Broken())
        assert "token source returned a token that holds" in str(error)


class TestLife:
    """Construction, closing, settings."""

    async def test_refreshing_through_the_same_connection(self):
        """A refresh token is traded before the first request, and its successor is handed out."""
        rotated = []

        async def handler(request):
            if request.path == "/user/refresh":
                return web.json_response({"accessToken": "a1", "refreshToken": "r1"})
            assert request.headers["Authorization"] == "Bearer a1"
            return web.json_response(NODES)

        async def on_rotate(text):
            rotated.append(text)

        async with (
            serving(handler) as base_url,
            ControlPlane(base_url, refresh_token="r0", on_rotate=on_rotate) as control_plane,
        ):
            assert control_plane.base_url == base_url
            assert repr(control_plane) == f"<ControlPlane {base_url}>"
            assert len(await control_plane.list_nodes()) == 2
        assert rotated == ["r1"]

    async def test_a_real_answer_is_bounded(self):
        """The limit of the answer holds through the whole client."""

        async def handler(request):
            return web.Response(body=b" " * (9 << 20))

        async with serving(handler) as base_url, ControlPlane(base_url, token="t") as control_plane:
            with pytest.raises(DiscoveryError, match="GET /bucket answered more than 8 MiB"):
                await control_plane.list_buckets()

    async def test_closed_is_closed(self):
        """After closing, twice, calls say so."""
        control_plane = ControlPlane(token="t")
        await control_plane.aclose()
        await control_plane.aclose()
        with pytest.raises(ClientClosedError):
            await control_plane.list_nodes()

    async def test_a_token_source_of_the_caller_stays_open(self):
        """Closing closes what was made here only."""
        source = StaticToken("t")
        async with ControlPlane(token=source):
            pass
        assert await source.token() == "t"

    async def test_a_provider_is_asked_once(self):
        """An async function is a token source; its token is kept until it is refused."""
        asked = []

        async def provider():
            asked.append(1)
            return f"p{len(asked)}"

        with aioresponses() as mocked:
            mocked.get(ANY, callback=(service := Service(NODES, (401, {}), NODES)), repeat=True)
            async with ControlPlane(token=provider) as control_plane:
                for _ in range(2):
                    await control_plane.list_nodes()
        assert service.tokens == ["p1", "p1", "p2"]

    @pytest.mark.parametrize("timeout", [0, -1, float("nan")])
    def test_a_timeout_is_positive(self, timeout):
        """Zero seconds are no time to ask anything."""
        with pytest.raises(ConfigurationError, match="timeout"):
            ControlPlane(token="t", timeout=timeout)

    async def test_settings_describe_it(self):
        """Base URL, timeout and token come from the settings; a provider wins over the other tokens."""

        async def provider():
            return "from-provider"

        for settings, token in (
            (FlashbackSettings(jwt="from-jwt"), "from-jwt"),
            (FlashbackSettings(jwt="from-jwt", refresh_token="r"), "from-jwt"),
            (FlashbackSettings(refresh_token="r", token_provider=provider), "from-provider"),
            (FlashbackSettings(jwt="from-jwt", token_provider=provider), "from-provider"),
        ):
            with aioresponses() as mocked:
                mocked.get(ANY, callback=(service := Service(NODES)), repeat=True)
                async with ControlPlane.from_settings(settings) as control_plane:
                    await control_plane.list_nodes()
            assert service.tokens == [token]

    async def test_a_restart_uses_the_rotated_refresh_token(self):
        """Whoever makes a second client from the same settings passes on what the first one ended with."""
        sent, kept = [], []

        async def handler(request):
            if request.path == "/user/refresh":
                sent.append((await request.json())["refreshToken"])
                return web.json_response({"accessToken": "a", "refreshToken": f"r{len(sent)}"})
            return web.json_response(NODES)

        async def keep(text):
            kept.append(text)

        async with serving(handler) as base_url:
            settings = FlashbackSettings(base_url=base_url, refresh_token="r0")
            for latest in (None, "r1"):
                async with ControlPlane.from_settings(
                    settings, refresh_token=latest, on_rotate=keep
                ) as control_plane:
                    await control_plane.list_nodes()
        assert (sent, kept) == (["r0", "r1"], ["r1", "r2"])

    def test_settings_without_a_token_are_refused(self):
        """The error says what would help."""
        with pytest.raises(ConfigurationError, match="FB_ENDPOINTS"):
            ControlPlane.from_settings(FlashbackSettings())
