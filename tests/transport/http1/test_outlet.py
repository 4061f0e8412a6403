"""The way out, slice by slice, with a kernel that takes what it is told to."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from flashback_async.transport.http1.sending import AT_A_TIME, Outlet, send_in_slices
from flashback_async.transport.upload import SLICE, Upload

BODY = bytes(range(256)) * (3 * AT_A_TIME // 256) + b"end"


class Kernel(asyncio.Transport):
    """Takes the writes at once that are in `easy`, counted from 0; of the others `outlet` learns later."""

    def __init__(self, easy: range) -> None:
        super().__init__()
        self.outlet = Outlet(self, asyncio.get_running_loop())
        self.easy = easy
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        if len(self.writes) - 1 not in self.easy:
            self.outlet.block()
            asyncio.get_running_loop().call_soon(self.outlet.unblock)


async def sent(kernel: Kernel, body: bytes) -> list[tuple[int, bool]]:
    """Send `body`; the writes so far, and whether that was all, whenever it was told."""
    told = []

    def progress(*, complete: bool) -> None:
        told.append((len(kernel.writes), complete))

    await send_in_slices(
        Upload.of_bytes(body).reader(progress), kernel.outlet.pass_on, kernel.outlet.hand_over
    )
    assert b"".join(kernel.writes) == body
    assert max(map(len, kernel.writes)) == SLICE
    return told


async def test_what_the_kernel_takes_at_once_is_told_now_and_then():
    """An endpoint as fast as we are costs one word for many slices."""
    kernel = Kernel(range(1_000))
    slices = AT_A_TIME // SLICE
    told = [(slices, False), (2 * slices, False), (3 * slices, False), (3 * slices + 1, True)]
    assert await sent(kernel, BODY) == told


async def test_what_the_kernel_does_not_take_at_once_is_told_slice_by_slice():
    """A slow endpoint is seen to make progress with every slice, however many went before without waiting."""
    kernel = Kernel(range(3))
    slices = 3 * AT_A_TIME // SLICE + 1
    told = [(count, count == slices) for count in range(4, slices + 1)]
    assert await sent(kernel, BODY) == told


async def test_others_get_their_turn():
    """While a large body leaves at once, whoever waits for the loop waits for a part of it at most."""
    kernel = Kernel(range(1_000))
    seen = []

    async def other() -> None:
        while not seen or seen[-1] < len(BODY):
            seen.append(sum(map(len, kernel.writes)))
            await asyncio.sleep(0)

    await asyncio.gather(sent(kernel, BODY), other())
    assert all(after - before <= AT_A_TIME for before, after in itertools.pairwise(seen))


async def nothing(_descriptor: int, _start: int, _size: int) -> int:
    """No file is handed over."""
    raise AssertionError("what is in memory has no descriptor")


@pytest.mark.parametrize("passed", [0, 2])
async def test_nothing_more_is_sent_once_it_is_pointless(passed):
    """What refuses to pass on ends the sending, and the rest is not told as sent."""
    told, calls = [], []

    async def pass_on(data: bytes | memoryview) -> int:
        calls.append(len(data))
        return SLICE if len(calls) <= passed else 0

    body = Upload.of_bytes(BODY).reader(lambda *, complete: told.append(complete))
    await send_in_slices(body, pass_on, nothing)
    assert calls == [len(BODY) - count * SLICE for count in range(passed + 1)]
    assert told == [False] * passed
