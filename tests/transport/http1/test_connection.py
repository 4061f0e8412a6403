"""The protocol object by itself: what cannot be timed over real sockets. No sockets."""

from __future__ import annotations

import asyncio

import pytest

from flashback_async.errors import EndpointConnectError
from flashback_async.transport.http1.landing import Landing

from .wire import GET, Line, rounds

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def answer_to(line, raw):
    task = asyncio.create_task(line.connection.exchange(GET))
    await rounds(1)
    line.arrive(raw)
    return await task


async def test_body_that_came_with_its_head_needs_no_wait():
    """A small answer that arrives in one piece is read without another turn of the loop."""
    line = Line()
    answer = await answer_to(line, OK)
    with pytest.raises(StopIteration) as done:
        answer.read_all(10).send(None)
    assert done.value.value == b"ok"


async def test_head_and_small_body_leave_in_one_write():
    """One packet carries a small request."""
    writes = []
    line = Line()
    line.wire.write = writes.append
    task = asyncio.create_task(line.connection.exchange(GET, b"body"))
    await rounds(1)
    assert writes == [GET + b"body"]
    line.end()
    with pytest.raises(EndpointConnectError):
        await task


async def test_bytes_go_straight_into_the_readers_memory():
    """While a reader waits with memory of its own, the kernel is given that memory and no other, up to the end."""
    line = Line()
    answer = await answer_to(line, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
    memory = bytearray(100)
    reader = asyncio.create_task(answer.read_into(memoryview(memory)))
    await rounds(1)
    room = line.connection.get_buffer(-1)
    assert (room.obj is memory, len(room)) == (True, 10)
    line.arrive(b"0123")
    assert await reader == 4
    assert line.connection.get_buffer(-1).obj is not memory, "nobody waits with it any more"
    line.arrive(b"456789")
    assert await answer.read_into(memoryview(memory)[4:]) == 6
    assert bytes(memory[:12]) == b"0123456789\0\0"


async def test_connection_is_free_once_nothing_more_can_be_in_the_kernel():
    """Where a read took all the room there was, more may follow: the connection is free two rounds later."""
    line = Line(landing=Landing(len(OK)))
    await answer_to(line, OK)
    assert not line.is_free
    await rounds(3)
    assert line.is_free


async def test_bytes_in_the_rounds_before_it_is_free_close_it():
    """What turns up in those rounds belongs to nobody."""
    line = Line(landing=Landing(len(OK)))
    await answer_to(line, OK)
    line.arrive(b"?")
    await rounds(4)
    assert line.is_closed
    assert not line.is_free


async def test_unread_body_stops_the_reading():
    """Beyond 256 KiB that wait for their reader the socket is left alone, until the reader is waiting again."""
    line = Line()
    answer = await answer_to(line, b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    line.arrive(bytes(200_000))
    assert not line.wire.is_paused
    line.arrive(bytes(100_000))
    assert line.wire.is_paused
    arrived = 0
    while arrived < 300_000:
        arrived += len(await answer.read())
    reader = asyncio.create_task(answer.read())
    await rounds(1)
    assert not line.wire.is_paused
    line.arrive(b"x")
    assert await reader == b"x"
    answer.close()


async def test_closed_connection_takes_no_request():
    """One that was closed, or spoken on, before its first request says so at once."""
    line = Line()
    line.arrive(OK)
    assert line.is_closed
    with pytest.raises(EndpointConnectError, match="closed without an answer"):
        await line.connection.exchange(GET)


async def test_connection_that_was_given_up_before_it_was_made_closes():
    """A transport that turns up too late is closed."""
    line = Line()
    late = type(line.connection)(line.shelf, line.landing, asyncio.get_running_loop())
    late.abort()
    late.connection_made(line.wire)
    assert line.is_closed
