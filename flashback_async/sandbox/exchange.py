"""One request and its answer, as planned."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final

from flashback_async.sandbox.answer import html_answer
from flashback_async.sandbox.message import AnswerReply, Backend, BackendError, Reply, Request
from flashback_async.sandbox.wire import HEAD_LIMIT, WireError

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from flashback_async.sandbox.faults import Cut, Plan
    from flashback_async.sandbox.pacing import Pacer

_DROP_LIMIT: Final = 1_048_576
"""Bytes of an unwanted request body that are read to keep a connection; beyond it the connection ends."""

_LINGER: Final = 5.0
"""Seconds an ended connection is still read, so that the client gets its answer and no reset (nginx: 5)."""


class Exchange:
    """Carries out one plan on one connection; create, `run`, then read the counters.

    Attributes:
        outcome: for the counters: the plan's, or what came in between.
        status: what was answered; None while nothing was.
        sent: bytes of the response body that were sent.
    """

    def __init__(
        self, plan: Plan, request: Request, reader: StreamReader, writer: StreamWriter, pacer: Pacer
    ) -> None:
        self._plan = plan
        self._request = request
        self._reader = reader
        self._writer = writer
        self._pacer = pacer
        self.outcome = plan.outcome
        self.status: int | None = None
        self.sent = 0

    async def run(self, backend: Backend) -> bool:
        """Serve; whether the connection may carry another request.

        Raises:
            ClientGoneError, ConnectionError: the client left.
        """
        if self._plan.delay:
            await asyncio.sleep(self._plan.delay)
            if self._reader.at_eof():
                raise ConnectionAbortedError("the client left while it was kept waiting")
        if self._plan.outcome == "black_hole":
            await _until_end(self._reader)
            return False
        if self._plan.outcome == "reset":
            reset(self._writer)
            return False
        reply = await self._reply(backend)
        try:
            if self._plan.outcome == "lose_answer":
                reset(self._writer)
                return False
            keep = await self._send(reply)
        finally:
            await reply.release()
        if not (keep or self._request.upload.finished):
            await self._linger()
        return keep

    async def _reply(self, backend: Backend) -> Reply:
        method = self._request.ask.method
        answer = self._plan.answer
        if answer is None:
            try:
                return await backend.respond(self._request)
            except BackendError:
                self.outcome = "bad_gateway"
                answer = html_answer(502)
        await self._request.upload.drop(_DROP_LIMIT)
        return AnswerReply(answer, method=method)

    async def _send(self, reply: Reply) -> bool:
        self.status = reply.status
        keep = self._request.head.keeps_alive and self._request.upload.finished and reply.delimited
        pending = reply.encode(b"Connection: keep-alive" if keep else b"Connection: close")
        cut = self._plan.cut
        try:
            while True:
                piece = await reply.body.read()
                if cut is not None and self.sent + len(piece) > cut.after:
                    await self._pass_on(pending, piece[: cut.after - self.sent])
                    await self._break_off(cut)
                    return False
                await self._pass_on(pending, piece)
                pending = b""
                if reply.body.finished:
                    break
        except WireError:
            # The store broke off. Closing early is all that a proxy can still say; nginx does the same.
            self.outcome = "store_failed"
            return False
        if cut is not None:
            self.outcome = "served"
        return keep

    async def _pass_on(self, head: bytes, piece: bytes) -> None:
        portion = self._pacer.portion(len(piece))
        for start in range(0, max(1, len(piece)), portion):
            part = piece[start : start + portion]
            await self._pacer.pass_on(len(part))
            self._writer.write(head + part if head else part)
            await self._writer.drain()
            self.sent += len(part)
            head = b""

    async def _break_off(self, cut: Cut) -> None:
        if cut.how == "reset":
            reset(self._writer)
        elif cut.how == "hang":
            await _until_end(self._reader)

    async def _linger(self) -> None:
        with contextlib.suppress(TimeoutError, ConnectionError):
            if self._writer.can_write_eof():
                self._writer.write_eof()
            async with asyncio.timeout(_LINGER):
                await _until_end(self._reader)


def reset(writer: StreamWriter) -> None:
    """End a connection with RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _until_end(reader: StreamReader) -> None:
    while await reader.read(HEAD_LIMIT):
        pass
