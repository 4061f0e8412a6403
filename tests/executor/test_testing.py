"""`flashback_async.testing` is a product: its clock, its store, its scripts, and a client on top of it."""

from __future__ import annotations

import asyncio

import pytest
import virtual_time
from virtual_time import scenario

import flashback_async.testing
from flashback_async.errors import (
    ClientClosedError,
    EndpointConnectError,
    EndpointTimeoutError,
    OperationError,
    PoolTimeoutError,
    ServiceError,
    WritesDisabledError,
)
from flashback_async.routing import Router
from flashback_async.testing import (
    Break,
    Dialect,
    Fault,
    ManualClock,
    MemoryEndpoints,
    MemoryStore,
    Request,
    ScriptedEndpoint,
    Step,
)
from flashback_async.transport.upload import SLICE

from .scenes import READ, WRITE, now, operation, pattern


def test_public_names():
    """The names are sorted, complete and importable."""
    names = flashback_async.testing.__all__
    assert names == sorted(names)
    assert all(hasattr(flashback_async.testing, name) for name in names)


def test_a_manual_clock_stands_still():
    """Time passes only when told to, and never backwards."""
    clock = ManualClock(5.0)
    assert (clock(), clock(), repr(clock)) == (5.0, 5.0, "ManualClock(5.0)")
    clock.advance(2.5)
    clock.advance(0)
    assert clock() == 7.5
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


async def test_a_manual_clock_wakes_sleepers_in_order():
    """Sleepers wake when the clock has reached them, in the order of their times; cancelled ones are gone."""
    clock, woken = ManualClock(), []

    async def sleeper(name, seconds):
        await clock.sleep(seconds)
        woken.append(name)

    tasks = [
        asyncio.create_task(sleeper(name, seconds))
        for name, seconds in (("c", 3), ("a", 1), ("b", 2), ("d", 2))
    ]
    await asyncio.sleep(0)
    assert clock.sleepers == 4
    clock.advance(0.999)
    await asyncio.sleep(0)
    assert (woken, clock.sleepers) == ([], 4)
    tasks[3].cancel()
    await asyncio.wait([tasks[3]])
    assert clock.sleepers == 3
    clock.advance(2.001)
    await asyncio.gather(*tasks[:3])
    assert (woken, clock.sleepers) == (["a", "b", "c"], 0)
    await clock.sleep(0)
    await clock.sleep(-1)


def test_a_store_keeps_what_s3_keeps():
    """Bytes, ETag, distinct times, types, metadata, and every version that ever was."""
    store = MemoryStore("bucket")
    first = store.put("bucket", "key", b"one")
    second = store.put("bucket", "key", b"two", content_type="text/plain", metadata={"a": "1"})
    assert store.get("bucket", "key") == second
    assert first.etag == '"f97c5d29941bfb1b2fdab0874906ab82"'
    assert second.last_modified > first.last_modified
    assert store.history("bucket", "key") == (first, second)
    assert ("bucket" in store, "other" in store) == (True, False)
    store.put("other", "x", b"")
    assert "other" in store
    assert repr(store) == "<MemoryStore: 2 buckets, 2 objects>"
    store.delete("bucket", "key")
    store.delete("bucket", "key")
    store.delete("no-bucket", "key")
    assert store.get("bucket", "key") is None
    assert store.get("no-bucket", "key") is None
    assert len(store.history("bucket", "key")) == 2


def test_keys_are_listed_by_their_bytes():
    """The order is that of UTF-8, as S3 has it, not that of code points in UTF-16 or of a locale."""
    store = MemoryStore()
    for key in ("b", "ä", "a/1", "B", "\U0001f600", "\ufb00", "a"):
        store.put("bucket", key, b"")
    assert store.keys("bucket") == ["B", "a", "a/1", "b", "ä", "\ufb00", "\U0001f600"]
    assert store.keys("bucket", "a") == ["a", "a/1"]
    assert store.keys("nothing") == []


@scenario
async def test_scripts_are_followed_step_by_step():
    """Each request takes the next step, further ones take `then`, and all of them are written down."""
    endpoint = ScriptedEndpoint(
        "a", MemoryStore("bucket"), [Step.error(503), Step(after=2.0)], then=Step.refused()
    )
    endpoint.store.put("bucket", "key", b"data")
    ends = []
    for _ in range(3):
        try:
            answer = await endpoint(operation(), progress=lambda **_: None)
            ends.append((answer.status, answer.fields["ContentLength"]))
        except OperationError as error:
            ends.append(type(error).__name__)
        await asyncio.sleep(1.0)
    assert ends == ["EndpointServerError", (200, 4), "EndpointConnectError"]
    assert endpoint.requests == [
        Request("a", at, "HeadObject", "bucket", "key", {}) for at in (0.0, 1.0, 4.0)
    ]
    assert repr(endpoint) == "<ScriptedEndpoint a: 3 requests, 0 bodies>"
    assert (endpoint.endpoint.id, endpoint.endpoint.url) == ("a", "https://a")


@scenario
async def test_a_pool_is_bounded_and_counted():
    """Leases are counted, waited for in order, and the error tells who holds them."""
    endpoints = MemoryEndpoints.of("a", "b")
    pool, a = endpoints.pool(connections=1), endpoints["a"].endpoint
    lease = await pool.lease(a, READ, timeout=0)
    assert (endpoints.leases, repr(endpoints)) == (1, "<MemoryEndpoints: 1 leases, 0 open bodies>")
    await asyncio.sleep(1.0)
    with pytest.raises(
        PoolTimeoutError, match=r"to a became free in 2 s: 1 leases are held, the oldest for 3\.0 s"
    ):
        await pool.lease(a, READ, timeout=2.0)
    other = await pool.lease(endpoints["b"].endpoint, WRITE, timeout=0)
    assert endpoints.leases == pool.leases == 2
    (await endpoints.pool().lease(a, READ, timeout=0)).release()
    for held in (lease, lease, other):
        held.release()
    assert endpoints.leases == 0
    (await pool.lease(a, READ, timeout=0)).release()


@scenario
async def test_a_body_can_be_closed_at_any_time():
    """A body is counted while it is open; a closed one gives no bytes."""
    endpoints = MemoryEndpoints.of("a")
    endpoints.store.put("bucket", "key", bytes(100_000))
    lease = await endpoints.pool().lease(endpoints["a"].endpoint, READ, timeout=0)
    get = type(operation())("GetObject", READ, "bucket", "key", streamed=True)
    body = (await lease.call(get, progress=lambda **_: None)).body
    assert len(await body.read()) == 65_536
    assert endpoints.open_bodies == 1
    body.close()
    body.close()
    assert endpoints.open_bodies == 0
    with pytest.raises(EndpointConnectError, match="closed"):
        await body.read()
    lease.release()


@pytest.mark.parametrize("takes", [None, 0, 1, SLICE, 3 * SLICE])
@pytest.mark.parametrize("fault", [Fault.RESET, Fault.REFUSED, Fault.SILENT])
def test_uploads_that_fail_store_nothing(fault, takes):
    """However much of an upload was taken: without an answer to expect, nothing is stored."""

    async def play():
        endpoints = MemoryEndpoints.of("a")
        endpoints["a"].then = Step(fault=fault, takes=takes)
        async with endpoints.client() as fb:
            with pytest.raises(OperationError):
                await fb.put_object("bucket", "key", pattern(2 * SLICE), retry=False)
        assert endpoints.store.get("bucket", "key") is None
        assert endpoints.leases == 0

    virtual_time.run(play())


@scenario
async def test_a_lost_answer_leaves_what_was_written():
    """`Step.lost` carries the request out and tells nobody."""
    endpoints = MemoryEndpoints.of("a")
    endpoints["a"].then = Step.lost()
    async with endpoints.client() as fb:
        with pytest.raises(EndpointConnectError):
            await fb.put_object("bucket", "key", b"data", retry=False)
    assert endpoints.store.get("bucket", "key").data == b"data"


@scenario
async def test_a_step_may_speak_another_dialect():
    """A dialect holds for all answers of an endpoint, or for one step."""
    endpoint = ScriptedEndpoint("a", MemoryStore("bucket"), dialect=Dialect(etag=False, last_modified=False))
    endpoint.script.append(Step(dialect=Dialect()))
    endpoint.store.put("bucket", "key", b"data")
    first = await endpoint(operation(), progress=lambda **_: None)
    second = await endpoint(operation(), progress=lambda **_: None)
    assert {"ETag", "LastModified"} <= set(first.fields)
    assert not {"ETag", "LastModified"} & set(second.fields)


@scenario
async def test_a_step_may_change_what_is_told():
    """Fields of an answer can be replaced, added and left out."""
    endpoint = ScriptedEndpoint("a", MemoryStore("bucket"))
    endpoint.store.put("bucket", "key", b"data")
    endpoint.script.append(Step(fields={"ETag": '"mine"', "VersionId": "7", "LastModified": None}))
    fields = (await endpoint(operation(), progress=lambda **_: None)).fields
    assert (fields["ETag"], fields["VersionId"], fields["ContentLength"]) == ('"mine"', "7", 4)
    assert "LastModified" not in fields


@scenario
async def test_conditions_and_ranges_are_s3s():
    """If-Match holds or fails, `*` always holds; what is no Range is ignored, an impossible one is 416."""
    endpoint = ScriptedEndpoint("a", MemoryStore("bucket"))
    version = endpoint.store.put("bucket", "key", b"0123456789")

    async def got(**parameters):
        get = type(operation())("GetObject", READ, "bucket", "key", parameters, streamed=True)
        answer = await endpoint(get, progress=lambda **_: None)
        body = await answer.body.read()
        answer.body.close()
        return answer.status, body

    assert await got(IfMatch=version.etag) == (200, b"0123456789")
    assert await got(IfMatch="*", Range="bytes=2-3") == (206, b"23")
    assert await got(Range="bytes=8-100") == (206, b"89")
    assert await got(Range="bytes=-3") == (206, b"789")
    for status, parameters in (
        (412, {"IfMatch": '"other"'}),
        (416, {"Range": "bytes=10-"}),
        (416, {"Range": "bytes=-0"}),
    ):
        with pytest.raises(ServiceError) as caught:
            await got(**parameters)
        assert caught.value.status == status
    for nonsense in ("lines=1-2", "bytes=-", "bytes=5-2"):
        assert await got(Range=nonsense) == (200, b"0123456789")


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [(507, WRITE, WritesDisabledError), (507, READ, ServiceError), (402, READ, ServiceError)],
)
def test_a_quota_stops_writes_only(status, kind, error):
    """What says "writes are disabled" to a write is an ordinary refusal to a read."""

    async def play():
        endpoint = ScriptedEndpoint("a", MemoryStore("bucket"), then=Step.error(status))
        with pytest.raises(ServiceError) as caught:
            await endpoint(operation(kind=kind), progress=lambda **_: None)
        assert type(caught.value) is error

    virtual_time.run(play())


@scenario
async def test_other_operations_are_not_implemented():
    """What the endpoints do not know they refuse as a gateway would."""
    endpoint = ScriptedEndpoint("a", MemoryStore("bucket"))
    with pytest.raises(ServiceError, match="501 NotImplemented"):
        await endpoint(operation("PutBucketTagging", kind=WRITE), progress=lambda **_: None)


@scenario
async def test_requests_are_told_in_the_order_of_their_times():
    """The requests of all endpoints come as one story."""
    endpoints = MemoryEndpoints.of("a", "b")
    endpoints.store.put("bucket", "key", b"")
    for name in "abba":
        await endpoints[name](operation(), progress=lambda **_: None)
        await asyncio.sleep(1.0)
    assert [(request.endpoint, request.at) for request in endpoints.requests] == [
        ("a", 0.0),
        ("b", 1.0),
        ("b", 2.0),
        ("a", 3.0),
    ]


@scenario
async def test_a_client_runs_on_endpoints_in_memory():
    """The real client, down to the seam: it writes, reads, fails over, counts, and leaves nothing."""
    endpoints = MemoryEndpoints.of("a", "b")
    endpoints["a"].then = Step.refused(after=0.1)
    async with endpoints.client(max_connections=3) as fb:
        await fb.put_object("bucket", "key", pattern(500_000))
        for _ in range(20):
            assert (await fb.get_object("bucket", "key")).endpoint == "b"
        stats = fb.stats()
        assert (stats.operations, stats.failed, stats.leases, stats.in_flight) == (21, 0, 0, 0)
        assert {node.id: node.url for node in fb.nodes()} == {"a": "https://a", "b": "https://b"}
        assert [info.key async for info in fb.bucket("bucket").list_objects()] == ["key"]
    assert (endpoints.leases, endpoints.open_bodies) == (0, 0)
    with pytest.raises(ClientClosedError):
        await fb.get_object("bucket", "key")


@scenario
async def test_a_closed_client_leaves_no_timer(monkeypatch):
    """Whatever timers its requests had set are gone with the client."""
    loop, handles = asyncio.get_running_loop(), []
    call_at = loop.call_at
    monkeypatch.setattr(
        loop, "call_at", lambda *args, **named: handles.append(call_at(*args, **named)) or handles[-1]
    )
    endpoints = MemoryEndpoints.of("a", "b")
    async with endpoints.client() as fb:
        await fb.put_object("bucket", "key", b"data")
        assert (await fb.get_object("bucket", "key")).body == b"data"
        # Large ones go other ways.
        large = bytes(5 * 1_024 * 1_024)
        await fb.put_object("bucket", "large", large)
        found = await asyncio.gather(*(fb.get_object("bucket", "large") for _ in range(3)))
        assert [each.body == large for each in found] == [True] * 3
        assert any(not handle.cancelled() for handle in handles)
    assert [handle for handle in handles if not handle.cancelled() and handle.when() > now()] == []


@scenario
async def test_a_clients_settings_and_router_are_the_tests():
    """Timeouts, connections and the router can be chosen; the timers are the real ones."""
    endpoints = MemoryEndpoints.of("a")
    endpoints["a"].then = Step.silent()
    router = Router(random=lambda: 0.5)
    async with endpoints.client(router=router, first_byte_timeout=0.5, attempts=1, max_connections=2) as fb:
        assert fb.router is router
        with pytest.raises(EndpointTimeoutError):
            await fb.head_object("bucket", "key")
        assert now() == 0.5
        endpoints["a"].then = Step()
        endpoints.store.put("bucket", "key", bytes(10))
        async with fb.stream_object("bucket", "key"), fb.stream_object("bucket", "key"):
            assert fb.stats().leases == 2
            with pytest.raises(PoolTimeoutError):
                await fb.head_object("bucket", "key")


@pytest.mark.parametrize("step", [Step(piece=10, pace=1.0), Step.broken(10, Break.STALL)])
def test_a_client_that_closes_ends_its_streams(step):
    """Whoever reads when the client closes learns it at once and as an error, not as silence."""

    async def play():
        endpoints = MemoryEndpoints.of("a")
        endpoints.store.put("bucket", "key", bytes(1_000))
        endpoints["a"].then = step
        fb = endpoints.client(router=Router(random=lambda: 0.0))
        await fb.start()
        async with fb.stream_object("bucket", "key") as stream:
            await stream.read_some()
            reading = asyncio.create_task(stream.read_some())
            began = now()
            await asyncio.sleep(0.5)
            await fb.aclose()
            with pytest.raises(ClientClosedError):
                await reading
            assert now() == began + 0.5
        assert (endpoints.leases, endpoints.open_bodies) == (0, 0)

    virtual_time.run(play())


@scenario
async def test_a_client_that_closes_ends_its_requests():
    """A request that waits for its answer when the client closes ends at once, with an error of its own."""
    endpoints = MemoryEndpoints.of("a", "b")
    endpoints["a"].then = endpoints["b"].then = Step.silent()
    fb = endpoints.client()
    await fb.start()
    waiting = [asyncio.create_task(fb.head_object("bucket", "key", retry=retry)) for retry in (False, True)]
    await asyncio.sleep(1.0)
    await fb.aclose()
    with pytest.raises(EndpointConnectError, match="the connection was closed"):
        await waiting[0]
    with pytest.raises(ClientClosedError):
        await waiting[1]
    assert (now(), endpoints.leases) == (1.0, 0)


@scenario
async def test_a_client_is_started_and_closed_by_different_tasks():
    """No scope is bound to the task that starts a client (field note 18): another one may close it."""
    endpoints = MemoryEndpoints.of("a")
    endpoints.store.put("bucket", "key", b"data")
    fb = endpoints.client()
    await asyncio.create_task(fb.start())
    assert (await asyncio.create_task(fb.get_object("bucket", "key"))).body == b"data"
    await asyncio.create_task(fb.aclose())
    with pytest.raises(ClientClosedError):
        await fb.get_object("bucket", "key")


@scenario
async def test_a_timeout_below_is_not_a_cut_line():
    """A TimeoutError that a call raises by itself is passed on as it is."""

    class Odd(ScriptedEndpoint):
        async def __call__(self, operation, *, progress):
            raise TimeoutError("somebody else's")

    odd = Odd("a", MemoryStore("bucket"))
    lease = await MemoryEndpoints(odd).pool().lease(odd.endpoint, READ, timeout=0)
    with pytest.raises(TimeoutError, match="somebody else's"):
        await lease.call(operation(), progress=lambda **_: None)
    lease.release()


@scenario
async def test_a_client_can_be_started_again():
    """The same endpoints serve a client that was closed and started again, and a second one beside it."""
    endpoints = MemoryEndpoints.of("a")
    endpoints.store.put("bucket", "key", b"data")
    fb = endpoints.client()
    for _ in range(2):
        async with fb, endpoints.client() as other:
            for client in (fb, other):
                assert (await client.get_object("bucket", "key")).body == b"data"
    assert endpoints.leases == 0


async def test_it_works_in_an_ordinary_loop():
    """Nothing but the network is replaced, so an ordinary loop does as well."""
    endpoints = MemoryEndpoints.of("a", "b", store=MemoryStore("bucket"))
    endpoints["a"].then = Step.broken(1_000, Break.SHORT)
    endpoints.store.put("bucket", "key", pattern(10_000))
    async with endpoints.client() as fb:
        assert (await fb.get_object("bucket", "key")).body == pattern(10_000)
