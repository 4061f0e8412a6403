"""Bodies to send: from memory, paths and files; told in slices; the same bytes for every attempt."""

from __future__ import annotations

import gc
import io
import os
import weakref
from contextlib import suppress
from pathlib import Path

import pytest
from virtual_time import run, scenario

from flashback_async.errors import ConfigurationError, EndpointServerError
from flashback_async.testing import Step
from flashback_async.transport.upload import SLICE, Upload

from .scenes import CANCELLED, SUCCESS, Scene, pattern

SIZES = [0, 1, SLICE - 1, SLICE, SLICE + 1, 3 * SLICE, 3 * SLICE + 7]


class Told:
    """Writes down what an upload tells."""

    def __init__(self) -> None:
        self.calls: list[bool] = []

    def __call__(self, *, complete: bool) -> None:
        self.calls.append(complete)


async def sent(upload: Upload, told: Told | None = None) -> bytes:
    reader = upload.reader(told or Told())
    if isinstance(reader, bytes):
        return reader
    try:
        return b"".join([piece async for piece in reader])
    finally:
        reader.close()


class Unseekable(io.RawIOBase):
    """A pipe, more or less."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer) -> int:
        return self._data.readinto(buffer)


class Bare:
    """The least that can be read: no seek, no seekable."""

    def __init__(self, data) -> None:
        self._data = data

    def read(self, amount=-1):
        return self._data


def source_of(kind: str, data: bytes, tmp_path: Path):
    path = tmp_path / "source"
    path.write_bytes(data)
    return {
        "bytes": lambda: data,
        "bytearray": lambda: bytearray(data),
        "memoryview": lambda: memoryview(data),
        "text path": lambda: str(path),
        "path": lambda: path,
        "file": lambda: path.open("rb"),
        "BytesIO": lambda: io.BytesIO(data),
        "pipe": lambda: Unseekable(data),
        "bare reader": lambda: Bare(data),
    }[kind]()


KINDS = ["bytes", "bytearray", "memoryview", "text path", "path", "file", "BytesIO", "pipe", "bare reader"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_source_is_sent_whole_and_again(kind, size, tmp_path):
    """Whatever the source: its size is known, and every attempt sends the same bytes, all of them."""
    data = pattern(size)
    source = source_of(kind, data, tmp_path)

    async def play():
        upload = await Upload.of(source)
        assert (upload.size, upload.is_replayable) == (size, True)
        for _ in range(3):
            assert await sent(upload) == data

    run(play())
    if hasattr(source, "close"):
        assert not source.closed
        source.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["bytes", "path"])
def test_progress_is_told_slice_by_slice(kind, size, tmp_path):
    """Every slice that leaves is told, the last one as such; a body in one piece tells nothing."""

    async def play():
        told = Told()
        upload = await Upload.of(source_of(kind, pattern(size), tmp_path))
        await sent(upload, told)
        slices = -(-size // SLICE)
        expected = [False] * (slices - 1) + [True] if slices and upload.in_slices else []
        assert told.calls == expected
        assert upload.in_slices == (kind == "path" or size > SLICE)

    run(play())


@scenario
async def test_what_is_in_memory_is_copied_if_it_can_change():
    """A bytearray that changes after the call does not change what is sent."""
    source = bytearray(b"before")
    upload = await Upload.of(source)
    source[:] = b"after!"
    assert await sent(upload) == b"before"


def test_a_file_is_read_from_its_position(tmp_path):
    """An open file is sent from where the caller left it, at every attempt, and stays open."""
    with source_of("file", b"0123456789", tmp_path) as file:
        file.seek(4)

        async def play():
            upload = await Upload.of(file)
            assert upload.size == 6
            for _ in range(2):
                assert await sent(upload) == b"456789"

        run(play())
        assert not file.closed


def test_a_position_past_the_end_is_an_empty_body(tmp_path):
    """A file left past its end has nothing to send; its size is zero, not negative."""
    with source_of("file", b"0123456789", tmp_path) as file:
        file.seek(40)

        async def play():
            upload = await Upload.of(file)
            assert (upload.size, await sent(upload)) == (0, b"")

        run(play())


@scenario
async def test_a_second_iteration_starts_from_the_start():
    """A new connection may make aiohttp iterate a body again: it gets all bytes again."""
    upload = await Upload.of(pattern(3 * SLICE))
    reader = upload.reader(Told())
    async for _ in reader:
        break
    assert b"".join([piece async for piece in reader]) == pattern(3 * SLICE)
    reader.close()


@scenario
async def test_a_body_can_be_read_for_its_signature():
    """Whoever signs the payload reads, seeks and tells it as a file, relative to its own start."""
    file = io.BytesIO(b"skipped" + pattern(2 * SLICE))
    file.seek(7)
    reader = (await Upload.of(file)).reader(Told())
    assert (len(reader), bool(reader)) == (2 * SLICE, True)
    assert reader.tell() == 0
    assert reader.read(10) == pattern(2 * SLICE)[:10]
    assert reader.tell() == 10
    assert reader.seek(5) == 5
    assert reader.read(1) == pattern(2 * SLICE)[5:6]
    assert reader.seek(0, os.SEEK_END) == 2 * SLICE
    assert reader.read() == b""
    assert reader.seek(-4, os.SEEK_CUR) == 2 * SLICE - 4
    assert reader.read() == pattern(2 * SLICE)[-4:]
    assert b"".join([piece async for piece in reader]) == pattern(2 * SLICE)
    reader.close()
    reader.close()


@scenario
async def test_an_empty_body_in_a_file_is_true():
    """A body of no bytes is still a body: it is not falsy, or boto would leave it out."""
    reader = (await Upload.of(io.BytesIO())).reader(Told())
    assert (len(reader), bool(reader)) == (0, True)
    reader.close()


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (5, "is a int; give bytes, a path"),
        (None, "is a NoneType"),
        (io.StringIO("text"), "binary mode"),
        (Bare("text"), "binary mode"),
        ("/no/such/file", "path of a file, and cannot be read: No such file.*give bytes"),
        (Path("/"), "cannot be read: Is a directory"),
    ],
)
def test_what_cannot_be_sent_is_refused(source, why):
    """A wrong source is refused before anything is sent, with the reason and the way out."""

    async def play():
        scene = Scene(ids="a")
        with pytest.raises(ConfigurationError, match=why):
            await scene.put_object("bucket", "key", source)
        assert scene.asked == []

    run(play())


def test_text_files_and_closed_ones_are_refused(tmp_path):
    """A file in text mode, or one that is closed, is told before anything is sent."""
    path = tmp_path / "file"
    path.write_text("text")

    async def play():
        with path.open(encoding="utf-8") as text, pytest.raises(ConfigurationError, match="binary mode"):
            await Upload.of(text)
        with path.open("rb") as file:
            pass
        with pytest.raises(ConfigurationError, match="is closed"):
            await Upload.of(file)

    run(play())


@pytest.mark.parametrize("what", ["deleted", "shorter", "unreadable"])
def test_a_source_that_changes_is_our_fault(what, tmp_path):
    """A file that is gone, shorter or unreadable when it is sent is the caller's error."""
    path = tmp_path / "file"
    path.write_bytes(pattern(2 * SLICE))

    async def play():
        scene = Scene({"a": Step(pace=1.0), "b": Step()})
        upload = await Upload.of(path)
        if what == "deleted":
            path.unlink()
        elif what == "shorter":
            path.write_bytes(b"x" * 10)
        else:
            path.unlink()
            path.mkdir()
        scene.upload = upload
        from .scenes import WRITE, operation  # noqa: PLC0415

        with pytest.raises(ConfigurationError, match=r"data (cannot be read|ended after 10 of)"):
            await scene.runner.call(
                operation("PutObject", kind=WRITE, data=upload), timeout=None, endpoint=None, retry=True
            )
        assert scene.router.settled == [("a", CANCELLED)]
        assert scene.leaks() == {}

    run(play())


def test_a_file_that_fails_to_read_is_our_fault(tmp_path):
    """An error of the disk, or a file that its owner closes, is told as such."""

    class Failing(io.BytesIO):
        error: Exception = OSError("disk on fire")

        def read(self, amount=-1):
            raise self.error

    async def play(error):
        file = Failing(b"x" * 10)
        file.error = error
        upload = await Upload.of(file)
        with pytest.raises(ConfigurationError, match=f"cannot be read after 0 bytes: {error}"):
            await sent(upload)

    run(play(OSError("disk on fire")))
    run(play(ValueError("I/O operation on closed file")))


def test_a_file_closed_between_attempts_is_our_fault(tmp_path):
    """A file that its owner closed before the next attempt cannot be sent again, and says so."""
    file = source_of("file", b"0123456789", tmp_path)

    async def play():
        upload = await Upload.of(file)
        file.close()
        with pytest.raises(ConfigurationError, match="cannot be read any more"):
            await sent(upload)

    run(play())


@pytest.mark.parametrize("kind", ["path", "file", "pipe"])
def test_files_are_sent_through_failures(kind, tmp_path):
    """A put from a file whose first endpoint takes half of it ends with the whole of it at the next one."""
    data = pattern(4 * SLICE + 1)
    source = source_of(kind, data, tmp_path)

    async def play():
        scene = Scene({"a": Step.reset(takes=2 * SLICE), "b": Step.silent(takes=SLICE), "c": Step()})
        info = await scene.put_object("bucket", "key", source)
        assert info.size == len(data)
        assert scene.store.get("bucket", "key").data == data
        assert scene.router.settled[-1] == ("c", SUCCESS)
        assert scene.leaks() == {}

    run(play())
    if kind != "path":
        source.close()


@scenario
async def test_slices_that_a_file_returns_short_are_put_together():
    """A file that returns less than asked for is read on."""

    class Trickle(io.BytesIO):
        def read(self, amount=-1):
            return super().read(min(amount, 1_000) if amount > 0 else amount)

    upload = await Upload.of(Trickle(pattern(5_500)))
    assert await sent(upload) == pattern(5_500)


class Source(io.BytesIO):
    """A file of the caller's that can be watched."""


@pytest.mark.parametrize("retry", [True, False])
def test_a_failed_upload_keeps_nothing(retry):
    """Once its error is gone, so is the body of an upload that failed: nothing waits for a garbage collection."""

    async def play():
        scene = Scene({"a": [Step.error(503)] * 3})
        source = Source(bytes(100))
        watched = weakref.ref(source)
        gc.disable()
        try:
            with suppress(EndpointServerError):
                await scene.put_object("bucket", "key", source, retry=retry)
            del source
            scene.endpoints.requests.clear()
            assert watched() is None
        finally:
            gc.enable()

    run(play())
