"""Memory that the kernel reads into, one for all connections of an origin."""

from __future__ import annotations


class Landing:
    """Where bytes land; what is kept is copied out at once.

    Connections can share it because the event loops of POSIX (asyncio's, uvloop) call `get_buffer`, read, and
    call `buffer_updated` in one go. A buffer for each connection would be the larger part of the memory of a
    thousand requests.

    Attributes:
        size: bytes.
        data: the memory itself, to search in.
        view: of all of it.
    """

    __slots__ = ("data", "size", "view")

    def __init__(self, size: int = 256 * 1_024) -> None:
        self.size = size
        self.data = bytearray(size)
        self.view = memoryview(self.data)
