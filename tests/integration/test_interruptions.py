"""Transfers that end before their time, on a store whose overwrites are atomic: nothing is left half done.

An upload leaves no upload open, and what was there before it; a download leaves no file under its name.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from flashback_async import AccessDeniedError, DeadlineExceededError
from flashback_async.sandbox import Behaviour

from .test_big_objects import DATA, MIB, SIZE, settings_of, store_of, uploads_open_at

OLD = b"what was there before"
SLOW = Behaviour(bandwidth=8 * MIB)
PROGRAM = Path(__file__).with_name("interrupted_transfer.py")


async def before_and_after(cluster, fb):
    """What the store shows of the object, and of uploads."""
    assert await uploads_open_at(cluster) == []
    assert (await fb.get_object("demo", "big")).body == OLD


async def pieces(then):
    for at in range(0, 12 * MIB, MIB):
        yield DATA[at : at + MIB]
    raise then


async def test_a_source_that_raises(moto_cluster, running):
    """What the caller's iterable raises passes as it is; the upload is aborted, and the object is the old one."""
    async with running(settings_of(moto_cluster)) as fb:
        await fb.put_object("demo", "big", OLD)
        with pytest.raises(ZeroDivisionError):
            await fb.put_object("demo", "big", pieces(ZeroDivisionError()))
        await before_and_after(moto_cluster, fb)


async def test_a_listener_that_raises(moto_cluster, running):
    """What the progress callback raises ends the upload, which is aborted; the object is the old one."""

    def refuse(_amount):
        raise ZeroDivisionError

    async with running(settings_of(moto_cluster)) as fb:
        await fb.put_object("demo", "big", OLD)
        with pytest.raises(ZeroDivisionError):
            await fb.upload_file("demo", "big", DATA, progress=refuse)
        await before_and_after(moto_cluster, fb)


async def test_a_deadline(moto_cluster, running):
    """An upload whose time is up is aborted none the less; the object is the old one."""
    async with running(settings_of(moto_cluster)) as fb:
        await fb.put_object("demo", "big", OLD)
        for node in moto_cluster.nodes:
            await node.set(SLOW)
        with pytest.raises(DeadlineExceededError):
            await fb.put_object("demo", "big", DATA, timeout=1.0)
        await before_and_after(moto_cluster, fb)


async def test_a_refusal_in_the_middle(moto_cluster, running):
    """An upload of which a part is refused for good is aborted; the object is the old one."""
    async with running(settings_of(moto_cluster)) as fb:
        await fb.put_object("demo", "big", OLD)

        async def refuse(_amount):
            for node in moto_cluster.nodes:
                await node.set(Behaviour(status=403, error_rate=1.0))

        task = asyncio.create_task(fb.upload_file("demo", "big", DATA, progress=refuse))
        with pytest.raises(AccessDeniedError) as caught:
            await task
        for node in moto_cluster.nodes:
            await node.heal()
        # The abort was refused as well: the error names what is left, and its reader can clean up.
        assert [orphan.upload_id for orphan in caught.value.orphans] == await uploads_open_at(moto_cluster)
        async with store_of(moto_cluster) as s3:
            for orphan in caught.value.orphans:
                assert orphan.upload_id in str(caught.value)
                await s3.abort_multipart_upload(Bucket="demo", Key="big", UploadId=orphan.upload_id)
        await before_and_after(moto_cluster, fb)


async def interrupted(cluster, direction, path, number):
    """Run the program, send it a signal while bytes move, and return its exit code."""
    environment = {
        **os.environ,
        **cluster.environment(),
        "FB_MULTIPART_THRESHOLD": str(5 * MIB),
        "FB_PART_SIZE": str(5 * MIB),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, PROGRAM, direction, path, env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"moving\n"
            process.send_signal(number)
            return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_an_upload_that_is_interrupted_from_the_keyboard(moto_cluster, running, tmp_path):
    """Ctrl-C in the middle of an upload ends the program after the upload was aborted."""
    source = tmp_path / "source"
    source.write_bytes(DATA)
    async with running(settings_of(moto_cluster)) as fb:
        await fb.put_object("demo", "big", OLD)
        for node in moto_cluster.nodes:
            await node.set(SLOW)
        assert await interrupted(moto_cluster, "up", source, signal.SIGINT) == 130
        for node in moto_cluster.nodes:
            await node.heal()
        await before_and_after(moto_cluster, fb)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_download_that_is_interrupted_from_outside(moto_cluster, running, tmp_path, number):
    """Ctrl-C or the death of the process in the middle of a download leaves what was under the name, and the
    next download completes it.
    """
    target = tmp_path / "target"
    target.write_bytes(OLD)
    async with running(settings_of(moto_cluster)) as fb:
        await fb.put_object("demo", "big", DATA)
        for node in moto_cluster.nodes:
            await node.set(SLOW)
        assert await interrupted(moto_cluster, "down", target, number) in {130, -signal.SIGKILL}
        assert target.read_bytes() == OLD
        for node in moto_cluster.nodes:
            await node.heal()
        info = await fb.download_file("demo", "big", target)
        assert info.size == SIZE
        assert target.read_bytes() == DATA
        assert os.listdir(tmp_path) == ["target"]
