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
    if not error.is_endpoint_fault:
        return Outcome.CALLER_FAULT if isinstance(error, ServiceError) else Outcome.CANCELLED
    return Outcome.TIMEOUT if isinstance(error, EndpointTimeoutError) else Outcome.ENDPOINT_FAULT


def may_go_elsewhere(error: OperationError) -> bool:
    """Whether another attempt may do better: also after a timeout that says nothing of the endpoint."""
    return outcome_of(error).is_retriable or isinstance(error, EndpointTimeoutError)


def cause_of(error: OperationError) -> str:
    """The name under which a failover is counted."""
    if error.is_throttling:
        return "throttled"
    if isinstance(error, EndpointTimeoutError):
        return "timeout" if error.is_endpoint_fault else "lag"
    if isinstance(error, IntegrityError):
        return "body"
    return "connect" if isinstance(error, EndpointConnectError) else "server"
