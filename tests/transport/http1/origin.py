"""An origin that says what a test tells it, byte by byte, over plain TCP or TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from contextlib import asynccontextmanager

import trustme

from flashback_async.transport.http1.connections import Connections

AUTHORITY = trustme.CA()
TRUST = ssl.create_default_context()
AUTHORITY.configure_trust(TRUST)

GET = b"GET /thing HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def put(size):
    """The head of an upload of `size` bytes."""
    return f"PUT /thing HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n".encode()


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader, writer, number):
        self.reader, self.writer, self.number = reader, writer, number

    async def request(self):
        """The next request: (head, body)."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return head, await self.reader.readexactly(int(length or 0))

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def closed(self):
        """Wait until the client has closed; what it still sends is lost."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass

    def reset(self):
        """Break the connection as a process that dies does."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Origin:
    """A server on loopback. `serve(peer)` plays one connection, which is closed when it returns."""

    def __init__(self, serve, *, is_tls):
        self._serve, self._is_tls = serve, is_tls
        self._tasks = set()
        self.accepted = 0
        self.port = 0

    def connections(self, **options):
        """A pool for this origin."""
        options = {"tls": TRUST if self._is_tls else None, "connect_timeout": 5.0} | options
        options.setdefault("clock", asyncio.get_running_loop().time)
        return Connections("127.0.0.1", self.port, **options)

    async def _connected(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self.accepted += 1
        try:
            # Cancelled: the test is over, and asyncio would complain of a handler that does not take it well.
            with contextlib.suppress(
                ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError
            ):
                await self._serve(Peer(reader, writer, self.accepted))
        finally:
            writer.close()
            self._tasks.discard(asyncio.current_task())


@asynccontextmanager
async def origin(serve, *, is_tls=False):
    """Serve connections with `serve(peer)` while the block runs."""
    context = None
    if is_tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    itself = Origin(serve, is_tls=is_tls)
    server = await asyncio.start_server(itself._connected, "127.0.0.1", 0, ssl=context)
    itself.port = server.sockets[0].getsockname()[1]
    try:
        yield itself
    finally:
        server.close()
        tasks = list(itself._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def talking(serve, *, is_tls=False, **options):
    """(origin, its pool), both gone afterwards."""
    async with origin(serve, is_tls=is_tls) as server:
        pool = server.connections(**options)
        try:
            yield server, pool
        finally:
            pool.close()
            await until(lambda: pool.open == 0)


async def until(condition):
    """Wait for something that other processes or the kernel bring about."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def settled(told):
    """Wait until nothing is told any more, because the kernel takes nothing any more."""
    before = -1
    while before != len(told):
        before = len(told)
        await asyncio.sleep(0.1)


def answering(*answers, then=None):
    """Plays: each connection gets these answers, one for each request, and then waits to be closed."""

    async def serve(peer):
        for answer in answers:
            await peer.request()
            await peer.send(answer)
        if then is None:
            await peer.closed()
        else:
            then(peer)

    return serve
