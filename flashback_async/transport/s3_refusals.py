"""From the errors of this package back to what boto raises, for callers who speak boto.

What the service said is raised as plain aioboto3 raises it, with the same answer and of the same class. What
no service said (nobody could be reached, nobody answered in time) becomes a `ClientError` as well: that is
what callers handle; it is also the botocore error that a plain client raises in its place.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from flashback_async.errors import (
    DeadlineExceededError,
    EndpointConnectError,
    EndpointServerError,
    EndpointTimeoutError,
    FlashbackError,
    IntegrityError,
    NoEndpointAvailableError,
    OperationError,
    PoolTimeoutError,
    ServiceError,
    ThrottledError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UNAVAILABLE: Final = ("ServiceUnavailable", HTTPStatus.SERVICE_UNAVAILABLE)
TIMED_OUT: Final = ("RequestTimeout", HTTPStatus.REQUEST_TIMEOUT)


class _UnansweredError(ClientError):  # type: ignore[misc]  # botocore has no types
    """A `ClientError` that is one of botocore's own errors too, whose constructors take other arguments."""

    def __init__(self, error_response: Mapping[str, Any], operation_name: str) -> None:
        Exception.__init__(self, str(ClientError(error_response, operation_name)))
        self.response = error_response
        self.operation_name = operation_name
        self.request = None
        self.kwargs: dict[str, object] = {}


class UnreachableError(_UnansweredError, EndpointConnectionError):  # type: ignore[misc]  # as above
    """Nobody could be reached, on any attempt."""


class UnansweredInTimeError(_UnansweredError, ReadTimeoutError):  # type: ignore[misc]  # as above
    """Nobody answered in time, on any attempt."""


class BrokenBodyError(_UnansweredError, ResponseStreamingError):  # type: ignore[misc]  # as above
    """A body broke off, and nobody could continue it."""


def to_boto(
    error: FlashbackError, operation_name: str, from_code: Callable[[str], type[ClientError]]
) -> Exception:
    """What a caller of boto expects in the place of `error`; `error` itself where boto has no say.

    Args:
        error: of this package.
        operation_name: of the operation that the caller asked for.
        from_code: the modelled exception for an error code, of the caller's client.
    """
    said = error.__cause__
    attempts = len(getattr(error, "attempts", ()))
    if isinstance(said, ClientError):
        metadata = dict(said.response.get("ResponseMetadata", {}))
        # Of the endpoint's client, which makes one attempt only.
        metadata.pop("MaxAttemptsReached", None)
        response = {**said.response, "ResponseMetadata": {**metadata, **_retries(attempts)}}
        told: Exception = type(said)(response, operation_name)
        return told
    if not isinstance(error, OperationError | NoEndpointAvailableError):
        if not isinstance(said, BotoCoreError | ValueError):
            return error
        cause: Exception = said
        # The caller raises `said` from `error`; the other way round as well would be a circle.
        error.__cause__ = error.__context__ = None
        return cause
    code, status = _code_of(error)
    response = {
        "Error": {"Code": code, "Message": str(error)},
        "ResponseMetadata": {"HTTPStatusCode": int(status), "HTTPHeaders": {}, **_retries(attempts)},
    }
    unsaid: Exception = _class_of(error, code, from_code)(response, operation_name)
    return unsaid


def broken_body(
    error: FlashbackError, operation_name: str, from_code: Callable[[str], type[ClientError]]
) -> Exception:
    """The same for an error that came after the headers."""
    told = to_boto(error, operation_name, from_code)
    if type(told) in {UnreachableError, ClientError} and isinstance(
        error, EndpointConnectError | EndpointServerError | IntegrityError
    ):
        assert isinstance(told, ClientError)
        return BrokenBodyError(told.response, operation_name)
    return told


def _retries(attempts: int) -> dict[str, object]:
    """As boto tells them."""
    told: dict[str, object] = {"RetryAttempts": max(0, attempts - 1)}
    return {**told, "MaxAttemptsReached": True} if attempts > 1 else told


def _code_of(error: FlashbackError) -> tuple[str, int]:
    match error:
        case ServiceError() | EndpointServerError() if error.status >= HTTPStatus.BAD_REQUEST:
            return error.code or str(error.status), error.status
        case ThrottledError():
            return "SlowDown", HTTPStatus.SERVICE_UNAVAILABLE
        case EndpointTimeoutError() | DeadlineExceededError() | PoolTimeoutError():
            return TIMED_OUT
    return UNAVAILABLE


def _class_of(
    error: FlashbackError, code: str, from_code: Callable[[str], type[ClientError]]
) -> type[ClientError]:
    if isinstance(error, EndpointTimeoutError | DeadlineExceededError | PoolTimeoutError):
        return UnansweredInTimeError
    if isinstance(error, EndpointConnectError | NoEndpointAvailableError):
        return UnreachableError
    return from_code(code)
