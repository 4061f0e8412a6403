"""Large objects over real sockets: through resets, stalls and dead nodes, byte by byte, in bounded memory."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from hashlib import sha256
from pathlib import Path
from random import Random

import aioboto3
import pytest

from flashback_async import EndpointError, ObjectNotFoundError, OperationError
from flashback_async.sandbox import Behaviour

from .scripted import Answer, error, etag, scripted, settings_for

MIB = 1_024 * 1_024
SIZE = 24 * MIB + 12_345
DATA = Random(7).randbytes(SIZE)
PARTS = {"part_size": 5 * MIB, "concurrency": 4}


def store_of(cluster):
    """A client of the store itself, without a gateway before it."""
    return aioboto3.Session().client(
        "s3",
        endpoint_url=cluster.store_url,
        region_name="us-east-1",
        aws_access_key_id=cluster.key_id,
        aws_secret_access_key=cluster.key_secret,
    )


async def uploads_open_at(cluster) -> list[str]:
    """UploadIds that the store holds open."""
    async with store_of(cluster) as s3:
        answer = await s3.list_multipart_uploads(Bucket="demo")
    return [row["UploadId"] for row in answer.get("Uploads", [])]


def settings_of(cluster, **overrides):
    """Settings under which objects of 5 MiB and more move in parts."""
    return cluster.settings(
        **{"multipart_threshold": 5 * MIB, "part_size": 5 * MIB, "transfer_concurrency": 4, **overrides}
    )


def busiest(fb):
    """Id of the node that most requests went to."""
    return max(fb.nodes(), key=lambda node: node.requests).id


def node_of(cluster, endpoint_id):
    return next(node for node in cluster.nodes if node.url.endswith(endpoint_id) or node.ip == endpoint_id)


async def pieces(size=300_000):
    for at in range(0, SIZE, size):
        yield DATA[at : at + size]


@pytest.mark.parametrize("source", ["bytes", "path", "async iterable", "generator"])
async def test_up_and_down(cluster, running, tmp_path, source):
    """A large object from any source comes back byte by byte, as a body, a stream and a file."""
    path = tmp_path / "source"
    path.write_bytes(DATA)
    given = {
        "bytes": DATA,
        "path": path,
        "async iterable": pieces(),
        "generator": (DATA[at : at + MIB] for at in range(0, SIZE, MIB)),
    }[source]
    async with running(settings_of(cluster)) as fb:
        info = await fb.put_object("demo", "big", given, content_type="text/plain")
        assert info.size == SIZE
        stored = await fb.get_object("demo", "big")
        assert stored.body == DATA
        assert stored.info.size == SIZE
        told = []
        await fb.bucket("demo").download_file("big", tmp_path / "target", progress=told.append, fsync=True)
        assert (tmp_path / "target").read_bytes() == DATA
        assert sum(told) == SIZE
        assert sorted(os.listdir(tmp_path)) == ["source", "target"]
        async with fb.stream_object("demo", "big", range=(5 * MIB - 1, 5 * MIB + 1)) as body:
            assert await body.read() == DATA[5 * MIB - 1 : 5 * MIB + 1]
        assert await uploads_open_at(cluster) == []


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(reset=True, error_rate=0.15),
        Behaviour(status=503, error_rate=0.15),
        Behaviour(reset_after=2 * MIB, error_rate=0.3),
        Behaviour(truncate_after=MIB + 1, error_rate=0.3),
        Behaviour(stall_after=3 * MIB, error_rate=0.15),
    ],
    ids=["reset", "503", "reset body", "short body", "stalled body"],
)
async def test_through_faults(rclone_cluster, running, tmp_path, behaviour):
    """While every node fails now and then, in requests or in the middle of bodies, all bytes arrive."""
    async with running(settings_of(rclone_cluster, stall_timeout=0.5)) as fb:
        for node in rclone_cluster.nodes:
            await node.set(behaviour)
        told = []
        await fb.upload_file("demo", "big", DATA, progress=told.append)
        assert sum(told) == SIZE
        assert (await fb.get_object("demo", "big")).body == DATA
        await fb.download_file("demo", "big", tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == DATA
        for node in rclone_cluster.nodes:
            await node.heal()
        assert await uploads_open_at(rclone_cluster) == []


async def test_the_node_of_an_upload_is_killed(cluster, running):
    """An upload whose node dies in the middle begins anew elsewhere, and leaves no upload open."""
    async with running(settings_of(cluster)) as fb:
        told = []

        async def kill_once(amount):
            told.append(amount)
            if len(told) == 1:
                await node_of(cluster, busiest(fb)).kill()

        info = await fb.upload_file("demo", "big", DATA, progress=kill_once, **PARTS)
        assert (info.size, sum(told)) == (SIZE, SIZE)
        assert sha256((await fb.get_object("demo", "big")).body).digest() == sha256(DATA).digest()
        assert await uploads_open_at(cluster) == []


async def test_a_node_of_a_download_is_killed(cluster, running, tmp_path):
    """A download goes on when one of its nodes dies in the middle."""
    async with running(settings_of(cluster)) as fb:
        await fb.put_object("demo", "big", DATA)
        for node in cluster.nodes:
            await node.set(Behaviour(bandwidth=20 * MIB))
        told = []

        async def kill_once(amount):
            told.append(amount)
            if len(told) == 3:
                victim = next(node.id for node in fb.nodes() if node.streaming)
                await node_of(cluster, victim).kill()

        await fb.download_file("demo", "big", tmp_path / "target", progress=kill_once)
        assert (tmp_path / "target").read_bytes() == DATA
        assert sum(told) == SIZE


async def test_an_upload_that_can_be_read_once_names_its_failure(cluster, running):
    """Where the source is gone, the death of the node is raised; what is reachable is aborted."""
    async with running(settings_of(cluster)) as fb:
        told = []

        async def kill_once(amount):
            told.append(amount)
            if len(told) == 1:
                await node_of(cluster, busiest(fb)).kill()

        with pytest.raises(EndpointError, match="only once"):
            await fb.upload_file("demo", "big", pieces(), progress=kill_once)
        assert await uploads_open_at(cluster) == []
        with pytest.raises(ObjectNotFoundError):
            await fb.head_object("demo", "big")


async def test_nodes_that_are_all_gone_are_named_with_their_uploads(cluster, running):
    """When no node is left to abort at, the error names the upload and the node, and the object is the old one."""
    async with running(settings_of(cluster)) as fb:
        await fb.put_object("demo", "big", b"old")

        async def kill_all(_):
            for node in cluster.nodes:
                await node.kill()

        with pytest.raises(OperationError) as caught:
            await fb.upload_file("demo", "big", DATA, progress=kill_all)
        (orphan,) = caught.value.orphans
        assert orphan.upload_id in str(caught.value)
        assert orphan.endpoint in str(caught.value)
        assert await uploads_open_at(cluster) == [orphan.upload_id]
        # What the error names is what its reader needs to clean up; the store outlives this test.
        async with store_of(cluster) as s3:
            await s3.abort_multipart_upload(Bucket="demo", Key="big", UploadId=orphan.upload_id)
            assert (await (await s3.get_object(Bucket="demo", Key="big"))["Body"].read()) == b"old"


@pytest.mark.parametrize("moment", [0.0, 0.03, 0.1, 0.3])
async def test_a_cancelled_upload_is_aborted(cluster, running, moment):
    """An upload that is cancelled at any moment leaves no upload open and no object behind."""
    async with running(settings_of(cluster)) as fb:
        for node in cluster.nodes:
            await node.set(Behaviour(bandwidth=20 * MIB))
        task = asyncio.create_task(fb.put_object("demo", "big", DATA))
        await asyncio.sleep(moment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await uploads_open_at(cluster) == []
        assert not await fb.object_exists("demo", "big")


async def test_a_lost_completion_is_found(cluster, running):
    """When the answer to the completion is lost, the object is recognised, and nothing is sent again."""
    async with running(settings_of(cluster)) as fb:
        moved = 0

        async def lose_the_answer(amount):
            nonlocal moved
            moved += amount
            if moved == SIZE:
                await node_of(cluster, busiest(fb)).set(Behaviour(lose_answer=True))

        # A source that cannot be read again, so that only recognition can help. rclone gives whole objects
        # another ETag than the parts' one.
        info = await fb.upload_file("demo", "big", pieces(), progress=lose_the_answer)
        assert info.size == moved == SIZE
        head = await fb.head_object("demo", "big")
        assert (head.size, head.etag) == (SIZE, info.etag)
        counts = [(await node.stats()).by_method.get("POST", 0) for node in cluster.nodes]
        # One creation, and completions; the other nodes had neither.
        assert sorted(counts)[:3] == [0, 0, 0]


async def test_an_interrupted_download_goes_on(rclone_cluster, running, tmp_path):
    """A download that is cancelled leaves no file; the next one reads only what is missing."""
    settings = settings_of(rclone_cluster, transfer_concurrency=2)
    async with running(settings) as fb:
        await fb.put_object("demo", "big", DATA)
        for node in rclone_cluster.nodes:
            await node.set(Behaviour(bandwidth=20 * MIB))
        enough = asyncio.Event()
        moved = 0

        def told(amount):
            nonlocal moved
            moved += amount
            if moved > 14 * MIB:
                enough.set()

        task = asyncio.create_task(fb.download_file("demo", "big", tmp_path / "target", progress=told))
        await enough.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert all(name.startswith(".flashback-") for name in os.listdir(tmp_path))
        before = fb.stats().bytes_read
        await fb.download_file("demo", "big", tmp_path / "target")
        assert fb.stats().bytes_read - before <= SIZE - 5 * MIB
        assert (tmp_path / "target").read_bytes() == DATA
        assert os.listdir(tmp_path) == ["target"]


async def test_slow_down_inside_a_200_completes_later(running):
    """SlowDown in the 200 of a completion is throttling: it is asked again, and the object is there once."""
    finished = []

    async def answer(request):
        if request.method == "POST" and request.target.endswith("?uploads"):
            body = b"<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>"
            return Answer(body=body, headers={"Content-Type": "application/xml"})
        if request.method == "PUT":
            return Answer(headers={"ETag": etag(request.body)})
        finished.append(request)
        if len(finished) == 1:
            return error(200, "SlowDown")
        body = b"<CompleteMultipartUploadResult><ETag>&quot;x-5&quot;</ETag></CompleteMultipartUploadResult>"
        return Answer(body=body, headers={"Content-Type": "application/xml"})

    async with scripted(answer) as server:
        settings = settings_for(server, multipart_threshold=5 * MIB, part_size=5 * MIB)
        async with running(settings) as fb:
            info = await fb.put_object("bucket", "key", DATA)
            assert info.etag == '"x-5"'
            assert len(finished) == 2
            assert fb.nodes()[0].throttled == 1
            assert fb.nodes()[0].failures == 0


@pytest.mark.full
async def test_a_gibibyte_through_four_bad_nodes(rclone_cluster, figures, tmp_path):
    """1 GiB up and down through four nodes with random resets, stalls and a killed node: byte-identical, with
    less than 300 MiB of memory at the peak.
    """
    source, target = tmp_path / "source", tmp_path / "target"
    random, digest = Random(1), sha256()
    with source.open("wb") as file:
        for _ in range(1_024):
            block = random.randbytes(MIB)
            digest.update(block)
            file.write(block)
    up_faults = [
        Behaviour(reset=True, error_rate=0.03),
        Behaviour(black_hole=True, error_rate=0.02),
        Behaviour(status=503, error_rate=0.03),
        Behaviour(lose_answer=True, error_rate=0.02),
    ]
    # Within the pieces, which have 32 MiB, so that some of them break for certain.
    down_faults = [
        Behaviour(reset_after=10 * MIB, error_rate=0.5),
        Behaviour(stall_after=30 * MIB, error_rate=0.5),
        Behaviour(truncate_after=20 * MIB, error_rate=0.5),
        Behaviour(reset=True, error_rate=0.1),
    ]
    for node, behaviour in zip(rclone_cluster.nodes, up_faults, strict=True):
        await node.set(behaviour)
    program = Path(__file__).with_name("big_transfer.py")
    environment = {**os.environ, **rclone_cluster.environment(), "FB_STALL_TIMEOUT": "2"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, program, source, target, env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        counts = [0]
        while max(counts) < 128 * MIB:
            await asyncio.sleep(0.1)
            counts = [(await node.stats()).bytes_in for node in rclone_cluster.nodes]
        # Whoever has the upload.
        victim = rclone_cluster.nodes[counts.index(max(counts))]
        await victim.kill()
        up = json.loads(await process.stdout.readline())
        figures(f"{up}")
        await victim.restart()
        for node, behaviour in zip(rclone_cluster.nodes, down_faults, strict=True):
            await node.set(behaviour)
        await asyncio.sleep(5.0)
        await rclone_cluster.nodes[3].kill()
        down = json.loads(await process.stdout.readline())
        figures(f"{down}")
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert up["moved"] == down["moved"] == up["size"] == down["size"] == 1_024 * MIB
    found = sha256()
    with target.open("rb") as file:
        while block := file.read(MIB):
            found.update(block)
    assert found.digest() == digest.digest()
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]
    assert down["peak_mib"] < 300
    assert down["leases"] == 0
    assert up["retries"] > 0
    assert down["resumed"] > 0
    assert await uploads_open_at(rclone_cluster) == []
