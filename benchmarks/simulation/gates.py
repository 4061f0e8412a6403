"""What a result must satisfy, and how it is told. The numbers are those of the routing design."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulation.race import Result

FAILED_ATTEMPTS = 0.001
THROTTLED = 0.02
SHARED_FAILED = 0.001
RECOVERY = 15.0
IMBALANCE = 1.3


def violations(ours: Result, oracle: Result) -> Iterator[str]:
    """Every gate that `ours` misses, in words; nothing when all hold."""
    scenario = ours.scenario
    tail, bound = ours.quantile(0.99), oracle.quantile(0.99)
    if scenario.tail is not None and tail > bound * (1 + scenario.tail):
        over = f"more than {scenario.tail:.0%} above the oracle's {bound * 1e3:.1f} ms"
        yield f"p99 {tail * 1e3:.1f} ms is {over}"
    # Where others use up a limit that a client cannot see, three 429s in a row cannot be ruled out.
    allowed = SHARED_FAILED * ours.requests if scenario.shared_address else oracle.failed
    if ours.failed > allowed:
        yield f"{ours.failed} requests failed, {allowed:.0f} are allowed"
    if ours.failed_attempt_share > FAILED_ATTEMPTS:
        yield f"{ours.failed_attempt_share:.3%} of the attempts failed, {FAILED_ATTEMPTS:.1%} are allowed"
    if scenario.key == "S15" and ours.throttled_share > THROTTLED:
        yield f"{ours.throttled_share:.2%} of the attempts were 429s, {THROTTLED:.0%} are allowed"
    detected = ours.detected
    if scenario.gate_detect is not None and (detected is None or detected > scenario.gate_detect):
        yield f"left after {detected} s, {scenario.gate_detect:g} s are allowed"
    recovered = ours.recovered
    if recovered is not None and (isinf(recovered) or recovered > RECOVERY):
        yield f"recovered after {recovered} s, {RECOVERY:g} s are allowed"
    if scenario.balanced and ours.imbalance > IMBALANCE:
        yield f"imbalance {ours.imbalance:.2f}, {IMBALANCE} is allowed"
