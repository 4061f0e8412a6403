"""Every verb once, on every store: what must work with whatever aioboto3 and aiobotocore are installed."""

from __future__ import annotations

import io
from random import Random

import pytest

from flashback_async import ObjectNotFoundError

from .workload import KIB

MIB = 1_024 * KIB
DATA = Random(37).randbytes(3 * MIB)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("store", ["moto", "rclone"])
async def test_every_verb_once(flashback_cluster_factory, running, tmp_path, store, tls):
    """Put, head, get, range, stream, copy, list and delete do what S3's users expect."""
    distance = {} if tls else {"latency": 0.02}
    cluster = flashback_cluster_factory(nodes=2 if tls else 4, store=store, tls=tls, **distance)
    async with running(cluster.settings()) as fb:
        written = await fb.put_object(
            "demo", "dir/small", b"small", content_type="text/plain", metadata={"a": "b"}
        )
        assert (written.bucket, written.key, written.size) == ("demo", "dir/small", 5)

        info = await fb.head_object("demo", "dir/small")
        assert (info.size, info.etag) == (5, written.etag)
        assert info.metadata == {"a": "b"}
        assert info.last_modified is not None

        found = await fb.get_object("demo", "dir/small")
        assert found.body == b"small"
        assert found.info.etag == written.etag
        assert found.attempts == 1
        assert found.endpoint in {node.id for node in fb.nodes()}

        (tmp_path / "file").write_bytes(DATA)
        await fb.put_object("demo", "dir/from a path", tmp_path / "file")
        with (tmp_path / "file").open("rb") as file:
            await fb.put_object("demo", "dir/from a file", file)
        await fb.put_object("demo", "dir/from bytes", io.BytesIO(DATA))
        await fb.put_object("demo", "empty", b"")
        for key in ("dir/from a path", "dir/from a file", "dir/from bytes"):
            assert (await fb.get_object("demo", key)).body == DATA
        assert (await fb.get_object("demo", "empty")).body == b""

        for asked in ((0, 1), (10, 1_000), (MIB, None), (-7, None), (len(DATA) - 1, len(DATA) + 50)):
            part = await fb.get_object("demo", "dir/from bytes", range=asked)
            assert part.body == DATA[slice(*asked)]
            assert part.info.size == len(DATA)

        async with fb.stream_object("demo", "dir/from bytes") as body:
            assert body.length == len(DATA)
            assert b"".join([piece async for piece in body]) == DATA

        copied = await fb.copy_object("demo", "dir/from bytes", "copy")
        assert copied.size == len(DATA)
        assert (await fb.get_object("demo", "copy")).body == DATA

        listed = [info async for info in fb.list_objects("demo", "dir/", page_size=2)]
        assert [row.key for row in listed] == [
            "dir/from a file",
            "dir/from a path",
            "dir/from bytes",
            "dir/small",
        ]
        assert [row.size for row in listed] == [len(DATA)] * 3 + [5]

        await fb.delete_object("demo", "copy")
        await fb.delete_object("demo", "copy")
        assert not await fb.object_exists("demo", "copy")
        assert await fb.object_exists("demo", "empty")
        with pytest.raises(ObjectNotFoundError):
            await fb.get_object("demo", "copy")

        bucket = fb.bucket("demo")
        assert (await bucket.get_object("dir/small")).body == b"small"
        assert fb.stats().failed == 0
        assert fb.stats().retries == 0
