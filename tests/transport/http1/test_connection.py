"""The protocol object by itself: what cannot be timed over real sockets. No sockets."""

from __future__ import annotations

import asyncio

import pytest

from flashback_async.errors import EndpointConnectError
from flashback_async.transport.http1.landing import Landing
from flashback_async.transport.upload import SLICE

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


async def test_a_reader_that_wants_much_is_woken_once():
    """Told of what came meanwhile, it gets all of it at once, up to where its memory is full."""
    line = Line()
    answer = await answer_to(line, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
    memory, told = bytearray(8), []
    reader = asyncio.create_task(answer.read_into(memoryview(memory), lambda: told.append(bytes(memory))))
    await rounds(1)
    for piece in (b"012", b"34"):
        line.arrive(piece)
        await rounds(2)
        assert not reader.done()
    assert told == [b"012\0\0\0\0\0", b"01234\0\0\0"]
    line.arrive(b"567")
    assert (await reader, bytes(memory), len(told)) == (8, b"01234567", 2)
    line.arrive(b"89")
    assert await answer.read() == b"89"
    assert await answer.read() == b""


async def test_what_came_before_a_break_is_handed_out_first():
    """A body that breaks while a reader waits for more gives what it had, and is told as broken the next time."""
    line = Line()
    answer = await answer_to(line, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
    memory = bytearray(10)
    reader = asyncio.create_task(answer.read_into(memoryview(memory), lambda: None))
    await rounds(1)
    line.arrive(b"0123")
    line.end()
    assert (await reader, bytes(memory[:4])) == (4, b"0123")
    with pytest.raises(EndpointConnectError, match="4 of 10 bytes"):
        await answer.read_into(memoryview(memory)[4:], lambda: None)


async def test_what_is_at_hand():
    """Bytes that are here need no wait; nothing at hand is told apart from the end, and from a break."""
    line = Line()
    answer = await answer_to(line, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
    assert [answer.at_hand(), answer.at_hand()] == [b"ab", None]
    line.arrive(b"cd")
    assert [answer.at_hand(), answer.at_hand()] == [b"cd", b""]
    line = Line()
    answer = await answer_to(line, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
    line.end()
    assert [answer.at_hand(), answer.at_hand()] == [b"ab", None]
    with pytest.raises(EndpointConnectError):
        await answer.read()


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


def blocked_line():
    """A line whose kernel takes nothing until `resume_writing`."""
    line = Line()
    take = line.wire.write

    def write(data):
        take(data)
        line.connection.pause_writing()

    line.wire.write = write
    return line


@pytest.mark.parametrize("late", [b"", b"k"], ids=["whole answer", "answer goes on"])
async def test_early_success_waits_for_the_last_bytes(late):
    """Where a success comes while the last slice waits for the kernel, the request goes on until it has left, and
    its connection is closed in a way that drops nothing.
    """
    line = blocked_line()
    task = asyncio.create_task(line.connection.exchange(GET, bytes(SLICE)))
    await rounds()
    line.arrive(OK.removesuffix(late))
    await rounds()
    assert not task.done()
    assert (line.wire.is_ended, line.wire.is_aborted) == (False, False)
    line.connection.resume_writing()
    answer = await task
    line.arrive(late)
    assert await answer.read_all(2) == b"ok"
    assert (line.wire.is_ended, line.wire.is_aborted, line.shelf.free) == (True, False, [])


async def test_early_success_is_none_where_the_connection_breaks():
    """An endpoint that says it succeeded and goes away before the last slice has left cannot have got it."""
    line = blocked_line()
    task = asyncio.create_task(line.connection.exchange(GET, bytes(SLICE)))
    await rounds()
    line.arrive(OK)
    line.end()
    with pytest.raises(EndpointConnectError):
        await task


async def test_early_refusal_waits_for_nothing():
    """A refusal makes the rest pointless: it is there at once, and the connection is dropped with what waits."""
    line = blocked_line()
    task = asyncio.create_task(line.connection.exchange(GET, bytes(SLICE)))
    await rounds()
    line.arrive(OK.replace(b"200", b"403"))
    assert (await task).status == 403
    assert (line.wire.is_ended, line.wire.is_aborted) == (False, True)
