"""Five hundred times: a body of any size is cut at any place by any fault, and arrives as it is stored.

And whoever goes on with it is asked for the missing bytes of that version, and for nothing else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

import pytest
from botocore.exceptions import ClientError
from virtual_time import run

from flashback_async.errors import ObjectChangedError
from flashback_async.routing import BreakerState
from flashback_async.testing import Break, Dialect, MemoryStore, Step

from .scenes import KIB, MIB, Scene, pattern

COUNT = 500
SEED = 4_000
KEY = {"Bucket": "bucket", "Key": "key"}
EDGES = (1, 2, 1_000, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB, MIB + 1)
GARBAGE = b"<html>502 Bad Gateway</html>" * 10


class Fault(Enum):
    """What happens to the body, and how the node is that is to go on with it."""

    RESET = "the connection breaks"
    STALL = "nothing more comes"
    SHORT = "the body ends early and cleanly"
    ERROR_PAGE = "the connection breaks, and the next node answers 5xx"
    SILENT_NEXT = "the connection breaks, and the next node never answers"
    LONG = "the connection breaks, and the next node sends more than it announced"
    LONG_FIRST = "the body is cut within what goes beyond its announced end"
    NO_RANGES = "the next node sends the whole object whatever is asked for"
    STATUS_200 = "the next node says 200 to a range, and means the range"
    UNPLACED = "the next node says 200 to a range, and does not say where it belongs"
    CHUNKED = "the next node does not say how long its body is"
    OTHER_VERSION = "the next node has another version, and ignores If-Match"
    REFUSED_VERSION = "the next node has another version, and honours If-Match"


CHANGES = {Fault.OTHER_VERSION, Fault.REFUSED_VERSION}
WAYS = {Fault.STALL: Break.STALL, Fault.SHORT: Break.SHORT}
DIALECTS = {
    Fault.NO_RANGES: Dialect(ranges=False, if_match=False),
    Fault.STATUS_200: Dialect(partial_status=200, if_match=False),
    Fault.UNPLACED: Dialect(partial_status=200, content_range=False, if_match=False),
    Fault.CHUNKED: Dialect(content_length=False),
    Fault.OTHER_VERSION: Dialect(if_match=False),
}


@dataclass(frozen=True)
class Triple:
    """One case, as a failing assertion shows it."""

    number: int
    size: int
    cut: int
    fault: Fault
    piece: int


def triples() -> list[Triple]:
    chance = random.Random(SEED)
    faults = list(Fault)
    made = []
    for number in range(COUNT):
        size = chance.choice([chance.choice(EDGES), chance.randrange(1, 300 * KIB)])
        cut = chance.choice([0, size - 1, chance.randrange(size), chance.randrange(size)])
        piece = chance.choice([700, 16 * KIB, 64 * KIB, 10 * MIB])
        made.append(Triple(number, size, cut, faults[number % len(faults)], max(piece, size // 50)))
    return made


class Play:
    """The scene of one triple: `a` begins, `b` goes on, `c` is there if `b` cannot."""

    def __init__(self, triple: Triple) -> None:
        self.triple = triple
        self.data = pattern(triple.size)
        self.scene = Scene(ids="abc")
        self.version = self.scene.store.put("bucket", "key", self.data)
        fault, cut, piece = triple.fault, triple.cut, triple.piece
        self.scene["a"].script.append(Step.broken(cut, WAYS.get(fault, Break.RESET), piece=piece))
        following = Step(piece=piece, dialect=DIALECTS.get(fault))
        match fault:
            case Fault.ERROR_PAGE:
                following = Step.error(random.Random(triple.number).choice([500, 502, 503, 504]))
            case Fault.SILENT_NEXT:
                following = Step.silent()
            case Fault.LONG:
                self._lengthen("b")
                following = Step(piece=piece, dialect=DIALECTS[Fault.STATUS_200], fields=self._honest(cut))
            case Fault.LONG_FIRST:
                self._lengthen("a")
                self.scene["a"].script[0] = Step(cut=triple.size + 5, piece=piece, fields=self._honest(0))
            case Fault.OTHER_VERSION | Fault.REFUSED_VERSION:
                store = self.scene["b"].store = MemoryStore("bucket")
                store.put("bucket", "key", pattern(triple.size, seed=1))
        self.scene["b"].script.append(following)

    def _lengthen(self, name: str) -> None:
        """Let one node's bodies be longer than it says."""
        store = self.scene[name].store = MemoryStore("bucket")
        store.put("bucket", "key", self.data + GARBAGE)

    def _honest(self, start: int) -> dict[str, object]:
        """What the node says nevertheless."""
        size = self.triple.size
        placed = f"bytes {start}-{size - 1}/{size}" if start else None
        return {
            "ContentLength": size - start,
            "ContentRange": placed,
            "ETag": self.version.etag,
            "LastModified": self.version.last_modified,
        }

    def check_requests(self) -> None:
        """Nobody was asked for more than what was missing, of that version."""
        triple = self.triple
        rest = {"Range": f"bytes={triple.cut}-{triple.size - 1}", "IfMatch": self.version.etag}
        asked = [
            (
                request.endpoint,
                {
                    name: request.parameters[name]
                    for name in ("Range", "IfMatch")
                    if name in request.parameters
                },
            )
            for request in self.scene.endpoints.requests
            if request.operation == "GetObject"
        ]
        expected = [("a", {}), ("b", rest)]
        if triple.fault in {Fault.ERROR_PAGE, Fault.SILENT_NEXT}:
            expected.append(("c", rest))
        if triple.fault is Fault.LONG_FIRST:
            del expected[1:]
        assert asked == expected, triple
        # The size may have to be asked for where an answer does not tell its place; nothing else is.
        others = {request.operation for request in self.scene.endpoints.requests} - {"GetObject"}
        assert others <= {"HeadObject"}, triple

    def check_rest(self) -> None:
        """Nothing is held, and no breaker opened over one bad body."""
        assert self.scene.leaks() == {}, self.triple
        assert self.scene.breakers() == {BreakerState.CLOSED}, self.triple


async def pieces_of(source, play: Play) -> bytes:
    """Read to the end."""
    received = bytearray()
    try:
        async for piece in source:
            assert piece, play.triple
            received += piece
    finally:
        # Whatever the end is: what arrived is the beginning of what is stored.
        assert play.data.startswith(received), play.triple
    return bytes(received)


async def by_stream(play: Play) -> bytes:
    async with play.scene.stream_object("bucket", "key") as stream:
        assert stream.info.size == play.triple.size, play.triple
        return await pieces_of(stream, play)


async def by_body(play: Play, s3) -> bytes:
    response = await s3.get_object(**KEY)
    async with response["Body"] as body:
        return await pieces_of(body.iter_chunks(play.triple.piece), play)


def test_a_stream_is_what_is_stored():
    """500 random (size, cut, fault): a stream yields the stored bytes, and the rest alone is asked for; or it
    ends with ObjectChangedError after bytes of one version only.
    """

    async def play_all():
        for triple in triples():
            play = Play(triple)
            if triple.fault in CHANGES:
                with pytest.raises(ObjectChangedError):
                    await by_stream(play)
            else:
                assert await by_stream(play) == play.data, triple
            play.check_requests()
            play.check_rest()

    run(play_all())


def test_an_object_read_whole_is_what_is_stored():
    """500 random (size, cut, fault): `get_object` returns the stored bytes, and asks for the rest alone; or
    it raises ObjectChangedError.
    """

    async def play_all():
        for triple in triples():
            play = Play(triple)
            if triple.fault in CHANGES:
                with pytest.raises(ObjectChangedError):
                    await play.scene.get_object("bucket", "key")
            else:
                stored = await play.scene.get_object("bucket", "key")
                assert (stored.body, stored.info.size) == (play.data, triple.size), triple
            play.check_requests()
            play.check_rest()

    run(play_all())


def test_a_body_of_boto_is_what_is_stored(s3_of):
    """500 random (size, cut, fault): the body of `client.s3` yields the stored bytes, and the rest alone is
    asked for; or it ends with boto's PreconditionFailed after bytes of one version only.
    """

    async def play_all():
        for triple in triples():
            play = Play(triple)
            s3 = s3_of(play.scene)
            if triple.fault in CHANGES:
                with pytest.raises(ClientError) as caught:
                    await by_body(play, s3)
                assert isinstance(caught.value.__cause__, ObjectChangedError), triple
            else:
                assert await by_body(play, s3) == play.data, triple
            play.check_requests()
            play.check_rest()

    run(play_all())
