"""How an attempt can end, from the endpoint's point of view."""

from __future__ import annotations

from enum import Enum
from typing import Final

# By value: members ask while they are being made.
_FAULTS = frozenset({"endpoint fault", "timeout"})
_ALIVE = frozenset({"success", "caller fault"})
_RETRIABLE = _FAULTS | {"throttled"}


class Outcome(Enum):
    """The end of one attempt.

    Attributes:
        is_fault: whether it counts against the endpoint.
        proves_alive: whether it shows that the endpoint works.
        is_retriable: whether another endpoint may do better.
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

    def __init__(self, text: str) -> None:
        self.is_fault = text in _FAULTS
        self.proves_alive = text in _ALIVE
        self.is_retriable = text in _RETRIABLE


# For what runs with every request: Python 3.11 takes as long to find a member in its class as for a call.
SUCCESS: Final = Outcome.SUCCESS
TIMEOUT: Final = Outcome.TIMEOUT
THROTTLED: Final = Outcome.THROTTLED
CALLER_FAULT: Final = Outcome.CALLER_FAULT
CANCELLED: Final = Outcome.CANCELLED
