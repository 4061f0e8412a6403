"""From what boto raises to the errors of this package, and from a caller's own errors to an outcome."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from http import HTTPStatus
from traceback import walk_tb
from typing import TYPE_CHECKING, Final

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError

from flashback_async.errors import (
    AccessDeniedError,
    ClockSkewError,
    ConfigurationError,
    EndpointConnectError,
    EndpointServerError,
    EntityTooLargeError,
    FlashbackError,
    NotModifiedError,
    ObjectNotFoundError,
    OperationError,
    PreconditionFailedError,
    ServiceError,
    ThrottledError,
    WritesDisabledError,
)
from flashback_async.routing import OperationKind, Outcome
from flashback_async.transport.outcomes import outcome_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

# 408 and RequestTimeout: the request did not arrive in the time that the node gives it. We watch over our own
# side of that, so it is the way to this node, and another one may be reached.
SERVER_FAULTS: Final = frozenset({408, 500, 502, 503, 504})
THROTTLING_CODES: Final = frozenset({
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestLimitExceeded",
    "RequestThrottledException",
    "TooManyRequests",
    "TooManyRequestsException",
    "BandwidthLimitExceeded",
})  # fmt: skip
SERVER_FAULT_CODES: Final = frozenset({"InternalError", "RequestTimeout", "ServiceUnavailable"})
BY_CODE: Final[Mapping[str, type[ServiceError]]] = {
    "RequestTimeTooSkewed": ClockSkewError,
    "EntityTooLarge": EntityTooLargeError,
    # AWS answers 400 to these.
    "ExpiredToken": AccessDeniedError,
    "InvalidToken": AccessDeniedError,
    "TokenRefreshRequired": AccessDeniedError,
}
BY_STATUS: Final[Mapping[int, type[ServiceError]]] = {
    304: NotModifiedError,
    401: AccessDeniedError,
    403: AccessDeniedError,
    404: ObjectNotFoundError,
    412: PreconditionFailedError,
    413: EntityTooLargeError,
}
# The status that S3 gives with a code, where a code comes without one.
STATUS_OF: Final[Mapping[str, int]] = {
    "AccessDenied": 403,
    "InternalError": 500,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchVersion": 404,
    "PreconditionFailed": 412,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
}
# What a node answers when a quota has switched writes off is not documented; these are all that fit.
QUOTA_STATUS: Final = frozenset({402, 507})
QUOTA_WORDS: Final = ("quota", "disabled")
REMEDIES: Final[Mapping[type[ServiceError], str]] = {
    AccessDeniedError: "check the key id and secret, and that the key may do this",
    ClockSkewError: "set this machine's clock",
    EntityTooLargeError: "one request carries at most 100 MB; send it in parts",
    WritesDisabledError: "a quota is probably used up; reads go on",
}


def from_client_error(error: ClientError, kind: OperationKind, *, now: datetime) -> OperationError:
    """The error of this package for an answer with an error status.

    Args:
        error: boto's.
        kind: read or write; some answers mean "writes are disabled" to a write only.
        now: wall-clock time, to understand a `Retry-After` that names a date.
    """
    details = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    return _classified(
        int(metadata.get("HTTPStatusCode", 0)),
        str(details.get("Code", "")),
        str(details.get("Message") or "").strip(),
        kind,
        headers=metadata.get("HTTPHeaders", {}),
        request_id=metadata.get("RequestId"),
        now=now,
    )


def from_row(code: str, message: str, kind: OperationKind, *, now: datetime) -> OperationError:
    """The error for one of many things that were asked for at once (DeleteObjects), which has no status.

    Args:
        code: S3's error code.
        message: what the service says beside it.
        kind: read or write.
        now: wall-clock time.
    """
    return _classified(
        STATUS_OF.get(code, 0), code, message.strip(), kind, headers={}, request_id=None, now=now
    )


def _classified(
    status: int,
    code: str,
    message: str,
    kind: OperationKind,
    *,
    headers: Mapping[str, str],
    request_id: str | None,
    now: datetime,
) -> OperationError:
    said = ": ".join(part for part in (code, message) if part and part != str(status))
    reason = f"{status} {said}".strip() if status else said
    # SlowDown also comes inside a 200 (CopyObject, CompleteMultipartUpload); boto makes it a 500.
    if status == HTTPStatus.TOO_MANY_REQUESTS or code in THROTTLING_CODES:
        return ThrottledError(reason, retry_after=retry_after(headers.get("retry-after"), now=now))
    if status in SERVER_FAULTS or code in SERVER_FAULT_CODES:
        return EndpointServerError(reason, status=status, code=code)
    kinds = BY_CODE.get(code) or BY_STATUS.get(status, ServiceError)
    if kind is OperationKind.WRITE and kinds in {AccessDeniedError, ServiceError}:
        told = f"{code} {message}".lower()
        if status in QUOTA_STATUS or any(word in told for word in QUOTA_WORDS):
            kinds = WritesDisabledError
    remedy = REMEDIES.get(kinds)
    return kinds(
        f"{reason} ({remedy})" if remedy else reason,
        code=code or str(status),
        status=status,
        request_id=request_id or headers.get("x-amz-request-id"),
    )


def from_boto_error(error: BotoCoreError | ResponseParserError | ValueError) -> FlashbackError:
    """The error of this package for a call that boto itself could not make, or make sense of."""
    if isinstance(error, ParamValidationError):
        report = " ".join(str(error).split())
        return ConfigurationError(report.removeprefix("Parameter validation failed: "))
    if isinstance(error, BotoConnectionError | HTTPClientError):
        return EndpointConnectError(_first_line(error))
    if isinstance(error, ResponseParserError) or _is_of_an_answer(error):
        return EndpointServerError(f"the answer is not S3's: {_first_line(error)}", status=200)
    return ConfigurationError(_first_line(error))


def outcome_of_foreign(error: BaseException, *, now: datetime) -> Outcome:
    """What an error from a caller's own client says of the endpoint it was sent to.

    A bare `TimeoutError` says nothing: the caller's own patience may have ended.
    """
    if isinstance(error, ClientError):
        return outcome_of(from_client_error(error, OperationKind.READ, now=now))
    if isinstance(error, aiohttp.ClientResponseError):
        if error.status == HTTPStatus.TOO_MANY_REQUESTS:
            return Outcome.THROTTLED
        return Outcome.ENDPOINT_FAULT if error.status in SERVER_FAULTS else Outcome.CALLER_FAULT
    if isinstance(error, ReadTimeoutError | aiohttp.ServerTimeoutError):
        return Outcome.TIMEOUT
    if isinstance(error, BotoConnectionError | HTTPClientError | aiohttp.ClientError | ConnectionError):
        return Outcome.ENDPOINT_FAULT
    return outcome_of(error) if isinstance(error, OperationError) else Outcome.CANCELLED


def retry_after(header: str | None, *, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for, as a number or a date; None if it asks nothing."""
    if header is None:
        return None
    text = header.strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (TypeError, ValueError):
        # Not a date, or one without a time zone: the header is a wish, not worth an error.
        return None


def _is_of_an_answer(error: BaseException) -> bool:
    """Whether boto's parsers raised it.

    Of a header that is no number or date they say `ValueError`, as boto does of what it cannot send.
    """
    return any(
        frame.f_globals.get("__name__") == "botocore.parsers" for frame, _ in walk_tb(error.__traceback__)
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
