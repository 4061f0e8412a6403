"""What protects the bytes: the rows of README's table, each against a line that flips bits on the way."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from random import Random
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from flashback_async import (
    EndpointError,
    IntegrityError,
    NotModifiedError,
    ObjectChangedError,
    PreconditionFailedError,
    ServiceError,
)
from flashback_async.sandbox import Behaviour

from .scripted import MemoryStore, error, scripted, settings_for
from .workload import KIB

# One byte that occurs nowhere else, neither in a header.
MARK, DAMAGED = b"\xff", b"\xfe"
BODY = b"a" * KIB + MARK + b"b" * KIB
MIB = 1_024 * KIB
PART = 5 * MIB
ALGORITHMS = ["crc32c", "sha256", "md5"]


def flipped(data: bytes, _offset: int) -> bytes:
    return data.replace(MARK, DAMAGED)


def tampered(data: bytes, offset: int) -> bytes:
    """One bit of an encrypted stream, far behind its handshake."""
    place = 100 * KIB - offset
    if not 0 <= place < len(data):
        return data
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def intact(data: bytes, _offset: int) -> bytes:
    return data


@asynccontextmanager
async def line(url, *, up=intact, down=intact):
    """The URL of a line to `url`, on the same host, which passes bytes through `up` and `down`."""
    target = urlsplit(url)
    handlers = set()

    async def copy(reader, writer, change):
        offset = 0
        with suppress(ConnectionError):
            while data := await reader.read(64 * KIB):
                writer.write(change(data, offset))
                await writer.drain()
                offset += len(data)
        writer.close()

    async def accept(reader, writer):
        handlers.add(asyncio.current_task())
        there, back = await asyncio.open_connection(target.hostname, target.port)
        try:
            await asyncio.gather(copy(reader, back, up), copy(there, writer, down))
        finally:
            for end in (writer, back):
                end.close()
            handlers.discard(asyncio.current_task())

    server = await asyncio.start_server(accept, target.hostname, 0)
    try:
        yield f"{target.scheme}://{target.hostname}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


def over(cluster, *urls, **overrides):
    """Settings of a client that knows a cluster by these URLs alone."""
    values = {"key_id": cluster.key_id, "key_secret": cluster.key_secret, "ca_file": cluster.ca_file}
    return settings_for(*urls, **{**values, **overrides})


# --- writes ------------------------------------------------------------------------------------------------


async def test_a_signed_payload_is_refused_when_it_was_changed(running):
    """Over http the hash of the payload is signed: a store that verifies it refuses a changed body, and has nothing."""
    store = MemoryStore()

    async def verifying(request):
        if sha256(request.body).hexdigest() != request.headers["x-amz-content-sha256"]:
            return error(400, "XAmzContentSHA256Mismatch")
        return await store(request)

    async with (
        scripted(verifying) as server,
        line(server.url, up=flipped) as url,
        running(settings_for(url)) as fb,
    ):
        with pytest.raises(ServiceError) as raised:
            await fb.put_object("bucket", "key", BODY)
        assert raised.value.code == "XAmzContentSHA256Mismatch"
        assert not await fb.object_exists("bucket", "key")


async def test_tls_refuses_a_body_that_was_changed(tls_cluster, running):
    """Over https a changed body is refused by TLS, and the write goes to another node."""
    bad, good = (node.url for node in tls_cluster.nodes)
    data = Random(1).randbytes(900 * KIB)
    async with line(bad, up=tampered) as url:
        async with running(over(tls_cluster, url, attempts=1)) as fb:
            with pytest.raises(EndpointError):
                await fb.put_object("demo", "key", data)
        async with running(over(tls_cluster, url, good)) as fb:
            await fb.put_object("demo", "key", data)
            assert (await fb.get_object("demo", "key", endpoint=urlsplit(good).netloc)).body == data


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_store_that_verifies_nothing_is_found_out(algorithm, moto_cluster, running):
    """With a checksum, what was changed on its way to a store that verifies nothing is found by whoever reads it."""
    node = moto_cluster.nodes[0].url
    async with (
        line(node, up=flipped) as url,
        running(over(moto_cluster, url, checksum=algorithm)) as fb,
        running(over(moto_cluster, node)) as reader,
    ):
        await fb.put_object("demo", "key", BODY)
        with pytest.raises(IntegrityError, match=algorithm):
            await reader.get_object("demo", "key")


async def test_a_store_that_is_told_an_md5_refuses_other_bytes(rclone_cluster, running):
    """With `md5` a store that knows Content-MD5 refuses a changed body, also where the payload is not signed."""
    settings = {"checksum": "md5", "payload_signing": "unsigned"}
    async with (
        line(rclone_cluster.nodes[0].url, up=flipped) as url,
        running(over(rclone_cluster, url, **settings)) as fb,
    ):
        with pytest.raises(ServiceError) as raised:
            await fb.put_object("demo", "key", BODY)
        assert raised.value.code == "BadDigest"
        assert not await fb.object_exists("demo", "key")


# --- reads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_what_was_changed_on_the_way_here_is_read_elsewhere(algorithm, moto_cluster, running, tmp_path):
    """Bytes that change on the way back are found by the checksum, and read again from another node; a stream says so."""
    bad, good = (node.url for node in moto_cluster.nodes[:2])
    async with line(bad, down=flipped) as url:
        async with running(over(moto_cluster, good, checksum=algorithm)) as fb:
            await fb.put_object("demo", "key", BODY)
        async with running(over(moto_cluster, url, good)) as fb:
            for number in range(6):
                assert (await fb.get_object("demo", "key")).body == BODY
                await fb.download_file("demo", "key", tmp_path / f"{number}")
                assert (tmp_path / f"{number}").read_bytes() == BODY
        async with running(over(moto_cluster, url)) as fb:
            with pytest.raises(IntegrityError, match=algorithm):
                await fb.get_object("demo", "key")
            with pytest.raises(IntegrityError, match=algorithm):
                await fb.download_file("demo", "key", tmp_path / "never")
            async with fb.stream_object("demo", "key") as body:
                with pytest.raises(IntegrityError, match=algorithm):
                    await body.read()
            answer = await fb.s3.get_object(Bucket="demo", Key="key")
            with pytest.raises(ClientError, match=algorithm):
                await answer["Body"].read()
    assert not (tmp_path / "never").exists()


async def test_without_a_checksum_http_protects_no_read(moto_cluster, running):
    """Without a checksum nobody can tell bytes that were changed on the way back over plain http."""
    node = moto_cluster.nodes[0].url
    async with line(node, down=flipped) as url, running(over(moto_cluster, url)) as fb:
        await fb.put_object("demo", "key", BODY)
        assert (await fb.get_object("demo", "key")).body == BODY.replace(MARK, DAMAGED)


async def test_tls_protects_reads(tls_cluster, running):
    """Over https a body that changes on the way back breaks off, and goes on at another node."""
    bad, good = (node.url for node in tls_cluster.nodes)
    data = Random(1).randbytes(900 * KIB)
    async with line(bad, down=tampered) as url, running(over(tls_cluster, url, good)) as fb:
        await fb.put_object("demo", "key", data, endpoint=urlsplit(good).netloc)
        for _ in range(6):
            assert (await fb.get_object("demo", "key")).body == data


# --- both stores -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_checksums_go_there_and_back(algorithm, cluster, running, tmp_path):
    """In one request and in parts, up and down, with metadata of the caller's beside them."""
    data = Random(5).randbytes(2 * PART + 7)
    settings = {"checksum": algorithm, "multipart_threshold": PART, "part_size": PART}
    async with running(cluster.settings(**settings)) as fb:
        for key, body in (("small", BODY), ("large", data)):
            info = await fb.put_object("demo", key, body, metadata={"mine": "1"})
            assert info.checksum.startswith(f"{algorithm}:")
            head = await fb.head_object("demo", key)
            assert (head.checksum, head.metadata) == (info.checksum, {"mine": "1"})
            assert (await fb.get_object("demo", key)).body == body
            async with fb.stream_object("demo", key) as stream:
                assert await stream.read() == body
            await fb.download_file("demo", key, tmp_path / key)
            assert (tmp_path / key).read_bytes() == body
            copied = await fb.copy_object("demo", key, f"{key}-copy")
            assert copied.checksum == info.checksum
        (tmp_path / "source").write_bytes(data)
        info = await fb.upload_file("demo", "file", tmp_path / "source")
        assert info.checksum == (await fb.head_object("demo", "large")).checksum


async def test_stores_of_different_kinds_behind_one_name(moto_cluster, rclone_cluster, running, tmp_path):
    """Two stores give one object different ETags and times: by default that is another object, with `length` it is not."""
    data = Random(6).randbytes(2 * PART + 7)
    clusters = (moto_cluster, rclone_cluster)
    urls = [cluster.nodes[0].url for cluster in clusters]
    parts = {"multipart_threshold": PART, "part_size": PART}
    for cluster, url in zip(clusters, urls, strict=True):
        async with running(over(cluster, url, **parts)) as fb:
            await fb.put_object("demo", "key", data)
        await cluster.nodes[0].set(Behaviour(reset_after=3 * MIB))
    # Moto takes any key.
    async with running(over(rclone_cluster, *urls)) as fb, fb.stream_object("demo", "key") as body:
        with pytest.raises(ObjectChangedError):
            await body.read()
    async with running(over(rclone_cluster, *urls, resume_identity="length", **parts)) as fb:
        async with fb.stream_object("demo", "key") as body:
            assert await body.read() == data
        assert fb.stats().resumed
        assert (await fb.get_object("demo", "key")).body == data
        await fb.download_file("demo", "key", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == data
        answer = await fb.s3.get_object(Bucket="demo", Key="key")
        assert await answer["Body"].read() == data


async def test_a_version_is_downloaded(moto_cluster, running, tmp_path):
    """A download reads the version that is asked for, and only what its conditions let through."""
    path = tmp_path / "file"
    async with running(moto_cluster.settings()) as fb:
        await fb.s3.put_bucket_versioning(Bucket="demo", VersioningConfiguration={"Status": "Enabled"})
        try:
            first = await fb.put_object("demo", "key", b"first")
            second = await fb.put_object("demo", "key", b"second")
            info = await fb.download_file("demo", "key", path, version_id=first.version_id)
            assert (path.read_bytes(), info.version_id) == (b"first", first.version_id)
            with pytest.raises(NotModifiedError):
                await fb.download_file("demo", "key", path, if_none_match=second.etag)
            with pytest.raises(PreconditionFailedError):
                await fb.download_file("demo", "key", path, if_match=first.etag)
            assert path.read_bytes() == b"first"
            await fb.bucket("demo").download_file("key", path, if_match=second.etag)
            assert path.read_bytes() == b"second"
        finally:
            await fb.s3.put_bucket_versioning(Bucket="demo", VersioningConfiguration={"Status": "Suspended"})
