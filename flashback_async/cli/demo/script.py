"""What goes wrong during a demo, and when: by progress and not by the clock, so the same for everybody.

At any time at least one node is healthy: `node-4` on the way in, `node-2` and `node-3` on the way out.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from flashback_async.sandbox import Behaviour, NodeSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from flashback_async.sandbox import LocalFlashback

    Action = Callable[[LocalFlashback], Awaitable[None]]

NODES: Final = (
    NodeSpec(id="node-1", region="us-east-1", provider="aws", latency=0.020),
    NodeSpec(id="node-2", region="us-east-1", provider="gcp", latency=0.030),
    NodeSpec(id="node-3", region="eu-central-1", provider="aws", latency=0.060),
    NodeSpec(id="node-4", region="ap-southeast-1", provider="aws", latency=0.090),
)
"""Four nodes in three regions, as seen from the east coast of the United States."""

CONTROL_PLANE: Final = "control plane"

SLOWDOWN: Final = 20


class Phase(Enum):
    """The two halves of a run."""

    IN = "copy in"
    OUT = "copy out"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to the cluster.

    Attributes:
        phase: in which half.
        at: after which part of its objects, 0 to 1.
        who: id of the node, or the control plane.
        state: what is wrong with it from now on, in a word or two; empty when nothing is.
        text: a sentence for people.
        action: does it.
    """

    phase: Phase
    at: float
    who: str
    state: str
    text: str
    action: Action


def _behaves(who: str, behaviour: Behaviour) -> Action:
    return lambda cluster: cluster.node(who).set(behaviour)


def _is_killed(who: str) -> Action:
    return lambda cluster: cluster.node(who).kill()


def _is_published(who: str, status: str) -> Action:
    return lambda cluster: cluster.node(who).publish(status=status)


def _recovers(who: str) -> Action:
    async def act(cluster: LocalFlashback) -> None:
        await cluster.node(who).heal()
        await cluster.node(who).publish(status="ONLINE")

    return act


EVENTS: Final = (
    Event(
        Phase.IN,
        0.15,
        "node-1",
        f"{SLOWDOWN}x slower",
        f"node-1 (nearest) turns {SLOWDOWN}x slower, /health is fine",
        _behaves("node-1", Behaviour(latency=NODES[0].latency * (SLOWDOWN - 1), health_ok=True)),
    ),
    Event(Phase.IN, 0.35, "node-2", "killed", "node-2 is killed", _is_killed("node-2")),
    Event(
        Phase.IN,
        0.55,
        "node-3",
        "answers 503",
        "node-3 answers 503 to everything",
        _behaves("node-3", Behaviour(status=503)),
    ),
    Event(
        Phase.IN,
        0.65,
        "node-2",
        "killed",
        "the control plane notices that node-2 is gone",
        _is_published("node-2", "DISCONNECTED"),
    ),
    Event(
        Phase.IN,
        0.75,
        CONTROL_PLANE,
        "down",
        "the control plane goes down",
        lambda cluster: cluster.control_plane.kill(),
    ),
    Event(Phase.OUT, 0.0, "node-2", "", "node-2 is restarted", _recovers("node-2")),
    Event(Phase.OUT, 0.0, "node-3", "", "node-3 recovers", _recovers("node-3")),
    Event(
        Phase.OUT,
        0.2,
        "node-4",
        "cuts bodies",
        "node-4 breaks every download off after 2 kB",
        _behaves("node-4", Behaviour(truncate_after=2_000)),
    ),
    Event(Phase.OUT, 0.4, "node-1", "", "node-1 is fast again", _recovers("node-1")),
    Event(
        Phase.OUT,
        0.5,
        CONTROL_PLANE,
        "",
        "the control plane is back",
        lambda cluster: cluster.control_plane.restart(),
    ),
    Event(
        Phase.OUT,
        0.6,
        "node-4",
        "resets",
        "node-4 resets every connection",
        _behaves("node-4", Behaviour(reset=True)),
    ),
    Event(Phase.OUT, 0.75, "node-1", "killed", "node-1 (nearest) is killed", _is_killed("node-1")),
    Event(
        Phase.OUT,
        0.9,
        "node-1",
        "killed",
        "the control plane notices that node-1 is gone",
        _is_published("node-1", "DISCONNECTED"),
    ),
)


class Script:
    """Carries events out one after the other, each when its time has come.

    Attributes:
        states: who -> what is wrong with it now.
    """

    def __init__(self, cluster: LocalFlashback, events: Sequence[Event] = EVENTS) -> None:
        self.states: dict[str, str] = {}
        self._cluster = cluster
        self._events = events
        self._due: asyncio.Queue[Event] = asyncio.Queue()

    def reached(self, phase: Phase, before: float, now: float) -> None:
        """Progress of a phase went from `before` to `now`, 0 to 1. The start is a move from below 0 to 0."""
        for event in self._events:
            if event.phase is phase and before < event.at <= now:
                self._due.put_nowait(event)

    async def perform(self, announce: Callable[[Event], None]) -> None:
        """Do what is due, as it becomes due, until cancelled; each is announced before it happens.

        Raises:
            SandboxError: the cluster did not do it.
        """
        while True:
            event = await self._due.get()
            self.states[event.who] = event.state
            announce(event)
            await event.action(self._cluster)
            self._due.task_done()

    async def settled(self) -> None:
        """Wait until all that is due has happened."""
        await self._due.join()
