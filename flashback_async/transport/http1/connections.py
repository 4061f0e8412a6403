"""The kept connections of one origin."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flashback_async.errors import EndpointConnectError
from flashback_async.transport.http1.connection import Connection
from flashback_async.transport.http1.failures import closed, too_slow, unreachable
from flashback_async.transport.http1.landing import Landing

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from flashback_async.transport.http1.answer import Answer
    from flashback_async.transport.upload import UploadReader


class Connections:
    """The connections of one origin, in one event loop.

    A request takes the idle connection that was used last, or opens one. Nothing queues here, for the leases
    above bound how many requests run at once.

    Args:
        host: name or address.
        port: of it.
        tls: whom to trust; None for plain HTTP.
        server_hostname: the name in the certificate, where it is not `host`.
        connect_timeout: seconds for name, connection and TLS together.
        keepalive: seconds after which an idle connection is closed; gateways close theirs after 60 or more.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        server_hostname: str | None = None,
        connect_timeout: float,
        keepalive: float = 30.0,
        clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._server_hostname = (server_hostname or host) if tls is not None else None
        self._connect_timeout = connect_timeout
        self._keepalive = keepalive
        self._clock = clock
        self._landing: Landing | None = None
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []  # the one used last at the end
        self._connecting: set[asyncio.Timeout] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Connections to {self._host}:{self._port}: {self.open} open, {self.idle} idle>"

    @property
    def open(self) -> int:
        """Connections that are open, busy or idle."""
        return len(self._open)

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    async def send(
        self,
        head: bytes,
        body: bytes | UploadReader | None = None,
        *,
        expects_body: bool = True,
    ) -> Answer:
        """Send one request and wait for the head of its answer.

        A kept connection that breaks before the first byte of an answer says nothing of the endpoint, which
        may have closed it just then: the request goes out once more, on a new one. Cancelled, it closes the
        connection.

        Args:
            head: the request's head as it goes out, with its empty line.
            body: as long as `head` says. A reader is read from its start, in the middle of which it is left
                when the answer came early; the caller closes it.
            expects_body: False for HEAD, whose answer has none whatever it announces.

        Raises:
            EndpointConnectError: no connection, it broke before the answer, or what came is not one.
            ClientClosedError: this pool is closed, or was while the request ran.
            FlashbackError: whatever reading `body` raises.
        """
        connection = self._take()
        if connection is not None:
            try:
                return await connection.exchange(head, body, expects_body=expects_body)
            except EndpointConnectError:
                if not connection.is_silent:
                    raise
        connection = await self._connect()
        return await connection.exchange(head, body, expects_body=expects_body)

    def close(self) -> None:
        """Close every connection now, whatever runs on it, for good. Idempotent."""
        self._is_closed = True
        self._stop_sweeping()
        for connection in tuple(self._open):
            connection.close()
        for timeout in self._connecting:
            if not timeout.expired():
                timeout.reschedule(0.0)

    # --- for the connections -------------------------------------------------------------------------------

    def put(self, connection: Connection) -> None:
        """It is free for the next request."""
        connection.idle_since = self._clock()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = connection.loop.call_later(self._keepalive, self._sweep, connection.loop)

    def forget(self, connection: Connection) -> None:
        """It is closed. Idempotent."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
            if not self._idle:
                self._stop_sweeping()

    # -------------------------------------------------------------------------------------------------------

    def _take(self) -> Connection | None:
        if self._is_closed:
            raise closed()
        if not self._idle:
            return None
        if self._clock() - self._idle[-1].idle_since >= self._keepalive:
            self._close_old()
            return None
        return self._idle.pop()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._landing is None:
            self._landing = Landing()
        connection = Connection(self, self._landing, loop)
        timeout = asyncio.timeout(self._connect_timeout)
        self._connecting.add(timeout)
        try:
            async with timeout:
                await loop.create_connection(
                    lambda: connection,
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._server_hostname,
                )
        except BaseException as error:
            # The loop closes what it had opened; should it still tell of a connection, that one closes too.
            connection.abort()
            if self._is_closed and isinstance(error, Exception):
                raise closed() from None
            if isinstance(error, TimeoutError) and timeout.expired():
                raise too_slow(self._connect_timeout) from None
            if isinstance(error, OSError | UnicodeError):
                # UnicodeError: no name of a host.
                raise unreachable(self._host, self._port, error) from error
            raise
        finally:
            self._connecting.discard(timeout)
        if self._is_closed:
            connection.abort()
            raise closed()
        if not connection.is_closed:
            self._open.add(connection)
        return connection

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = None
        self._close_old()
        if self._idle:
            age = self._clock() - self._idle[0].idle_since
            self._sweeper = loop.call_later(max(0.0, self._keepalive - age), self._sweep, loop)

    def _close_old(self) -> None:
        """Close what was idle for too long: the front of the list."""
        limit = self._clock() - self._keepalive
        for connection in [each for each in self._idle if each.idle_since <= limit]:
            connection.abort()

    def _stop_sweeping(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
