"""Conditions, versions, listings, bulk verbs, ranges and presigned URLs against real stores."""

from __future__ import annotations

import hmac
from base64 import b64encode
from contextlib import aclosing
from datetime import timedelta
from hashlib import md5, sha256
from random import Random
from urllib.parse import parse_qs, urlsplit

import aiohttp
import boto3
import pytest
from botocore.config import Config

from flashback_async import (
    CommonPrefix,
    NotModifiedError,
    ObjectChangedError,
    ObjectInfo,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageHeaders,
)

from .scripted import KEY_SECRET, Answer, scripted, settings_for
from .workload import KIB

BODY = Random(31).randbytes(300 * KIB)
KEYS = [f"many/{number:03}" for number in range(40)]


async def put_all(fb, keys=KEYS, size=1_000):
    async for _ in fb.put_objects("demo", ((key, BODY[:size]) for key in keys)):
        pass


def admin(cluster):
    """An ordinary client of the store behind the nodes, for what is no verb of ours."""
    settings = cluster.settings()
    return boto3.client(
        "s3",
        endpoint_url=cluster.nodes[0].url,
        aws_access_key_id=settings.key_id,
        aws_secret_access_key=settings.key_secret.get_secret_value(),
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )


# --- both stores -----------------------------------------------------------------------------------------


async def test_many_objects_go_and_come(cluster, running):
    """What is put in bulk is listed, read, looked at and deleted in bulk, on both stores."""
    async with running(cluster.settings()) as fb:
        await put_all(fb)
        listed = [info.key async for info in fb.list_objects("demo", "many/", page_size=7)]
        assert listed == KEYS
        got = [
            (result.key, result.value.body)
            async for result in fb.get_objects("demo", fb.list_objects("demo", "many/"), ordered=True)
        ]
        assert got == [(key, BODY[:1_000]) for key in KEYS]
        assert {result.value.size async for result in fb.head_objects("demo", KEYS)} == {1_000}
        deleted = [result.key async for result in fb.delete_objects("demo", [*KEYS, "many/not-there"])]
        assert sorted(deleted) == sorted([*KEYS, "many/not-there"])
        assert [info async for info in fb.list_objects("demo", "many/")] == []
        failed = [result async for result in fb.get_objects("demo", KEYS[:3], on_error="yield")]
        assert [type(result.error) for result in failed] == [ObjectNotFoundError] * 3


async def test_a_prefix_is_copied(cluster, running):
    """Every object under a prefix is copied within the store, byte for byte."""
    async with running(cluster.settings()) as fb:
        await put_all(fb, KEYS[:10])
        results = [result async for result in fb.copy_objects("demo", "many/", "copy/", ordered=True)]
        assert [result.value.key for result in results] == [key.replace("many", "copy") for key in KEYS[:10]]
        assert (await fb.get_object("demo", "copy/003")).body == BODY[:1_000]


async def test_one_level_of_a_tree(cluster, running):
    """A delimiter sums up what is deeper, in order with the objects."""
    async with running(cluster.settings()) as fb:
        await put_all(fb, ["t/a", "t/b/1", "t/b/2", "t/c", "t/d e/ü"])
        rows = [row async for row in fb.list_objects("demo", "t/", delimiter="/")]
        shown = [row.key if isinstance(row, ObjectInfo) else row for row in rows]
        assert shown == ["t/a", CommonPrefix("demo", "t/b/"), "t/c", CommonPrefix("demo", "t/d e/")]


async def test_an_early_end_of_bulk_reads(cluster, running):
    """Leaving a bulk read early leaves no lease and no task (the fixtures look at it)."""
    async with running(cluster.settings()) as fb:
        await put_all(fb, size=200 * KIB)
        async with aclosing(fb.get_objects("demo", KEYS)) as results:
            async for _ in results:
                break
        assert fb.stats().leases == 0


async def test_ranges_of_one_object(cluster, running):
    """Several ranges come in the order asked, whether the store answers ranges with 206 or 200."""
    async with running(cluster.settings()) as fb:
        await fb.put_object("demo", "key", BODY)
        ranges = [(100_000, 100_010), (0, 5), (-7, None), (200_000, None), (4, 9)]
        found = await fb.get_ranges("demo", "key", ranges, coalesce=10)
        assert found == [BODY[slice(*each)] for each in ranges]


async def test_conditions_of_reads(cluster, running):
    """Conditions hold on both stores, though one of them ignores If-Match."""
    async with running(cluster.settings()) as fb:
        await fb.put_object("demo", "key", BODY[:100])
        info = await fb.head_object("demo", "key")
        for conditions in ({"if_none_match": info.etag}, {"if_modified_since": info.last_modified}):
            with pytest.raises(NotModifiedError):
                await fb.get_object("demo", "key", **conditions)
            with pytest.raises(NotModifiedError):
                await fb.head_object("demo", "key", **conditions)
        earlier = info.last_modified - timedelta(hours=1)
        for conditions in (
            {"if_match": '"0123456789abcdef0123456789abcdef"'},
            {"if_unmodified_since": earlier},
        ):
            with pytest.raises(PreconditionFailedError):
                await fb.get_object("demo", "key", **conditions)
        stored = await fb.get_object("demo", "key", if_match=info.etag, if_modified_since=earlier)
        assert stored.body == BODY[:100]
        assert fb.stats().failed == fb.stats().retries == 0
        assert all(node.failures == 0 for node in fb.nodes())


# --- moto: what rclone does not have ---------------------------------------------------------------------


async def test_listing_from_a_key_on(moto_cluster, running):
    """A listing begins behind the key that was named."""
    async with running(moto_cluster.settings()) as fb:
        await put_all(fb)
        rest = [
            info.key async for info in fb.list_objects("demo", "many/", start_after=KEYS[30], page_size=4)
        ]
        assert rest == KEYS[31:]


async def test_conditions_of_writes(moto_cluster, running):
    """A put happens only where nothing is, or only over what is known."""
    async with running(moto_cluster.settings()) as fb:
        first = await fb.put_object("demo", "key", b"one", if_none_match="*", metadata={"a": "1"})
        with pytest.raises(PreconditionFailedError):
            await fb.put_object("demo", "key", b"two", if_none_match="*")
        with pytest.raises(PreconditionFailedError):
            await fb.put_object("demo", "key", b"two", if_match='"0123456789abcdef0123456789abcdef"')
        assert (await fb.get_object("demo", "key")).body == b"one"
        await fb.put_object("demo", "key", b"three", if_match=first.etag)
        assert (await fb.get_object("demo", "key")).body == b"three"


async def test_what_is_stored_beside_the_bytes(moto_cluster, running):
    """Headers, tags and storage class are the store's, and what reads tell of them comes back."""
    async with running(moto_cluster.settings()) as fb:
        await fb.put_object(
            "demo",
            "key",
            b"data",
            content_type="text/csv",
            cache_control="max-age=60",
            content_encoding="identity",
            content_disposition='attachment; filename="a b.csv"',
            storage_class="STANDARD_IA",
            tagging={"project": "a + b=c", "empty": ""},
            headers=StorageHeaders(content_language="de", server_side_encryption="AES256"),
        )
        info = await fb.head_object("demo", "key")
        assert (info.content_type, info.cache_control, info.storage_class) == (
            "text/csv",
            "max-age=60",
            "STANDARD_IA",
        )
        assert info.content_disposition == 'attachment; filename="a b.csv"'
        s3 = admin(moto_cluster)
        tags = s3.get_object_tagging(Bucket="demo", Key="key")["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {"project": "a + b=c", "empty": ""}
        assert s3.head_object(Bucket="demo", Key="key")["ContentLanguage"] == "de"
        copied = await fb.copy_object("demo", "key", "copy", metadata={"b": "2"}, content_type="text/plain")
        assert (copied.metadata, copied.content_type) == ({"b": "2"}, "text/plain")


async def test_versions(moto_cluster, running):
    """Versions are listed, read, copied and deleted for good; deletions leave a mark."""
    s3 = admin(moto_cluster)
    s3.create_bucket(Bucket="kept")
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    async with running(moto_cluster.settings()) as fb:
        old = await fb.put_object("kept", "key", b"old")
        new = await fb.put_object("kept", "key", b"newer")
        assert None not in {old.version_id, new.version_id}
        assert (await fb.get_object("kept", "key", version_id=old.version_id)).body == b"old"
        assert (await fb.head_object("kept", "key", version_id=new.version_id)).size == 5
        await fb.copy_object("kept", "key", "copy", source_version_id=old.version_id)
        assert (await fb.get_object("kept", "copy")).body == b"old"
        [mark] = [result.value async for result in fb.delete_objects("kept", ["key"])]
        assert mark.delete_marker is not None
        assert not await fb.object_exists("kept", "key")
        rows = [row async for row in fb.list_object_versions("kept", "key", page_size=2)]
        assert {(row.version_id, row.is_delete_marker) for row in rows} == {
            (mark.delete_marker, True),
            (new.version_id, False),
            (old.version_id, False),
        }
        assert [row.is_latest for row in rows] == [True, False, False]
        await fb.delete_object("kept", "key", version_id=mark.delete_marker)
        assert (await fb.get_object("kept", "key")).body == b"newer"
        async for _ in fb.delete_objects("kept", fb.list_object_versions("kept")):
            pass
        assert [row async for row in fb.list_object_versions("kept")] == []


async def test_ranges_of_two_versions_are_not_mixed(moto_cluster, running):
    """A part of another version than that of the first answer is refused."""
    async with running(moto_cluster.settings()) as fb:
        await fb.put_object("demo", "key", BODY)
        async with fb.stream_object("demo", "key", range=(0, 10)) as stream:
            await stream.read()
            await fb.put_object("demo", "key", BODY[::-1])
            with pytest.raises(ObjectChangedError):
                async with stream.part(100, 200) as part:
                    await part.read()


# --- presigned URLs --------------------------------------------------------------------------------------


async def test_presigned_urls_work_without_a_key(moto_cluster, running, caplog):
    """Whoever has the URL can do that one thing, with plain HTTP; none of them is logged."""
    caplog.set_level("DEBUG", logger="flashback_async")
    async with running(moto_cluster.settings()) as fb, aiohttp.ClientSession() as http:
        put = await fb.generate_presigned_url(
            "demo", "a key/ü", method="put_object", content_type="text/csv", expires=60
        )
        async with http.put(put, data=b"data", headers={"Content-Type": "text/csv"}) as answer:
            assert answer.status == 200
        for node in fb.nodes():
            get = await fb.generate_presigned_url(
                "demo", "a key/ü", endpoint=node.id, response_content_disposition="attachment"
            )
            assert get.startswith(node.url)
            async with http.get(get) as answer:
                assert (answer.status, await answer.read()) == (200, b"data")
                assert answer.headers["Content-Disposition"] == "attachment"
        head = await fb.generate_presigned_url("demo", "a key/ü", method="head_object")
        async with http.head(head) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, "text/csv")
        delete = await fb.generate_presigned_url("demo", "a key/ü", method="delete_object")
        async with http.delete(delete) as answer:
            assert answer.status == 204
        assert not await fb.object_exists("demo", "a key/ü")
        assert fb.stats().leases == 0
        query = parse_qs(urlsplit(put).query)
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        assert query["X-Amz-Expires"] == ["60"]
        secret = fb.settings.key_secret.get_secret_value()
        assert not [url for url in (put, get, head, delete) if secret in url]
        assert not [url for url in (put, get, head, delete) if url in caplog.text]


def signature_of(url, secret):
    """The signature that version 4 gives a presigned GET, computed from its definition."""
    parts = urlsplit(url)
    pairs = sorted(pair for pair in parts.query.split("&") if not pair.startswith("X-Amz-Signature="))
    query = parse_qs(parts.query)
    date, scope = query["X-Amz-Date"][0], query["X-Amz-Credential"][0].partition("/")[2]
    request = f"GET\n{parts.path}\n{'&'.join(pairs)}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + secret.encode()
    for part in [*scope.split("/"), text]:
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


async def test_presigned_urls_are_signed_with_the_key(running):
    """The signature is that of the endpoint's host and of the secret, so another secret or host is refused."""
    async with scripted() as server:
        async with running(settings_for(server)) as fb:
            url = await fb.generate_presigned_url("bucket", "a key/ü", expires=60, version_id="v1")
        async with running(settings_for(server, key_secret="another one")) as fb:
            other = await fb.generate_presigned_url("bucket", "a key/ü", expires=60, version_id="v1")
        assert server.seen == []
    [signature] = parse_qs(urlsplit(url).query)["X-Amz-Signature"]
    assert signature == signature_of(url, KEY_SECRET)
    assert parse_qs(urlsplit(other).query)["X-Amz-Signature"] == [signature_of(other, "another one")]
    assert signature_of(other, KEY_SECRET) != signature_of(other, "another one")
    assert signature != signature_of(url.replace(server.id, "elsewhere"), KEY_SECRET)
    assert parse_qs(urlsplit(url).query)["versionId"] == ["v1"]


# --- on the wire -----------------------------------------------------------------------------------------


async def test_deletions_carry_content_md5(running):
    """DeleteObjects has the MD5 of its body, signed, and no checksum that older stores do not know."""

    async def answer(request):
        body = b"<DeleteResult><Deleted><Key>a</Key></Deleted><Deleted><Key>b</Key></Deleted></DeleteResult>"
        return Answer(200, body, {"Content-Type": "application/xml"})

    async with scripted(answer) as server, running(settings_for(server)) as fb:
        results = [result async for result in fb.delete_objects("bucket", ["a", "b"], ordered=True)]
    assert [(result.key, result.error) for result in results] == [("a", None), ("b", None)]
    [request] = server.seen
    assert (request.method, request.target) == ("POST", "/bucket?delete")
    assert request.headers["content-md5"] == b64encode(md5(request.body).digest()).decode()
    assert "content-md5" in request.headers["authorization"]
    assert not [name for name in request.headers if "checksum" in name or "crc" in name or "trailer" in name]


async def test_throttled_keys_on_the_wire(running):
    """SlowDown for one key of many is asked for again, at the next node, and only for that key."""
    bodies = []

    async def answer(request):
        bodies.append(request.body)
        slow = "<Error><Key>b</Key><Code>SlowDown</Code><Message>Slow.</Message></Error>"
        rows = (
            f"<Deleted><Key>a</Key></Deleted>{slow}"
            if len(bodies) == 1
            else "<Deleted><Key>b</Key></Deleted>"
        )
        return Answer(
            200, f"<DeleteResult>{rows}</DeleteResult>".encode(), {"Content-Type": "application/xml"}
        )

    async with scripted(answer) as one, scripted(answer) as two, running(settings_for(one, two)) as fb:
        results = [result async for result in fb.delete_objects("bucket", ["a", "b"], ordered=True)]
        assert [result.error for result in results] == [None, None]
        assert sum(node.throttled for node in fb.nodes()) == 1
    assert [len(server.seen) for server in (one, two)] == [1, 1]
    assert b"<Key>a</Key>" not in bodies[1]


async def test_not_modified_on_the_wire(running):
    """A 304 without a body is NotModifiedError at once, and the connection is used again."""

    async def answer(request):
        return Answer(304)

    async with scripted(answer) as server, running(settings_for(server)) as fb:
        for _ in range(3):
            with pytest.raises(NotModifiedError) as caught:
                await fb.get_object("bucket", "key", if_none_match='"etag"')
            assert caught.value.status == 304
        assert (fb.stats().failed, fb.nodes()[0].failures) == (0, 0)
    assert len(server.seen) == 3
    assert {request.headers["if-none-match"] for request in server.seen} == {'"etag"'}
