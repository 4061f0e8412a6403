"""Many jobs, a few at a time: bounded tasks, bounded memory, and no job stops the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashback_async.cli.exits import CommandError
from flashback_async.errors import FlashbackError, ServiceError
from flashback_async.objects.task_group import task_group

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

Advance = Callable[[int], None]

# Jobs that may wait: enough for a bar to know most totals early, small enough for any memory (about 5 MB).
_LOOKAHEAD = 10_000

# What one object's refusal says about all of them: going on would repeat it thousands of times.
_HOPELESS = frozenset(
    {"NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "InvalidToken"}
)


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done with one object.

    Attributes:
        name: the object as messages call it.
        work: does it, and calls its argument with every number of bytes moved.
        size: bytes that it will move, None where that is not known before.
    """

    name: str
    work: Callable[[Advance], Awaitable[None]]
    size: int | None = None


class Observer:
    """Is told what happens. Does nothing by itself."""

    def found(self, job: Job) -> None:
        """A job joined the queue."""

    def found_all(self) -> None:
        """There will be no more."""

    def advanced(self, amount: int) -> None:
        """Bytes moved."""

    def done(self, job: Job, seconds: float) -> None:
        """A job ended well."""

    def failed(self, job: Job, error: Exception, seconds: float) -> None:
        """A job ended otherwise; the others go on."""


@dataclass(slots=True)
class Tally:
    """What became of the jobs.

    Attributes:
        done: jobs that ended well.
        failed: jobs that did not.
        moved: bytes, those of failed jobs included.
    """

    done: int = 0
    failed: int = 0
    moved: int = 0


async def work_off(jobs: AsyncIterable[Job], *, concurrency: int, observer: Observer) -> Tally:
    """Run all jobs, at most `concurrency` at a time, taking them from `jobs` as they are needed.

    Raises:
        FlashbackError: what `jobs` raised, or a refusal that every other job would meet as well.
    """
    tally = Tally()
    queue: asyncio.Queue[Job | None] = asyncio.Queue(maxsize=_LOOKAHEAD)

    async def work() -> None:
        while (job := await queue.get()) is not None:
            await _one(job, tally, observer)

    async with task_group() as group:
        for _ in range(concurrency):
            group.create_task(work())
        async for job in jobs:
            observer.found(job)
            await queue.put(job)
        observer.found_all()
        for _ in range(concurrency):
            await queue.put(None)
    return tally


async def _one(job: Job, tally: Tally, observer: Observer) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()

    def advance(amount: int) -> None:
        tally.moved += amount
        observer.advanced(amount)

    try:
        await job.work(advance)
    except BrokenPipeError:
        raise
    except (FlashbackError, CommandError, OSError) as error:
        if isinstance(error, ServiceError) and error.code in _HOPELESS:
            raise
        tally.failed += 1
        observer.failed(job, error, loop.time() - begun)
    else:
        tally.done += 1
        observer.done(job, loop.time() - begun)
