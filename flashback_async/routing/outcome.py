"""How an attempt can end, from the endpoint's point of view."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """The end of one attempt. What it means for the endpoint is told by the properties.

    Attributes:
        SUCCESS: the answer that was asked for.
        ENDPOINT_FAULT: connect, TLS, DNS, reset, 500, 502, 503, 504, a broken body.
        TIMEOUT: our own attempt timer fired, and nothing else.
        THROTTLED: 429 or SlowDown; the endpoint is alive and asks for less.
        CALLER_FAULT: every other answer (403, 404, 412, 501, 507, ...); the endpoint is alive.
        CANCELLED: cancelled, pool timeout, caller's deadline, unknown local error; says nothing of it.
    """

    SUCCESS = "success"
    ENDPOINT_FAULT = "endpoint fault"
    TIMEOUT = "timeout"
    THROTTLED = "throttled"
    CALLER_FAULT = "caller fault"
    CANCELLED = "cancelled"

    @property
    def is_fault(self) -> bool:
        """Whether it counts against the endpoint."""
        return self in _FAULTS

    @property
    def proves_alive(self) -> bool:
        """Whether it shows that the endpoint works."""
        return self in _ALIVE

    @property
    def is_retriable(self) -> bool:
        """Whether another endpoint may do better."""
        return self in _RETRIABLE


_FAULTS = frozenset({Outcome.ENDPOINT_FAULT, Outcome.TIMEOUT})
_ALIVE = frozenset({Outcome.SUCCESS, Outcome.CALLER_FAULT})
_RETRIABLE = _FAULTS | {Outcome.THROTTLED}
