"""The scenarios: S1-S8, S14 and S15 of the routing design, and more of our own."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.node import Fault, NodePlan

WAN = (0.005, 0.008, 0.012, 0.025, 0.040, 0.060, 0.080, 0.100, 0.120, 0.150, 0.180, 0.220)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens, to whom, and what must come of it. Times are seconds, rates requests per second.

    Attributes:
        key: short name, such as S7.
        title: what happens, in words.
        nodes: the fleet.
        clients: independent clients, each with a router of its own.
        rate: requests per second of all clients together (Poisson, open loop).
        duration: seconds in which requests arrive.
        attempt_timeout: seconds after which an attempt is given up.
        bad: nodes whose share is watched.
        fault_at: when the watched fault begins; None: nothing to detect.
        healed_at: when it ends; None: nothing to recover.
        sizes: body sizes in bytes with their weights.
        outage: (start, stop) in which discovery fails.
        shared_address: whether all clients count as one address.
        bound: whether the oracle bounds what a router can do here; else why it does not.
        tail: how far above the oracle's the 99th percentile may be, as a share; None: anything.
        balanced: whether no node may have much more than its share.
        gate_detect: seconds within which the bad nodes must be left.
    """

    key: str
    title: str
    nodes: tuple[NodePlan, ...]
    rate: float
    duration: float
    clients: int = 1
    attempt_timeout: float = 5.0
    bad: tuple[int, ...] = ()
    fault_at: float | None = None
    healed_at: float | None = None
    sizes: tuple[tuple[int, float], ...] = ((0, 1.0),)
    outage: tuple[float, float] | None = None
    shared_address: bool = False
    bound: str = ""
    tail: float | None = 0.20
    balanced: bool = False
    gate_detect: float | None = None


def wan(
    *, first: tuple[Fault, ...] = (), workers: int = 4, published: tuple[float, ...] = ()
) -> tuple[NodePlan, ...]:
    """Twelve nodes around the world; faults on the nearest."""
    return tuple(
        NodePlan(
            rtt=rtt,
            workers=workers,
            faults=first if index == 0 else (),
            published=published[index] if published else None,
        )
        for index, rtt in enumerate(WAN)
    )


def lan(count: int, *, faulty: dict[int, tuple[Fault, ...]] | None = None) -> tuple[NodePlan, ...]:
    """Equal nodes near by."""
    return tuple(
        NodePlan(rtt=0.010, service="exponential", faults=(faulty or {}).get(index, ()))
        for index in range(count)
    )


# One node serves workers / mean = 400 requests per second.
_CAPACITY = 400.0
_LIGHT = 200.0


def all_scenarios(length: float = 1.0) -> tuple[Scenario, ...]:
    """Every scenario; `length` scales how long the quiet parts last (1: up to 30,000 requests)."""
    steady = 20.0 * length
    before, fault, after = 20.0 * length, 60.0 * length, 40.0 * length
    end = before + fault + after
    bad = (before, before + fault)
    # A published figure that knows only the node's own leg to the bucket: the farthest node looks best.
    reverse = tuple(0.002 + 0.001 * (len(WAN) - index) for index in range(len(WAN)))
    return (
        Scenario(
            key="S1",
            title="10 equal nodes, 4 clients, 40 % load",
            nodes=lan(10),
            clients=4,
            rate=0.4 * 10 * _CAPACITY,
            duration=min(18.0, steady),
            balanced=True,
        ),
        Scenario(
            key="S2",
            title="12 nodes around the world, light load",
            nodes=wan(),
            rate=_LIGHT,
            duration=3 * steady,
        ),
        Scenario(
            key="S3",
            title="1.6 times what the nearest node serves",
            nodes=wan(),
            rate=1.6 * _CAPACITY,
            duration=2 * steady,
        ),
        Scenario(
            key="S4",
            title="50 clients, 8 near-equal nodes, 60 % load",
            nodes=tuple(NodePlan(rtt=0.010 + 0.0002 * i, service="exponential") for i in range(8)),
            clients=50,
            rate=0.6 * 8 * _CAPACITY,
            duration=min(15.0, steady),
            balanced=True,
        ),
        Scenario(
            key="S5",
            title="the best node refuses for a minute",
            nodes=wan(first=(Fault(*bad, refuses=True),)),
            rate=_LIGHT,
            duration=end,
            bad=(0,),
            fault_at=bad[0],
            healed_at=bad[1],
        ),
        Scenario(
            key="S6",
            title="the best node becomes a black hole",
            nodes=wan(first=(Fault(*bad, black_hole=True),)),
            rate=_LIGHT,
            duration=end,
            attempt_timeout=2.0,
            bad=(0,),
            fault_at=bad[0],
            healed_at=bad[1],
            gate_detect=1.0,
        ),
        Scenario(
            key="S7",
            title="brownout: the best node 20 times slower",
            nodes=wan(first=(Fault(*bad, slowdown=20.0),)),
            rate=_LIGHT,
            duration=end,
            bad=(0,),
            fault_at=bad[0],
            healed_at=bad[1],
            gate_detect=1.0,
        ),
        Scenario(
            key="S8",
            title="one of 8 answers 503 at once",
            nodes=lan(8, faulty={3: (Fault(*bad, error_rate=1.0),)}),
            rate=_LIGHT,
            duration=end,
            bad=(3,),
            fault_at=bad[0],
            healed_at=bad[1],
        ),
        Scenario(
            key="S9",
            title="30 % errors on the best node",
            nodes=wan(first=(Fault(*bad, error_rate=0.3),)),
            rate=_LIGHT,
            duration=end,
            bad=(0,),
            fault_at=bad[0],
            healed_at=bad[1],
        ),
        Scenario(
            key="S10",
            title="half of all answers are errors on 6 of 8 nodes",
            nodes=lan(8, faulty={i: (Fault(*bad, error_rate=0.5),) for i in range(6)}),
            rate=_LIGHT,
            duration=end,
            bad=tuple(range(6)),
            fault_at=bad[0],
            healed_at=bad[1],
        ),
        Scenario(
            key="S11",
            title="the best node flaps: 3 s down, 3 s up",
            nodes=wan(
                first=tuple(
                    Fault(before + 6 * i, before + 6 * i + 3, refuses=True) for i in range(int(fault / 6))
                )
            ),
            rate=_LIGHT,
            duration=end,
            bad=(0,),
        ),
        Scenario(
            key="S12",
            title="discovery is down while the best node dies",
            nodes=wan(first=(Fault(*bad, refuses=True),)),
            rate=_LIGHT,
            duration=end,
            bad=(0,),
            fault_at=bad[0],
            healed_at=bad[1],
            outage=(before - 5, before + fault),
        ),
        Scenario(
            key="S13",
            title="a nearer node joins cold",
            nodes=(*(NodePlan(rtt=rtt) for rtt in WAN[1:]), NodePlan(rtt=WAN[0], joins=before)),
            rate=_LIGHT,
            duration=2 * before,
        ),
        Scenario(
            key="S14",
            title="published latency is the node's own leg only",
            nodes=wan(published=reverse),
            rate=_LIGHT,
            duration=3 * steady,
        ),
        Scenario(
            key="S15",
            title="10 requests/s per node and address, 60 wanted",
            nodes=tuple(NodePlan(rtt=rtt, rate=10.0) for rtt in WAN),
            rate=60.0,
            duration=6 * steady,
            tail=None,
            bound="the oracle knows the limits; each must be learned from its first 429",
        ),
        Scenario(
            key="S16",
            title="two classes of nodes: 4 fast, 4 three times slower",
            nodes=tuple(NodePlan(rtt=0.010, mean=0.010 if i < 4 else 0.030) for i in range(8)),
            rate=0.5 * 4 * _CAPACITY,
            duration=steady,
        ),
        Scenario(
            key="S17",
            title="mixed sizes up to 8 MiB, two bandwidths",
            nodes=tuple(
                NodePlan(rtt=rtt, workers=16, bandwidth=50e6 if i % 2 else 400e6)
                for i, rtt in enumerate(WAN[:6])
            ),
            rate=60.0,
            duration=3 * steady,
            sizes=((4_096, 0.7), (1 << 20, 0.2), (8 << 20, 0.1)),
        ),
        Scenario(
            key="S18",
            title="8 clients behind one address, 10 requests/s per node, 60 wanted",
            nodes=tuple(NodePlan(rtt=rtt, rate=10.0) for rtt in WAN),
            rate=60.0,
            duration=6 * steady,
            clients=8,
            shared_address=True,
            tail=None,
            bound="the oracle knows what the other clients took; each client learns its share by 429s",
        ),
        Scenario(
            key="S19",
            title="200 nodes",
            nodes=tuple(NodePlan(rtt=0.005 + 0.001 * i) for i in range(200)),
            rate=_LIGHT,
            duration=steady,
        ),
        Scenario(
            key="S20",
            title="a brownout that fades over 20 s",
            nodes=wan(first=(Fault(before, before + fault / 2, slowdown=20.0, recovers_over=20.0 * length),)),
            rate=_LIGHT,
            duration=end,
            bad=(0,),
            fault_at=before,
            healed_at=before + fault / 2 + 20.0 * length,
        ),
        Scenario(
            key="S21",
            title="50 clients, 8 near-equal nodes with steady service times, 60 % load",
            nodes=tuple(NodePlan(rtt=0.010 + 0.0002 * i, service="constant") for i in range(8)),
            clients=50,
            rate=0.6 * 8 * _CAPACITY,
            duration=min(15.0, steady),
            balanced=True,
            tail=0.40,
            bound="the oracle sees every queue, a client its own requests; 40 % above its p99 is allowed",
        ),
        Scenario(
            key="S22",
            title="the only near node becomes a black hole, without ever having been slow",
            nodes=(
                NodePlan(
                    rtt=0.005,
                    service="constant",
                    faults=(Fault(11 * before, 11 * before + fault, black_hole=True),),
                ),
                *(NodePlan(rtt=0.060 + 0.002 * i, service="constant") for i in range(8)),
            ),
            rate=_LIGHT / 4,
            duration=22 * before + fault,
            attempt_timeout=2.0,
            bad=(0,),
            fault_at=11 * before,
            healed_at=11 * before + fault,
            gate_detect=1.0,
        ),
        Scenario(
            key="S23",
            title="the only near node answers 503, all others are 300 ms away",
            nodes=tuple(
                NodePlan(rtt=rtt, faults=(Fault(*bad, error_rate=1.0),) if not index else ())
                for index, rtt in enumerate((0.005, 0.300, 0.320, 0.340, 0.360))
            ),
            rate=_LIGHT,
            duration=end,
            bad=(0,),
            fault_at=bad[0],
            healed_at=bad[1],
        ),
    )
