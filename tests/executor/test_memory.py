"""Large bodies in memory: how it is made, and what is left of it when a read fails."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib.util
import itertools
import mmap
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from virtual_time import run

from flashback_async.errors import OperationError
from flashback_async.objects.blank import blank
from flashback_async.objects.limits import TransferLimits
from flashback_async.objects.memory import Memory
from flashback_async.testing import Break, Step

from .scenes import KIB, MIB, Scene, pattern

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = pattern(MIB)
PARTS = TransferLimits(threshold=300 * KIB, part_size=256 * KIB, concurrency=2, together=4)


def lent_buffers() -> int:
    """Buffers of `BytesIO` that somebody may still write to."""
    return sum(type(found).__name__ == "_BytesIOBuffer" for found in gc.get_objects())


def fresh_blank() -> Callable[[int], bytes]:
    """`blank` as a Python finds it that has not made any bytes with it yet."""
    spec = importlib.util.find_spec("flashback_async.objects.blank")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.blank


@pytest.mark.parametrize("without", [None, "ctypes", "the C API", "large pages"])
def test_bytes_are_made_to_be_filled(monkeypatch, without):
    """Blank bytes have their length, and are nobody else's, whatever there is to make them with."""
    if without == "ctypes":
        monkeypatch.setitem(sys.modules, "ctypes", None)
    elif without == "the C API":
        monkeypatch.delattr(ctypes, "pythonapi")
    elif without == "large pages":
        monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    blank = fresh_blank()
    for size in (0, 1, 300 * KIB, 5 * MIB, 40 * MIB):
        made = [blank(size), blank(size)]
        assert [(type(each), len(each)) for each in made] == [(bytes, size)] * 2
        assert (made[0] is made[1]) is (size == 0)


def wants_large_pages(address: int) -> bool:
    """Whether the kernel was asked for large pages at that address (`hg` among the flags of smaps)."""
    is_there = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if span := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            is_there = int(span[1], 16) <= address < int(span[2], 16)
        elif is_there and line.startswith("VmFlags:"):
            return "hg" in line.split()
    raise AssertionError("nobody has memory there")


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage/enabled").exists(), reason="this kernel has no large pages"
)
def test_large_bodies_ask_for_large_pages():
    """Of a body of several MiB, all but its ends is asked for in pages of 2 MiB."""
    made = blank(40 * MIB)
    start = id(made)
    assert [wants_large_pages(start + at * MIB) for at in range(1, 40)] == [True] * 39


def place_of(data: memoryview | bytes) -> int:
    """Address of the first of these bytes."""
    if isinstance(data, bytes):
        found = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
        assert found is not None
        return found
    return ctypes.addressof(ctypes.c_char.from_buffer(data))


def test_memory_is_not_copied():
    """What was written becomes `bytes` where it lies, so that a large body is never there twice."""
    with Memory(5 * MIB) as memory:
        with memory.room(0, 5 * MIB) as room:
            room[:] = pattern(5 * MIB)
            written = place_of(room)
        value = memory.value()
    assert place_of(value) == written


def test_more_memory_than_there_is_is_an_error():
    """An object that cannot fit raises `MemoryError` before its bytes are read."""
    with pytest.raises(MemoryError):
        blank(1 << 62)


@pytest.mark.parametrize("sizes", [(), (1,), (MIB,), (MIB - 1, 2), (700 * KIB, 8 * MIB, 5)])
def test_memory_becomes_what_was_written(sizes):
    """The value is the pieces at their places, in whatever order they were written."""
    for first in (0, 1):
        pieces = [pattern(first + size)[first:] for size in sizes]
        ends = list(itertools.accumulate(sizes))
        with Memory(sum(sizes)) as memory:
            for piece, end in reversed(list(zip(pieces, ends, strict=True))):
                with memory.room(end - len(piece), end) as room:
                    room[:] = piece
            value = memory.value()
            assert memory.value() is value
        assert value == b"".join(pieces)


@pytest.mark.parametrize("together", [1, 3])
def test_bodies_that_come_together_are_their_own(together):
    """Large bodies that are read at the same time do not mix."""

    async def play():
        scene = Scene(ids="a")
        bodies = [pattern(MIB + index)[index:] for index in range(together)]
        for index, body in enumerate(bodies):
            scene.store.put("bucket", str(index), body)
        found = await asyncio.gather(*(scene.get_object("bucket", str(at)) for at in range(together)))
        assert [each.body for each in found] == bodies

    run(play())


@pytest.mark.parametrize("transfers", [None, PARTS], ids=["one stream", "pieces"])
@pytest.mark.parametrize("how", ["error", "cancelled"])
def test_a_read_that_fails_lends_no_memory(transfers, how):
    """Who keeps the error of a large read keeps no view of its memory, which Python 3.12.1 could not collect."""

    async def play():
        before = lent_buffers()
        scene = Scene({"a": Step.broken(300_000, Break.STALL)}, transfers=transfers)
        scene.store.put("bucket", "key", DATA)
        read = asyncio.create_task(scene.get_object("bucket", "key", retry=False))
        if how == "cancelled":
            await asyncio.sleep(1.0)
            assert lent_buffers() > before
            read.cancel()
        with pytest.raises((OperationError, asyncio.CancelledError)) as caught:
            await read
        assert isinstance(caught.value, OperationError) is (how == "error")
        assert lent_buffers() == before

    run(play())
