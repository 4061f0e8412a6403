"""The way out: bodies in slices, no faster than the kernel takes them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from flashback_async.transport.upload import SLICE, UploadReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flashback_async.transport.s3_call import Progress


# A fast endpoint never blocks us, but others want the loop too, and its answer must be noticed. To give way
# after every slice took 3 % of the CPU of 8 MiB; the kernel takes so many bytes in ~0.3 ms.
AT_A_TIME: Final = 1_024 * 1_024


class Outlet:
    """What goes out through one transport. For one writer at a time."""

    __slots__ = ("_in_a_row", "_is_blocked", "_loop", "_transport", "_unblocked")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._is_blocked = False
        self._in_a_row = 0
        self._unblocked: asyncio.Future[None] | None = None

    def open(self) -> None:
        """Have `block` and `unblock` called whenever the kernel does not take everything, and when it has."""
        # Not 0: asyncio's TLS takes its own empty buffer for one that is full to that mark.
        self._transport.set_write_buffer_limits(high=1, low=0)

    async def pass_on(self, piece: bytes | memoryview) -> None:
        """Write, and wait until the kernel has taken it, or `wake` is called."""
        self._transport.write(piece)
        if not self._is_blocked:
            self._in_a_row += len(piece)
            if self._in_a_row >= AT_A_TIME:
                self._in_a_row = 0
                await asyncio.sleep(0)
            return
        self._in_a_row = 0
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
    body: bytes | UploadReader,
    pass_on: Callable[[bytes | memoryview], Awaitable[bool]],
    progress: Progress | None,
) -> None:
    """Send `body` slice by slice, for as long as `pass_on` asks for the next one.

    Raises:
        FlashbackError: whatever reading `body` raises.
    """
    if isinstance(body, UploadReader):
        async with aclosing(body.__aiter__()) as slices:
            async for piece in slices:
                if not await pass_on(piece):
                    return
        return
    view = memoryview(body)
    for start in range(0, len(view), SLICE):
        if not await pass_on(view[start : start + SLICE]):
            return
        if progress is not None:
            progress(complete=start + SLICE >= len(view))
