"""Large bodies in memory: what is left of them when a read fails, and memory that is used again."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import ExitStack

import pytest
from virtual_time import run

from flashback_async.errors import OperationError
from flashback_async.objects.arrivals import Arrival, Slabs
from flashback_async.objects.limits import TransferLimits
from flashback_async.testing import Break, Step

from .scenes import KIB, MIB, Scene, pattern

DATA = pattern(MIB)
PARTS = TransferLimits(threshold=300 * KIB, part_size=256 * KIB, concurrency=2, together=4)


def lent_buffers() -> int:
    """Buffers of `BytesIO` that somebody may still write to."""
    return sum(type(found).__name__ == "_BytesIOBuffer" for found in gc.get_objects())


def arrived(slabs: Slabs, *pieces: bytes) -> bytes:
    """`pieces` as one body, as the reader of a socket would put them there."""
    whole = b"".join(pieces)
    with slabs.arrival(len(whole)) as arrival:
        for piece in pieces:
            done = 0
            while done < len(piece):
                with arrival.room() as room:
                    count = min(len(room), len(piece) - done)
                    room[:count] = piece[done : done + count]
                arrival.wrote(count)
                done += count
        return arrival.value()


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("sizes", [(), (1,), (MIB,), (MIB, MIB), (MIB - 1, 2), (700 * KIB, 3 * MIB, 5)])
def test_a_body_that_arrived_is_what_was_written(sizes, others):
    """A body is its pieces in their order, however they fall into the memory, which was another's before."""
    slabs = Slabs()
    with ExitStack() as reading:
        for _ in range(others):
            reading.enter_context(slabs.arrival(1))
        for first in (0, 1):
            pieces = [pattern(first + size)[first:] for size in sizes]
            assert arrived(slabs, *pieces) == b"".join(pieces)


def fill(arrival: Arrival, size: int) -> None:
    """Put so many bytes there, whatever they are."""
    while size:
        with arrival.room() as room:
            count = min(len(room), size)
        arrival.wrote(count)
        size -= count


def test_memory_is_used_again():
    """What one body used serves the next ones; the largest bodies use none of it."""
    slabs = Slabs()
    with slabs.arrival(1):
        assert slabs.kept == 0
        arrived(slabs, bytes(3 * MIB))
        assert slabs.kept == 3 * MIB
        arrived(slabs, bytes(2 * MIB))
        arrived(slabs, bytes(33 * MIB))
        assert slabs.kept == 3 * MIB


def test_memory_that_nobody_needed_for_a_second_is_freed():
    """What bodies used together serves those that begin a moment later; 8 MiB of it stay once nothing is read."""

    async def play():
        slabs, kept = Slabs(), []
        for size in (20 * MIB, 20 * MIB, 10 * MIB):
            with slabs.arrival(1), slabs.arrival(size) as arrival:
                fill(arrival, size)
            kept.append(slabs.kept)
            await asyncio.sleep(0.7)
        for _ in range(2):
            await asyncio.sleep(0.7)
            kept.append(slabs.kept)
        slabs.close()
        return [size // MIB for size in kept]

    # Looked after 1, 2 and 3 s, before which 20, 10 and none were in use since the last time; read after 0, 0.7,
    # 1.4, 2.8 and 3.5 s.
    assert run(play()) == [20, 20, 20, 10, 8]


def test_a_closed_store_of_memory_keeps_nothing():
    """Neither what was kept nor what comes back later stays, and no timer holds on to it."""

    async def play():
        slabs = Slabs()
        with slabs.arrival(1), slabs.arrival(9 * MIB) as late:
            fill(late, 9 * MIB)
            with slabs.arrival(9 * MIB) as other:
                fill(other, 9 * MIB)
            assert slabs.kept == 9 * MIB
            slabs.close()
            slabs.close()
            assert slabs.kept == 0
        assert slabs.kept == 0
        gone = weakref.ref(slabs)
        del slabs, late, other
        gc.collect()
        assert gone() is None

    run(play())


def test_memory_of_a_read_that_failed_is_not_used_again():
    """Whoever still has a view of it cannot spoil another body."""
    slabs = Slabs()
    with slabs.arrival(1):
        with pytest.raises(OSError, match="cut"), slabs.arrival(MIB) as arrival:
            room = arrival.room()
            arrival.wrote(7)
            raise OSError("cut")
        assert slabs.kept == 0
        with slabs.arrival(MIB) as arrival:
            assert arrival.room().obj is not room.obj


@pytest.mark.parametrize("together", [1, 3])
def test_bodies_that_come_together_share_memory(together):
    """One large body at a time needs no memory that is kept; several leave what they used for the next ones."""

    async def play():
        scene = Scene(ids="a")
        scene.store.put("bucket", "key", DATA)
        found = await asyncio.gather(*(scene.get_object("bucket", "key") for _ in range(together)))
        assert [each.body for each in found] == [DATA] * together
        return scene.runner.slabs.kept > 0

    assert run(play()) is (together > 1)


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
