"""What the service refuses is not the node's fault: no retry, no breaker, a typed error with everything in it."""

from __future__ import annotations

import pytest

from flashback_async import (
    AccessDeniedError,
    EntityTooLargeError,
    ObjectNotFoundError,
    PreconditionFailedError,
    ServiceError,
    WritesDisabledError,
)
from flashback_async.sandbox import Behaviour, WritesDisabled

from .scripted import error, scripted, settings_for

BOTH_LANES = True

REFUSALS = [
    (403, "AccessDenied", AccessDeniedError),
    (404, "NoSuchKey", ObjectNotFoundError),
    (412, "PreconditionFailed", PreconditionFailedError),
    (413, "EntityTooLarge", EntityTooLargeError),
    (501, "NotImplemented", ServiceError),
    (507, "InsufficientStorage", ServiceError),
]


def untouched(fb):
    """Whether no endpoint has been blamed for anything."""
    return all((node.breaker, node.failures, node.opened) == ("closed", 0, 0) for node in fb.nodes())


@pytest.mark.parametrize("body_format", ["xml", "html"])
@pytest.mark.parametrize(("status", "code", "kind"), REFUSALS)
async def test_a_refusal_is_final(moto_cluster, running, status, code, kind, body_format):
    """However often a read is refused, in S3's XML or a proxy's HTML: one request each, no breaker opens."""
    behaviour = Behaviour(
        status=status, body_format=body_format, error_code=code if body_format == "xml" else None
    )
    for node in moto_cluster.nodes:
        await node.set(behaviour)
    async with running(moto_cluster.settings()) as fb:
        for _ in range(12):
            with pytest.raises(kind) as caught:
                await fb.get_object("demo", "key")
            refusal = caught.value
            assert refusal.status == status
            assert refusal.code == (code if body_format == "xml" else str(status))
            assert (refusal.operation, refusal.bucket, refusal.key) == ("GetObject", "demo", "key")
            assert refusal.endpoint in {node.ip for node in moto_cluster.nodes}
            assert refusal.is_retry_safe is False
            assert not refusal.is_endpoint_fault
        assert untouched(fb)
        stats = fb.stats()
    assert sum([(await node.stats()).requests for node in moto_cluster.nodes]) == 12
    assert (stats.operations, stats.attempts, stats.retries, stats.failed) == (12, 12, 0, 0)


async def test_what_a_store_refuses_by_itself(cluster, running):
    """A missing key and a missing bucket are told apart by their code, and blame nobody."""
    async with running(cluster.settings()) as fb:
        with pytest.raises(ObjectNotFoundError) as caught:
            await fb.get_object("demo", "missing")
        assert caught.value.code == "NoSuchKey"
        with pytest.raises(ObjectNotFoundError) as caught:
            await fb.get_object("no-such-bucket", "missing")
        assert caught.value.code == "NoSuchBucket"
        with pytest.raises(ObjectNotFoundError):
            await fb.head_object("demo", "missing")
        assert not await fb.object_exists("demo", "missing")
        assert isinstance(caught.value, FileNotFoundError)
        assert untouched(fb)
        assert fb.stats().retries == 0


async def test_a_wrong_secret(rclone_cluster, running):
    """A store that verifies signatures refuses a wrong secret at once, and the text does not repeat it."""
    secret = "wrong-secret-0123456789"
    async with running(rclone_cluster.settings(key_secret=secret)) as fb:
        with pytest.raises(AccessDeniedError, match="SignatureDoesNotMatch") as caught:
            await fb.put_object("demo", "key", b"data")
        assert isinstance(caught.value, PermissionError)
        assert secret not in f"{caught.value!s}{caught.value!r}{caught.value.__cause__!r}"
        assert untouched(fb)
        assert fb.stats().attempts == 1


async def test_a_body_that_is_too_large(cluster, running):
    """A gateway's 413 for a body above its limit is typed, final, and names the way out."""
    for node in cluster.nodes:
        await node.set(Behaviour(max_body=1_000))
    async with running(cluster.settings()) as fb:
        for size in (1_001, 100_000, 3_000_000):
            with pytest.raises(EntityTooLargeError, match="in parts"):
                await fb.put_object("demo", "key", bytes(size))
        await fb.put_object("demo", "key", bytes(1_000))
        assert untouched(fb)
        assert fb.stats().retries == 0


@pytest.mark.parametrize(
    "refused",
    [WritesDisabled(), WritesDisabled(status=507, code="InsufficientStorage"), WritesDisabled(status=402)],
    ids=["403 QuotaExceeded", "507", "402"],
)
async def test_disabled_writes_leave_reads_alone(cluster, running, refused):
    """A quota that switched writes off is an error of its own for writes; reads go on."""
    async with running(cluster.settings()) as fb:
        await fb.put_object("demo", "key", b"data")
        for node in cluster.nodes:
            await node.set(Behaviour(writes_disabled=refused))
        for _ in range(6):
            with pytest.raises(WritesDisabledError):
                await fb.put_object("demo", "key", b"other")
            assert (await fb.get_object("demo", "key")).body == b"data"
        assert untouched(fb)
        assert fb.stats().retries == 0


async def test_every_field_of_a_refusal(running):
    """Code, status, request id and message of the service arrive with the error."""

    async def refuse(_):
        return error(409, "InvalidBucketState", message="The bucket does not allow that now.")

    async with scripted(refuse) as server, running(settings_for(server)) as fb:
        with pytest.raises(ServiceError) as caught:
            await fb.delete_object("bucket", "some/key")
        assert untouched(fb)
    refusal = caught.value
    assert (refusal.code, refusal.status, refusal.request_id) == ("InvalidBucketState", 409, "request-7")
    assert str(refusal) == (
        "DeleteObject bucket/some/key: 409 InvalidBucketState: The bucket does not allow that now."
    )
    assert len(server.seen) == 1
