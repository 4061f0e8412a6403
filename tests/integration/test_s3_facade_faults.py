"""`client.s3` on nodes that fail: what boto's users call comes through, or ends with boto's errors."""

from __future__ import annotations

import asyncio
import io
from random import Random

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from flashback_async import EndpointConnectError
from flashback_async.sandbox import Behaviour

from .workload import KIB

MIB = 1_024 * KIB
DATA = Random(11).randbytes(6 * MIB)


def by_id(cluster, node_id):
    """The node that a client knows by that id."""
    return next(node for node in cluster.nodes if node.url.rpartition("/")[2].startswith(node_id))


@pytest.mark.parametrize(
    "broken",
    [Behaviour(reset_after=2 * MIB), Behaviour(truncate_after=MIB + 7), Behaviour(stall_after=MIB)],
    ids=["reset", "truncated", "stalled"],
)
async def test_a_body_survives_its_node(cluster, running, broken):
    """A body that breaks on the nodes that serve it first goes on at others, and its bytes are those stored."""
    async with running(cluster.settings(stall_timeout=1.0, attempts=5)) as fb:
        await fb.s3.put_object(Bucket="demo", Key="key", Body=DATA)
        first = by_id(cluster, (await fb.pick_endpoint("demo")).id)
        second = next(node for node in cluster.nodes if node is not first)
        for node in (first, second):
            await node.set(broken)
        rounds = 0
        async with asyncio.timeout(30):
            # Which node is asked next is a matter of chance.
            while rounds < 4 or not fb.stats().resumed:
                rounds += 1
                response = await fb.s3.get_object(Bucket="demo", Key="key")
                assert response["ContentLength"] == len(DATA)
                assert await response["Body"].read() == DATA
                part = await fb.s3.get_object(Bucket="demo", Key="key", Range=f"bytes=100-{5 * MIB}")
                async with part["Body"] as body:
                    got = b"".join([chunk async for chunk in body.iter_chunks(MIB)])
                assert got == DATA[100 : 5 * MIB + 1]
        stats = fb.stats()
        assert (stats.failed, stats.leases) == (0, 0)


@pytest.mark.parametrize("how", ["killed", "black hole", "503", "429"])
async def test_calls_go_on_elsewhere(cluster, running, how):
    """While nodes are dead, silent, broken or busy: puts, gets, pages, waiters and transfers come through."""
    # A healthy node may take a second on a busy machine; dead ones refuse at once.
    async with running(cluster.settings(first_byte_timeout=2.0, connect_timeout=2.0)) as fb:
        s3 = fb.s3
        await s3.put_object(Bucket="demo", Key="dir/before", Body=b"before")
        for node in cluster.nodes[:2]:
            if how == "killed":
                await node.kill()
            else:
                await node.set(
                    Behaviour(black_hole=True) if how == "black hole" else Behaviour(status=int(how))
                )
        await asyncio.gather(
            *(s3.put_object(Bucket="demo", Key=f"dir/{number}", Body=b"%d" % number) for number in range(12))
        )
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket="demo", Prefix="dir/", PaginationConfig={"PageSize": 4}
        )
        keys = [key async for key in pages.search("Contents[].Key")]
        assert len(keys) == 13
        for number in range(12):
            response = await s3.get_object(Bucket="demo", Key=f"dir/{number}")
            assert await response["Body"].read() == b"%d" % number
        await s3.get_waiter("object_exists").wait(Bucket="demo", Key="dir/3")
        into = io.BytesIO()
        await s3.download_fileobj("demo", "dir/before", into)
        assert into.getvalue() == b"before"
        deleted = await s3.delete_objects(
            Bucket="demo", Delete={"Objects": [{"Key": f"dir/{number}"} for number in range(12)]}
        )
        assert len(deleted["Deleted"]) == 12
        stats = fb.stats()
        assert stats.retries > 0
        assert (stats.failed, stats.leases) == (0, 0)


async def test_nobody_is_left(moto_cluster, running):
    """With every node dead, the error is a ClientError, and botocore's EndpointConnectionError as well."""
    async with running(moto_cluster.settings()) as fb:
        for node in moto_cluster.nodes:
            await node.kill()
        with pytest.raises(ClientError, match="ServiceUnavailable") as caught:
            await fb.s3.get_object(Bucket="demo", Key="key")
        assert isinstance(caught.value, EndpointConnectionError)
        assert isinstance(caught.value.__cause__, EndpointConnectError)
        assert len(caught.value.__cause__.attempts) == 3


async def test_a_503_of_every_node(moto_cluster, running):
    """What the last node answered is in boto's error, as plain aioboto3 has it: code, status and headers."""
    async with running(moto_cluster.settings()) as fb:
        for node in moto_cluster.nodes:
            await node.set(Behaviour(status=503, body_format="xml", error_code="ServiceUnavailable"))
        with pytest.raises(ClientError) as caught:
            await fb.s3.put_object(Bucket="demo", Key="key", Body=b"data")
        response = caught.value.response
        assert response["Error"]["Code"] == "ServiceUnavailable"
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert response["ResponseMetadata"]["RetryAttempts"] == 2
        assert response["ResponseMetadata"]["HTTPHeaders"]


async def test_an_upload_stays_at_the_node_that_created_it(cluster, running):
    """The parts of a multipart upload all go to one node, fail while it is dead, and go on when it is back."""
    async with running(cluster.settings()) as fb:
        s3, router = fb.s3, fb.router
        created = await s3.create_multipart_upload(Bucket="demo", Key="key")
        upload = {"Bucket": "demo", "Key": "key", "UploadId": created["UploadId"]}
        home = router.started[-1].endpoint
        before = len(router.started)
        parts = await asyncio.gather(
            *(s3.upload_part(**upload, PartNumber=number, Body=DATA[: 5 * MIB]) for number in (1, 2))
        )
        assert {row.endpoint for row in router.started[before:]} == {home}

        await by_id(cluster, home).kill()
        with pytest.raises(EndpointConnectionError):
            await s3.upload_part(**upload, PartNumber=3, Body=b"last")
        assert {row.endpoint for row in router.started[before:]} == {home}
        await by_id(cluster, home).restart()
        parts.append(await s3.upload_part(**upload, PartNumber=3, Body=b"last"))

        listed = [{"PartNumber": n, "ETag": part["ETag"]} for n, part in enumerate(parts, 1)]
        await s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": listed})
        assert {row.endpoint for row in router.started[before:]} == {home}
        body = (await s3.get_object(Bucket="demo", Key="key"))["Body"]
        assert await body.read() == DATA[: 5 * MIB] * 2 + b"last"


async def test_an_aborted_upload_leaves_nothing(cluster, running):
    """A transfer of aioboto3 whose source breaks aborts its upload at the node that has it."""

    class Breaking(io.BytesIO):
        def read(self, amount=-1):
            if self.tell() >= 10 * MIB:
                raise OSError("the disk is gone")
            return super().read(amount)

    async with running(cluster.settings()) as fb:
        with pytest.raises(OSError, match="the disk is gone"):
            await fb.s3.upload_fileobj(Breaking(bytes(20 * MIB)), "demo", "key")
        uploads = await fb.s3.list_multipart_uploads(Bucket="demo")
        assert uploads.get("Uploads", []) == []
        assert fb.stats().leases == 0
