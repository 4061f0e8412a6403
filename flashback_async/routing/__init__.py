"""The routing core: decides, synchronously and without I/O, which endpoint an attempt goes to.

No clock, no randomness, no logging, no await: time and chance are arguments, state changes are collected as
events. `Router` is the way in; the algorithm is told in `picker`, the numbers in `policy`.
"""

from flashback_async.routing.attempt import Attempt, Wait
from flashback_async.routing.breaker import BreakerState
from flashback_async.routing.endpoint import Endpoint, EndpointReport, EndpointStatus, OperationKind
from flashback_async.routing.events import BreakerChanged, EndpointJoined, EndpointLeft, Event, RateLearned
from flashback_async.routing.explain import Explanation
from flashback_async.routing.outcome import Outcome
from flashback_async.routing.policy import RoutingPolicy
from flashback_async.routing.router import Router
from flashback_async.routing.snapshot import EndpointSnapshot, RouterSnapshot

__all__ = [
    "Attempt",
    "BreakerChanged",
    "BreakerState",
    "Endpoint",
    "EndpointJoined",
    "EndpointLeft",
    "EndpointReport",
    "EndpointSnapshot",
    "EndpointStatus",
    "Event",
    "Explanation",
    "OperationKind",
    "Outcome",
    "RateLearned",
    "Router",
    "RouterSnapshot",
    "RoutingPolicy",
    "Wait",
]
