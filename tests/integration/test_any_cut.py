"""Bodies cut at any place on real connections: what arrives is what is stored, and the rest alone is asked for."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from random import Random

import pytest

from flashback_async.sandbox import Behaviour

from .scripted import Answer, etag, listening, reset, scripted, settings_for
from .watching import RecordingRouter

BOTH_LANES = True

KIB = 1 << 10
COUNT = 30
SEED = 30
FAULTS = ("reset_after", "truncate_after", "stall_after")
STORED = Random(SEED).randbytes(1_500 * KIB)
DATA = STORED[: 200 * KIB]
CUT = 70_001
TAG = f"ETag: {etag(DATA)}\r\n"
PAGE = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\nno luck\r\n"


class FirstAt(RecordingRouter):
    """A router that sends the first attempt of an operation to one node, and chooses where the next one goes."""

    first = ""

    def acquire(self, bucket, kind, tried=(), size=None, *, only=None, **more):
        only = only or (None if tried else self.first)
        return super().acquire(bucket, kind, tried, size, only=only, **more)


def triples() -> list[tuple[int, int, str]]:
    chance = Random(SEED)
    made = []
    for number in range(COUNT):
        size = chance.choice([1, 64 * KIB, 64 * KIB + 1, chance.randrange(1, 1_500 * KIB)])
        cut = chance.choice([0, size - 1, chance.randrange(size), chance.randrange(size)])
        made.append((size, cut, FAULTS[(number + number // len(BY)) % len(FAULTS)]))
    return made


async def test_thirty_cuts(moto_cluster, running):
    """30 random (size, cut, fault) on real nodes: a stream, a whole object and a body of `client.s3` are the
    stored bytes, and one other node sends exactly those that had not arrived.
    """
    first, *others = moto_cluster.nodes
    # Patience to spare for a busy machine, except where waiting is what is looked at.
    async with running(moto_cluster.settings(stall_timeout=0.5, first_byte_timeout=30.0)) as fb:
        for number, (size, _, _) in enumerate(triples()):
            await fb.put_object("demo", f"{number}", STORED[:size])
    for at in range(0, COUNT, len(BY)):
        # A client for a few of them: what fails once too often is not asked any more.
        router = FirstAt.seeded(at)
        async with running(
            moto_cluster.settings(stall_timeout=0.5, first_byte_timeout=30.0), router=router
        ) as fb:
            router.first = next(
                node.id for node in fb.nodes() if node.id in {first.ip, first.url.partition("//")[2]}
            )
            for number, read in enumerate(BY, at):
                size, cut, fault = case = triples()[number]
                await first.set(Behaviour(**{fault: cut}))
                before = [await node.stats() for node in others]
                assert await read(fb, f"{number}") == STORED[:size], case
                after = [await node.stats() for node in others]
                sent = sum(row.bytes_out for row in after) - sum(row.bytes_out for row in before)
                asked = sum(row.requests for row in after) - sum(row.requests for row in before)
                assert asked == 1, case
                # A reset may overtake bytes that were sent before it, and they are missing as well.
                assert sent == size - cut or (fault != "stall_after" and size - cut < sent <= size), case
            assert fb.stats().resumed == len(BY)


async def by_stream(fb, key):
    async with fb.stream_object("demo", key) as body:
        return await body.read()


async def whole(fb, key):
    return (await fb.get_object("demo", key)).body


async def by_boto(fb, key):
    answer = await fb.s3.get_object(Bucket="demo", Key=key)
    async with answer["Body"] as body:
        return await body.read()


BY = (by_stream, whole, by_boto)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def head(*lines: str, length: int | None = None) -> bytes:
    rows = [*lines, *([] if length is None else [f"Content-Length: {length}\r\n"])]
    return ("HTTP/1.1 200 OK\r\n" + TAG + "".join(rows) + "\r\n").encode()


CHUNKED = head("Transfer-Encoding: chunked\r\n")
SIZED = head(length=len(DATA))
BEGUN = DATA[:CUT]
OPEN = head("Connection: close\r\n")
# What a node writes first and, a moment later, at last; how its connection ends; and after how many bytes of the
# object it was wrong. None: never.
WIRES = {
    "ends within its length": (SIZED + BEGUN, b"", "close", CUT),
    "is reset within its length": (SIZED + BEGUN, b"", "reset", CUT),
    "is longer than its length": (SIZED + DATA, b"more", "close", None),
    "is longer at once": (SIZED + DATA + b"more", b"", "close", None),
    "is followed by an answer that nobody asked for": (SIZED + DATA + PAGE, b"", "keep", None),
    "has no length, and is reset": (OPEN + BEGUN, b"", "reset", CUT),
    "has no length, and ends": (OPEN + BEGUN, b"", "close", CUT),
    "has no length, and is whole": (OPEN + BEGUN, DATA[CUT:], "close", None),
    "comes in chunks, and ends between two": (CHUNKED + chunk(BEGUN), b"", "close", CUT),
    "comes in chunks, and ends within one": (CHUNKED + chunk(DATA)[: CUT + 7], b"", "close", CUT),
    "comes in chunks, and is followed by no chunk": (CHUNKED + chunk(BEGUN), b"zzz\r\n", "keep", CUT),
    "comes in chunks, and an error page follows": (CHUNKED + chunk(BEGUN), PAGE, "close", CUT),
    "comes in chunks, and its last one is too early": (CHUNKED + chunk(BEGUN), b"0\r\n\r\n", "close", CUT),
    "comes in chunks, and is whole": (CHUNKED + chunk(BEGUN), chunk(DATA[CUT:]) + b"0\r\n\r\n", "keep", None),
}  # fmt: skip


@asynccontextmanager
async def writing(first: bytes, last: bytes, end: str):
    """A node that answers every GET with these bytes, and HEAD as S3 does."""

    async def serve(reader, writer):
        while True:
            asked = await reader.readuntil(b"\r\n\r\n")
            if asked.startswith(b"HEAD"):
                writer.write(SIZED)
                continue
            writer.write(first)
            await writer.drain()
            # What goes wrong is seen after what was right: a reset overtakes what it follows.
            await asyncio.sleep(0.2)
            writer.write(last)
            if end == "reset":
                reset(writer)
            if end != "keep":
                return

    async with listening(serve) as url:
        yield url


async def ranged(request):
    """The object, or the range of it that is asked for."""
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
    if found is None:
        return Answer(body=DATA, headers={"ETag": etag(DATA)})
    first, last = map(int, found.groups())
    place = f"bytes {first}-{last}/{len(DATA)}"
    return Answer(206, DATA[first : last + 1], {"ETag": etag(DATA), "Content-Range": place})


@pytest.mark.parametrize("what", WIRES)
async def test_whatever_a_connection_says(running, what):
    """A body that breaks any rule of HTTP in its middle is never handed on as if it were whole: every byte is
    that of the object, and the other node is asked for what is missing only.
    """
    first, last, end, cut = WIRES[what]
    async with writing(first, last, end) as bad, scripted(ranged) as good:
        router = FirstAt.seeded(1)
        router.first = bad.partition("//")[2]
        async with running(settings_for(bad, good, stall_timeout=1.5), router=router) as fb:
            for number, read in enumerate(BY, 1):
                assert await read(fb, "key") == DATA, read
                assert fb.stats().resumed == (0 if cut is None else number), read
        asked = [
            (row.headers.get("range"), row.headers.get("if-match"))
            for row in good.seen
            if row.method == "GET"
        ]
        if cut is None:
            # What comes after the end of an answer may spoil its connection for the next one.
            assert set(asked) <= {(None, None)}
        else:
            assert asked == [(f"bytes={cut}-{len(DATA) - 1}", etag(DATA))] * len(BY)
