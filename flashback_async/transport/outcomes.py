"""What an error says of the endpoint that was asked. One place, so that it is said once."""

from __future__ import annotations

from flashback_async.errors import (
    EndpointConnectError,
    EndpointTimeoutError,
    IntegrityError,
    OperationError,
    ServiceError,
)
from flashback_async.routing import Outcome


def outcome_of(error: OperationError) -> Outcome:
    """What an error that came through the seam says of the endpoint that was asked."""
    if error.is_throttling:
        return Outcome.THROTTLED
    if isinstance(error, EndpointTimeoutError):
        return Outcome.TIMEOUT
    if error.is_endpoint_fault:
        return Outcome.ENDPOINT_FAULT
    if isinstance(error, ServiceError):
        return Outcome.CALLER_FAULT
    return Outcome.CANCELLED


def cause_of(error: OperationError) -> str:
    """The name under which a failover is counted."""
    if error.is_throttling:
        return "throttled"
    if isinstance(error, EndpointTimeoutError):
        return "timeout"
    if isinstance(error, IntegrityError):
        return "body"
    return "connect" if isinstance(error, EndpointConnectError) else "server"
