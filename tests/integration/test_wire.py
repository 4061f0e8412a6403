"""What the requests look like on the wire, as a server sees them that keeps every byte."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from random import Random

import pytest

from flashback_async import EndpointServerError, ServiceError, __version__

from .scripted import KEY_ID, KEY_SECRET, Answer, MemoryStore, authority, error, scripted, settings_for
from .workload import KIB

BOTH_LANES = True

BODY = Random(29).randbytes(3 * KIB)
UNSIGNED = "UNSIGNED-PAYLOAD"


async def some_of_everything(fb):
    """One call of each kind, with small and large bodies."""
    await fb.put_object(
        "bucket", "a key/with ümlauts", BODY, metadata={"kind": "test"}, content_type="text/plain"
    )
    await fb.put_object("bucket", "large", BODY * 300)
    await fb.put_object("bucket", "empty", b"")
    assert (await fb.get_object("bucket", "a key/with ümlauts")).body == BODY
    assert (await fb.get_object("bucket", "empty")).body == b""
    assert (await fb.head_object("bucket", "large")).size == 900 * KIB
    async with fb.stream_object("bucket", "large") as stream:
        assert sha256(await stream.read()).digest() == sha256(BODY * 300).digest()
    await fb.delete_object("bucket", "large")


@pytest.fixture(params=["http", "https"])
def tls(request, tmp_path):
    """(server context, authority file) for https, and (None, None) for http."""
    return (None, None) if request.param == "http" else authority(tmp_path)


async def test_addressing_and_signature(running, tls):
    """Buckets are addressed in the path, and requests are signed for us-east-1 with version 4."""
    context, ca_file = tls
    async with scripted(tls=context) as server, running(settings_for(server, ca_file=ca_file)) as fb:
        await some_of_everything(fb)
    assert [(row.method, row.target.partition("?")[0]) for row in server.seen] == [
        ("PUT", "/bucket/a%20key/with%20%C3%BCmlauts"),
        ("PUT", "/bucket/large"),
        ("PUT", "/bucket/empty"),
        ("GET", "/bucket/a%20key/with%20%C3%BCmlauts"),
        ("GET", "/bucket/empty"),
        ("HEAD", "/bucket/large"),
        ("GET", "/bucket/large"),
        ("DELETE", "/bucket/large"),
    ]
    for request in server.seen:
        scheme, _, rest = request.headers["authorization"].partition(" ")
        assert scheme == "AWS4-HMAC-SHA256"
        assert rest.startswith(f"Credential={KEY_ID}/")
        assert "/us-east-1/s3/aws4_request," in rest
        assert request.headers["host"] == server.id
        assert KEY_SECRET not in str(request)


async def test_no_header_that_gateways_choke_on(running, tls):
    """No `Expect`, no `aws-chunked`, no trailer, no checksum of boto's own, and a length on every body."""
    context, ca_file = tls
    async with scripted(tls=context) as server, running(settings_for(server, ca_file=ca_file)) as fb:
        await some_of_everything(fb)
    for request in server.seen:
        names = set(request.headers)
        assert not names & {"expect", "x-amz-trailer", "transfer-encoding", "content-encoding", "te"}
        assert not [name for name in names if "checksum" in name or "crc" in name]
        assert "chunked" not in str(request.headers).lower()
        if request.method == "PUT":
            assert int(request.headers["content-length"]) == len(request.body)
    assert server.seen[0].headers["x-amz-meta-kind"] == "test"
    assert server.seen[0].headers["content-type"] == "text/plain"


async def test_requests_name_the_package(running):
    """Each request says which client sent it, and counts no retries of boto's, for there are none."""
    async with scripted() as server, running(settings_for(server)) as fb:
        await some_of_everything(fb)
    for request in server.seen:
        assert request.headers["user-agent"].split()[0] == f"flashback-async/{__version__}"
        assert not [name for name in request.headers if name.startswith("amz-sdk")]


async def test_payloads_are_hashed_over_http(running):
    """Over http every payload is hashed into the signature."""
    async with scripted() as server, running(settings_for(server)) as fb:
        await some_of_everything(fb)
    for request in server.seen:
        assert request.headers["x-amz-content-sha256"] == sha256(request.body).hexdigest()


async def test_payloads_are_left_to_tls_over_https(running, tmp_path):
    """Over https uploads carry UNSIGNED-PAYLOAD, unless the settings ask for signed ones."""
    context, ca_file = authority(tmp_path)
    async with scripted(tls=context) as server:
        async with running(settings_for(server, ca_file=ca_file)) as fb:
            await some_of_everything(fb)
        assert {row.headers["x-amz-content-sha256"] for row in server.seen if row.body} == {UNSIGNED}
        server.seen.clear()
        async with running(settings_for(server, ca_file=ca_file, payload_signing="signed")) as fb:
            await some_of_everything(fb)
        for request in server.seen:
            assert request.headers["x-amz-content-sha256"] == sha256(request.body).hexdigest()


async def test_the_sandbox_over_tls(tls_cluster, running):
    """A real server behind TLS, one that verifies signatures, accepts all of it."""
    async with running(tls_cluster.settings()) as fb:
        await fb.put_object("demo", "key", BODY)
        await fb.put_object("demo", "large", BODY * 300)
        assert (await fb.get_object("demo", "key")).body == BODY
        assert (await fb.get_object("demo", "large", range=(10, 20))).body == (BODY * 300)[10:20]
        assert all(node.url.startswith("https://") for node in fb.nodes())


async def test_a_store_that_insists_on_signed_payloads(running, tmp_path):
    """A store that refuses an unsigned payload gets a signed one at once, and is remembered for it."""
    context, ca_file = authority(tmp_path)
    store = MemoryStore()

    async def answer(request):
        if request.headers["x-amz-content-sha256"] == UNSIGNED:
            return error(400, "XAmzContentSHA256Mismatch")
        return await store(request)

    async with scripted(answer, tls=context) as server, running(settings_for(server, ca_file=ca_file)) as fb:
        for number in range(5):
            await fb.put_object("bucket", f"key-{number}", BODY)
        assert (await fb.get_object("bucket", "key-0")).body == BODY
        stats = fb.stats()
        [node] = fb.nodes()
    hashes = [row.headers["x-amz-content-sha256"] for row in server.seen if row.method == "PUT"]
    assert hashes == [UNSIGNED] + [sha256(BODY).hexdigest()] * 5
    assert (stats.retries, stats.failed, node.failures) == (0, 0, 0)


async def test_many_at_once_meet_a_store_that_insists_on_signed_payloads(running, tmp_path):
    """Requests that were under way when the first one was refused are sent again as well: none fails."""
    context, ca_file = authority(tmp_path)
    store = MemoryStore()
    all_here, waiting = asyncio.Event(), 0

    async def answer(request):
        nonlocal waiting
        if request.headers["x-amz-content-sha256"] != UNSIGNED:
            return await store(request)
        waiting += 1
        if waiting == 8:
            all_here.set()
        await all_here.wait()
        return error(400, "XAmzContentSHA256Mismatch")

    async with scripted(answer, tls=context) as server, running(settings_for(server, ca_file=ca_file)) as fb:
        await asyncio.gather(*(fb.put_object("bucket", f"key-{number}", BODY) for number in range(8)))
        stats = fb.stats()
    assert (stats.operations, stats.retries, stats.failed) == (8, 0, 0)


async def test_boto_does_not_retry(running):
    """One attempt is one request: what boto would have tried again arrives once."""

    async def answer(request):
        return error(500, "InternalError")

    async with scripted(answer) as server, running(settings_for(server)) as fb:
        for call in (
            fb.get_object("bucket", "key", retry=False),
            fb.put_object("bucket", "key", BODY, retry=False),
            fb.head_object("bucket", "key", retry=False),
        ):
            server.seen.clear()
            with pytest.raises(EndpointServerError):
                await call
            assert len(server.seen) == 1


async def test_retries_go_to_other_nodes(running):
    """Three attempts of one operation are three requests, to three different nodes."""

    async def answer(request):
        return error(503, "ServiceUnavailable")

    async with scripted(answer) as one, scripted(answer) as two, scripted(answer) as three:
        async with running(settings_for(one, two, three)) as fb:
            with pytest.raises(EndpointServerError) as caught:
                await fb.get_object("bucket", "key")
        assert [len(server.seen) for server in (one, two, three)] == [1, 1, 1]
        assert {attempt.endpoint for attempt in caught.value.attempts} == {one.id, two.id, three.id}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(running, status):
    """A redirect is an error of the node; the signed request and its data never reach the place it names."""
    async with scripted() as elsewhere:

        async def answer(request):
            return Answer(
                status, headers={"Location": f"{elsewhere.url}{request.target}?X-Amz-Signature=abc"}
            )

        async with scripted(answer) as server, running(settings_for(server)) as fb:
            for call in (fb.get_object("bucket", "key"), fb.put_object("bucket", "key", BODY)):
                with pytest.raises(EndpointServerError, match="redirect") as caught:
                    await call
                assert "X-Amz-Signature" not in str(caught.value)
                assert caught.value.status == status
        assert server.seen
        assert (elsewhere.connections, elsewhere.seen) == (0, [])


async def test_s3_redirects_with_a_body_are_not_followed(running):
    """S3's PermanentRedirect, with another endpoint in its XML, sends nothing there either."""
    async with scripted() as elsewhere:
        body = (
            "<Error><Code>PermanentRedirect</Code><Message>Use the other one.</Message>"
            f"<Endpoint>{elsewhere.id}</Endpoint><Bucket>bucket</Bucket></Error>"
        )

        async def answer(request):
            headers = {"x-amz-bucket-region": "eu-central-1", "Content-Type": "application/xml"}
            return Answer(301, body.encode(), headers)

        async with scripted(answer) as server, running(settings_for(server)) as fb:
            for call in (fb.get_object("bucket", "key"), fb.head_object("bucket", "key")):
                with pytest.raises(EndpointServerError, match="redirect"):
                    await call
            targets = {row.target for row in server.seen}
        assert targets == {"/bucket/key"}
        assert elsewhere.connections == 0


async def test_a_wrong_region_is_not_looked_up(running):
    """A 400 that names another region ends the operation: boto's own search for the region is switched off."""

    async def answer(request):
        return error(400, "AuthorizationHeaderMalformed", headers={"x-amz-bucket-region": "eu-central-1"})

    async with scripted(answer) as server, running(settings_for(server)) as fb:
        with pytest.raises(ServiceError, match="AuthorizationHeaderMalformed"):
            await fb.get_object("bucket", "key")
    assert [(row.method, row.target) for row in server.seen] == [("GET", "/bucket/key")]


async def test_a_body_is_not_decompressed(running):
    """Bytes stored with a content encoding come back as they are stored."""
    stored = b"\x1f\x8b not really gzip"

    async def answer(request):
        return Answer(body=stored, headers={"Content-Encoding": "gzip", "ETag": '"x"'})

    async with scripted(answer) as server, running(settings_for(server)) as fb:
        assert (await fb.get_object("bucket", "key")).body == stored
    assert server.seen[0].headers["accept-encoding"] == "identity"
