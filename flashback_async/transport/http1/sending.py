"""The way out: bodies in slices, no faster than the kernel takes them."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from flashback_async.transport.upload import SLICE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from socket import socket

    from flashback_async.transport.s3_call import Progress
    from flashback_async.transport.upload import UploadReader


# A fast endpoint never blocks us, but others want the loop too, and its answer must be noticed. To give way
# after every slice took 3 % of the CPU of 8 MiB, and to tell of each another 2 %; the kernel takes so many
# bytes in ~0.6 ms.
AT_A_TIME: Final = 2 * 1_024 * 1_024


class Outlet:
    """What goes out through one transport. For one writer at a time.

    Attributes:
        is_blocked: whether the kernel did not take everything yet.
    """

    __slots__ = ("_loop", "_socket", "_transport", "_unblocked", "is_blocked")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self.is_blocked = False
        self._unblocked: asyncio.Future[None] | None = None
        # Where the kernel can send files, and nothing comes between: TLS, or uvloop, which writes later.
        is_plain = (
            hasattr(os, "sendfile")
            and isinstance(transport, asyncio.Transport)
            and not transport.get_extra_info("sslcontext")
        )
        self._socket: socket | None = transport.get_extra_info("socket") if is_plain else None

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
            if self.is_blocked:
                await self.change()
                break
            if done >= AT_A_TIME:
                await asyncio.sleep(0)
                break
        return done

    async def hand_over(self, descriptor: int, start: int, size: int) -> int:
        """Have the kernel send from a file, without a copy (sendfile), as many bytes as it takes at once.

        Args:
            descriptor: of the file.
            start: offset of the first byte in the file.
            size: how many are wanted.

        Returns:
            How many bytes that were; 0: none now, or not here. `pass_on` waits, or learns why.
        """
        if self._socket is None or self._transport.get_write_buffer_size():
            return 0
        try:
            count = os.sendfile(self._socket.fileno(), descriptor, start, min(size, AT_A_TIME))
        except OSError:
            return 0
        await asyncio.sleep(0)
        return count

    async def change(self) -> None:
        """Wait until the kernel takes more again, or `wake` is called."""
        self._unblocked = self._loop.create_future()
        try:
            await self._unblocked
        finally:
            self._unblocked = None

    def block(self) -> None:
        """The kernel does not take everything."""
        self.is_blocked = True

    def unblock(self) -> None:
        """It has taken it."""
        self.is_blocked = False
        self.wake()

    def wake(self) -> None:
        """Something happened that the writer should know."""
        if self._unblocked is not None and not self._unblocked.done():
            self._unblocked.set_result(None)


async def send_in_slices(
    body: bytes | UploadReader,
    pass_on: Callable[[bytes | memoryview], Awaitable[int]],
    hand_over: Callable[[int, int, int], Awaitable[int]],
) -> None:
    """Send `body`, until `pass_on` passes on no more of it. A reader tells how far it got.

    Args:
        body: what to send.
        pass_on: see `Outlet.pass_on`; returns 0 once the rest is pointless.
        hand_over: see `Outlet.hand_over`.

    Raises:
        FlashbackError: whatever reading `body` raises.
    """
    progress: Progress | None = None
    if isinstance(body, bytes):
        memory = memoryview(body)
    elif body.memory is not None:
        memory, progress = body.memory, body.progress
    elif (descriptor := body.descriptor) is not None:
        await _send_file(body, descriptor, pass_on, hand_over)
        return
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


async def _send_file(
    body: UploadReader,
    descriptor: int,
    pass_on: Callable[[bytes | memoryview], Awaitable[int]],
    hand_over: Callable[[int, int, int], Awaitable[int]],
) -> None:
    """What the kernel does not take at once goes the way of other bodies, which knows how to wait."""
    sent = 0
    while sent < len(body):
        count = await hand_over(descriptor, body.offset + sent, len(body) - sent)
        if not count and not (count := await pass_on(await body.piece(sent, SLICE))):
            return
        sent += count
        body.progress(complete=sent == len(body))
