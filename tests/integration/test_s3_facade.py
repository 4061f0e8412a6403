"""`client.s3` is aioboto3's client: the same answers, the same refusals, the same tools on top."""

from __future__ import annotations

import asyncio
import gc
import io
import pickle
import weakref
from contextlib import asynccontextmanager
from random import Random
from urllib.parse import urlsplit

import aioboto3
import aiohttp
import pytest
from aiobotocore.client import AioBaseClient
from aiobotocore.config import AioConfig
from botocore import xform_name
from botocore.exceptions import (
    ClientError,
    FlexibleChecksumError,
    ParamValidationError,
    UnknownClientMethodError,
    WaiterError,
)
from moto.s3.models import S3Backend
from moto.s3.responses import S3Response

from flashback_async import ClientClosedError, ConfigurationError, FlashbackClient, ObjectNotFoundError

from .every_operation import every_operation
from .scripted import Answer, scripted, settings_for
from .watching import settled
from .workload import KIB

MIB = 1_024 * KIB
DATA = Random(5).randbytes(20 * MIB)
# Of the operations that moto implements, those that it refuses: nothing in the sequence is archived.
REFUSED = {"restore_object"}


@asynccontextmanager
async def plain(cluster, **config):
    """aioboto3's client as its users make it, for one node."""
    async with aioboto3.Session().client(
        "s3",
        endpoint_url=cluster.nodes[0].url,
        region_name="us-east-1",
        aws_access_key_id=cluster.key_id,
        aws_secret_access_key=cluster.key_secret,
        config=AioConfig(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1},
            **config,
        ),
    ) as client:
        yield client


@pytest.fixture
async def fb(cluster, running):
    """A running client of each store in turn."""
    async with running(cluster.settings()) as client:
        yield client


# --- the same as aioboto3 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("store", "exact"), [("moto", True), ("rclone", False)])
async def test_every_operation_answers_as_aioboto3_does(flashback_cluster_factory, running, store, exact):
    """All operations of botocore's model, in one sequence through either client, come to the same; rclone takes some for others, whose answers differ by themselves."""
    cluster = flashback_cluster_factory(nodes=4, latency=0.02, store=store)
    async with plain(cluster, inject_host_prefix=False) as client:
        expected = await every_operation(client)
    await cluster.clear()
    async with running(cluster.settings(probes=False)) as fb:
        found = await every_operation(fb.s3)
        operations = set(fb.s3.meta.service_model.operation_names)
    for one, other in zip(found, expected, strict=True):
        if one.kind == other.kind == "answer" and not exact:
            continue
        assert one == other
    assert {result.operation for result in found} == operations
    if exact:
        # Whatever moto implements was answered, and not only refused in the same way.
        names = {xform_name(name) for name in operations}
        implemented = {name for name in names if hasattr(S3Backend, name) or hasattr(S3Response, name)}
        assert len(implemented) > 50
        answered = {xform_name(result.operation) for result in found if result.kind == "answer"}
        assert implemented - answered == REFUSED


async def test_it_is_a_genuine_client(fb):
    """Class, metadata, exceptions and questions about operations are those of aioboto3's client."""
    s3 = fb.s3
    assert isinstance(s3, AioBaseClient)
    assert s3 is fb.s3
    assert s3.meta.service_model.service_name == "s3"
    assert s3.meta.region_name == "us-east-1"
    assert s3.meta.endpoint_url.rpartition("/")[2].partition(":")[0] in {node.id for node in fb.nodes()}
    assert s3.can_paginate("list_objects_v2")
    assert not s3.can_paginate("get_object")
    assert issubclass(s3.exceptions.NoSuchKey, ClientError)
    assert {"bucket_exists", "object_exists"} <= set(s3.waiter_names)


async def test_one_line_is_replaced(fb):
    """`async with fb.s3 as s3` takes the place of `async with session.client(...) as s3`, again and again."""
    for _ in range(2):
        async with fb.s3 as s3:
            await s3.put_object(Bucket="demo", Key="key", Body=b"data")
            response = await s3.get_object(Bucket="demo", Key="key")
            async with response["Body"] as stream:
                assert await stream.read() == b"data"
    await fb.s3.close()
    assert (await fb.get_object("demo", "key")).body == b"data"


async def test_modelled_errors_are_boto_s(fb):
    """A refusal is boto's modelled exception with the store's answer, and has ours as its cause."""
    with pytest.raises(fb.s3.exceptions.NoSuchKey) as caught:
        await fb.s3.get_object(Bucket="demo", Key="missing")
    error = caught.value
    assert error.response["Error"]["Code"] == "NoSuchKey"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert error.operation_name == "GetObject"
    assert isinstance(error.__cause__, ObjectNotFoundError)
    assert error.__cause__.bucket == "demo"
    with pytest.raises(
        ClientError, match=r"\(404\) when calling the HeadObject operation: Not Found"
    ) as caught:
        await fb.s3.head_object(Bucket="demo", Key="missing")
    assert pickle.loads(pickle.dumps(caught.value)).response == caught.value.response
    with pytest.raises(fb.s3.exceptions.NoSuchBucket):
        await fb.s3.list_objects_v2(Bucket="no-such-bucket")
    assert fb.stats().retries == 0


@pytest.mark.parametrize(
    ("method", "given", "kind"),
    [
        ("get_object", {}, ParamValidationError),
        ("get_object", {"Bucket": "demo", "Key": ""}, ParamValidationError),
        ("get_object", {"Bucket": "a b", "Key": "a"}, ParamValidationError),
        ("get_object", {"Bucket": 1, "Key": "a"}, TypeError),
        ("put_object", {"Bucket": "demo", "Key": "a", "Body": 3}, ParamValidationError),
        ("put_object", {"Bucket": "demo", "Key": "a", "Bodi": b""}, ParamValidationError),
        ("put_object", {"Bucket": "demo", "Key": "a", "Metadata": {"a": "ä"}}, ParamValidationError),
    ],
)
async def test_what_boto_refuses_boto_refuses(moto_cluster, running, method, given, kind):
    """Parameters that boto cannot send raise what they raise in plain aioboto3, and blame no node."""
    async with running(moto_cluster.settings()) as fb, plain(moto_cluster) as client:
        with pytest.raises(kind) as expected:
            await getattr(client, method)(**given)
        with pytest.raises(kind) as found:
            await getattr(fb.s3, method)(**given)
        assert (type(found.value), str(found.value)) == (type(expected.value), str(expected.value))
        assert all(node.failures == 0 for node in fb.nodes())


async def test_after_the_client_is_closed(cluster):
    """A kept `s3` says that its client is closed, instead of going to the network by itself."""
    async with FlashbackClient(cluster.settings()) as fb:
        s3 = fb.s3
    with pytest.raises(ClientClosedError):
        _ = fb.s3
    with pytest.raises(ClientClosedError):
        await s3.list_objects_v2(Bucket="demo")
    with pytest.raises(ClientClosedError):
        await s3.generate_presigned_url("get_object", {"Bucket": "demo", "Key": "key"})


# --- what boto builds on top ---------------------------------------------------------------------------------


async def test_paginators(fb):
    """A paginator pages through client.s3, as does its search."""
    for number in range(7):
        await fb.s3.put_object(Bucket="demo", Key=f"dir/{number}", Body=b"")

    def pages():
        return fb.s3.get_paginator("list_objects_v2").paginate(
            Bucket="demo", Prefix="dir/", PaginationConfig={"PageSize": 3}
        )

    assert [len(page["Contents"]) async for page in pages()] == [3, 3, 1]
    assert [key async for key in pages().search("Contents[].Key")] == [f"dir/{number}" for number in range(7)]


async def test_waiters(fb):
    """A waiter polls through client.s3, until it is so, or until it gives up."""
    waiting = asyncio.create_task(
        fb.s3.get_waiter("object_exists").wait(
            Bucket="demo", Key="late", WaiterConfig={"Delay": 0.05, "MaxAttempts": 100}
        )
    )
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await fb.s3.put_object(Bucket="demo", Key="late", Body=b"")
    await waiting
    with pytest.raises(WaiterError):
        await fb.s3.get_waiter("object_not_exists").wait(
            Bucket="demo", Key="late", WaiterConfig={"Delay": 0.01, "MaxAttempts": 2}
        )


async def test_transfers_of_aioboto3(fb, tmp_path):
    """aioboto3's own transfers work: files and file objects up and down, in parts, and copies."""
    (tmp_path / "up").write_bytes(DATA)
    await fb.s3.upload_file(str(tmp_path / "up"), "demo", "from a file")
    await fb.s3.upload_fileobj(io.BytesIO(DATA), "demo", "from an object")
    await fb.s3.upload_fileobj(io.BytesIO(b"small"), "demo", "small")
    await fb.s3.copy({"Bucket": "demo", "Key": "small"}, "demo", "copy")
    await fb.s3.download_file("demo", "from a file", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == DATA
    into = io.BytesIO()
    await fb.s3.download_fileobj("demo", "from an object", into)
    assert into.getvalue() == DATA
    assert (await fb.get_object("demo", "copy")).body == b"small"


async def test_copies_in_parts(moto_cluster, running):
    """aioboto3's copy of a large object, part by part, works as well; rclone cannot copy parts."""
    async with running(moto_cluster.settings()) as fb:
        await fb.s3.put_object(Bucket="demo", Key="key", Body=DATA)
        await fb.s3.copy({"Bucket": "demo", "Key": "key"}, "demo", "copy")
        assert (await fb.get_object("demo", "copy")).body == DATA


async def test_presigned_urls_name_a_node(fb):
    """A signed URL works without any key, at the node that is best at the moment; a form is one as well."""
    await fb.s3.put_object(Bucket="demo", Key="key", Body=b"data")
    url = await fb.s3.generate_presigned_url(
        "get_object", Params={"Bucket": "demo", "Key": "key"}, ExpiresIn=60
    )
    form = await fb.s3.generate_presigned_post("demo", "posted")
    nodes = {node.id for node in fb.nodes()}
    assert {urlsplit(url).hostname, urlsplit(form["url"]).hostname} <= nodes
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert (response.status, await response.read()) == (200, b"data")
    with pytest.raises(UnknownClientMethodError):
        await fb.s3.generate_presigned_url("no_such_method")


# --- bodies --------------------------------------------------------------------------------------------------


async def body_of(fb, **given):
    return (await fb.s3.get_object(Bucket="demo", Key="key", **given))["Body"]


async def test_every_way_to_read_a_body(fb):
    """A body reads like boto's, and like the aiohttp stream that aiobotocore puts under it."""
    text = b"one\ntwo\r\nthree" + bytes(3_000)
    await fb.s3.put_object(Bucket="demo", Key="key", Body=text)
    body = await body_of(fb)
    assert await body.read(3) == b"one"
    assert (body.tell(), body.at_eof(), body.readable()) == (3, False, True)
    assert await body.read() == text[3:]
    assert (body.tell(), body.at_eof(), body.readable()) == (len(text), True, False)
    assert await body.read() == await body.read(10) == b""
    assert fb.stats().leases == 0

    # How many pieces a body comes in is the network's business.
    assert b"".join([chunk async for chunk in (await body_of(fb)).iter_chunks(5_000)]) == text
    chunks = [chunk async for chunk in await body_of(fb)]
    assert b"".join(chunks) == text
    assert max(map(len, chunks)) <= 1_024
    body = await body_of(fb)
    first = await anext(body)
    assert first
    assert text.startswith(first)
    body.close()
    assert (await (await body_of(fb)).readlines())[:2] == [b"one", b"two"]
    assert [line async for line in (await body_of(fb)).iter_lines(keepends=True)] == text.splitlines(True)
    into = bytearray(10)
    body = await body_of(fb)
    assert await body.readinto(into) == 10
    assert into == text[:10]
    async with body:
        assert await body.content.readexactly(5) == text[10:15]
        assert b"".join([piece async for piece in body.content.iter_chunked(7)]) == text[15:]
        assert body.content.at_eof()
    assert b"".join([piece async for piece in (await body_of(fb)).content.iter_any()]) == text
    assert (await body_of(fb, Range="bytes=4-6")).tell() == 0
    assert fb.stats().leases in {0, 1}
    gc.collect()
    assert await settled(lambda: [0] * fb.stats().leases) == []


async def test_a_body_that_is_not_read_is_given_back(fb):
    """Closing a body, leaving its block, an error in it and dropping it free the lease, and leave no task."""
    await fb.s3.put_object(Bucket="demo", Key="key", Body=DATA)
    body = await body_of(fb)
    assert fb.stats().leases == 1
    body.close()
    body.close()
    assert fb.stats().leases == 0
    with pytest.raises(ClientClosedError):
        await body.read()

    with pytest.raises(KeyError):
        async with await body_of(fb) as body:
            await body.read(1)
            raise KeyError
    assert fb.stats().leases == 0

    body = await body_of(fb)
    reading = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert fb.stats().leases == 0

    dropped = weakref.ref(await body_of(fb))
    gc.collect()
    assert dropped() is None
    assert await settled(lambda: [0] * fb.stats().leases) == []
    assert fb.stats().in_flight == 0


async def test_a_checksum_that_was_asked_for_is_verified(moto_cluster, running):
    """With ChecksumMode, a body is compared with the checksum that came with it, as boto does."""
    async with running(moto_cluster.settings()) as fb:
        await fb.s3.put_object(Bucket="demo", Key="key", Body=b"data", ChecksumAlgorithm="SHA256")
        response = await fb.s3.get_object(Bucket="demo", Key="key", ChecksumMode="ENABLED")
        assert response["ChecksumSHA256"]
        assert await response["Body"].read() == b"data"


@pytest.mark.parametrize("size", [10, 3 * MIB])
async def test_a_checksum_that_follows_the_body(flashback_cluster_factory, running, size):
    """Over https, a checksum that was asked for is sent behind the body, in chunks, as boto does."""
    cluster = flashback_cluster_factory(nodes=2, latency=0.0, store="moto", tls=True)
    async with running(cluster.settings()) as fb:
        written = await fb.s3.put_object(
            Bucket="demo", Key="key", Body=io.BytesIO(DATA[:size]), ChecksumAlgorithm="CRC32"
        )
        response = await fb.s3.get_object(Bucket="demo", Key="key", ChecksumMode="ENABLED")
        assert response["ChecksumCRC32"] == written["ChecksumCRC32"]
        assert await response["Body"].read() == DATA[:size]
        assert fb.stats().retries == 0


async def test_a_checksum_that_does_not_fit(running):
    """Bytes that do not have the announced checksum are boto's `FlexibleChecksumError`, if it was asked for."""

    async def answer(_request):
        return Answer(body=b"data", headers={"ETag": '"a"', "x-amz-checksum-crc32": "AAAAAA=="})

    async with scripted(answer) as server, running(settings_for(server)) as fb:
        response = await fb.s3.get_object(Bucket="demo", Key="key", ChecksumMode="ENABLED")
        with pytest.raises(FlexibleChecksumError):
            await response["Body"].read()
        assert await (await body_of(fb)).read() == b"data"


async def test_what_can_be_sent(fb, tmp_path):
    """Bytes, text, files from where they stand, and everything that can only be read once."""

    class OneShot:
        def __init__(self, data):
            self.data = [data]

        async def read(self, amount=-1):
            return self.data.pop() if self.data else b""

    (tmp_path / "file").write_bytes(b"xdata")
    with (tmp_path / "file").open("rb") as file:
        file.seek(1)
        for body in (b"data", bytearray(b"data"), "data", file, io.BytesIO(b"data"), OneShot(b"data")):
            await fb.s3.delete_object(Bucket="demo", Key="key")
            await fb.s3.put_object(Bucket="demo", Key="key", Body=body)
            assert await (await body_of(fb)).read() == b"data"
        assert not file.closed
    await fb.s3.put_object(Bucket="demo", Key="copy", Body=await body_of(fb))
    assert (await fb.get_object("demo", "copy")).body == b"data"
    with pytest.raises(ConfigurationError, match="closed"):
        await fb.s3.put_object(Bucket="demo", Key="key", Body=file)
