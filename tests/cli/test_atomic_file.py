"""Files that appear whole or not at all."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from flashback_async.cli.atomic_file import AtomicFile

from .conftest import files_below

MIB = 1024 * 1024


async def test_the_file_appears_with_the_end_of_the_block(tmp_path):
    """Directories are made, bytes are written in order, and nothing but the file is left."""
    path = tmp_path / "a" / "b" / "c.bin"
    async with AtomicFile(path) as file:
        for number in range(5):
            await file.write(bytes([number]) * (MIB // 2))
            assert not path.exists()
    assert files_below(tmp_path) == {"a/b/c.bin": b"".join(bytes([n]) * (MIB // 2) for n in range(5))}


async def test_an_empty_file_is_a_file(tmp_path):
    """Nothing written makes an empty file."""
    async with AtomicFile(tmp_path / "empty"):
        pass
    assert files_below(tmp_path) == {"empty": b""}


async def test_the_mode_follows_the_umask(tmp_path):
    """The file is as readable as any other that this user makes."""
    mask = os.umask(0o027)
    try:
        async with AtomicFile(tmp_path / "f") as file:
            await file.write(b"x")
    finally:
        os.umask(mask)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("size", [1, 3 * MIB])
async def test_an_error_leaves_what_was_there(tmp_path, size):
    """When the block fails, the old file is untouched and the temporary one is gone."""
    path = tmp_path / "f"
    path.write_bytes(b"old")

    async def failing():
        async with AtomicFile(path) as file:
            await file.write(b"x" * size)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await failing()
    assert files_below(tmp_path) == {"f": b"old"}


async def test_a_cancellation_waits_for_the_disk_and_leaves_nothing(tmp_path, monkeypatch):
    """A write that is under way when the copy is cancelled ends first; then no trace is left."""
    begun, go_on = threading.Event(), threading.Event()
    flush = AtomicFile._flush

    def slow(self):
        begun.set()
        go_on.wait(10)
        flush(self)

    monkeypatch.setattr(AtomicFile, "_flush", slow)

    async def writing():
        async with AtomicFile(tmp_path / "f") as file:
            await file.write(b"x" * MIB)

    task = asyncio.create_task(writing())
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(2):
        task.cancel()
        # The disk holds everything up, so a few turns of the loop are all that can happen.
        for _ in range(10):
            await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files_below(tmp_path) == {}


async def test_the_longest_name_works(tmp_path):
    """The temporary name is short, however long the name of the file is."""
    path = tmp_path / ("n" * 255)
    async with AtomicFile(path) as file:
        await file.write(b"x")
    assert path.read_bytes() == b"x"


async def test_a_directory_in_the_way_is_an_error_that_names_it(tmp_path):
    """A target that is a directory fails, and leaves no temporary file."""
    (tmp_path / "d").mkdir()
    with pytest.raises(OSError, match="d"):
        async with AtomicFile(tmp_path / "d") as file:
            await file.write(b"x")
    assert files_below(tmp_path) == {}
