"""The way out: bodies in slices, no faster than the kernel takes them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from flashback_async.transport.upload import SLICE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flashback_async.transport.s3_call import Progress
    from flashback_async.transport.upload import UploadReader


# A fast endpoint never blocks us, but others want the loop too, and its answer must be noticed. To give way
# after every slice took 3 % of the CPU of 8 MiB, and to tell of each another 2 %; the kernel takes so many
# bytes in ~0.6 ms.
AT_A_TIME: Final = 2 * 1_024 * 1_024


class Outlet:
    """What goes out through one transport. For one writer at a time."""

    __slots__ = ("_is_blocked", "_loop", "_transport", "_unblocked")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._is_blocked = False
        self._unblocked: asyncio.Future[None] | None = None

    def open(self) -> None:
        """Have `block` and `unblock` called whenever the kernel does not take everything, and when it has."""
        # Not 0: asyncio's TLS takes its own empty buffer for one that is full to that mark.
        self._transport.set_write_buffer_limits(high=1, low=0)

    async def pass_on(self, data: bytes | memoryview) -> int:
        """Write from the start of `data`, a slice at a time, for as long as the kernel takes them at once.

        Waits until it has taken the last one, or `wake` is called.

        Returns:
            How many bytes that were, at least a slice of what there is.
        """
        done = 0
        while done < len(data):
            piece = data[done : done + SLICE]
            self._transport.write(piece)
            done += len(piece)
            if self._is_blocked:
                await self._unblocked_again()
                break
            if done >= AT_A_TIME:
                await asyncio.sleep(0)
                break
        return done

    async def _unblocked_again(self) -> None:
        self._unblocked = self._loop.create_future()
        try:
            await self._unblocked
        finally:
            self._unblocked = None

    def block(self) -> None:
        """The kernel does not take everything."""
        self._is_blocked = True

    def unblock(self) -> None:
        """It has taken it."""
        self._is_blocked = False
        self.wake()

    def wake(self) -> None:
        """Something happened that the writer should know."""
        if self._unblocked is not None and not self._unblocked.done():
            self._unblocked.set_result(None)


async def send_in_slices(
    body: bytes | UploadReader, pass_on: Callable[[bytes | memoryview], Awaitable[int]]
) -> None:
    """Send `body`, until `pass_on` passes on no more of it. A reader tells how far it got.

    Raises:
        FlashbackError: whatever reading `body` raises.
    """
    progress: Progress | None = None
    if isinstance(body, bytes):
        memory = memoryview(body)
    elif body.memory is not None:
        memory, progress = body.memory, body.progress
    else:
        async with aclosing(body.__aiter__()) as slices:
            async for piece in slices:
                if not await pass_on(piece):
                    return
        return
    sent = 0
    while sent < len(memory):
        count = await pass_on(memory[sent:])
        if not count:
            return
        sent += count
        if progress is not None:
            progress(complete=sent == len(memory))
