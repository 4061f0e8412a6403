"""Everything this package raises on purpose.

```
FlashbackError
├─ ConfigurationError (ValueError)          a value the caller gave cannot work
├─ ClientClosedError (RuntimeError)         used before start, after close, or from another loop
├─ DiscoveryError                           the control plane gave no usable answer; the last table stays
├─ NoEndpointAvailableError                 the table is empty
└─ OperationError                           one S3 operation failed, after every attempt it was worth
   ├─ EndpointError                         the endpoint is at fault; another one may answer
   │  ├─ EndpointConnectError               no connection: refused, reset, TLS, DNS
   │  ├─ EndpointTimeoutError (TimeoutError) our own attempt timer fired
   │  └─ EndpointServerError                408, 500, 502, 503, 504
   ├─ ThrottledError                        429 or SlowDown
   ├─ DeadlineExceededError (TimeoutError)  the caller's time is used up
   ├─ PoolTimeoutError (TimeoutError)       every connection of the endpoint stayed busy
   ├─ ServiceError                          the service said no; the endpoint is alive
   │  ├─ ObjectNotFoundError (FileNotFoundError)
   │  ├─ AccessDeniedError (PermissionError)
   │  ├─ NotModifiedError
   │  ├─ PreconditionFailedError
   │  ├─ ObjectChangedError
   │  ├─ WritesDisabledError
   │  ├─ EntityTooLargeError
   │  └─ ClockSkewError
   └─ IntegrityError                        a short or corrupt body
```

Errors describe themselves: `is_retry_safe` (None: unknown), `is_endpoint_fault`, `is_throttling` and
`retry_after`.
All of them survive pickling, and none carries a secret or a signed URL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class FlashbackError(Exception):
    """Root of every error raised by this package.

    Attributes:
        is_retry_safe: whether repeating the same call can do no harm; None when that is unknown.
        is_endpoint_fault: whether the error counts against the endpoint that served it.
        is_throttling: whether the service asked us to slow down.
        retry_after: seconds to wait before trying again, where somebody told us.
    """

    is_retry_safe: bool | None = None
    is_endpoint_fault: bool = False
    is_throttling: ClassVar[bool] = False
    retry_after: float | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle message and plain attributes; a subclass's constructor is not called again."""
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(
    kind: type[FlashbackError], args: tuple[object, ...], state: dict[str, object]
) -> FlashbackError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(FlashbackError, ValueError):
    """A setting or an argument cannot work. The message names it, its value and the way out."""

    is_retry_safe = False


class ClientClosedError(FlashbackError, RuntimeError):
    """The client is not running: not started, closed, or used from another event loop or process."""

    is_retry_safe = False


class DiscoveryError(FlashbackError):
    """The control plane gave no usable answer. The last good table stays in use.

    Attributes:
        status: HTTP status of the answer, None when there was none.
    """

    is_retry_safe = True

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class NoEndpointAvailableError(FlashbackError):
    """The table of endpoints is empty.

    Attributes:
        detail: endpoint id (or a source of endpoints) -> why it was refused.
        retry_after: seconds until the next discovery, where known.
    """

    is_retry_safe = True

    def __init__(
        self, message: str, *, detail: dict[str, str] | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.detail = dict(detail or {})
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that failed: the `endpoint` by its id, `elapsed` seconds until then, the `error` as text."""

    endpoint: str
    elapsed: float
    error: str

    def __str__(self) -> str:
        return f"{self.endpoint} after {self.elapsed:.3f} s: {self.error}"


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A multipart upload that may still be open, and cost storage: abort `upload_id` at `endpoint`."""

    endpoint: str
    upload_id: str


class OperationError(FlashbackError):
    """One S3 operation failed.

    Attributes:
        reason: the message without the operation and the history.
        operation: S3 operation name, such as `GetObject`.
        bucket: bucket name, None where the operation has none.
        key: object key, None where the operation has none.
        attempts: every failed attempt, in order.
        endpoint: id of the endpoint whose answer this is, where there was one.
        orphans: multipart uploads of this operation that could not be aborted.
    """

    def __init__(
        self,
        reason: str,
        *,
        operation: str = "",
        bucket: str | None = None,
        key: str | None = None,
        endpoint: str | None = None,
        attempts: tuple[FailedAttempt, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.operation = operation
        self.bucket = bucket
        self.key = key
        self.endpoint = endpoint
        self.attempts = attempts
        self.orphans: tuple[OpenUpload, ...] = ()
        self.retry_after = retry_after

    def __str__(self) -> str:
        target = "/".join(part for part in (self.bucket, self.key) if part is not None)
        head = " ".join(part for part in (self.operation, target) if part)
        text = f"{head}: {self.reason}" if head else self.reason
        for what, rows in (("attempts", self.attempts), ("not aborted", self.orphans)):
            text += f" ({what}: {'; '.join(map(str, rows))})" if rows else ""
        return text


class EndpointError(OperationError):
    """The endpoint is at fault; the same request may succeed on another one."""

    is_endpoint_fault = True


class EndpointConnectError(EndpointError):
    """The connection could not be made or broke: refused, reset, TLS, DNS."""


class EndpointTimeoutError(EndpointError, TimeoutError):
    """The endpoint did not answer within the attempt's own time.

    `is_endpoint_fault` is False where our own event loop was blocked for a quarter of that time or more.
    """

    def __init__(self, reason: str, *, is_endpoint_fault: bool = True, **context: object) -> None:
        super().__init__(reason, **context)  # type: ignore[arg-type]  # the keywords of OperationError
        self.is_endpoint_fault = is_endpoint_fault


class EndpointServerError(EndpointError):
    """The endpoint answered 408, 500, 502, 503 or 504, or that the request did not arrive in its time.

    Attributes:
        status: the HTTP status.
        code: the S3 error code, or the status as text where the body was not S3's.
    """

    def __init__(self, reason: str, *, status: int = 500, code: str = "", **context: object) -> None:
        super().__init__(reason, **context)  # type: ignore[arg-type]  # the keywords of OperationError
        self.status = status
        self.code = code


class ThrottledError(OperationError):
    """429 or SlowDown: the endpoint is alive and asks for less. `retry_after` is its wish in seconds."""

    is_retry_safe = True
    is_throttling = True


class DeadlineExceededError(OperationError, TimeoutError):
    """The time that the caller allowed for the whole operation is used up."""


class PoolTimeoutError(OperationError, TimeoutError):
    """No connection to the endpoint became free in time. The message names leases and the oldest's age."""

    is_retry_safe = True


class ServiceError(OperationError):
    """The service answered with an error that another endpoint would repeat.

    Attributes:
        code: the S3 error code, such as `NoSuchKey`.
        status: the HTTP status.
        request_id: the service's id of the request, where it gave one.
    """

    is_retry_safe = False

    def __init__(
        self,
        reason: str,
        *,
        code: str = "",
        status: int = 0,
        request_id: str | None = None,
        **context: object,
    ) -> None:
        super().__init__(reason, **context)  # type: ignore[arg-type]  # the keywords of OperationError
        self.code = code
        self.status = status
        self.request_id = request_id


class ObjectNotFoundError(ServiceError, FileNotFoundError):
    """404: no such object, or no such bucket (`code` tells which)."""


class AccessDeniedError(ServiceError, PermissionError):
    """401 or 403: the credentials are unknown, wrong, or not allowed to do this."""


class PreconditionFailedError(ServiceError):
    """412: a condition of the request (`if_match`, `if_none_match`) does not hold."""


class NotModifiedError(ServiceError):
    """304: the object is still the one that the caller knows (`if_none_match`, `if_modified_since`)."""


class ObjectChangedError(ServiceError):
    """The object changed while it was being read; the bytes of two versions are never mixed."""


class WritesDisabledError(ServiceError):
    """The service refuses writes, usually because a quota is used up. Reads go on."""


class EntityTooLargeError(ServiceError):
    """413: one request may carry at most 100 MB through a gateway."""


class ClockSkewError(ServiceError):
    """The service refuses the signature's time: set this machine's clock."""


class IntegrityError(OperationError):
    """The body that arrived is short, too long, or does not match its checksum."""

    is_retry_safe = True
    is_endpoint_fault = True


__all__ = [
    "AccessDeniedError",
    "ClientClosedError",
    "ClockSkewError",
    "ConfigurationError",
    "DeadlineExceededError",
    "DiscoveryError",
    "EndpointConnectError",
    "EndpointError",
    "EndpointServerError",
    "EndpointTimeoutError",
    "EntityTooLargeError",
    "FailedAttempt",
    "FlashbackError",
    "IntegrityError",
    "NoEndpointAvailableError",
    "NotModifiedError",
    "ObjectChangedError",
    "ObjectNotFoundError",
    "OpenUpload",
    "OperationError",
    "PoolTimeoutError",
    "PreconditionFailedError",
    "ServiceError",
    "ThrottledError",
    "WritesDisabledError",
]
