"""The control plane in the test's loop: every route, every variant, and who may ask."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest

from flashback_async.sandbox import Behaviour, RateLimit, Variant
from flashback_async.sandbox.identity import Identity
from flashback_async.sandbox.registry import Figure, PublishedNode, Registry, stable_uuid
from flashback_async.sandbox.tokens import TokenMint

from .servers import running_control_plane

DEMO = stable_uuid("bucket", "demo")
COLD = stable_uuid("bucket", "cold")


def node(number, *, status="ONLINE", latency=0.042, **fields):
    return PublishedNode(
        id=f"node-{number}",
        ip=f"127.0.0.{number}",
        port=9000,
        scheme="http",
        region="us-east-1",
        provider="aws",
        figure=Figure(status=status, latency=latency),
        **fields,
    )


NODES = (
    node(2, services=3),
    node(3, status="DISCONNECTED", exceptions={"cold": Figure(status="ONLINE", latency=0.0015)}),
    node(4, private=True),
    node(5, latency=None, services=2),
)


class Client:
    """A logged-in user of a control plane."""

    def __init__(self, running, session, identity):
        self.running, self.session, self.identity = running, session, identity

    async def call(self, path, *, method="GET", token=None, **options):
        """Status and body of one answer."""
        token = self.identity.access_token() if token is None else token
        options["headers"] = {"Authorization": f"Bearer {token}", **options.get("headers", {})}
        async with self.session.request(method, self.running.url + path, **options) as answer:
            kind = answer.content_type
            return answer.status, await (answer.json() if kind == "application/json" else answer.text())


@asynccontextmanager
async def control_plane(variant=None, **changes):
    identity = Identity(3600.0)
    registry = Registry(
        org_id=identity.org_id,
        key_id=identity.key_id,
        nodes=NODES,
        buckets=("demo", "cold"),
        variant=variant or Variant(),
    ).changed(**changes)
    config = {"registry": registry.to_json(), "mint": identity.mint(), "user": identity.login()}
    async with running_control_plane(**config) as running, aiohttp.ClientSession() as session:
        yield Client(running, session, identity)


async def answer(path, variant=None, *, method="GET", changes=None, **options):
    async with control_plane(variant, **(changes or {})) as client:
        return await client.call(path, method=method, **options)


async def test_nodes_come_in_an_envelope():
    """`GET /node` lists public nodes as documented: envelope, ip, url, status, milliseconds; no id."""
    status, body = await answer("/node?nodeServices=1")
    assert (status, body["success"], body["total"]) == (200, True, 2)
    first, second = body["data"]
    assert datetime.now(UTC).timestamp() - datetime.fromisoformat(first.pop("lastUpdated")).timestamp() < 5
    assert first == {
        "ip": "127.0.0.2",
        "region": "us-east-1",
        "version": "1.2.3",
        "status": "ONLINE",
        "latencyMs": 42,
        "url": "http://127.0.0.2:9000",
        "nodeServices": 3,
    }
    assert (second["status"], second["latencyMs"]) == ("DISCONNECTED", 0)


@pytest.mark.parametrize(("query", "ips"), [("", 3), ("?nodeServices=0", 3), ("?nodeServices=2", 2)])
async def test_services_filter_by_any_bit(query, ips):
    """`nodeServices` is a bitmask: 0 and nothing at all mean every node."""
    _, body = await answer(f"/node{query}")
    assert len(body["data"]) == ips


async def test_services_can_be_required():
    """A variant refuses `/node` without a numeric `nodeServices`, as its documentation says."""
    strict = Variant(require_node_services=True)
    assert (await answer("/node", strict))[0] == 400
    assert (await answer("/node?nodeServices=1", strict))[0] == 200
    assert (await answer("/node?nodeServices=all"))[0] == 400


async def test_private_nodes_belong_to_their_organization():
    """The organization's list has the private nodes with an id, and `active` for online; others get 403."""
    org = Identity(1).org_id
    status, body = await answer(f"/organization/{org}/nodes")
    assert (status, body["total"]) == (200, 1)
    row = body["data"][0]
    assert (row["ip"], row["status"], row["id_org"]) == ("127.0.0.4", "active", org)
    assert row["id"] == stable_uuid("node", "node-4")
    status, body = await answer("/organization/other/nodes")
    assert (status, body["success"]) == (403, False)


async def test_minute_stats_have_a_row_per_node_and_bucket():
    """Latest figures per node and bucket; exceptions for one bucket; no row where nothing is reported."""
    _, body = await answer("/stats/nodes/minute")
    rows = {(row["nodeId"], row["bucketId"]): (row["nodeStatus"], row["latency_ms"]) for row in body["data"]}
    assert rows == {
        ("127.0.0.2", DEMO): ("ONLINE", 42),
        ("127.0.0.2", COLD): ("ONLINE", 42),
        ("127.0.0.3", DEMO): ("DISCONNECTED", 0),
        ("127.0.0.3", COLD): ("ONLINE", 1.5),
        ("127.0.0.4", DEMO): ("ONLINE", 42),
        ("127.0.0.4", COLD): ("ONLINE", 42),
    }
    assert "total" not in body


@pytest.mark.parametrize(
    ("query", "buckets"),
    [
        (f"bucketId={COLD}", {COLD}),
        (f"bucketId={COLD}%2C{DEMO}", {COLD, DEMO}),
        (f"unitId={DEMO}", {DEMO}),
        ("bucketId=demo", set()),
    ],
)
async def test_stats_filter_by_uuid(query, buckets):
    """Buckets are chosen by UUID, comma-joined; an S3 name is no UUID."""
    _, body = await answer(f"/stats/nodes/minute?{query}")
    assert {row["bucketId"] for row in body["data"]} == buckets


async def test_daily_stats_span_days():
    """One row per day, node and bucket; dates are ddmmyyyy, also without their leading zero."""
    _, body = await answer(f"/stats/nodes/daily?bucketId={DEMO}&startDate=1012026&endDate=02012026")
    assert len(body["data"]) == 2 * len(NODES)
    row = body["data"][0]
    assert row["day"] == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert (row["endpoint"], row["provider"], row["online"]) == ("127.0.0.2:9000", "AWS", 99.5)
    assert len((await answer(f"/stats/nodes/daily?bucketId={DEMO}"))[1]["data"]) == len(NODES)
    for bad in (
        "startDate=2026-01-01",
        "startDate=02012026&endDate=01012026",
        "startDate=01011990&endDate=01012026",
    ):
        assert (await answer(f"/stats/nodes/daily?{bad}"))[0] == 400


async def test_a_buckets_status_is_keyed_by_ip():
    """`GET /bucket/{id}/status` has no `success` field; an unknown bucket is 404."""
    status, body = await answer(f"/bucket/{DEMO}/status")
    assert (status, body["bucketId"], "success" in body) == (200, DEMO, False)
    assert [(row["ip"], row["latency_ms"]) for row in body["nodeStatus"]] == [
        ("127.0.0.2", 42),
        ("127.0.0.3", 0),
        ("127.0.0.4", 42),
    ]
    assert await answer("/bucket/demo/status") == (404, {"success": False, "message": "Bucket not found"})


async def test_a_buckets_stats_pair_ip_and_host():
    """`POST /bucket/{id}/stats` wants a day and gives ip with host."""
    day = {"day": "2026-01-15T00:00:00.000Z"}
    status, body = await answer(f"/bucket/{DEMO}/stats", method="POST", json=day)
    assert (status, body["success"]) == (200, True)
    assert (body["nodeStats"][0]["ip"], body["nodeStats"][0]["host"]) == ("127.0.0.2", "127.0.0.2:9000")
    for wrong in ({"day": "today"}, {}, [], None):
        assert (await answer(f"/bucket/{DEMO}/stats", method="POST", json=wrong))[0] == 400
    assert (await answer(f"/bucket/{DEMO}/stats", method="POST", data=b"{"))[0] == 400


async def test_buckets_map_names_to_uuids():
    """`GET /bucket` pairs the S3 name with the UUID."""
    _, body = await answer("/bucket")
    assert {row["bucket"]: row["id"] for row in body["buckets"]} == {"demo": DEMO, "cold": COLD}


async def test_repository_and_quota_tell_when_writes_are_disabled():
    """`disabled` and a used-up quota come together."""
    for disabled, percentage in ((False, 50), (True, 100)):
        variant = Variant(repo_disabled=disabled)
        _, body = await answer("/repo", variant)
        repository = body["repos"][0]
        assert (repository["disabled"], repository["mode"]) == (disabled, "MIRROR")
        assert [bucket["master"] for bucket in repository["buckets"]] == [True, False]
        _, body = await answer("/user/quota", variant)
        assert body["quotaUsage"][0]["usage"]["percentage"] == percentage


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (Variant(node_id="uuid"), stable_uuid("node", "node-2")),
        (Variant(node_id="host"), "127.0.0.2:9000"),
        (Variant(node_id="url"), "http://127.0.0.2:9000"),
        (Variant(node_id="host", url_form="wildcard"), "*-us-east-1-aws.localhost:9000"),
    ],
)
async def test_node_ids_in_the_statistics(variant, expected):
    """`nodeId` can be anything that the documentation leaves open."""
    _, body = await answer("/stats/nodes/minute", variant)
    assert body["data"][0]["nodeId"] == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("slash", "http://127.0.0.2:9000/"),
        ("bare", "127.0.0.2:9000"),
        ("wildcard", "*-us-east-1-aws.localhost:9000"),
        ("gcs", "http://gcs-us-east-1-aws.localhost:9000"),
    ],
)
async def test_url_forms(form, expected):
    """A node's url is written in every form that was seen."""
    _, body = await answer("/node", Variant(url_form=form))
    assert body["data"][0]["url"] == expected


async def test_other_spellings():
    """Bare arrays, the other keys, cases, ids, strings for numbers, and old times."""
    variant = Variant(
        envelope=False,
        latency_key="latencyMs",
        bucket_key="unitId",
        status_case="title",
        numbers_as_strings=True,
        include_ids=True,
        node_services=False,
        node_latency=False,
        offline_latency="null",
        age=3600,
    )
    _, nodes = await answer("/node", variant)
    assert set(nodes[0]) == {"id", "ip", "region", "version", "status", "lastUpdated", "url"}
    assert nodes[0]["status"] == "Online"
    age = time.time() - datetime.fromisoformat(nodes[0]["lastUpdated"]).timestamp()
    assert 3600 <= age < 3605
    _, stats = await answer(f"/stats/nodes/minute?unitId={DEMO}", variant)
    assert [(row["unitId"], row["latencyMs"]) for row in stats] == [(DEMO, "42"), (DEMO, None), (DEMO, "42")]
    _, status = await answer(f"/bucket/{DEMO}/status", variant)
    assert status["nodeStatus"][0]["latencyMs"] == "42"
    _, repos = await answer("/repo", variant)
    assert repos["success"] is True


async def test_offline_figures_can_be_kept():
    """A node that is not online may still show a latency, in lower case too."""
    _, body = await answer(f"/bucket/{DEMO}/status", Variant(offline_latency="kept", status_case="lower"))
    row = body["nodeStatus"][1]
    assert (row["status"], row["latency_ms"]) == ("disconnected", 42)


async def test_unreported_latency_is_null_where_a_row_must_be():
    """Daily figures have a row for a node that reports nothing."""
    _, body = await answer(f"/stats/nodes/daily?bucketId={DEMO}")
    assert body["data"][-1]["latency_ms"] is None


async def test_nothing_and_refusals():
    """Empty lists, and refusals with status 200."""
    empty = Variant(empty_nodes=True)
    assert (await answer("/node", empty))[1] == {"success": True, "data": [], "total": 0}
    assert (await answer(f"/bucket/{DEMO}/status", empty))[1]["nodeStatus"] == []
    status, body = await answer("/node", Variant(success_false=True))
    assert (status, body["success"], body["error_code"]) == (200, False, "INTERNAL_ERROR")


async def test_garbage():
    """Broken JSON, broken rows among good ones, and an answer too large to take."""
    async with control_plane(Variant(garbage="text")) as client:
        headers = {"Authorization": f"Bearer {client.identity.access_token()}"}
        async with client.session.get(client.running.url + "/node", headers=headers) as reply:
            with pytest.raises(ValueError, match="Expecting"):
                await reply.json()
    _, body = await answer("/node", Variant(garbage="rows"))
    assert None in body["data"]
    assert [row["ip"] for row in body["data"] if isinstance(row, dict) and row.get("version")] == [
        "127.0.0.2",
        "127.0.0.3",
        "127.0.0.5",
    ]
    for variant in (Variant(garbage="huge"), Variant(garbage="huge", envelope=False)):
        _, body = await answer("/node", variant)
        assert len(body["padding"]) > 2**24
        assert len(body["data"]) == 3


async def test_injected_rows_appear_verbatim():
    """Rows that no node has can be added to nodes and statistics."""
    changes = {"extra_nodes": ({"url": "https://evil.example"},), "extra_stats": ({"nodeId": "ghost"},)}
    _, body = await answer("/node", changes=changes)
    assert body["data"][-1] == {"url": "https://evil.example"}
    _, body = await answer("/stats/nodes/minute", changes=changes)
    assert body["data"][-1] == {"nodeId": "ghost"}


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic abc", "Bearer a.b.c"])
async def test_everything_needs_a_token(header):
    """Without a valid bearer token the answer is 401 NO_AUTH_USER, also for unknown paths."""
    async with control_plane() as client:
        for path in ("/node", "/bucket", "/nowhere", "/"):
            assert await client.call(path, headers={"Authorization": header}) == (
                401,
                {"success": False, "error_code": "NO_AUTH_USER"},
            )
        assert (await client.call("/health", token=""))[1]["status"] == "ok"
        assert (await client.call("/"))[1] == {"status": "ok"}
        assert (await client.call("/nowhere"))[0] == 404


async def test_login_and_refresh_give_tokens_that_work():
    """Both refresh spellings work, a refresh token works once, wrong passwords and tokens get 401."""
    async with control_plane() as client:
        identity = client.identity
        credentials = {"email": identity.email, "password": identity.password}
        status, body = await client.call("/user/login", method="POST", json=credentials, token="")
        assert (status, body["success"], body["user"]["orgId"]) == (200, True, identity.org_id)
        assert 3590 < body["expiresAt"] - time.time() < 3610
        assert (await client.call("/node", token=body["accessToken"]))[0] == 200
        status, first = await client.call(
            "/user/refresh", method="POST", json={"refreshToken": body["refreshToken"]}, token=""
        )
        assert (await client.call("/node", token=first["accessToken"]))[0] == 200
        again = {"refresh_token": body["refreshToken"]}
        assert (await client.call("/user/refresh", method="POST", json=again))[0] == 401
        other = {"refresh_token": first["refreshToken"]}
        assert (await client.call("/user/refresh", method="POST", json=other))[0] == 200
        wrong = credentials | {"password": "x"}
        assert (await client.call("/user/login", method="POST", json=wrong))[0] == 401


async def test_access_tokens_expire_and_can_be_revoked():
    """A token is refused after its lifetime, or once revoked; restoring accepts it again."""
    async with control_plane(Variant(expires_in_ms=True)) as client:
        token = client.identity.access_token()
        expired, _ = TokenMint(**client.identity.mint()).access_token(time.time() - 3601)
        assert (await client.call("/node", token=expired))[0] == 401
        assert (await client.call("/node", token=token))[0] == 200
        await client.running.service.revoke_tokens()
        assert (await client.call("/node", token=token))[0] == 401
        refresh = {"refreshToken": client.identity.refresh_token()}
        _, body = await client.call("/user/refresh", method="POST", json=refresh)
        assert body["expiresAt"] > 1e12
        assert (await client.call("/node", token=body["accessToken"]))[0] == 200
        await client.running.service.restore_tokens()
        assert (await client.call("/node", token=token))[0] == 200


async def test_the_control_plane_misbehaves_like_a_node():
    """Its faults are those of a gateway: HTML errors, 429 with Retry-After; and it counts by path."""
    async with control_plane() as client:
        await client.running.set(Behaviour(status=502))
        assert (await client.call("/node"))[0] == 502
        await client.running.set(Behaviour(rate_limit=RateLimit(rate=0.001, burst=1, retry_after=7)))
        assert [(await client.call("/bucket"))[0] for _ in range(3)] == [200, 200, 429]
        stats = await client.running.stats()
        assert stats.by_path == {"/node": 1, "/bucket": 3}


async def test_only_newer_knowledge_is_taken_on():
    """Of two registries the one with the higher version stays, in whatever order they come."""
    async with control_plane() as client:
        api = client.running.service._api
        newer = api.registry.changed(buckets=()).changed(buckets=("new",))
        older = api.registry.changed(buckets=("old",))
        for registry in (newer, older):
            await client.running.service.describe(registry.to_json())
        assert [row["bucket"] for row in (await client.call("/bucket"))[1]["buckets"]] == ["new"]
