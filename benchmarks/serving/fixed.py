"""A server that answers every request with the same bytes, in a process of its own.

Not S3, and not measured: for benchmarks that look at the CPU of the client only.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
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


LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
STORED = HEADERS.format(length=0).encode()


class _Answering(asyncio.Protocol):
    """One connection. Requests arrive one after the other; their bodies have a length, and are dropped."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._seen = b""
        self._body = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while True:
            if self._body:
                dropped = min(self._body, len(self._seen))
                self._seen = self._seen[dropped:]
                self._body -= dropped
                if self._body:
                    return
                self._write(STORED)
            head, end, rest = self._seen.partition(b"\r\n\r\n")
            if not end:
                return
            self._seen = rest
            length = LENGTH.search(head)
            self._body = int(length[1]) if length else 0
            if b"100-continue" in head:
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if not self._body:
                self._write(self._answer if head.startswith(b"GET") else STORED)

    def _write(self, answer: bytes) -> None:
        self._transport.write(answer)  # type: ignore[attr-defined]  # a stream's transport writes


@contextmanager
def fixed_server(length: int) -> Iterator[str]:
    """The URL of a running server whose objects all have `length` bytes; it ends with the block."""
    with fixed_servers(length, 1) as (url,):
        yield url


@contextmanager
def fixed_servers(length: int, count: int) -> Iterator[tuple[str, ...]]:
    """The same server under so many ports, as if they were endpoints."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(there, length, count), daemon=True
    )
    process.start()
    try:
        yield tuple(f"http://127.0.0.1:{port}" for port in here.recv())
    finally:
        process.terminate()
        process.join()


def _serve(parent: Connection, length: int, count: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer = HEADERS.format(length=length).encode() + bytes(length)

    async def serving() -> None:
        loop = asyncio.get_running_loop()
        servers = [
            await loop.create_server(lambda: _Answering(answer), "127.0.0.1", 0, backlog=2_048)
            for _ in range(count)
        ]
        parent.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.Event().wait()

    asyncio.run(serving())
