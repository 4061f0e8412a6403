"""One run shared by many, without sharing their cancellations."""

from __future__ import annotations

import asyncio
import gc

import pytest
import virtual_time

from flashback_async.errors import ClientClosedError
from flashback_async.transport.single_flight import SingleFlight


class Work:
    """Takes a second and counts its runs."""

    def __init__(self, *, error=None, cleanup=0.0):
        self.begun = self.ended = self.cancelled = 0
        self.error = error
        self.cleanup = cleanup

    async def __call__(self):
        self.begun += 1
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            await asyncio.sleep(self.cleanup)
            self.cancelled += 1
            raise
        self.ended += 1
        if self.error is not None:
            raise self.error
        return self.begun


@virtual_time.scenario
async def test_callers_share_a_run():
    """Everyone who asks while it runs gets its result; who asks later gets a new run."""
    work = Work()
    flight = SingleFlight(work, name="work")
    assert await asyncio.gather(*(flight.join() for _ in range(5))) == [1] * 5
    assert await flight.join() == 2


@virtual_time.scenario
async def test_a_failure_reaches_every_caller():
    """A run that fails fails for all who share it, and the next one starts anew."""
    work = Work(error=KeyError("no"))
    flight = SingleFlight(work, name="work")
    results = await asyncio.gather(flight.join(), flight.join(), return_exceptions=True)
    assert [type(result) for result in results] == [KeyError, KeyError]
    assert work.begun == 1
    with pytest.raises(KeyError):
        await flight.join()
    assert work.begun == 2


@virtual_time.scenario
async def test_cancelling_one_caller_spares_the_others():
    """The caller who began the run may go: the others still get its result."""
    work = Work()
    flight = SingleFlight(work, name="work")
    first, second = asyncio.create_task(flight.join()), asyncio.create_task(flight.join())
    await asyncio.sleep(0.5)
    first.cancel()
    assert await second == 1
    assert first.cancelled()
    assert asyncio.get_running_loop().time() == 1.0


@virtual_time.scenario
async def test_the_last_caller_takes_the_run_along():
    """With nobody left, the run is cancelled, and its cleanup has ended when the cancellation arrives."""
    work = Work(cleanup=0.25)
    flight = SingleFlight(work, name="work")
    caller = asyncio.create_task(flight.join())
    await asyncio.sleep(0.5)
    caller.cancel()
    await asyncio.wait({caller})
    assert (work.cancelled, work.ended) == (1, 0)
    assert asyncio.get_running_loop().time() == 0.75


@virtual_time.scenario
async def test_a_newcomer_does_not_board_a_dying_run():
    """Who asks while a deserted run is being cancelled gets a run of their own."""
    work = Work(cleanup=0.25)
    flight = SingleFlight(work, name="work")
    caller = asyncio.create_task(flight.join())
    await asyncio.sleep(0.5)
    caller.cancel()
    await asyncio.sleep(0.1)
    assert await flight.join() == 2
    assert (work.cancelled, work.ended) == (1, 1)


@pytest.mark.parametrize("ticks", range(8))
def test_a_late_cancellation_hits_nobody_else(ticks):
    """At whatever moment a caller is cancelled, one who comes in that moment gets a result, and shares it."""

    async def scenario():
        begun = []

        async def run():
            begun.append(1)
            await asyncio.sleep(0)
            return len(begun)

        flight = SingleFlight(run, name="work")
        first = asyncio.create_task(flight.join())
        for _ in range(ticks):
            await asyncio.sleep(0)
        second = asyncio.create_task(flight.join())
        first.cancel()
        third = asyncio.create_task(flight.join())
        assert await second == await third
        await asyncio.wait({first})
        assert len(begun) <= 2

    virtual_time.run(scenario())


@virtual_time.scenario
async def test_closing_during_a_dying_run_is_clean():
    """Closing while a deserted run ends leaves nothing behind."""
    work = Work(cleanup=0.25)
    flight = SingleFlight(work, name="work")
    caller = asyncio.create_task(flight.join())
    await asyncio.sleep(0.5)
    caller.cancel()
    await asyncio.sleep(0.1)
    await flight.aclose()
    await asyncio.wait({caller})
    assert work.cancelled == 1


@virtual_time.scenario
async def test_a_detached_run_ends_by_itself(caplog):
    """What must not be torn in half goes on without callers, and nobody complains about its failure."""
    work = Work(error=KeyError("unseen"))
    flight = SingleFlight(work, name="work", detached=True)
    caller = asyncio.create_task(flight.join())
    await asyncio.sleep(0.5)
    caller.cancel()
    await asyncio.sleep(1.0)
    assert (work.cancelled, work.ended) == (0, 1)
    del flight, caller
    gc.collect()
    assert caplog.records == []


@virtual_time.scenario
async def test_closing_ends_the_run_and_tells_the_callers():
    """Callers of a run that is closed get an error instead of a cancellation that is not theirs."""
    work = Work()
    flight = SingleFlight(work, name="the work")
    caller = asyncio.create_task(flight.join())
    await asyncio.sleep(0.5)
    await flight.aclose()
    await flight.aclose()
    with pytest.raises(ClientClosedError, match="the work was closed"):
        await caller
    with pytest.raises(ClientClosedError, match="the work is closed"):
        await flight.join()
    assert work.cancelled == 1


@pytest.mark.parametrize(("grace", "ended"), [(0.6, 1), (0.4, 0)])
def test_closing_with_grace(grace, ended):
    """A run gets the time that closing allows it, and not more."""

    async def scenario():
        work = Work()
        flight = SingleFlight(work, name="work", detached=True)
        caller = asyncio.create_task(flight.join())
        await asyncio.sleep(0.5)
        await flight.aclose(grace=grace)
        await asyncio.wait({caller})
        caller.exception()
        return work.ended

    assert virtual_time.run(scenario()) == ended


@virtual_time.scenario
async def test_closing_unused_is_fine():
    """Nothing ran: nothing to close."""
    await SingleFlight(Work(), name="work").aclose(grace=1.0)
