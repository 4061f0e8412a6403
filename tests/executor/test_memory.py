"""Large bodies in memory: what is left of them when a read fails."""

from __future__ import annotations

import asyncio
import gc

import pytest
from virtual_time import run

from flashback_async.errors import OperationError
from flashback_async.objects.limits import TransferLimits
from flashback_async.testing import Break, Step

from .scenes import KIB, MIB, Scene, pattern

DATA = pattern(MIB)
PARTS = TransferLimits(threshold=300 * KIB, part_size=256 * KIB, concurrency=2, together=4)


def lent_buffers() -> int:
    """Buffers of `BytesIO` that somebody may still write to."""
    return sum(type(found).__name__ == "_BytesIOBuffer" for found in gc.get_objects())


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
