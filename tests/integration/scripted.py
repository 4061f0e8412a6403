"""An S3 server that a test scripts answer by answer, and that keeps every request as it came over the wire."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import md5
from typing import TYPE_CHECKING, NamedTuple

import trustme

from flashback_async import FlashbackSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HOST = "127.0.0.1"
KEY_ID, KEY_SECRET = "AKIASCRIPTED", "a-secret-that-nobody-may-ever-see"


@dataclass(frozen=True)
class Seen:
    """One request as it arrived.

    Attributes:
        method: HTTP method.
        target: path and query as sent.
        headers: names in lower case.
        body: as sent, whole.
        connection: number of the connection it came on, from 1.
        at: seconds of the loop's clock.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    at: float


class Answer(NamedTuple):
    """What to say. `sent`: bytes of the body that are really sent; `then`: what becomes of the connection."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012  # never changed
    sent: int | None = None
    then: str = "keep"


@asynccontextmanager
async def listening(serve, *, scheme="http", limit=2**16):
    """The URL of a server of raw bytes: `serve(reader, writer)` has each connection, which is closed behind it.

    `limit`: bytes of a request that are taken in advance, more or less.
    """
    writers = []

    async def served(reader, writer):
        writers.append(writer)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(served, HOST, 0, limit=limit)
    try:
        yield f"{scheme}://{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


RESET = Answer(0, then="reset")
SILENCE = Answer(0, then="hang")


@dataclass
class ScriptedServer:
    """Serves with `answer`, an async function from a request to an `Answer`.

    Attributes:
        url: where it serves.
        seen: every request.
        connections: how many there have been.
    """

    answer: Callable[[Seen], Awaitable[Answer]]
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    writers: dict[int, asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id that a client with fixed endpoints gives it."""
        return self.url.partition("//")[2]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self.writers[number] = writer
        try:
            while (request := await _request(reader, number)) is not None:
                self.seen.append(request)
                answer = await self.answer(request)
                if answer.status:
                    writer.write(_encoded(answer, request.method))
                    await writer.drain()
                if answer.then == "reset":
                    reset(writer)
                elif answer.then == "hang":
                    await reader.read()
                if answer.then != "keep":
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.writers.pop(number, None)
            writer.close()


class MemoryStore:
    """Answers as a small S3 does: PUT, GET, HEAD and DELETE of whole objects."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = defaultdict(bytes)

    async def __call__(self, request: Seen) -> Answer:
        path = request.target.partition("?")[0]
        if request.method == "PUT":
            self.objects[path] = request.body
            return Answer(headers={"ETag": etag(request.body)})
        if request.method == "DELETE":
            self.objects.pop(path, None)
            return Answer(204)
        if path not in self.objects:
            return error(404, "NoSuchKey")
        body = self.objects[path]
        return Answer(body=body, headers={"ETag": etag(body), "Last-Modified": formatdate(0, usegmt=True)})


@asynccontextmanager
async def scripted(answer=None, *, tls: ssl.SSLContext | None = None, port: int = 0):
    """A server that runs for the length of the block; without a script it is a `MemoryStore`."""
    server = ScriptedServer(answer or MemoryStore())
    listening = await asyncio.start_server(server.serve, HOST, port, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://{HOST}:{port}"
    try:
        yield server
    finally:
        listening.close()
        for writer in list(server.writers.values()):
            writer.transport.abort()
        await asyncio.sleep(0)


def settings_for(*servers: ScriptedServer | str, **overrides) -> FlashbackSettings:
    """Settings of a client that knows these servers and asks no control plane."""
    urls = [server if isinstance(server, str) else server.url for server in servers]
    values = {"endpoints": urls, "key_id": KEY_ID, "key_secret": KEY_SECRET, "probes": False}
    return FlashbackSettings(**{**values, **overrides})


def authority(directory) -> tuple[ssl.SSLContext, str]:
    """A context for servers on this machine, and the file with the authority that vouches for it."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(HOST).configure_cert(context)
    path = directory / "authority.pem"
    ca.cert_pem.write_to_path(str(path))
    return context, str(path)


def error(status: int, code: str, *, message: str = "No.", headers: dict[str, str] | None = None) -> Answer:
    """An error as S3 writes it."""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message>'
        "<RequestId>request-7</RequestId></Error>"
    )
    return Answer(status, body.encode(), {"Content-Type": "application/xml", **(headers or {})})


def etag(body: bytes) -> str:
    """As S3 computes it for a simple put."""
    return f'"{md5(body).hexdigest()}"'


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _request(reader: asyncio.StreamReader, connection: int) -> Seen | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as rest:
        if rest.partial:
            raise
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, body, connection, asyncio.get_running_loop().time())


def _encoded(answer: Answer, method: str) -> bytes:
    headers = {"Content-Length": str(len(answer.body)), "x-amz-request-id": "request-7", **answer.headers}
    if answer.status == 204:
        del headers["Content-Length"]
    head = f"HTTP/1.1 {answer.status} Scripted\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    body = b"" if method == "HEAD" else answer.body[: answer.sent]
    return head.encode("latin-1") + b"\r\n" + body
