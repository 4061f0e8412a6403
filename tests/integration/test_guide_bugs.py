"""The thirteen defects of the published guide's own code: none of them is in this client.

The guide is "Latency-aware routing for edge and AI pipelines"; each test names the defect by its number in our
list. Everything here talks to the sandbox's control plane, in the shapes in which the real one may speak.
"""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

import aioboto3
import pytest
from botocore.exceptions import ClientError

from flashback_async import DiscoveryError, ObjectNotFoundError
from flashback_async.sandbox import Behaviour, NodeSpec, Variant

from .scripted import Answer, scripted, settings_for
from .watching import eventually


@pytest.fixture
def near_and_far(flashback_cluster_factory):
    """Two nodes for two buckets; each node is the nearer one to one of them, as far as published."""
    return flashback_cluster_factory(
        nodes=[NodeSpec(latency=0.001), NodeSpec(latency=0.001)],
        store="moto",
        buckets=("demo", "east", "west"),
    )


async def works(fb):
    """Whether an object can be written and read."""
    await fb.put_object("demo", "key", b"data")
    return (await fb.get_object("demo", "key")).body == b"data"


async def publish(cluster, *, near: dict[str, int]):
    """For each bucket, publish which of the two nodes is near to it; the other one is far."""
    for bucket, number in near.items():
        for node in cluster.nodes:
            await node.publish(latency=0.010 if node is cluster.nodes[number] else 0.500, bucket=bucket)


async def picked(fb, cluster, *, near: dict[str, int]):
    """Wait until every bucket's pick is the node that is near to it, all at the same time."""
    wanted = {bucket: cluster.nodes[number].ip for bucket, number in near.items()}

    async def is_so():
        return {bucket: (await fb.pick_endpoint(bucket)).id for bucket in near} == wanted

    await eventually(is_so, within=15)


async def test_1_node_services_is_sent(moto_cluster, running):
    """Defect 1: `GET /node` without `nodeServices`. Ours asks for storage, as a strict server demands."""
    await moto_cluster.control_plane.set(Variant(require_node_services=True))
    async with running(moto_cluster.settings()) as fb:
        assert len(fb.nodes()) == 4
        assert await works(fb)


@pytest.mark.parametrize("envelope", [True, False])
async def test_2_the_envelope_is_unwrapped(moto_cluster, running, envelope):
    """Defect 2: `{success, data, total}` taken for a list. Ours reads both shapes."""
    await moto_cluster.control_plane.set(Variant(envelope=envelope))
    async with running(moto_cluster.settings()) as fb:
        assert len(fb.nodes()) == 4
        assert await works(fb)


@pytest.mark.parametrize("url_form", ["url", "slash", "bare"])
async def test_3_the_url_is_used(tls_cluster, running, url_form):
    """Defect 3: a field `endpoint` that no node has. Ours takes `url`, with or without scheme and slash."""
    await tls_cluster.control_plane.set(Variant(url_form=url_form))
    async with running(tls_cluster.settings()) as fb:
        assert {node.url for node in fb.nodes()} == {node.url for node in tls_cluster.nodes}
        assert await works(fb)


@pytest.mark.parametrize("status_case", ["upper", "title", "lower"])
async def test_4_the_status_is_understood_in_any_case(spread, running, status_case):
    """Defect 4: `"Online"` never equals `"ONLINE"`, so offline nodes are used. Ours never asks one."""
    await spread.control_plane.set(Variant(status_case=status_case))
    await spread.nodes[0].publish(status="OFFLINE")
    await spread.nodes[1].publish(status="DISCONNECTED")
    async with running(spread.settings()) as fb:
        statuses = {node.id: node.status for node in fb.nodes()}
        assert [statuses[node.ip] for node in spread.nodes] == ["OFFLINE", "DISCONNECTED", "ONLINE", "ONLINE"]
        for _ in range(10):
            assert await works(fb)
        asked = {row.endpoint for row in fb.router.started}
    assert asked <= {node.ip for node in spread.nodes[2:]}


async def test_5_figures_are_kept_per_bucket(near_and_far, running):
    """Defect 5: one cache slot for all buckets. Ours picks for each bucket the node that is near to it."""
    near = {"east": 0, "west": 1}
    await publish(near_and_far, near=near)
    async with running(near_and_far.settings(discovery_interval=0.5)) as fb:
        await picked(fb, near_and_far, near=near)
        swapped = {"east": 1, "west": 0}
        await publish(near_and_far, near=swapped)
        await picked(fb, near_and_far, near=swapped)


async def test_6_bucket_names_become_uuids(near_and_far, running):
    """Defect 6: the S3 name sent as `bucketId`. Ours resolves it through `GET /bucket`, once, or is told."""
    near = {"east": 1, "west": 0}
    await publish(near_and_far, near=near)
    async with running(near_and_far.settings(discovery_interval=0.5)) as fb:
        await picked(fb, near_and_far, near=near)
        await fb.refresh()
        assert (await near_and_far.control_plane.requests())["/bucket"] == 1
        assert fb.stats().unmatched_rows == 0
    await near_and_far.control_plane.reset_stats()
    settings = near_and_far.settings(discovery_interval=0.5, bucket_ids=near_and_far.bucket_ids)
    async with running(settings) as fb:
        await picked(fb, near_and_far, near=near)
        assert "/bucket" not in await near_and_far.control_plane.requests()


async def test_6_what_is_asked_on_the_wire(running):
    """Defects 1 and 6 as they would show on the wire: the exact queries, and a bearer token on each."""
    node = {
        "ip": "127.0.0.1",
        "region": "r",
        "status": "ONLINE",
        "url": "https://127.0.0.1:9",
        "nodeServices": 1,
    }

    async def answer(request):
        rows = {"/node": [node], "/bucket": [{"id": "u-1", "bucket": "photos"}], "/stats/nodes/minute": []}
        data = rows.get(urlsplit(request.target).path, [])
        key = "buckets" if request.target == "/bucket" else "data"
        return Answer(
            body=json.dumps({"success": True, key: data}).encode(),
            headers={"Content-Type": "application/json"},
        )

    async with scripted(answer) as server:
        settings = settings_for(
            server, endpoints=None, base_url=server.url, jwt="token-1", discovery_interval=0.2
        )
        async with running(settings) as fb:
            await fb.pick_endpoint("photos")
            await eventually(lambda: any("stats" in request.target for request in server.seen), within=5)
        queries = {urlsplit(row.target).path: parse_qs(urlsplit(row.target).query) for row in server.seen}
    assert queries["/node"] == {"nodeServices": ["1"]}
    assert queries["/stats/nodes/minute"] == {"bucketId": ["u-1"]}
    assert {row.headers["authorization"] for row in server.seen} == {"Bearer token-1"}
    assert {row.headers["accept"] for row in server.seen} == {"application/json"}


async def test_7_there_is_no_stampede(moto_cluster, running):
    """Defect 7: at expiry every caller fetches. Ours shares one discovery among all who ask."""
    control_plane = moto_cluster.control_plane
    async with running(moto_cluster.settings(discovery_interval=3600)) as fb:
        await control_plane.set(Behaviour(latency=0.2))
        await control_plane.reset_stats()
        await asyncio.gather(*(fb.refresh() for _ in range(200)))
        assert (await control_plane.requests())["/node"] == 1
        await asyncio.gather(*(fb.get_object("demo", "missing") for _ in range(100)), return_exceptions=True)
        assert (await control_plane.requests())["/node"] <= 2


async def test_7_failures_cause_no_stampede(moto_cluster, running):
    """Defect 7 again: hundreds of failing requests ask for at most two discoveries per second."""
    control_plane = moto_cluster.control_plane
    for node in moto_cluster.nodes:
        await node.set(Behaviour(status=503))
    async with running(moto_cluster.settings(discovery_interval=3600)) as fb:
        await control_plane.reset_stats()
        clock = asyncio.get_running_loop().time
        start = clock()
        while clock() - start < 2.0:
            await asyncio.gather(*(fb.get_object("demo", "key") for _ in range(20)), return_exceptions=True)
        took = clock() - start
        assert 1 <= (await control_plane.requests())["/node"] <= took / 0.5 + 2


async def test_8_refusals_are_not_failures_of_the_node(moto_cluster, running):
    """Defect 8: `reportFailure` on every error. Here a 404 or 403 counts against nobody, ours or reported."""
    async with running(moto_cluster.settings()) as fb:
        for _ in range(12):
            with pytest.raises(ObjectNotFoundError):
                await fb.get_object("demo", "missing")
        endpoint = await fb.pick_endpoint("demo")
        for status, code in [(404, "NoSuchKey"), (403, "AccessDenied")] * 10:
            answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
            fb.report_failure(endpoint, ClientError(answer, "GetObject"))
        assert all((node.breaker, node.failures) == ("closed", 0) for node in fb.nodes())
        assert (await fb.pick_endpoint("demo")) == endpoint
        for _ in range(5):
            fb.report_failure(endpoint)
        assert {node.id for node in fb.nodes() if node.breaker == "open"} == {endpoint.id}


async def test_9_a_failed_node_is_remembered(spread, running):
    """Defect 9: nothing remembers the failure, so the same node is next again. Ours avoids it at once."""
    clock = asyncio.get_running_loop().time
    async with running(spread.settings()) as fb:
        await fb.put_object("demo", "key", b"data")
        for _ in range(20):
            await fb.get_object("demo", "key")
        best = (await fb.pick_endpoint("demo")).id
        node = next(node for node in spread.nodes if node.ip == best)
        await node.set(Behaviour(status=503))
        while not fb.stats().failovers:
            await fb.get_object("demo", "key")
        # Half a second later at the earliest, one request may try whether it is back.
        failed = clock()
        assert (await fb.pick_endpoint("demo")).id != best
        while clock() < failed + 0.3:
            await fb.get_object("demo", "key")
        there, everywhere = fb.router.share(best, failed, failed + 0.3)
    assert there == 0
    assert everywhere >= 2


@pytest.mark.parametrize("behaviour", [Behaviour(black_hole=True), Behaviour(stall_after=10)])
async def test_10_every_call_of_the_control_plane_has_a_timeout(moto_cluster, running, behaviour):
    """Defect 10: no timeout on any call. A silent or stalling control plane costs `discovery_timeout`."""
    clock = asyncio.get_running_loop().time
    async with running(moto_cluster.settings(discovery_timeout=0.5)) as fb:
        await moto_cluster.control_plane.set(behaviour)
        start = clock()
        with pytest.raises(DiscoveryError, match=r"0\.5 s"):
            await fb.refresh()
        assert clock() - start < 3.0
        assert len(fb.nodes()) == 4
        assert await works(fb)


async def test_10_every_call_of_a_node_has_a_timeout(moto_cluster, running):
    """Defect 10 again: silent nodes cost each attempt `first_byte_timeout`, and a call its own timeout."""
    clock = asyncio.get_running_loop().time
    for node in moto_cluster.nodes:
        await node.set(Behaviour(black_hole=True))
    async with running(moto_cluster.settings(first_byte_timeout=0.3)) as fb:
        for call in (fb.get_object("demo", "key"), fb.put_object("demo", "key", b"data")):
            start = clock()
            with pytest.raises(TimeoutError):
                await call
            assert 0.8 < clock() - start < 4.0
        start = clock()
        with pytest.raises(TimeoutError):
            await fb.get_object("demo", "key", timeout=0.2)
        assert clock() - start < 2.0


async def test_11_an_expired_token_is_renewed(moto_cluster, running):
    """Defect 11: 401 unhandled. With a refresh token, discovery goes on, and the rotated token is handed out."""
    rotated = []

    async def keep(token):
        rotated.append(token)

    settings = moto_cluster.settings(refresh_token=moto_cluster.refresh_token, on_rotate=keep)
    async with running(settings) as fb:
        await moto_cluster.control_plane.revoke_tokens()
        await fb.refresh()
        await fb.refresh()
        assert len(fb.nodes()) == 4
        assert fb.stats().discovery_failures == 0
    assert len(rotated) == 1
    assert rotated[0] != moto_cluster.refresh_token


async def test_11_an_expired_token_without_remedy_says_so(moto_cluster, running):
    """Defect 11 again: without a way to renew, the error names the remedy, and the data goes on flowing."""
    async with running(moto_cluster.settings()) as fb:
        await moto_cluster.control_plane.revoke_tokens()
        with pytest.raises(DiscoveryError, match="FB_REFRESH_TOKEN") as caught:
            await fb.refresh()
        assert caught.value.status == 401
        assert moto_cluster.token not in str(caught.value)
        assert len(fb.nodes()) == 4
        assert await works(fb)


async def test_12_an_empty_list_is_an_error_and_changes_nothing(moto_cluster, running):
    """Defect 12: no node, TypeError. Ours keeps the table it has; at the start it is a typed error."""
    control_plane = moto_cluster.control_plane
    async with running(moto_cluster.settings()) as fb:
        await control_plane.set(Variant(empty_nodes=True))
        with pytest.raises(DiscoveryError, match="no node"):
            await fb.refresh()
        assert len(fb.nodes()) == 4
        assert await works(fb)
    with pytest.raises(DiscoveryError, match="FB_BASE_URL"):
        async with running(moto_cluster.settings()):
            pass


async def test_13_one_session_and_one_client_per_endpoint(moto_cluster, running, monkeypatch):
    """Defect 13: a session and a client per call. Ours makes one of each per endpoint, before any request."""
    made = []
    client = aioboto3.Session.client

    def counted(self, *args, **options):
        made.append((self, options["endpoint_url"]))
        return client(self, *args, **options)

    monkeypatch.setattr(aioboto3.Session, "client", counted)
    async with running(moto_cluster.settings()) as fb:
        assert {url for _, url in made} == {node.url for node in fb.nodes()}
        await asyncio.gather(*(fb.put_object("demo", f"key-{number}", b"data") for number in range(50)))
        await asyncio.gather(*(fb.get_object("demo", f"key-{number}") for number in range(50)))
    assert len(made) == 4 + 1  # One is `client.s3`, which sends nothing itself.
    assert len({id(session) for session, _ in made}) == 1


async def test_13_connections_are_kept(running):
    """Defect 13 on the wire: fifty requests one after the other use one connection."""
    async with scripted() as server, running(settings_for(server)) as fb:
        await fb.put_object("bucket", "key", b"data")
        for _ in range(49):
            await fb.get_object("bucket", "key")
    assert (len(server.seen), server.connections) == (50, 1)
