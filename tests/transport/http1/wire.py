"""A transport without a socket, and a home without a pool: the protocol object alone."""

from __future__ import annotations

import asyncio

from flashback_async.transport.http1.connection import Connection
from flashback_async.transport.http1.landing import Landing

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


class Wire(asyncio.Transport):
    """Takes what is written, and notes what is asked for."""

    def __init__(self):
        super().__init__()
        self.written = bytearray()
        self.is_aborted = False
        self.is_ended = False
        self.is_paused = False

    def write(self, data):
        self.written += data

    def close(self):
        self.is_ended = True

    def abort(self):
        self.is_aborted = True

    def is_closing(self):
        return self.is_aborted

    def pause_reading(self):
        self.is_paused = True

    def resume_reading(self):
        self.is_paused = False

    def set_write_buffer_limits(self, high=None, low=None):
        pass


class Shelf:
    """Keeps the connections that are free."""

    def __init__(self):
        self.free = []

    def put(self, connection):
        self.free.append(connection)

    def forget(self, connection):
        if connection in self.free:
            self.free.remove(connection)


class Line:
    """One connection, its wire and its shelf; in the running loop."""

    def __init__(self, *, landing=None):
        self.wire, self.shelf = Wire(), Shelf()
        self.landing = landing or Landing(64 * 1_024)
        self.connection = Connection(self.shelf, self.landing, asyncio.get_running_loop())
        self.connection.connection_made(self.wire)

    @property
    def is_free(self):
        return self.shelf.free == [self.connection]

    @property
    def is_closed(self):
        return self.wire.is_aborted

    def arrive(self, data):
        """The kernel has `data` for us, as much at a time as there is room."""
        while data and not self.wire.is_aborted:
            room = self.connection.get_buffer(-1)
            count = min(len(room), len(data))
            room[:count] = data[:count]
            data = data[count:]
            self.connection.buffer_updated(count)

    def end(self):
        """The peer closes its side, and then the transport is gone."""
        if not self.wire.is_aborted:
            self.connection.eof_received()
        self.connection.connection_lost(None)


async def rounds(count=4):
    """Let the loop turn, so that whoever can go on does."""
    for _ in range(count):
        await asyncio.sleep(0)
