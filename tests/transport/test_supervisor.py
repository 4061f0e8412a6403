"""A background task that survives its own bugs."""

from __future__ import annotations

import asyncio
import logging

import virtual_time

from flashback_async.transport.supervisor import SupervisedTask

_logger = logging.getLogger("flashback_async.test")


class Script:
    """Runs one step per start: an exception is raised, a number is slept."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.starts = []

    async def __call__(self):
        self.starts.append(asyncio.get_running_loop().time())
        step = self.steps.pop(0) if self.steps else 1e4
        if isinstance(step, Exception):
            raise step
        await asyncio.sleep(step)


def _supervised(script, random=lambda: 0.5):
    return SupervisedTask(script, name="the task", random=random, logger=_logger)


@virtual_time.scenario
async def test_a_crash_is_followed_by_a_restart_with_backoff(caplog):
    """Crashes in a row are restarted after 1, 2, 4 ... 60 s, and logged once, with their traceback."""
    script = Script(*(KeyError(number) for number in range(8)))
    task = _supervised(script)
    task.start()
    await asyncio.sleep(250)
    await task.aclose()
    assert script.starts == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 123.0, 183.0]
    assert [record.getMessage() for record in caplog.records] == ["the task crashed and will be restarted"]
    assert caplog.records[0].exc_info[1].args == (0,)


@virtual_time.scenario
async def test_restarts_are_jittered():
    """The pause varies by half either way, so that processes that crash together drift apart."""
    for random, pause in ((lambda: 0.0, 0.5), (lambda: 0.999, 1.499)):
        script = Script(KeyError())
        task = _supervised(script, random)
        began = asyncio.get_running_loop().time()
        task.start()
        await asyncio.sleep(5)
        await task.aclose()
        assert round(script.starts[1] - began, 6) == pause


@virtual_time.scenario
async def test_work_done_makes_the_next_crash_news(caplog):
    """After the task thrived, a crash is logged again and restarted soon."""
    script = Script(KeyError(1), KeyError(2), KeyError(3))
    task = _supervised(script)
    task.start()
    await asyncio.sleep(2.0)
    task.thriving()
    await asyncio.sleep(2.5)
    await task.aclose()
    assert script.starts == [0.0, 1.0, 3.0, 4.0]
    assert len(caplog.records) == 2


@virtual_time.scenario
async def test_a_run_that_ends_starts_again():
    """An endless coroutine that ends all the same is started again, without a log line."""
    script = Script(5.0)
    task = _supervised(script)
    task.start()
    await asyncio.sleep(10)
    await task.aclose()
    assert script.starts == [0.0, 6.0]


@virtual_time.scenario
async def test_start_and_close_are_idempotent_and_of_any_task():
    """Two starts make one task; another task may close it, twice; then it starts anew."""
    script = Script()
    task = _supervised(script)
    await task.aclose()
    await asyncio.create_task(_call(task.start))
    task.start()
    await asyncio.sleep(1)
    assert task.running
    await asyncio.gather(asyncio.create_task(task.aclose()), asyncio.create_task(task.aclose()))
    assert not task.running
    assert script.starts == [0.0]
    task.start()
    await asyncio.sleep(1)
    assert len(script.starts) == 2
    await task.aclose()


@virtual_time.scenario
async def test_closing_awaits_the_end():
    """When `aclose()` returns, the coroutine has cleaned up."""
    cleaned = []

    async def run():
        try:
            await asyncio.sleep(1e6)
        finally:
            await asyncio.sleep(0.25)
            cleaned.append(asyncio.get_running_loop().time())

    task = _supervised(run)
    task.start()
    await asyncio.sleep(1.0)
    await task.aclose()
    assert cleaned == [1.25]


async def _call(function):
    function()
