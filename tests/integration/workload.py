"""A seeded mix of reads and writes whose every byte is checked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

from flashback_async import FlashbackError

if TYPE_CHECKING:
    from flashback_async import FlashbackClient

KIB = 1_024
SIZES = [0, 1, 100, KIB, KIB, 4 * KIB, 4 * KIB, 4 * KIB, 16 * KIB, 16 * KIB, 64 * KIB, 256 * KIB]
"""Bytes of an object; mostly small."""

_NOISE = Random(0).randbytes(2 * max(SIZES))


@dataclass
class Tally:
    """What came of a workload.

    Attributes:
        done: operations that ended, well or not.
        failed: (verb, key, error) of those that raised.
        wrong: (verb, key) of those that yielded other bytes than were written.
    """

    done: int = 0
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    wrong: list[tuple[str, str]] = field(default_factory=list)


class Workload:
    """`workers` tasks with keys of their own, which write, read, measure and delete them.

    Args:
        client: whom to ask.
        bucket: where to write.
        seed: of the whole mix.
        workers: operations at a time.
        largest: bytes of the largest object.
    """

    def __init__(
        self,
        client: FlashbackClient,
        bucket: str = "demo",
        *,
        seed: int,
        workers: int = 32,
        largest: int = max(SIZES),
    ) -> None:
        self.tally = Tally()
        self._client = client
        self._bucket = bucket
        self._seed = seed
        self._workers = workers
        self._sizes = [size for size in SIZES if size <= largest]
        self._goal = 0
        self._until = 0.0
        self._started = 0
        self.started_at = 0.0

    async def run(self, operations: int, *, until: float = 0.0) -> Tally:
        """At least so many operations, and at least until this moment of the loop's clock."""
        self._goal, self._until = operations, max(until, self._until)
        self.started_at = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(number))
        return self.tally

    def go_on(self, until: float) -> None:
        """Do not end before this moment of the loop's clock."""
        self._until = max(self._until, until)

    def stop(self) -> None:
        """End with the operations that run."""
        self._goal, self._until = 0, 0.0

    async def reached(self, operations: int) -> None:
        """Wait until so many operations ended."""
        while self.tally.done < operations:
            await asyncio.sleep(0.005)

    async def _work(self, number: int) -> None:
        random = Random(f"{self._seed}/{number}")
        clock = asyncio.get_running_loop().time
        mine: dict[str, bytes] = {}
        serial = 0
        while self._started < self._goal or clock() < self._until:
            self._started += 1
            choice = random.random()
            try:
                if not mine or choice < 0.40:
                    if not mine or choice < 0.30:
                        serial += 1
                        verb, key = "put", f"{number}/{serial}"
                    else:
                        verb, key = "put", random.choice(list(mine))
                    await self._put(key, mine, random)
                elif choice < 0.45:
                    verb, key = "delete", random.choice(list(mine))
                    del mine[key]
                    await self._client.delete_object(self._bucket, key)
                else:
                    verb, key = (
                        random.choice(["get", "get", "get", "range", "head"]),
                        random.choice(list(mine)),
                    )
                    await getattr(self, f"_{verb}")(key, mine[key], random)
            except FlashbackError as error:
                self.tally.failed.append((verb, key, f"{type(error).__name__}: {error}"))
            finally:
                self.tally.done += 1

    async def _put(self, key: str, mine: dict[str, bytes], random: Random) -> None:
        size = random.choice(self._sizes)
        at = random.randrange(len(_NOISE) - size)
        data = _NOISE[at : at + size]
        # Until the write has ended, nobody knows what is there.
        mine.pop(key, None)
        await self._client.put_object(self._bucket, key, data)
        mine[key] = data

    async def _get(self, key: str, data: bytes, random: Random) -> None:
        found = await self._client.get_object(self._bucket, key)
        self._compare("get", key, found.body, data)

    async def _range(self, key: str, data: bytes, random: Random) -> None:
        if not data:
            await self._get(key, data, random)
            return
        start = random.randrange(len(data))
        stop = random.randrange(start, len(data)) + 1
        async with self._client.stream_object(self._bucket, key, range=(start, stop)) as stream:
            body = await stream.read()
        self._compare("range", key, body, data[start:stop])

    async def _head(self, key: str, data: bytes, random: Random) -> None:
        info = await self._client.head_object(self._bucket, key)
        if info.size != len(data):
            self.tally.wrong.append(("head", key))

    def _compare(self, verb: str, key: str, found: bytes, written: bytes) -> None:
        if sha256(found).digest() != sha256(written).digest():
            self.tally.wrong.append((verb, key))
