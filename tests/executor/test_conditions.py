"""Conditions of reads and writes, versions, and what is stored beside the bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from virtual_time import run, scenario

from flashback_async import StorageHeaders
from flashback_async.errors import (
    ConfigurationError,
    NotModifiedError,
    ObjectChangedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    ServiceError,
)
from flashback_async.objects.info import WRITE_ID
from flashback_async.routing import Outcome
from flashback_async.testing import Dialect, Step

from .scenes import CALLER_FAULT, CLOSED, Scene, pattern

SECOND = timedelta(seconds=1)
S3S_OWN, IGNORANT = Dialect(), Dialect(conditions=False)
both_dialects = pytest.mark.parametrize("dialect", [S3S_OWN, IGNORANT], ids=["honoured", "ignored"])


def reads(scene, key="key", **conditions):
    """Each verb that reads with conditions, as an awaitable."""

    async def streamed():
        async with scene.stream_object("bucket", key, **conditions) as stream:
            return await stream.read()

    return (
        scene.get_object("bucket", key, **conditions),
        streamed(),
        scene.head_object("bucket", key, **conditions),
    )


@both_dialects
def test_what_the_caller_has_is_not_modified(dialect):
    """An ETag or a time that the caller knows ends in NotModifiedError, even where a gateway ignores conditions."""

    async def play():
        scene = Scene(ids="a", dialect=dialect)
        version = scene.store.put("bucket", "key", b"data")
        for conditions in (
            {"if_none_match": version.etag},
            {"if_none_match": version.etag.strip('"')},
            {"if_none_match": "*"},
            {"if_none_match": f'"other", W/{version.etag}'},
            {"if_modified_since": version.last_modified},
            {"if_modified_since": version.last_modified + SECOND},
        ):
            for read in reads(scene, **conditions):
                with pytest.raises(NotModifiedError) as caught:
                    await read
                assert (caught.value.status, caught.value.code) == (304, "304")
                assert (caught.value.bucket, caught.value.key, caught.value.endpoint) == (
                    "bucket",
                    "key",
                    "a",
                )
        assert scene.leaks() == {}

    run(play())


@both_dialects
def test_what_the_caller_does_not_expect_is_refused(dialect):
    """Another ETag or a later write than expected is PreconditionFailedError, ignorant gateway or not."""

    async def play():
        scene = Scene(ids="a", dialect=dialect)
        version = scene.store.put("bucket", "key", b"data")
        for conditions in (
            {"if_match": '"other"'},
            {"if_match": '"other", "another"'},
            {"if_unmodified_since": version.last_modified - SECOND},
        ):
            for read in reads(scene, **conditions):
                with pytest.raises(PreconditionFailedError) as caught:
                    await read
                assert caught.value.status == 412
        assert scene.leaks() == {}

    run(play())


@both_dialects
def test_conditions_that_hold_change_nothing(dialect):
    """With a condition that holds, the object comes as without; an ETag counts for more than a time."""

    async def play():
        scene = Scene(ids="a", dialect=dialect)
        version = scene.store.put("bucket", "key", b"data")
        for conditions in (
            {"if_match": version.etag},
            {"if_match": "*"},
            {"if_none_match": '"other"'},
            {"if_modified_since": version.last_modified - SECOND},
            {"if_unmodified_since": version.last_modified},
            {"if_match": version.etag, "if_unmodified_since": version.last_modified - SECOND},
            {"if_none_match": '"other"', "if_modified_since": version.last_modified},
        ):
            stored, streamed, head = [await read for read in reads(scene, **conditions)]
            assert stored.body == streamed == b"data"
            assert stored.info == head

    run(play())


@scenario
async def test_not_modified_is_an_answer():
    """A 304 is asked for once, held against nobody, and no failed operation."""
    scene = Scene(ids="ab")
    version = scene.store.put("bucket", "key", b"data")
    for _ in range(10):
        with pytest.raises(NotModifiedError):
            await scene.get_object("bucket", "key", if_none_match=version.etag)
    assert len(scene.asked) == 10
    assert {outcome for _, outcome in scene.router.settled} == {CALLER_FAULT}
    assert scene.breakers() == {CLOSED}
    assert (scene.monitor.operations, scene.monitor.failed, scene.monitor.retries) == (10, 0, 0)


@scenario
async def test_a_resumed_read_asks_for_what_it_began_with():
    """A body that breaks goes on with the ETag of its first answer; conditions for the first one are not repeated."""
    scene = Scene({"a": [Step.broken(4)], "b": []})
    version = scene.store.put("bucket", "key", b"0123456789")
    stored = await scene.get_object(
        "bucket", "key", if_none_match='"mine"', if_modified_since=datetime(2000, 1, 1, tzinfo=UTC)
    )
    assert stored.body == b"0123456789"
    first, second = scene.endpoints.requests
    assert set(first.parameters) == {"IfNoneMatch", "IfModifiedSince"}
    assert second.parameters == {"IfMatch": version.etag, "Range": "bytes=4-9"}


@scenario
async def test_an_object_that_changes_in_mid_read_is_no_failed_condition():
    """Once a body has begun, another version is ObjectChangedError, also for a caller with if_match."""
    scene = Scene({"a": [Step(cut=4, pace=1.0, piece=4)], "b": []})
    version = scene.store.put("bucket", "key", b"0123456789")
    async with scene.stream_object("bucket", "key", if_match=version.etag) as stream:
        assert await stream.read_some() == b"0123"
        scene.store.put("bucket", "key", b"abcdefghij")
        with pytest.raises(ObjectChangedError):
            await stream.read()
    assert scene.leaks() == {}


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        ({"if_match": 5}, "if_match=5 is a int"),
        ({"if_match": ""}, "if_match='' is empty"),
        ({"if_none_match": "a\nb"}, "control characters"),
        ({"version_id": " v1"}, "blanks at its ends"),
        ({"if_modified_since": 0}, "give a datetime"),
        ({"if_modified_since": "yesterday"}, "give a datetime"),
        ({"if_unmodified_since": datetime(2024, 1, 1)}, "has no time zone"),  # noqa: DTZ001  # the point
    ],
)
def test_conditions_of_reads_are_checked(conditions, why):
    """What no request can say is refused before anything is sent, by each verb that reads."""

    async def play():
        scene = Scene(ids="a")
        for call in (
            lambda: scene.get_object("bucket", "key", **conditions),
            lambda: scene.head_object("bucket", "key", **conditions),
            lambda: scene.stream_object("bucket", "key", **conditions).read(),
        ):
            with pytest.raises(ConfigurationError, match=why):
                await call()
        assert scene.asked == []

    run(play())


# --- writes ------------------------------------------------------------------------------------------------


@scenario
async def test_writes_can_be_conditional():
    """Only where nothing is, only over what is known: otherwise nothing is written."""
    scene = Scene(ids="a")
    first = await scene.put_object("bucket", "key", b"one", if_none_match="*")
    with pytest.raises(PreconditionFailedError):
        await scene.put_object("bucket", "key", b"two", if_none_match="*")
    second = await scene.put_object("bucket", "key", b"three", if_match=first.etag)
    with pytest.raises(PreconditionFailedError):
        await scene.put_object("bucket", "key", b"four", if_match=first.etag)
    with pytest.raises(ObjectNotFoundError):
        await scene.put_object("bucket", "nothing", b"five", if_match=first.etag)
    assert scene.store.get("bucket", "key").etag == second.etag
    with pytest.raises(PreconditionFailedError):
        await scene.copy_object("bucket", "key", "key", if_none_match="*")
    with pytest.raises(PreconditionFailedError):
        await scene.copy_object("bucket", "key", "copy", source_if_match=first.etag)
    await scene.copy_object("bucket", "key", "copy", source_if_match=second.etag, if_none_match="*")
    assert scene.store.get("bucket", "copy").data == b"three"


@scenario
async def test_a_repeated_write_that_meets_its_own_success_has_succeeded():
    """A conditional put whose answer was lost is repeated, refused, found to be its own, and so is a success."""
    scene = Scene({"a": [Step.lost()], "b": []})
    info = await scene.put_object("bucket", "lock", b"", if_none_match="*", metadata={"owner": "me"})
    assert info.etag == scene.store.get("bucket", "lock").etag
    assert [request.operation for request in scene.endpoints.requests] == [
        "PutObject",
        "PutObject",
        "HeadObject",
    ]
    assert (scene.monitor.operations, scene.monitor.failed) == (1, 0)
    assert (await scene.head_object("bucket", "lock")).metadata == {"owner": "me"}


@pytest.mark.parametrize("step", [Step.reset(), Step.refused()])
def test_the_same_bytes_of_another_writer_are_no_success(step):
    """Whoever comes second learns it, though the bytes and so the ETag are the same: a lock has one owner."""

    async def play():
        scene = Scene({"a": [step], "b": []})
        scene.store.put("bucket", "lock", b"")
        with pytest.raises(PreconditionFailedError) as caught:
            await scene.put_object("bucket", "lock", b"", if_none_match="*")
        assert len(caught.value.attempts) == 2
        assert len(scene.store.history("bucket", "lock")) == 1
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_refusal_stands_where_nobody_can_tell():
    """If the endpoint that refused does not say what stands there, the refusal is raised as it is."""
    scene = Scene({"a": [Step.lost()], "b": [Step()]}, attempts=2)
    scene["b"].then = Step.error(403)
    with pytest.raises(PreconditionFailedError):
        await scene.put_object("bucket", "lock", b"", if_none_match="*")


@scenario
async def test_only_a_write_that_may_be_repeated_is_marked():
    """Without a condition, or without retries, the metadata is sent as it was given."""
    scene = Scene(ids="a")
    await scene.put_object("bucket", "a", b"", metadata={"m": "1"})
    await scene.put_object("bucket", "b", b"", metadata={"m": "1"}, if_none_match="*", retry=False)
    await scene.put_object("bucket", "c", b"", metadata={"m": "1"}, if_none_match="*")
    sent = [request.parameters["Metadata"] for request in scene.endpoints.requests]
    assert sent[:2] == [{"m": "1"}, {"m": "1"}]
    assert set(sent[2]) == {"m", WRITE_ID}


@scenario
async def test_what_is_stored_beside_the_bytes_comes_back():
    """Headers, tags and storage class reach the store under their names, and what reads tell of them comes back."""
    scene = Scene(ids="a")
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    put = await scene.put_object(
        "bucket",
        "key",
        b"",
        content_type="text/csv",
        cache_control="max-age=60",
        content_encoding="gzip",
        content_disposition='attachment; filename="a.csv"',
        storage_class="STANDARD_IA",
        tagging={"project": "a & b", "empty": ""},
        headers=StorageHeaders(
            content_language="de",
            expires=expires,
            acl="private",
            server_side_encryption="aws:kms",
            kms_key_id="key-1",
            bucket_key=True,
            website_redirect="/other",
        ),
    )
    version = scene.store.get("bucket", "key")
    assert version.tags == {"project": "a & b", "empty": ""}
    [request] = scene.endpoints.requests
    assert {name: request.parameters[name] for name in sorted(request.parameters)} == {
        "ACL": "private",
        "BucketKeyEnabled": True,
        "CacheControl": "max-age=60",
        "ContentDisposition": 'attachment; filename="a.csv"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
        "ContentType": "text/csv",
        "Expires": expires,
        "SSEKMSKeyId": "key-1",
        "ServerSideEncryption": "aws:kms",
        "StorageClass": "STANDARD_IA",
        "Tagging": "project=a%20%26%20b&empty=",
        "WebsiteRedirectLocation": "/other",
    }
    head = await scene.head_object("bucket", "key")
    for info in (put, head):
        assert (info.cache_control, info.content_encoding, info.storage_class) == (
            "max-age=60",
            "gzip",
            "STANDARD_IA",
        )
        assert (info.content_type, info.content_disposition) == ("text/csv", 'attachment; filename="a.csv"')


@scenario
async def test_a_copy_keeps_or_replaces_what_describes_it():
    """One header that describes the content replaces all of them; tags and storage class go by themselves."""
    scene = Scene(ids="a")
    given = {
        "content_type": "text/csv",
        "metadata": {"a": "1"},
        "cache_control": "no-cache",
        "tagging": {"t": "1"},
    }
    await scene.put_object("bucket", "key", b"", **given)
    kept = await scene.copy_object("bucket", "key", "kept", storage_class="STANDARD_IA")
    assert (kept.content_type, kept.metadata, kept.cache_control) == ("text/csv", {"a": "1"}, "no-cache")
    assert (kept.storage_class, scene.store.get("bucket", "kept").tags) == ("STANDARD_IA", {"t": "1"})
    other = await scene.copy_object("bucket", "key", "other", metadata={"b": "2"}, tagging={})
    assert (other.metadata, other.cache_control) == ({"b": "2"}, None)
    assert scene.store.get("bucket", "other").tags == {}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"if_none_match": '"etag"'}, "give '\\*'"),
        ({"if_none_match": "*", "if_match": '"etag"'}, "exclude each other"),
        ({"if_match": 5}, "if_match=5"),
        ({"content_type": "text/plain\r\nX-Evil: 1"}, "content_type"),
        ({"cache_control": 60}, "cache_control=60 is a int"),
        ({"content_encoding": ""}, "content_encoding"),
        ({"content_disposition": " x"}, "content_disposition"),
        ({"storage_class": 1}, "storage_class"),
        ({"tagging": [("a", "b")]}, "give a mapping"),
        ({"tagging": {"a": 1}}, "must be text"),
        ({"tagging": {"": "a"}}, "1 to 128"),
        ({"tagging": {"a": "x" * 257}}, "up to 256"),
        ({"tagging": {str(number): "" for number in range(11)}}, "S3 allows 10"),
        ({"headers": {"acl": "private"}}, "give StorageHeaders"),
        ({"headers": StorageHeaders(expires=datetime(2030, 1, 1))}, "time zone"),  # noqa: DTZ001  # the point
        ({"headers": StorageHeaders(acl="")}, "acl=''"),
        ({"headers": StorageHeaders(bucket_key="yes")}, "neither True nor False"),
    ],
)
def test_options_of_writes_are_checked(options, why):
    """What no header can carry is refused before anything is sent, for a put as for a copy."""

    async def play():
        scene = Scene(ids="a")
        with pytest.raises(ConfigurationError, match=why):
            await scene.put_object("bucket", "key", b"", **options)
        with pytest.raises(ConfigurationError, match=why):
            await scene.copy_object("bucket", "key", "copy", **options)
        assert scene.asked == []

    run(play())


# --- versions ----------------------------------------------------------------------------------------------


def versioned_scene(*args, **options):
    """A scene with a bucket `kept` that keeps versions."""
    return Scene(*args, versioned=("kept",), **options)


@scenario
async def test_versions_can_be_read_copied_and_deleted():
    """A version is what it was, whatever came after; deleting one for good brings back the one before."""
    scene = versioned_scene(ids="a")
    old = await scene.put_object("kept", "key", b"old")
    new = await scene.put_object("kept", "key", b"new")
    assert old.version_id != new.version_id
    assert (await scene.get_object("kept", "key", version_id=old.version_id)).body == b"old"
    assert (await scene.head_object("kept", "key", version_id=old.version_id)).version_id == old.version_id
    async with scene.stream_object("kept", "key", version_id=old.version_id) as stream:
        assert await stream.read() == b"old"
    copied = await scene.copy_object("kept", "key", "copy", source_version_id=old.version_id)
    assert copied.size == 3
    assert scene.store.get("kept", "copy").data == b"old"
    await scene.delete_object("kept", "key")
    assert not await scene.object_exists("kept", "key")
    assert await scene.object_exists("kept", "key", version_id=new.version_id)
    [mark, *_] = [each async for each in scene.list_object_versions("kept", "key")]
    assert mark.is_delete_marker
    await scene.delete_object("kept", "key", version_id=mark.version_id)
    assert (await scene.get_object("kept", "key")).body == b"new"
    with pytest.raises(ObjectNotFoundError):
        await scene.get_object("kept", "key", version_id="no-such")


@scenario
async def test_a_version_that_breaks_goes_on_as_that_version():
    """The rest of a version is asked for as that version, and its size too where an answer does not tell it."""
    scene = versioned_scene({"a": [Step.broken(2)], "b": []}, dialect=Dialect(content_length=False))
    old = scene.store.put("kept", "key", pattern(10))
    scene.store.put("kept", "key", b"something else")
    assert (await scene.get_object("kept", "key", version_id=old.version_id)).body == pattern(10)
    assert {request.parameters["VersionId"] for request in scene.endpoints.requests} == {old.version_id}
    assert "HeadObject" in {request.operation for request in scene.endpoints.requests}


@pytest.mark.parametrize("told", [None, "v9"])
def test_an_answer_of_another_version_is_refused(told):
    """A gateway that ignores the version gives no bytes of another one: the answer has to say which it is."""

    async def play():
        scene = Scene({"a": Step(fields={"VersionId": told})})
        scene.store.put("bucket", "key", b"data")
        scene["a"].script.clear()
        step = Step(fields={"VersionId": told})
        scene["a"].then = step
        for read in reads(scene, version_id="null"):
            if told is None:
                await read
            else:
                with pytest.raises(ServiceError, match="asked for version 'null'") as caught:
                    await read
                assert caught.value.code == "VersionMismatch"
        assert scene.leaks() == {}
        assert Outcome.ENDPOINT_FAULT not in {outcome for _, outcome in scene.router.settled}

    run(play())
