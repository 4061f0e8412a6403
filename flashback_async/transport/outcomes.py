"""What an error says of the endpoint that was asked. One place, so that it is said once."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from flashback_async.errors import (
    EndpointConnectError,
    EndpointError,
    EndpointServerError,
    EndpointTimeoutError,
    IntegrityError,
    OperationError,
    ServiceError,
)
from flashback_async.routing import Outcome

# With 409: another request for the same key was under way at that moment. S3 wants the request again; it is
# checked anew then, so that one with a condition cannot overwrite what that other request has written.
PASSING_CONFLICTS: Final = frozenset({"ConditionalRequestConflict", "OperationAborted"})


def outcome_of(error: OperationError) -> Outcome:
    """What an error that came through the seam says of the endpoint that was asked."""
    if error.is_throttling:
        return Outcome.THROTTLED
    if not error.is_endpoint_fault:
        return Outcome.CALLER_FAULT if isinstance(error, ServiceError) else Outcome.CANCELLED
    return Outcome.TIMEOUT if isinstance(error, EndpointTimeoutError) else Outcome.ENDPOINT_FAULT


def may_go_elsewhere(error: OperationError) -> bool:
    """Whether another attempt may do better: also after what says nothing against the endpoint."""
    return outcome_of(error).is_retriable or isinstance(error, EndpointTimeoutError) or _is_passing(error)


def may_have_run(error: OperationError) -> bool:
    """Whether an endpoint may have carried out what it failed to answer. 503 says that it did not."""
    if isinstance(error, EndpointServerError):
        return error.status != HTTPStatus.SERVICE_UNAVAILABLE
    return isinstance(error, EndpointError) and not error.is_retry_safe


def unsent(reason: str) -> EndpointConnectError:
    """The error where there was no connection, so that nothing was sent and nothing carried out."""
    error = EndpointConnectError(reason)
    error.is_retry_safe = True
    return error


def cause_of(error: OperationError) -> str:
    """The name under which a failover is counted."""
    if error.is_throttling:
        return "throttled"
    if isinstance(error, EndpointTimeoutError):
        return "timeout" if error.is_endpoint_fault else "lag"
    if isinstance(error, IntegrityError):
        return "body"
    if _is_passing(error):
        return "conflict"
    return "connect" if isinstance(error, EndpointConnectError) else "server"


def _is_passing(error: OperationError) -> bool:
    return (
        isinstance(error, ServiceError)
        and error.status in {HTTPStatus.CONFLICT, 0}
        and error.code in PASSING_CONFLICTS
    )
