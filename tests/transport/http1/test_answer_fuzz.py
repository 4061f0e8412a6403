"""Answers in every shape and every cut, against a reference: never a hang, a crash or a wrong body. No sockets."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashback_async.errors import EndpointConnectError
from flashback_async.transport.http1.head import parse_head
from flashback_async.transport.http1.landing import Landing

from .messages import INTERIM, answers, cut, head, mutated, reference
from .wire import GET, Line, rounds


def examples(count):
    return settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=count,
        suppress_health_check=list(HealthCheck),
    )


LANDINGS = st.sampled_from([7, 64, 333, 64 * 1_024])
READERS = st.sampled_from(["read", "into 1", "into 5", "into 1000", "all"])
GARBAGE = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.sampled_from([b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"\r\n", b"\0", b"0\r\n\r\n"]),
)


@pytest.fixture(scope="module")
def run():
    """Runs a coroutine in one loop for all examples: a loop for each would take most of the time."""
    with asyncio.Runner() as runner:
        yield runner.run


async def body_of(answer, reader):
    if reader == "read":
        pieces = []
        while piece := await answer.read():
            pieces.append(piece)
        return b"".join(pieces)
    if reader == "all":
        return await answer.read_all(1 << 20)
    memory = memoryview(bytearray(int(reader.split()[1])))
    body = b""
    while count := await answer.read_into(memory):
        body += memory[:count]
    return body


async def outcome_of(line, segments, reader, *, expects_body=True, ends=True):
    """(status, headers, body) of one exchange, or the error; done at the latest when the peer has closed."""

    async def exchange():
        answer = await line.connection.exchange(GET, expects_body=expects_body)
        return answer.status, list(answer.headers.items()), await body_of(answer, reader)

    task = asyncio.create_task(exchange())
    await rounds(1)
    for segment in segments:
        line.arrive(segment)
        await rounds(2)
    if ends:
        line.end()
    await rounds(8)
    assert task.done(), "it hangs"
    error = task.exception()
    assert error is None or isinstance(error, EndpointConnectError)
    return error or task.result()


@given(st.data())
@examples(250)
def test_every_valid_answer_is_read_as_it_was_meant(run, data):
    """Status, headers and body are those that were sent, however the bytes are cut and whoever reads them; and the
    connection is used again exactly where that is allowed.
    """
    wire, status, headers, body, is_reusable = data.draw(answers())
    segments = data.draw(cut(wire))
    landing, reader = Landing(data.draw(LANDINGS)), data.draw(READERS)
    assert reference(wire) == (status, body, b"")

    async def example():
        line = Line(landing=landing)
        is_open = wire_ends_itself(headers)
        result = await outcome_of(line, segments, reader, ends=not is_open)
        assert result == (status, headers, body)
        assert line.is_free == is_reusable
        assert line.is_closed != is_reusable

    run(example())


def wire_ends_itself(headers):
    return any(name in {"content-length", "transfer-encoding"} for name, _ in headers)


@given(st.data())
@examples(80)
def test_a_connection_that_is_used_again_keeps_its_answers_apart(run, data):
    """Answer after answer on one connection, each belongs to its own request."""
    wanted = data.draw(
        st.lists(answers(framings=("length", "chunked")).filter(lambda each: each[4]), min_size=2, max_size=3)
    )
    cuts = [data.draw(cut(each[0])) for each in wanted]
    landing, reader = Landing(data.draw(LANDINGS)), data.draw(READERS)

    async def example():
        line = Line(landing=landing)
        for (_, status, headers, body, _), segments in zip(wanted, cuts, strict=True):
            line.shelf.free.clear()
            assert await outcome_of(line, segments, reader, ends=False) == (status, headers, body)
            assert line.is_free

    run(example())


@given(st.data())
@examples(400)
def test_damage_gives_the_right_body_or_an_error(run, data):
    """A damaged answer is refused, or says to us what it says to the reference."""
    wire = data.draw(mutated(data.draw(answers())[0]))
    segments, expects_body = data.draw(cut(wire)), data.draw(st.integers(0, 4)) > 0
    landing, reader = Landing(data.draw(LANDINGS)), data.draw(READERS)

    async def example():
        line = Line(landing=landing)
        result = await outcome_of(line, segments, reader, expects_body=expects_body)
        assert line.is_closed
        assert not line.shelf.free
        if not isinstance(result, EndpointConnectError):
            meaning = reference(wire, expects_body=expects_body)
            assert meaning is not None, result
            assert (result[0], result[2]) == meaning[:2]

    run(example())


@given(st.binary(max_size=300).map(lambda tail: b"HTTP/1.1 200" + tail) | st.binary(max_size=300), LANDINGS)
@examples(1000)
def test_noise_is_an_error(run, noise, landing):
    """Arbitrary bytes end in an error, or in what the reference makes of them."""

    async def example():
        line = Line(landing=Landing(landing))
        result = await outcome_of(line, [noise], "read")
        assert line.is_closed
        if not isinstance(result, EndpointConnectError):
            assert (result[0], result[2]) == reference(noise)[:2]

    run(example())


@given(st.data())
@examples(250)
def test_a_truncated_answer_is_never_taken_for_a_whole_one(run, data):
    """Cut anywhere before its end, an answer that announces its end is an error; what came before is handed out."""
    wire = data.draw(answers(framings=("length", "chunked")))[0]
    wire = wire[: data.draw(st.integers(0, len(wire) - 1))]
    segments, landing = data.draw(cut(wire)), Landing(data.draw(LANDINGS))

    async def example():
        line = Line(landing=landing)
        assert isinstance(await outcome_of(line, segments, "read"), EndpointConnectError)
        assert line.is_closed

    run(example())


@given(st.data())
@examples(250)
def test_what_comes_behind_an_answer_belongs_to_nobody(run, data):
    """Bytes behind the end, at once or later, spoil neither the body nor the next request: the connection goes."""
    wire, status, headers, body, _ = data.draw(answers(framings=("length", "chunked")))
    extra = data.draw(GARBAGE)
    segments, landing = data.draw(cut(wire + extra)), Landing(data.draw(LANDINGS))
    reader = data.draw(READERS)

    async def example():
        line = Line(landing=landing)
        assert await outcome_of(line, segments, reader, ends=False) == (status, headers, body)
        line.arrive(b"")
        await rounds()
        # A line break behind chunks is what a parser skips before the next answer, where it does no harm.
        assert line.is_closed or extra.strip(b"\r\n") == b""

    run(example())


@given(INTERIM, st.integers(0, 40), st.data())
@examples(120)
def test_interim_answers_are_skipped_but_not_for_ever(run, some, count, data):
    """Up to sixteen 1xx are skipped, in whatever cut; beyond, the answer is refused."""
    codes = (some or [100]) * count
    wire = b"".join(head(code, []) for code in codes) + head(200, [("Content-Length", "2")]) + b"ok"
    segments, landing = data.draw(cut(wire)), Landing(data.draw(LANDINGS))

    async def example():
        line = Line(landing=landing)
        result = await outcome_of(line, segments, "read", ends=False)
        if len(codes) <= 16:
            assert result[2] == b"ok"
        else:
            assert "interim" in str(result)
            assert line.is_closed

    run(example())


def test_more_names_than_are_kept_are_read_as_well():
    """Names are told in small letters, however many there were before and however long they are."""
    for number in [*range(3_000), 0]:
        name = f"X-{number}-{'Y' * (number % 90)}"
        head, _ = parse_head(f"HTTP/1.1 200 OK\r\n{name}: 1\r\n\r\n".encode())
        assert head.headers == {name.lower(): "1"}
