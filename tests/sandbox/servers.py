"""Servers of the sandbox inside the test's own loop, a scripted store behind them, and raw HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flashback_async.sandbox import Behaviour, control_plane, gateway
from flashback_async.sandbox.handles import ServerStats
from flashback_async.sandbox.ports import ReservedPort

if TYPE_CHECKING:
    import ssl
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator

    from flashback_async.sandbox.service import FrontService

HOST = "127.0.0.1"


@dataclass
class Store:
    """Keeps what is PUT, by request target; some targets misbehave. Records the heads it received."""

    objects: dict[str, bytes] = field(default_factory=dict)
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer requests until the gateway leaves."""
        self.connections += 1
        self.tasks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                method, target, _ = head.decode().split(" ", 2)
                if target == "/early":
                    writer.write(_response(403, b"no"))
                    break
                body = await _body(head, reader)
                if target == "/gone":
                    break
                writer.write(self.answer(method, target, body))
                if target in ("/until-close", "/broken", "/broken-chunk", "/broken-line"):
                    break
                await writer.drain()
        writer.close()

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        """The whole answer to one request."""
        if method == "PUT":
            self.objects[target] = body
            return _response(200, b"")
        if method == "DELETE":
            self.objects.pop(target, None)
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        special = {
            "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n",
            "/until-close": b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
            "/interim": b"HTTP/1.1 102 Processing\r\n\r\n" + _response(200, b"at last"),
            "/broken": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            "/broken-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf",
            "/broken-line": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "/no-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnumber\r\n",
            "/nonsense": b"HTTP/1.1 abc\r\n\r\n",
            "/closing": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        }
        if target in special:
            return special[target]
        found = target in self.objects
        answer = _response(200 if found else 404, self.objects.get(target, b"missing"))
        return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else answer


class Running:
    """A server process's service, here without a process."""

    def __init__(self, service: FrontService, port: ReservedPort, store: Store) -> None:
        self.service = service
        self.store = store
        self.port = port.port
        self.url = f"http://{HOST}:{port.port}"

    async def set(self, behaviour: Behaviour) -> None:
        """Behave like this."""
        await self.service.behave(behaviour.to_json())

    async def stats(self) -> ServerStats:
        """All counters."""
        data = await self.service.stats()
        by_status = {int(status): count for status, count in data.pop("by_status").items()}
        return ServerStats(by_status=by_status, **data)


@asynccontextmanager
async def running_gateway(**changes: Any) -> AsyncIterator[Running]:
    """A gateway in this loop before a `Store`."""
    store = Store()
    server = await asyncio.start_server(store.serve, HOST, 0, limit=2**20)
    store.port = server.sockets[0].getsockname()[1]
    port = ReservedPort(HOST)
    service = await gateway.start({**_config(port), "store": [HOST, store.port], **changes})
    try:
        yield Running(service, port, store)
    finally:
        await service.aclose()
        server.close()
        port.close()
        # CPython 3.11 complains about the tasks of connections that are cancelled with their loop.
        if store.tasks:
            await asyncio.wait(store.tasks, timeout=2)


@asynccontextmanager
async def running_control_plane(**config: Any) -> AsyncIterator[Running]:
    """A control plane in this loop."""
    port = ReservedPort(HOST)
    service = await control_plane.start({**_config(port), **config})
    try:
        yield Running(service, port, Store())
    finally:
        await service.aclose()
        port.close()


@asynccontextmanager
async def connection(
    port: int, host: str = HOST, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    """A raw connection, aborted at the end."""
    reader, writer = await asyncio.open_connection(host, port, limit=2**22, ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        for _ in range(3):  # let the loop close the socket
            await asyncio.sleep(0)


async def ask(reader: StreamReader, writer: StreamWriter, request: bytes) -> tuple[bytes, bytes]:
    """Send one request; the head and the sized body of its answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    return head, await _body(head, reader)


def get(target: str) -> bytes:
    """A GET request."""
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def put(target: str, body: bytes, *fields: str) -> bytes:
    """A PUT request."""
    lines = [f"PUT {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def _config(port: ReservedPort) -> dict[str, Any]:
    return {
        "hosts": [HOST],
        "port": port.port,
        "tls": None,
        "behaviour": Behaviour().to_json(),
        "distance": 0.0,
        "seed": 1,
    }


def _response(status: int, body: bytes) -> bytes:
    return f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(body)}\r\nETag: x\r\n\r\n".encode() + body


async def _body(head: bytes, reader: StreamReader) -> bytes:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return await reader.readexactly(int(value))
        if name == b"transfer-encoding":
            body = b""
            while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readuntil(b"\r\n")
            return body
    return b""
