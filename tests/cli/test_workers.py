"""Many jobs, a few at a time."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import scenario

from flashback_async import ConfigurationError, ObjectNotFoundError, ThrottledError
from flashback_async.cli import workers
from flashback_async.cli.exits import CommandError, ExitCode
from flashback_async.cli.workers import Job, Observer, work_off


class Notes(Observer):
    """Remembers what it was told."""

    def __init__(self):
        self.lines = []

    def found(self, job):
        self.lines.append(f"found {job.name}")

    def found_all(self):
        self.lines.append("found all")

    def done(self, job, seconds):
        self.lines.append(f"done {job.name}")

    def failed(self, job, error, seconds):
        self.lines.append(f"failed {job.name}: {error}")


def moving(name, amount=1):
    async def work(advance):
        await asyncio.sleep(0)
        advance(amount)

    return Job(name, work, amount)


def failing(name, error):
    async def work(advance):
        advance(1)
        raise error

    return Job(name, work)


async def given(*jobs):
    for job in jobs:
        yield job


async def test_everything_is_done_and_counted():
    """The tally has jobs and bytes; the observer hears of each job, and of the end of the search."""
    notes = Notes()
    tally = await work_off(given(moving("a", 3), moving("b", 4)), concurrency=1, observer=notes)
    assert (tally.done, tally.failed, tally.moved) == (2, 0, 7)
    assert sorted(notes.lines) == ["done a", "done b", "found a", "found all", "found b"]


@pytest.mark.parametrize(
    "error",
    [
        ThrottledError("too much"),
        ObjectNotFoundError("gone", code="NoSuchKey"),
        CommandError("refused", ExitCode.BAD_ARGUMENT),
        PermissionError(13, "denied", "f"),
        ConfigurationError("data='x' cannot be read"),
    ],
)
async def test_one_failure_does_not_stop_the_others(error):
    """An object that cannot be copied is counted and named; the rest is copied."""
    notes = Notes()
    jobs = given(moving("a"), failing("b", error), moving("c"))
    tally = await work_off(jobs, concurrency=2, observer=notes)
    assert (tally.done, tally.failed, tally.moved) == (2, 1, 3)
    assert f"failed b: {error}" in notes.lines


async def test_a_refusal_that_holds_for_all_stops_at_once():
    """A bucket that does not exist is said once, not once per object; nothing goes on running."""
    started = []

    async def endless():
        while True:
            started.append(1)
            yield failing("a", ObjectNotFoundError("no bucket", code="NoSuchBucket"))

    with pytest.raises(ObjectNotFoundError):
        await asyncio.wait_for(work_off(endless(), concurrency=4, observer=Observer()), 10)


async def test_a_bug_is_not_taken_for_a_failed_object():
    """What nobody expects ends the work with its own type, not in a group."""
    with pytest.raises(ZeroDivisionError):
        await work_off(given(failing("a", ZeroDivisionError())), concurrency=2, observer=Observer())


@scenario
async def test_an_error_of_the_search_ends_the_work():
    """When the listing breaks, what runs is cancelled, and the listing's error is raised."""
    cancelled = []

    async def waiting(_):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def breaking():
        yield Job("a", waiting)
        await asyncio.sleep(0.01)
        raise ThrottledError("the listing broke")

    with pytest.raises(ThrottledError):
        await work_off(breaking(), concurrency=2, observer=Observer())
    assert cancelled == [1]


@scenario
async def test_never_more_at_once_than_asked_for():
    """Concurrency is a limit on running jobs; all of it is used."""
    running, most = 0, 0

    async def work(_):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    await work_off(given(*(Job(str(n), work) for n in range(50))), concurrency=7, observer=Observer())
    assert most == 7


@scenario
async def test_the_search_does_not_run_away(monkeypatch):
    """Jobs are taken as they are needed: a tree without end needs no memory without end."""
    monkeypatch.setattr(workers, "_LOOKAHEAD", 10)
    taken = 0
    gate = asyncio.Event()

    async def endless():
        nonlocal taken
        while True:
            taken += 1
            yield Job("x", lambda _: gate.wait())

    task = asyncio.create_task(work_off(endless(), concurrency=2, observer=Observer()))
    await asyncio.sleep(0.05)
    # Two at work, ten in the queue, one in the hands of the search.
    assert taken == 13
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
