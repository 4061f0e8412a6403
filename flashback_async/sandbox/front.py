"""The HTTP/1.1 server of every node and of the control plane: listens, counts, lets `Faults` decide."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from flashback_async.sandbox.exchange import Exchange, reset
from flashback_async.sandbox.faults import Ask, Faults
from flashback_async.sandbox.message import Backend, ClientGoneError, Request, Upload
from flashback_async.sandbox.meter import Meter
from flashback_async.sandbox.pacing import Pacer
from flashback_async.sandbox.wire import HEAD_LIMIT, Head, WireError, read_head, request_body

if TYPE_CHECKING:
    import ssl
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Sequence

_PATIENCE: Final = 0.5
"""Seconds that closing waits for tasks whose connections it has reset."""


class Front:
    """A server in front of a backend. `behave` opens it, and may close and open its port again; `close` ends.

    Args:
        backend: serves what no fault strikes.
        hosts: addresses to listen on.
        port: the port, the same on each of them.
        tls: server context; None serves plain http.
    """

    def __init__(
        self, backend: Backend, *, hosts: Sequence[str], port: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self.meter = Meter()
        self._backend = backend
        self._hosts = list(hosts)
        self._port = port
        self._tls = tls
        self._faults: Faults | None = None
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], StreamWriter] = {}
        self._up = Pacer()
        self._down = Pacer()

    async def behave(self, faults: Faults) -> None:
        """Use these faults from now on, for new requests on existing connections too."""
        self._faults = faults
        self._up = Pacer(faults.behaviour.bandwidth)
        self._down = Pacer(faults.behaviour.bandwidth)
        if faults.behaviour.refuse:
            self.close()
        elif self._server is None:
            self._server = await asyncio.start_server(
                self._serve, self._hosts, self._port, limit=HEAD_LIMIT, backlog=1024, ssl=self._tls
            )

    def close(self) -> None:
        """Close the port and reset every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._connections.values():
            reset(writer)

    async def aclose(self) -> None:
        """Close, and wait a moment for the connections' tasks; what then still sleeps ends with the loop."""
        self.close()
        if self._connections:
            await asyncio.wait(self._connections, timeout=_PATIENCE)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        # Next to nothing: what `drain` let pass is with the kernel, so that a reset comes after the bytes
        # before it. Not zero: asyncio's TLS transport then never resumes (CPython 3.11).
        writer.transport.set_write_buffer_limits(high=1, low=0)
        task = asyncio.current_task()
        assert task is not None, "asyncio serves every connection in a task"
        self._connections[task] = writer
        client = str((writer.get_extra_info("peername") or ("",))[0])
        try:
            # A client may vanish or break HTTP at any byte; its connection ends then, and that is all.
            with contextlib.suppress(ConnectionError, WireError, ClientGoneError):
                while (head := await read_head(reader)) is not None:
                    if not await self._exchange(head, client, reader, writer):
                        break
        finally:
            del self._connections[task]
            writer.close()

    async def _exchange(self, head: Head, client: str, reader: StreamReader, writer: StreamWriter) -> bool:
        method, target, _ = f"{head.start.decode('latin-1')}  ".split(" ", 2)
        path, _, query = target.partition("?")
        ask = Ask(method, path, query, head.length, client)
        expects = head.fields.get(b"expect", b"").lower() == b"100-continue"
        upload = Upload(request_body(head, reader), writer, self._up, expects=expects)
        now = time.monotonic()
        assert self._faults is not None, "a server listens only once it behaves"
        exchange = Exchange(
            self._faults.plan(ask, now), Request(head, ask, upload), reader, writer, self._down
        )
        self.meter.arrived(method, path if self._backend.counts_paths else None, now, health=ask.is_health)
        try:
            return await exchange.run(self._backend)
        except (ConnectionError, ClientGoneError):
            exchange.outcome = "client_gone"
            raise
        finally:
            self.meter.ended(
                exchange.outcome,
                status=exchange.status,
                bytes_in=upload.passed,
                bytes_out=exchange.sent,
                health=ask.is_health,
            )
