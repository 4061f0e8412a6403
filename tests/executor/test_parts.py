"""Sources of large objects: whatever they are, the same bytes in parts of the right size."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from array import array
from collections import deque

import pytest
from virtual_time import run, scenario

from flashback_async.errors import ConfigurationError
from flashback_async.objects.chain import Chain
from flashback_async.objects.limits import TransferLimits
from flashback_async.objects.parts import source_of

from .scenes import pattern
from .transfers import left_open, names, scene_of

SIZE = 1_050
DATA = pattern(SIZE)


class Pipe(io.RawIOBase):
    """A file that cannot seek, and returns what it likes."""

    def __init__(self, data=DATA, most=33) -> None:
        self._data = io.BytesIO(data)
        self._most = most

    def readable(self):
        return True

    def read(self, amount=-1):
        return self._data.read(min(amount, self._most) if amount >= 0 else amount)


def generator(data=DATA, size=70):
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def async_generator(data=DATA, size=70):
    for piece in generator(data, size):
        yield piece


def refilled(data=DATA, size=70):
    """What a reader with one buffer yields: the same object again and again, with other bytes in it."""
    buffer = bytearray(size)
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        buffer[: len(piece)] = piece
        yield memoryview(buffer)[: len(piece)]


SOURCES = {
    "bytes": (lambda _: DATA, True),
    "bytearray": (lambda _: bytearray(DATA), True),
    "memoryview": (lambda _: memoryview(DATA), True),
    "wide memoryview": (lambda _: memoryview(array("H", DATA)), True),
    "strided memoryview": (lambda _: memoryview(bytes(b for byte in DATA for b in (byte, 0)))[::2], True),
    "text path": (str, True),
    "path": (lambda path: path, True),
    "file": (lambda path: path.open("rb"), True),
    "BytesIO": (lambda _: io.BytesIO(DATA), True),
    "pipe": (lambda _: Pipe(), False),
    "generator": (lambda _: generator(), False),
    "large pieces": (lambda _: generator(size=512), False),
    "one piece": (lambda _: iter([DATA]), False),
    "reused buffer": (lambda _: refilled(), False),
    "async generator": (lambda _: async_generator(), False),
    "list": (lambda _: list(generator()), True),
    "tuple with empty pieces": (lambda _: (b"", DATA[:500], b"", b"", DATA[500:], b""), True),
    "deque": (lambda _: deque(generator()), True),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_written_whole(name, tmp_path):
    """Whatever the source: the object is made of its bytes, in their order, all of them."""
    path = tmp_path / "source"
    path.write_bytes(DATA)
    make, _ = SOURCES[name]

    async def play():
        scene = scene_of(ids="a")
        source = make(path)
        info = await scene.put_object("bucket", "key", source)
        stored = scene.store.get("bucket", "key").data
        assert info.size == len(stored)
        assert stored == (bytes(array("H", DATA)) if name == "wide memoryview" else DATA)
        assert names(scene)[0] == "CreateMultipartUpload"
        assert scene.leaks() == {}
        if hasattr(source, "closed"):
            assert not source.closed
            source.close()

    run(play())


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_read_again_only_if_it_can_be(name, tmp_path):
    """Bytes, paths, seekable files and sequences begin anew; anything else may be at its end for good."""
    path = tmp_path / "source"
    path.write_bytes(DATA)
    make, is_replayable = SOURCES[name]

    async def play():
        given = make(path)
        source = await source_of(given)
        assert source.is_replayable is is_replayable
        first = [data async for data in parts_of(source)]
        assert [len(part) for part in first[:-1]] == [100] * (len(first) - 1)
        if is_replayable:
            await source.rewind()
            assert [data async for data in parts_of(source)] == first
        await source.close()
        await source.close()
        if hasattr(given, "close") and not hasattr(given, "gi_frame"):
            given.close()

    async def parts_of(source):
        while data := await source.take(100):
            yield data

    run(play())


@pytest.mark.parametrize(
    ("source", "is_shared"),
    [
        (DATA, True),
        (memoryview(DATA)[:1_000], True),
        (bytearray(DATA), False),
        (memoryview(bytearray(DATA)).toreadonly(), False),
        (memoryview(DATA)[::-1], False),
    ],
    ids=["bytes", "view of bytes", "bytearray", "view of a bytearray", "view backwards"],
)
async def test_parts_of_bytes_are_no_copies_unless_they_can_change(source, is_shared):
    """A large `bytes` leaves where it is; of what its owner could change while it is sent, the parts are copies."""
    expected = bytes(source)
    parts = await source_of(source)
    taken = []
    while part := await parts.take(300):
        taken.append(part)
    assert [isinstance(part, memoryview) and part.obj is DATA for part in taken] == [is_shared] * 4
    if isinstance(source, bytearray):
        source[:] = bytes(len(source))
    assert b"".join(taken) == expected


@scenario
async def test_a_file_is_cut_from_its_position():
    """An open file goes from where its owner left it, in parts too, and stays open."""
    file = io.BytesIO(b"skipped" + DATA)
    file.seek(7)
    scene = scene_of(ids="a")
    await scene.put_object("bucket", "key", file)
    assert scene.store.get("bucket", "key").data == DATA
    assert not file.closed


@pytest.mark.parametrize("make", [lambda item: iter([b"x" * 300, item]), lambda item: [item], None])
@pytest.mark.parametrize("item", ["text", 5, None])
def test_an_iterable_of_something_else_is_refused(make, item):
    """What yields no bytes is told with what it yields; nothing is left open."""

    async def later():
        yield b"x" * 400
        yield item

    async def play():
        scene = scene_of(ids="a")
        with pytest.raises(ConfigurationError, match="it must yield bytes"):
            await scene.put_object("bucket", "key", later() if make is None else make(item))
        assert left_open(scene) == scene.leaks() == {}
        assert scene.store.get("bucket", "key") is None

    run(play())


@pytest.mark.parametrize("source", [{b"a": b"b"}, {b"a", b"b"}, frozenset([b"a"])])
def test_what_has_no_order_is_refused(source):
    """Sets and dictionaries are refused before anything is sent: nobody could say what they would become."""

    async def play():
        scene = scene_of(ids="a")
        with pytest.raises(ConfigurationError, match=f"is a {type(source).__name__}; give bytes"):
            await scene.put_object("bucket", "key", source)
        assert scene.asked == []

    run(play())


class Failing(Pipe):
    """A pipe that breaks."""

    def __init__(self, error) -> None:
        super().__init__()
        self._error = error
        self._reads = 0

    def read(self, amount=-1):
        self._reads += 1
        if self._reads > 20:
            raise self._error
        return super().read(amount)


class SeekableFailing(Failing):
    """The same, of known length."""

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        return self._data.seek(offset, whence)

    def tell(self):
        return self._data.tell()


@pytest.mark.parametrize("kind", [Failing, SeekableFailing])
@pytest.mark.parametrize("error", [OSError("disk on fire"), ValueError("I/O operation on closed file")])
def test_a_file_that_cannot_be_read_on_is_the_callers(kind, error):
    """An error of the disk is told as such, blames no node, and the upload is aborted."""

    async def play():
        scene = scene_of(ids="a")
        with pytest.raises(ConfigurationError, match=str(error)):
            await scene.put_object("bucket", "key", kind(error))
        assert left_open(scene) == scene.leaks() == {}

    run(play())


def test_a_file_that_becomes_shorter_is_the_callers(tmp_path):
    """A file that ends before its length is not written as if it had been that short."""
    path = tmp_path / "file"
    path.write_bytes(pattern(1_000_000))
    limits = TransferLimits(threshold=250_000, part_size=100_000, concurrency=3, together=8)

    async def play():
        scene = scene_of(ids="a", transfers=limits)

        def cut(_):
            os.truncate(path, 710_000)

        with pytest.raises(
            ConfigurationError, match="data ended after 710000 of 1000000 bytes; did it change"
        ):
            await scene.upload_file("bucket", "key", path, progress=cut)
        assert left_open(scene) == scene.leaks() == {}
        assert scene.store.get("bucket", "key") is None

    run(play())


@scenario
async def test_a_pipe_of_text_is_refused():
    """A file that yields text is told to be opened in binary mode."""

    class Text(Pipe):
        def read(self, amount=-1):
            return "text"

    scene = scene_of(ids="a")
    with pytest.raises(ConfigurationError, match="binary mode"):
        await scene.put_object("bucket", "key", Text())


@scenario
async def test_a_cancelled_upload_leaves_a_file_alone():
    """Once the cancellation is raised, nobody reads the caller's file any more."""
    reading, entered = threading.Event(), threading.Event()

    class Watched(io.BytesIO):
        active = 0

        def read(self, amount=-1):
            Watched.active += 1
            entered.set()
            reading.wait(10)
            try:
                return super().read(amount)
            finally:
                Watched.active -= 1

    scene = scene_of(ids="a")
    task = asyncio.create_task(scene.put_object("bucket", "key", Watched(DATA)))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    reading.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert Watched.active == 0
    assert left_open(scene) == {}


@scenario
async def test_a_cancelled_upload_takes_no_more_of_an_iterable():
    """A generator in a thread is asked for nothing more once the upload has ended."""
    go, entered = threading.Event(), threading.Event()
    taken = []

    def slow():
        for number in range(1_000):
            taken.append(number)
            entered.set()
            go.wait(10)
            yield b"x"

    scene = scene_of(ids="a")
    task = asyncio.create_task(scene.put_object("bucket", "key", slow()))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    # The default executor's threads are joined, so that what still runs has ended.
    await asyncio.get_running_loop().shutdown_default_executor()
    assert taken == [0]


@scenario
async def test_a_chain_reads_as_one_file():
    """Pieces in memory behave as the file that they would be together."""
    pieces = [DATA[:100], b"", DATA[100:101], DATA[101:]]
    chain, file = Chain(pieces), io.BytesIO(DATA)
    assert chain.readable()
    assert chain.seekable()
    steps = [
        ("read", 50), ("read", 60), ("tell",), ("seek", -10, os.SEEK_CUR), ("read", 0), ("read", None),
        ("read", 5), ("seek", 0), ("read", -1), ("seek", -3, os.SEEK_END), ("read", 100), ("tell",),
        ("seek", 2_000), ("read", 1), ("seek", 99), ("read", 3),
    ]  # fmt: skip
    for name, *arguments in steps:
        assert getattr(chain, name)(*arguments) == getattr(file, name)(*arguments), (name, arguments)


@scenario
async def test_a_short_iterable_survives_its_node():
    """What turns out to be small is one request, which goes on at another node like any other."""
    from flashback_async.testing import Step  # noqa: PLC0415

    scene = scene_of({"a": Step.reset(), "b": []})
    await scene.put_object("bucket", "key", generator(DATA[:240]))
    assert scene.store.get("bucket", "key").data == DATA[:240]
    assert names(scene) == ["PutObject", "PutObject"]
