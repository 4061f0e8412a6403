"""What the public interface promises to type checkers. Checked by mypy, never run."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import assert_type

from flashback_async import (
    Bucket,
    BulkResult,
    ClientStats,
    CommonPrefix,
    Credentials,
    DeletedObject,
    Endpoint,
    EndpointLease,
    EndpointTimeoutError,
    EndpointView,
    FailedAttempt,
    FlashbackClient,
    FlashbackError,
    FlashbackSettings,
    NoEndpointAvailableError,
    ObjectInfo,
    ObjectNotFoundError,
    ObjectStream,
    ObjectVersion,
    OpenUpload,
    OperationError,
    OperationKind,
    Outcome,
    Router,
    RoutingPolicy,
    ServiceError,
    StorageHeaders,
    StoredObject,
)


async def provide_credentials() -> Credentials:
    return Credentials("id", "secret")


async def provide_token() -> str:
    return "token"


async def persist(token: str) -> None:
    Path("token").write_text(token)  # noqa: ASYNC240  # not run


settings = FlashbackSettings(
    key_id="id",
    key_secret="secret",
    endpoints=("https://s3.example.com",),
    bucket_ids={"bucket": "uuid"},
    ca_file=Path("ca.pem"),
    connect_timeout=1,
    attempts=5,
    addressing="virtual",
    probes=False,
)
FlashbackSettings(credentials_provider=provide_credentials, token_provider=provide_token)
FlashbackSettings(refresh_token="token", on_rotate=persist)
FlashbackSettings(attempt=1)  # type: ignore[call-arg]  # no such setting
FlashbackSettings(addressing="other")  # type: ignore[arg-type]  # no such way


async def life_cycle() -> None:
    async with FlashbackClient() as fb:
        assert_type(fb, FlashbackClient)
    client = FlashbackClient(settings, router=Router(policy=RoutingPolicy(), random=lambda: 0.5))
    await client.start()
    await client.aclose()
    await client.aclose(drain=1.5)
    FlashbackClient(router=client.router)
    FlashbackClient("settings")  # type: ignore[arg-type]


async def chunks() -> AsyncIterator[bytes]:
    yield b"data"


async def told(amount: int) -> None:
    assert amount


async def writing(fb: FlashbackClient) -> None:
    assert_type(await fb.put_object("bucket", "key", b"data"), ObjectInfo)
    await fb.put_object("bucket", "key", bytearray(1), content_type="text/plain", metadata={"a": "b"})
    await fb.put_object("bucket", "key", memoryview(b"data"), timeout=1, endpoint="id", retry=False)
    await fb.put_object("bucket", "key", "path/of/a/file")
    await fb.put_object("bucket", "key", Path("file"))
    await fb.put_object("bucket", "key", io.BytesIO(b"data"))
    with Path("file").open("rb") as file, TemporaryFile() as temporary:  # noqa: ASYNC230  # not run
        await fb.put_object("bucket", "key", file)
        await fb.put_object("bucket", "key", temporary)
    await fb.put_object("bucket", "key", 1)  # type: ignore[arg-type]
    await fb.put_object("bucket", "key", [b"a", b"b"])
    await fb.put_object("bucket", "key", chunks())
    assert_type(await fb.upload_file("bucket", "key", "path", progress=print), ObjectInfo)
    await fb.upload_file("bucket", "key", chunks(), progress=told, part_size=2**23, concurrency=2)
    await fb.upload_file("bucket", "key", 1)  # type: ignore[arg-type]
    assert_type(await fb.copy_object("bucket", "key", "copy", to_bucket="other"), ObjectInfo)
    assert_type(await fb.head_object("bucket", "key"), ObjectInfo)
    assert_type(await fb.object_exists("bucket", "key"), bool)
    await fb.delete_object("bucket", "key", version_id="v1", if_match='"etag"')
    await fb.put_object("bucket", "key", b"data", checksum="sha256")
    await fb.put_object("bucket", "key", b"data", checksum="sha1")  # type: ignore[arg-type]
    await fb.bucket("bucket").upload_file("key", "file", checksum="none")
    assert_type((await fb.head_object("bucket", "key")).checksum, str | None)
    await fb.download_file("bucket", "key", "file", version_id="v1", if_none_match='"etag"')
    await fb.put_object("bucket", "key", b"", if_none_match="*", tagging={"a": "b"}, storage_class="GLACIER")
    await fb.put_object("bucket", "key", b"", cache_control="no-cache", headers=StorageHeaders(acl="private"))
    await fb.put_object("bucket", "key", b"", if_none_match="etag")  # type: ignore[arg-type]  # only "*"
    await fb.copy_object(
        "bucket", "key", "copy", source_version_id="v1", metadata={"a": "b"}, if_match="etag"
    )
    assert_type(await fb.generate_presigned_url("bucket", "key", method="put_object", expires=60), str)
    await fb.generate_presigned_url("bucket", "key", method="list")  # type: ignore[arg-type]


async def reading(fb: FlashbackClient) -> None:
    stored = await fb.get_object("bucket", "key", range=(0, 10), timeout=1.5, endpoint="id", retry=False)
    assert_type(stored, StoredObject)
    assert_type(stored.body, bytes)
    assert_type(stored.info, ObjectInfo)
    assert_type(stored.endpoint, str)
    assert_type(stored.attempts, int)
    assert_type(stored.info.etag, str | None)
    assert_type(stored.info.last_modified, datetime | None)
    assert_type(stored.info.metadata, Mapping[str, str])
    stored.body = b""  # type: ignore[misc]  # results do not change
    await fb.get_object("bucket", "key", range=(-10, None))
    await fb.get_object("bucket", "key", range=10)  # type: ignore[arg-type]
    info = await fb.download_file("bucket", "key", Path("file"), progress=told, fsync=True, resume=False)
    assert_type(info, ObjectInfo)
    async with fb.stream_object("bucket", "key") as body:
        assert_type(body, ObjectStream)
        assert_type(body.length, int)
        assert_type(await body.read(), bytes)
        async for chunk in body:
            assert_type(chunk, bytes)
    await fb.get_object("bucket", "key", if_none_match="etag", if_modified_since=datetime.now(UTC))
    await fb.get_object("bucket", "key", if_modified_since="now")  # type: ignore[arg-type]
    assert_type(await fb.head_object("bucket", "key", version_id="v1"), ObjectInfo)
    assert_type(await fb.get_ranges("bucket", "key", [(0, 10), (-5, None)], coalesce=100), list[bytes])
    assert_type(fb.list_objects("bucket", "prefix", page_size=10), AsyncIterator[ObjectInfo])
    assert_type(fb.list_objects("bucket", delimiter="/"), AsyncIterator[ObjectInfo | CommonPrefix])
    assert_type(fb.list_object_versions("bucket"), AsyncIterator[ObjectVersion])
    async for info in fb.list_objects("bucket"):
        assert_type(info, ObjectInfo)


async def with_boto(fb: FlashbackClient) -> None:
    async with fb.s3 as s3:
        response = await s3.get_object(Bucket="bucket", Key="key")
        await response["Body"].read()


async def many(fb: FlashbackClient) -> None:
    async for got in fb.get_objects("bucket", ["a", "b"], ordered=True, concurrency=4, max_bytes=1_000):
        assert_type(got, BulkResult[StoredObject])
        assert_type(got.value, StoredObject)
        assert_type(got.error, FlashbackError | None)
    assert_type(
        fb.get_objects("bucket", fb.list_objects("bucket")), AsyncGenerator[BulkResult[StoredObject], None]
    )
    fb.get_objects("bucket", ["a"], on_error="ignore")  # type: ignore[arg-type]
    async for put in fb.put_objects("bucket", [("a", b""), ("b", Path("file"))], on_error="yield"):
        assert_type(put, BulkResult[ObjectInfo])
    async for gone in fb.delete_objects("bucket", fb.list_object_versions("bucket")):
        assert_type(gone.value, DeletedObject)
    assert_type(fb.head_objects("bucket", iter("ab")), AsyncGenerator[BulkResult[ObjectInfo], None])
    assert_type(fb.copy_objects("bucket", "a/", "b/"), AsyncGenerator[BulkResult[ObjectInfo], None])


async def one_bucket(fb: FlashbackClient) -> None:
    bucket = fb.bucket("bucket")
    assert_type(bucket, Bucket)
    assert_type(await bucket.put_object("key", b"data"), ObjectInfo)
    assert_type((await bucket.get_object("key")).body, bytes)
    async with bucket.stream_object("key", range=(1, None)) as body:
        assert_type(body, ObjectStream)
    assert_type(await bucket.get_ranges("key", [(0, 1)]), list[bytes])
    assert_type(bucket.list_objects(), AsyncIterator[ObjectInfo])
    assert_type(bucket.list_objects("a/", delimiter="/"), AsyncIterator[ObjectInfo | CommonPrefix])
    assert_type(bucket.get_objects(["a"]), AsyncGenerator[BulkResult[StoredObject], None])
    assert_type(await bucket.generate_presigned_url("key"), str)
    await bucket.get_object(5)  # type: ignore[arg-type]
    async with bucket.lease_endpoint() as lease:
        assert_type(lease, EndpointLease)


async def routing(fb: FlashbackClient) -> None:
    endpoint = await fb.pick_endpoint("bucket", kind=OperationKind.WRITE)
    assert_type(endpoint, Endpoint)
    assert_type((endpoint.id, endpoint.url), tuple[str, str])
    async with fb.lease_endpoint("bucket", kind=OperationKind.READ, tried=[endpoint, "id"]) as lease:
        assert_type(lease.endpoint, Endpoint)
        lease.outcome = Outcome.SUCCESS
        lease.first_byte = 0.01
    fb.report_failure(endpoint, ValueError())
    fb.report_failure("id")
    fb.report_success(endpoint, first_byte=0.01)
    await fb.refresh()
    assert_type(fb.nodes(), tuple[EndpointView, ...])
    assert_type(fb.nodes()[0].latency, float | None)
    assert_type(fb.stats(), ClientStats)
    assert_type(fb.stats().failovers, Mapping[str, int])
    assert_type(fb.router, Router)


async def errors(fb: FlashbackClient) -> None:
    try:
        await fb.get_object("bucket", "key")
    except ObjectNotFoundError as error:
        assert_type(error.code, str)
        not_found: FileNotFoundError = error
        service: ServiceError = error
        assert_type((not_found, service), tuple[FileNotFoundError, ServiceError])
    except EndpointTimeoutError as error:
        timeout: TimeoutError = error
        assert_type(timeout, TimeoutError)
    except OperationError as error:
        assert_type(error.attempts, tuple[FailedAttempt, ...])
        assert_type(error.attempts[0].elapsed, float)
        assert_type(error.orphans, tuple[OpenUpload, ...])
    except NoEndpointAvailableError as error:
        assert_type(error.detail, dict[str, str])
    except FlashbackError as error:
        assert_type(error.is_retry_safe, bool | None)
        assert_type(error.retry_after, float | None)
