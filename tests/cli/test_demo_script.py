"""What goes wrong during a demo, and when."""

from __future__ import annotations

import asyncio

import pytest

from flashback_async.cli.demo.script import CONTROL_PLANE, EVENTS, NODES, Event, Phase, Script
from flashback_async.sandbox import SandboxError


def test_a_healthy_node_is_there_at_any_time():
    """However the events fall, one node answers as it should: nothing has to fail."""
    broken = dict.fromkeys((node.id for node in NODES), "")
    for event in EVENTS:
        if event.who != CONTROL_PLANE:
            broken[event.who] = event.state
        assert "" in broken.values(), event


def test_everything_promised_happens():
    """A brownout, a death, 503s, no control plane; every node is hit and more than one heals."""
    states = {event.state for event in EVENTS}
    assert {"20x slower", "killed", "answers 503", "down", "cuts bodies"} <= states
    assert {event.who for event in EVENTS if event.state} == {*(node.id for node in NODES), CONTROL_PLANE}
    assert len({event.who for event in EVENTS if not event.state}) >= 3


def test_the_brownout_is_twenty_times_the_distance():
    """The nearest node is the one that turns slow, and it is the nearest indeed."""
    assert EVENTS[0].who == min(NODES, key=lambda node: node.latency).id


def test_events_are_in_order_and_their_lines_fit():
    """Events are written down as they happen, in words that fit a line of 80 columns."""
    order = [(list(Phase).index(event.phase), event.at) for event in EVENTS]
    assert order == sorted(order)
    assert all(len(event.text) <= 80 - 25 for event in EVENTS)


def noting(phase, at, name, notes):
    async def act(_):
        await asyncio.sleep(0)
        notes.append(name)

    return Event(phase, at, name, "broken", name, act)


async def test_progress_triggers_each_event_once():
    """An event happens when its share of the objects is done: not before, not twice, in order."""
    notes, said = [], []
    events = [noting(Phase.IN, 0.0, "start", notes), noting(Phase.IN, 0.5, "half", notes)]
    events.append(noting(Phase.OUT, 0.5, "other", notes))
    script = Script(None, events)
    acting = asyncio.create_task(script.perform(lambda event: said.append(event.who)))
    script.reached(Phase.IN, -1.0, 0.0)
    script.reached(Phase.IN, 0.0, 0.49)
    await script.settled()
    assert notes == said == ["start"]
    script.reached(Phase.IN, 0.49, 1.0)
    script.reached(Phase.IN, 1.0, 1.0)
    await script.settled()
    assert notes == said == ["start", "half"]
    assert script.states == {"start": "broken", "half": "broken"}
    acting.cancel()


async def test_a_cluster_that_does_not_obey_is_an_error():
    """What the script cannot do ends the demo instead of being lost."""

    async def act(_):
        raise SandboxError("no")

    script = Script(None, [Event(Phase.IN, 0.0, "x", "", "x", act)])
    script.reached(Phase.IN, -1.0, 0.0)
    with pytest.raises(SandboxError):
        await script.perform(lambda _: None)
