"""The backend of a gateway: passes requests on to the store, byte for byte, over kept connections."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from flashback_async.sandbox.answer import json_answer
from flashback_async.sandbox.message import AnswerReply, BackendError, Reply, Request, Upload
from flashback_async.sandbox.wire import HEAD_LIMIT, Body, Head, WireError, read_head, response_body

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

_INLINE_BODY: Final = 65_536
"""Bytes up to which a request body is sent before the answer is awaited, without a task of its own."""


class Relay:
    """Serves from the store at `host:port`; answers `/health` itself."""

    counts_paths = False

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Connection] = []

    async def respond(self, request: Request) -> Reply:
        """Pass the request on and return the store's answer as soon as its head is there."""
        if request.ask.is_health:
            return AnswerReply(json_answer({"status": "ok"}), method=request.ask.method)
        connection = await self._connect()
        try:
            connection.writer.write(request.head.encode())
            head = await _answer(connection, request)
            status = int(head.start[9:12])
            body = response_body(head, connection.reader, method=request.ask.method, status=status)
        except (WireError, ConnectionError, ValueError) as error:
            await connection.close()
            raise BackendError(f"the store failed: {error}") from error
        except BaseException:
            await connection.close()
            raise
        return _StoreReply(head, status, body, connection, self._idle)

    def close(self) -> None:
        """Close the kept connections."""
        for connection in self._idle:
            connection.writer.transport.abort()
        self._idle.clear()

    async def _connect(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.reader.at_eof():
                return connection
            await connection.close()
        try:
            return _Connection(*await asyncio.open_connection(self._host, self._port, limit=HEAD_LIMIT))
        except OSError as error:
            raise BackendError(
                f"the store at {self._host}:{self._port} cannot be reached: {error}"
            ) from error


class _Connection:
    """A connection to the store, and the task that sends a request body on it."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.sending: asyncio.Future[None] | None = None

    async def close(self) -> None:
        """End it, and wait for the end of the task; the task's own failure is no news any more."""
        self.writer.transport.abort()
        if self.sending is not None:
            self.sending.cancel()
            await asyncio.wait({self.sending})
            if not self.sending.cancelled():
                self.sending.exception()


class _StoreReply:
    """The store's answer, with the connection it comes on."""

    def __init__(
        self, head: Head, status: int, body: Body, connection: _Connection, idle: list[_Connection]
    ) -> None:
        self.status = status
        self.body = body
        self.delimited = head.chunked or head.length is not None or body.finished
        self._head = head
        self._connection = connection
        self._idle = idle

    def encode(self, *extra: bytes) -> bytes:
        """The store's head; the version is the gateway's own."""
        return self._head.encode(*extra, start=b"HTTP/1.1" + self._head.start[8:])

    async def release(self) -> None:
        """Keep the connection for the next request if both bodies passed completely, else close it."""
        connection = self._connection
        sending = connection.sending
        sent = sending is None or (sending.done() and not sending.cancelled() and sending.exception() is None)
        if self.body.finished and self.delimited and sent and self._head.keeps_alive:
            connection.sending = None
            self._idle.append(connection)
        else:
            await connection.close()


async def _answer(connection: _Connection, request: Request) -> Head:
    if request.upload.finished:
        return await _final_head(connection.reader)
    sending = asyncio.ensure_future(_send(request.upload, connection.writer))
    connection.sending = sending
    if (request.ask.length or _INLINE_BODY + 1) <= _INLINE_BODY:
        await sending
        return await _final_head(connection.reader)
    # A store may answer before it has read everything, for instance to refuse.
    answering = asyncio.ensure_future(_final_head(connection.reader))
    try:
        await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
        return await answering
    finally:
        answering.cancel()


async def _send(upload: Upload, writer: StreamWriter) -> None:
    while piece := await upload.read():
        # A store that refuses an upload closes its side; its answer is still to be read.
        with contextlib.suppress(ConnectionError):
            writer.write(piece)
            await writer.drain()


async def _final_head(reader: StreamReader) -> Head:
    while True:
        head = await read_head(reader)
        if head is None:
            raise WireError("the store closed the connection instead of answering")
        if head.start[9:10] != b"1":
            return head
