"""A server that answers every request with the same bytes, in a process of its own.

Not S3, and not measured: for benchmarks that look at the CPU of the client only.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

HEADERS = (
    'HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nETag: "0123456789abcdef0123456789abcdef"\r\n'
    "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/octet-stream\r\n"
    "x-amz-request-id: 0123456789ABCDEF\r\nAccept-Ranges: bytes\r\n\r\n"
)


class _Answering(asyncio.Protocol):
    """One connection. Requests have no body, and arrive one after the other."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while b"\r\n\r\n" in self._seen:
            _, _, self._seen = self._seen.partition(b"\r\n\r\n")
            self._transport.write(self._answer)  # type: ignore[attr-defined]  # a stream's transport writes


@contextmanager
def fixed_server(length: int) -> Iterator[str]:
    """The URL of a running server whose objects all have `length` bytes; it ends with the block."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, length), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(parent: Connection, length: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer = HEADERS.format(length=length).encode() + bytes(length)

    async def serving() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Answering(answer), "127.0.0.1", 0)
        parent.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serving())
