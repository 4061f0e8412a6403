"""The channel on which a cluster talks to its processes: one JSON line each way per loopback connection.

Never the S3 port; every call carries the cluster's random token.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
from typing import TYPE_CHECKING, Any, Final

from flashback_async.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Awaitable, Callable, Mapping

    Call = Callable[..., Awaitable[Any]]

LOOPBACK: Final = "127.0.0.1"

_LINE_LIMIT: Final = 16_777_216
"""Bytes of one line; injected rows may be many."""

_TIMEOUT: Final = 30.0
"""Seconds one call may take, connecting included."""


async def serve(calls: Mapping[str, Call], *, token: str) -> tuple[asyncio.Server, int]:
    """Offer `calls` on a free loopback port; returns the server and its port."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        # The caller may go away at any time; there is nobody to tell.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            line = await reader.readuntil(b"\n")
            writer.write(json.dumps(await _perform(calls, json.loads(line), token)).encode() + b"\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0, limit=_LINE_LIMIT)
    return server, server.sockets[0].getsockname()[1]


async def _perform(calls: Mapping[str, Call], message: dict[str, Any], token: str) -> dict[str, Any]:
    if not hmac.compare_digest(str(message.get("token")), token):
        return {"error": "wrong admin token"}
    try:
        return {"value": await calls[message["call"]](**message["arguments"])}
    except Exception as error:  # noqa: BLE001 - the caller, in another process, gets it as text
        return {"error": f"{type(error).__name__}: {error}"}


async def call(port: int, name: str, arguments: Mapping[str, Any], *, token: str) -> Any:
    """Perform one call. Works from any event loop; cancelling it leaves the call's effect open.

    Raises:
        OSError: nobody listens, or no answer came within 30 seconds.
        SandboxError: the other side could not do it; the message says why.
    """
    async with asyncio.timeout(_TIMEOUT):
        reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=_LINE_LIMIT)
        try:
            message = {"token": token, "call": name, "arguments": dict(arguments)}
            writer.write(json.dumps(message).encode() + b"\n")
            await writer.drain()
            line = await reader.readline()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    if not line:
        raise ConnectionResetError(f"the process ended during {name!r}")
    reply = json.loads(line)
    if "error" in reply:
        raise SandboxError(f"{name!r} failed: {reply['error']}")
    return reply["value"]
