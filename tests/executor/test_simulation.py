"""The whole path under random faults: the bytes are right or the error is typed, and nothing leaks.

The seed of a failing run is in the test's name and in the message; the run is the same every time.
"""

from __future__ import annotations

import asyncio
import random

import pytest
from virtual_time import run

from flashback_async.errors import (
    DeadlineExceededError,
    FlashbackError,
    ObjectNotFoundError,
    OperationError,
    ServiceError,
)
from flashback_async.testing import Break, Dialect, Fault, Step
from flashback_async.transport.upload import SLICE

from .scenes import CANCELLED, Scene, now, pattern

KEYS = [f"key-{number}" for number in range(8)]
TOTAL = 40.0


class World:
    """Endpoints with random fates, verbs at random moments, and what must hold whatever happens."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        dialects = [
            Dialect(),
            Dialect(partial_status=200, if_match=False),
            Dialect(ranges=False, if_match=False),
            Dialect(content_range=False),
        ]
        self.scene = Scene(
            ids="abcd",
            dialect=self.chance.choice(dialects),
            random=self.chance.random,
            connections=self.chance.choice([2, 5, 64]),
            max_in_flight=self.chance.choice([5, 1_000]),
            total=TOTAL,
        )
        for name in "abcd":
            badness = self.chance.choice([0.1, 0.3, 0.6, 0.9])
            self.scene[name].script.extend(self.fate(badness) for _ in range(400))
        self.versions = 0
        self.ends: dict[str, int] = {}
        for key in KEYS[:5]:
            self.write(key)

    def fate(self, badness: float) -> Step:
        chance = self.chance
        after = chance.choice([0.0, chance.expovariate(20), chance.expovariate(2)])
        pace = chance.choice([0.0, 0.0, 0.01])
        piece = chance.choice([1_000, 20_000, 65_536])
        if chance.random() >= badness:
            return Step(after=after, pace=pace, piece=piece)
        return chance.choice(
            [
                Step.refused(after=after),
                Step(fault=Fault.RESET, after=after, takes=chance.randrange(3 * SLICE)),
                Step(fault=Fault.SILENT, takes=chance.randrange(3 * SLICE)),
                Step.error(chance.choice([500, 502, 503, 504]), after=after),
                Step.error(403),
                Step.throttled(chance.choice([None, 0.5, 3.0]), after=after),
                Step.lost(after=after),
                *[Step(cut=chance.randrange(90_000), how=chance.choice(list(Break)), piece=piece, pace=pace)]
                * 8,
            ]
        )

    def data(self) -> bytes:
        self.versions += 1
        return pattern(
            self.chance.choice([0, 1_000, 50_000, 100_000, 2 * SLICE + 3]), self.seed * 10_000 + self.versions
        )

    def write(self, key: str) -> None:
        self.scene.store.put("bucket", key, self.data())

    def history(self, key: str) -> list[bytes]:
        return [version.data for version in self.scene.store.history("bucket", key)]

    async def read(self, key: str) -> None:
        body = (await self.scene.get_object("bucket", key)).body
        assert body in self.history(key), "bytes that nobody ever wrote"

    async def read_range(self, key: str) -> None:
        start = self.chance.randrange(1_000)
        stop = start + 1 + self.chance.randrange(60_000)
        body = (await self.scene.get_object("bucket", key, range=(start, stop))).body
        assert any(body == data[start:stop] for data in self.history(key)), "a range that nobody ever wrote"

    async def stream(self, key: str) -> None:
        taken = b""
        leave_at = self.chance.choice([1, 30_000, 10**9])
        async with self.scene.stream_object("bucket", key, timeout=TOTAL) as stream:
            async for piece in stream:
                taken += piece
                await asyncio.sleep(self.chance.choice([0.0, 0.01]))
                if len(taken) >= leave_at:
                    break
            else:
                assert taken in self.history(key), "a stream that nobody ever wrote"
        assert any(data.startswith(taken) for data in self.history(key)), (
            "the start of nothing that was written"
        )

    async def put(self, key: str) -> None:
        data = self.data()
        info = await self.scene.put_object("bucket", key, data)
        assert info.size == len(data)
        assert data in self.history(key), "a success that stored nothing"

    async def head(self, key: str) -> None:
        info = await self.scene.head_object("bucket", key)
        assert info.size in {len(data) for data in self.history(key)}

    async def delete(self, key: str) -> None:
        await self.scene.delete_object("bucket", key)

    async def copy(self, key: str) -> None:
        target = self.chance.choice(KEYS)
        await self.scene.copy_object("bucket", key, target)
        assert set(self.history(target)) & set(self.history(key))

    async def listing(self, key: str) -> None:
        found = [info.key async for info in self.scene.list_objects("bucket", page_size=3)]
        assert found == sorted(set(found)), "twice, or out of order"
        assert set(found) <= set(KEYS)

    async def one(self) -> None:
        """One verb at a random moment, perhaps cancelled; whatever it raises is typed and in time."""
        chance = self.chance
        await asyncio.sleep(chance.uniform(0, 60))
        verb = chance.choice(
            [
                self.read,
                self.read,
                self.read_range,
                self.stream,
                self.put,
                self.head,
                self.delete,
                self.copy,
                self.listing,
            ]
        )
        began, cancelled = now(), chance.random() < 0.2
        task = asyncio.create_task(verb(chance.choice(KEYS)))
        if cancelled:
            asyncio.get_running_loop().call_later(chance.uniform(0, 0.3), task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            assert cancelled
            end = "cancelled"
        except FlashbackError as error:
            end = type(error).__name__
            check(error)
        else:
            end = "fine"
        self.ends[end] = self.ends.get(end, 0) + 1
        # A copy and a listing are several operations, each with a deadline of its own.
        limit = TOTAL * (1 if verb in (self.read, self.read_range, self.stream, self.put, self.head) else 4)
        assert now() <= began + limit + 1e-6, f"{verb.__name__} took {now() - began:g} s"

    async def play(self) -> None:
        await asyncio.gather(*(self.one() for _ in range(150)))
        scene = self.scene
        assert scene.leaks() == {}
        settled = len(scene.router.settled)
        assert settled == scene.monitor.attempts
        assert scene.monitor.retries <= settled
        headers = sum(row.requests for row in scene.router.snapshot(now=now()).endpoints)
        assert headers == sum(outcome is not CANCELLED for _, outcome in scene.router.settled)
        assert self.ends.get("fine", 0) > 0
        # Calm weather: whatever happened, everything works again.
        for name in "abcd":
            scene[name].script.clear()
        await asyncio.sleep(400)
        for _ in range(20):
            scene.store.put("bucket", "calm", b"calm")
            assert (await scene.get_object("bucket", "calm", retry=False)).body == b"calm"


def check(error: FlashbackError) -> None:
    """An error says what was asked, of what, and what was tried."""
    assert isinstance(error, OperationError), error
    assert (error.operation, error.bucket) != ("", None), error
    assert str(error).startswith(error.operation)
    if not isinstance(error, ServiceError | DeadlineExceededError):
        assert error.attempts, error
    if isinstance(error, ObjectNotFoundError):
        assert error.status == 404


async def played(seed: int) -> World:
    """A world at its end."""
    world = World(seed)
    await world.play()
    return world


@pytest.mark.parametrize("seed", range(40))
def test_right_bytes_or_a_typed_error(seed):
    """150 verbs over four endpoints with random faults: invariants hold, and calm weather heals all."""
    try:
        run(played(seed))
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error


def test_a_seed_is_a_whole_run():
    """The same seed gives the same run, to the last request: a failure can be looked at again."""

    def requests() -> list:
        world = run(played(7))
        return [
            (request.endpoint, request.at, request.operation, request.key)
            for request in world.scene.endpoints.requests
        ]

    assert requests() == requests()
