"""What the verbs ask for and what they make of the answers."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest
from virtual_time import run, scenario

from flashback_async.errors import (
    ConfigurationError,
    EndpointConnectError,
    IntegrityError,
    ObjectNotFoundError,
)
from flashback_async.models import ObjectInfo
from flashback_async.objects.info import number, object_info, text
from flashback_async.testing import Step

from .scenes import Scene, now


@scenario
async def test_what_is_put_can_be_read():
    """Bytes, type and metadata come back as they were written; the ETag is the same on both ways."""
    scene = Scene(ids="a")
    put = await scene.put_object("bucket", "key", b"data", content_type="text/plain", metadata={"a": "1"})
    assert (put.size, put.content_type, put.metadata, put.last_modified) == (
        4,
        "text/plain",
        {"a": "1"},
        None,
    )
    head = await scene.head_object("bucket", "key")
    stored = await scene.get_object("bucket", "key")
    assert stored.body == b"data"
    assert stored.info == head
    assert (head.etag, head.size, head.content_type, head.metadata) == (put.etag, 4, "text/plain", {"a": "1"})
    assert scene.monitor.bytes_written == scene.monitor.bytes_read == 4


@scenario
async def test_exists_is_false_for_not_found_only():
    """A missing object is False; every other failure is raised, never taken for absence."""
    scene = Scene({"a": []})
    assert not await scene.object_exists("bucket", "key")
    assert not await scene.object_exists("no-bucket", "key")
    scene.store.put("bucket", "key", b"")
    assert await scene.object_exists("bucket", "key")
    scene["a"].then = Step.error(403)
    with pytest.raises(PermissionError):
        await scene.object_exists("bucket", "key")
    scene["a"].then = Step.refused()
    with pytest.raises(EndpointConnectError):
        await scene.object_exists("bucket", "key")


@scenario
async def test_not_found_is_told_by_code():
    """A missing object and a missing bucket are both FileNotFoundError; the code tells which."""
    scene = Scene(ids="a")
    for bucket, code in (("bucket", "NoSuchKey"), ("no-bucket", "NoSuchBucket")):
        with pytest.raises(ObjectNotFoundError) as caught:
            await scene.get_object(bucket, "key")
        assert caught.value.code == code
        assert isinstance(caught.value, FileNotFoundError)


@scenario
async def test_deleting_what_is_not_there_is_no_error():
    """Deletion is idempotent, as S3 has it, and so can be retried."""
    scene = Scene({"a": [Step.lost()], "b": []})
    scene.store.put("bucket", "key", b"")
    await scene.delete_object("bucket", "key")
    await scene.delete_object("bucket", "key")
    assert scene.store.get("bucket", "key") is None


@scenario
async def test_copies_keep_everything():
    """A copy has the bytes, type and metadata of its source, in another bucket too."""
    scene = Scene(ids="a")
    scene.store.put("bucket", "key", b"data", content_type="text/plain", metadata={"a": "1"})
    scene.store.put("other", "x", b"")
    for target in (None, "other"):
        info = await scene.copy_object("bucket", "key", "copy", to_bucket=target)
        assert (info.bucket, info.key, info.size) == (target or "bucket", "copy", 4)
        assert (info.content_type, info.metadata) == ("text/plain", {"a": "1"})
        assert scene.store.get(target or "bucket", "copy").data == b"data"
    for source in (("bucket", "nothing"), ("no-bucket", "key")):
        with pytest.raises(ObjectNotFoundError):
            await scene.copy_object(*source, "copy", to_bucket="bucket")


@pytest.mark.parametrize(
    ("count", "page_size", "requests"), [(0, 10, 1), (1, 1, 1), (10, 10, 1), (11, 10, 2), (25, 10, 3)]
)
def test_listing_yields_everything_once(count, page_size, requests):
    """All keys under the prefix come once, in order, with as few requests as pages."""

    async def play():
        scene = Scene(ids="a")
        keys = sorted(f"p/{number}" for number in range(count))
        for key in ("a", *keys, "q"):
            scene.store.put("bucket", key, b"x" * 3)
        found = [info async for info in scene.list_objects("bucket", "p/", page_size=page_size)]
        assert [info.key for info in found] == keys
        assert all(info.size == 3 and info.etag and info.last_modified for info in found)
        assert len(scene.asked) == requests

    run(play())


@scenario
async def test_listing_is_lazy_and_survives_failures():
    """Pages are asked for as they are needed, each through whichever endpoint works by then."""
    scene = Scene({"a": [Step(), Step.refused()], "b": []})
    for key in "01234":
        scene.store.put("bucket", key, b"")
    listing = scene.list_objects("bucket", page_size=2)
    assert scene.asked == []
    found = [(await anext(listing)).key for _ in range(2)]
    assert len(scene.asked) == 1
    found += [info.key async for info in listing]
    assert found == list("01234")
    assert [who for who, _ in scene.asked][:3] == ["a", "a", "b"]


@scenario
async def test_an_abandoned_listing_holds_nothing():
    """Leaving a listing early leaves no request, lease or place behind."""
    scene = Scene(ids="a", connections=1, max_in_flight=1)
    for key in "01234":
        scene.store.put("bucket", key, b"")
    async for _ in scene.list_objects("bucket", page_size=2):
        assert scene.endpoints.leases == scene.monitor.in_flight == 0
        break
    assert (await scene.head_object("bucket", "0")).size == 0


@pytest.mark.parametrize("token", [None, "same"])
def test_a_listing_that_leads_nowhere_is_an_error(token):
    """A page that says "truncated" without a way on, or with the same one again, is no endless loop."""

    async def play():
        page = Step(fields={"IsTruncated": True, "NextContinuationToken": token})
        scene = Scene({"a": page})
        scene.store.put("bucket", "key", b"")
        with pytest.raises(IntegrityError, match="goes on, but not where") as caught:
            async for _ in scene.list_objects("bucket"):
                pass
        assert (caught.value.bucket, caught.value.endpoint) == ("bucket", "a")
        assert len(scene.asked) == (1 if token is None else 2)

    run(play())


@scenario
async def test_a_page_that_is_no_listing_is_an_error():
    """What a proxy answers with status 200 does not pass for an empty bucket."""
    names = ("Name", "Prefix", "MaxKeys", "KeyCount", "IsTruncated", "Contents")
    scene = Scene({"a": Step(fields=dict.fromkeys(names))})
    with pytest.raises(IntegrityError, match="not a listing") as caught:
        await anext(scene.list_objects("bucket"))
    assert (caught.value.operation, caught.value.bucket, caught.value.endpoint) == (
        "ListObjectsV2",
        "bucket",
        "a",
    )


@pytest.mark.parametrize("bucket", ["", "a/b", "a b", None, 5, "x" * 256, "ü"])
def test_buckets_are_checked(bucket):
    """What cannot name a bucket is refused before anything is sent."""

    async def play():
        scene = Scene(ids="a")
        with pytest.raises(ConfigurationError, match="is not a bucket name"):
            await scene.head_object(bucket, "key")
        with pytest.raises(ConfigurationError, match="is not a bucket name"):
            await anext(scene.list_objects(bucket))
        assert scene.asked == []

    run(play())


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "is empty"),
        (None, "is a NoneType"),
        (b"key", "is a bytes"),
        ("x" * 1_025, "has 1025 bytes"),
        ("ü" * 513, "has 1026 bytes"),
        ("\ud800", "not valid Unicode"),
    ],
)
def test_keys_are_checked(key, why):
    """What cannot name an object is refused before anything is sent, and the message says why."""

    async def play():
        scene = Scene(ids="a")
        for call in (
            scene.get_object("bucket", key),
            scene.put_object("bucket", key, b""),
            scene.delete_object("bucket", key),
            scene.copy_object("bucket", key, "copy"),
            scene.copy_object("bucket", "source", key),
        ):
            with pytest.raises(ConfigurationError, match=why):
                await call
        assert scene.asked == []

    run(play())


@scenario
async def test_other_arguments_are_checked():
    """Prefixes, page sizes and metadata that cannot work are refused with the name of the argument."""
    scene = Scene(ids="a")
    for arguments, why in (
        ({"prefix": 5}, "prefix=5"),
        ({"page_size": 0}, "page_size=0"),
        ({"page_size": 1_001}, "1 to 1000"),
        ({"page_size": 1.5}, "page_size=1.5"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            await anext(scene.list_objects("bucket", **arguments))
    for metadata in ({"a": 1}, {1: "a"}):
        with pytest.raises(ConfigurationError, match="must be text"):
            await scene.put_object("bucket", "key", b"", metadata=metadata)
    for metadata in ({"name": "a\nb"}, {"na\rme": "a"}, {"name": "\0"}):
        with pytest.raises(ConfigurationError, match=r"metadata 'na.*has a line break or NUL"):
            await scene.put_object("bucket", "key", b"", metadata=metadata)
    assert scene.asked == []


@scenario
async def test_the_longest_key_is_fine():
    """1,024 bytes of UTF-8 are a key."""
    scene = Scene(ids="a")
    for key in ("x" * 1_024, "ü" * 512, " ", "/", ".."):
        await scene.put_object("bucket", key, b"")
        assert (await scene.head_object("bucket", key)).key == key


def test_every_field_is_in_its_place():
    """What an answer says of an object is found under its own name, and the value is a usual, frozen one."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    told = {
        "ETag": '"etag"',
        "LastModified": moment,
        "ContentType": "type",
        "Metadata": {"name": "value", "flashback-md5": "0" * 32},
        "VersionId": "version",
        "StorageClass": "class",
        "CacheControl": "control",
        "ContentEncoding": "encoding",
        "ContentDisposition": "disposition",
    }
    expected = ObjectInfo(
        bucket="bucket",
        key="key",
        size=3,
        etag='"etag"',
        last_modified=moment,
        content_type="type",
        metadata={"name": "value"},
        version_id="version",
        storage_class="class",
        cache_control="control",
        content_encoding="encoding",
        content_disposition="disposition",
        checksum="md5:" + "0" * 32,
    )
    info = object_info("bucket", "key", told, size=3)
    assert (info, repr(info)) == (expected, repr(expected))
    with pytest.raises(FrozenInstanceError):
        info.size = 4
    assert object_info("bucket", "key", {}, size=0) == ObjectInfo("bucket", "key", 0)


def test_answers_are_read_defensively():
    """Fields that are missing or of another type count as untold."""
    info = object_info("bucket", "key", {"ETag": 5, "LastModified": "yesterday", "Metadata": None}, size=3)
    assert (info.etag, info.last_modified, info.metadata, info.size) == (None, None, {}, 3)
    assert (text({"a": 1}, "a"), number({"a": "1"}, "a"), number({}, "a")) == (None, 0, 0)


@scenario
async def test_options_reach_every_verb():
    """timeout, endpoint and retry mean the same everywhere."""
    scene = Scene({"a": Step(), "b": Step.silent()})
    scene.store.put("bucket", "key", b"")
    options = {"timeout": 1.0, "endpoint": "b", "retry": False}
    for elapsed, call in enumerate(
        (
            scene.get_object("bucket", "key", **options),
            scene.put_object("bucket", "key", b"", **options),
            scene.head_object("bucket", "key", **options),
            scene.object_exists("bucket", "key", **options),
            scene.delete_object("bucket", "key", **options),
            scene.copy_object("bucket", "key", "copy", **options),
            anext(scene.list_objects("bucket", **options)),
        ),
        start=1,
    ):
        with pytest.raises(TimeoutError):
            await call
        assert now() == elapsed
    assert {who for who, _ in scene.asked} == {"b"}
    assert math.isclose(now(), 7.0)


@pytest.mark.parametrize(("code", "before", "is_gone"), [
    ("NoSuchKey", False, True),
    ("NoSuchKey", True, True),
    ("404", True, True),
    ("NoSuchVersion", True, True),
    ("404", False, False),
    ("NoSuchVersion", False, False),
    ("NoSuchBucket", False, False),
    ("NoSuchBucket", True, False),
])  # fmt: skip
def test_a_deletion_that_finds_nothing(code, before, is_gone):
    """404 to a delete is a success where it says that there is no such object, or where an earlier attempt
    may have deleted it; a missing bucket, or a path that leads nowhere, is an error.
    """

    async def play():
        scene = Scene({"a": [Step.lost()] if before else [], "b": [Step.error(404, code)]})
        if not before:
            scene["a"].script.append(Step.error(404, code))
        deletion = scene.delete_object("bucket", "key", version_id=None)
        if is_gone:
            await deletion
        else:
            with pytest.raises(ObjectNotFoundError):
                await deletion
        assert len(scene.asked) == 1 + before

    run(play())
