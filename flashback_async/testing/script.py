"""What a scripted endpoint does with a request, said as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Self

from flashback_async.errors import (
    AccessDeniedError,
    ClockSkewError,
    EndpointServerError,
    EntityTooLargeError,
    NotModifiedError,
    ObjectNotFoundError,
    OperationError,
    PreconditionFailedError,
    ServiceError,
    ThrottledError,
    WritesDisabledError,
)
from flashback_async.routing import OperationKind

if TYPE_CHECKING:
    from collections.abc import Mapping


class Fault(Enum):
    """How a request can fail without an answer."""

    REFUSED = "refused"
    """Nobody listens."""
    RESET = "reset"
    """The connection breaks before the headers."""
    SILENT = "silent"
    """A black hole: the connection stands and nothing ever comes."""


class Break(Enum):
    """How a body can end before its time."""

    RESET = "reset"
    """The connection breaks."""
    SHORT = "short"
    """It ends cleanly, with fewer bytes than announced."""
    STALL = "stall"
    """No further byte ever comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Where gateways differ in what they answer. The default is S3's own way.

    Attributes:
        ranges: answers a range with the range; False: with the whole object and status 200.
        partial_status: status of an answer to a range. rclone says 200.
        content_range: tells the position of a range in `ContentRange`.
        total: tells the size of the object there; False: `*`.
        content_length: tells the length of a body; False: sends it in chunks.
        if_match: honours `IfMatch` of reads; False: ignores it.
        conditions: honours the conditions of reads; False: ignores all of them.
        key_errors: key -> S3 error code with which a DeleteObjects refuses it.
        etag: gives an ETag.
        last_modified: gives a modification time.
    """

    ranges: bool = True
    partial_status: int = 206
    content_range: bool = True
    total: bool = True
    content_length: bool = True
    if_match: bool = True
    conditions: bool = True
    key_errors: Mapping[str, str] = field(default_factory=dict)
    etag: bool = True
    last_modified: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an endpoint does with one request. The default serves it at once.

    Attributes:
        after: seconds from the request (its upload included) to the headers or the failure.
        fault: how it fails without an answer; None: it answers.
        status: HTTP status of an error answer; None: it serves the request.
        code: S3 error code of the error answer. `SlowDown` is throttling at any status, 200 included.
        retry_after: seconds in the error answer's `Retry-After`.
        takes: bytes of an upload that are taken before `fault`; None: all.
        is_lost: the request is carried out, but its answer is lost to a reset.
        cut: bytes of the body after which it breaks; None: it is complete.
        how: how it breaks.
        pace: seconds for each piece of a body, in either direction.
        piece: bytes of an answer's body that arrive at once.
        dialect: replaces the endpoint's for this request.
        fields: replaces fields of the answer, in boto's names; a field that is None is left out.
    """

    after: float = 0.0
    fault: Fault | None = None
    status: int | None = None
    code: str = ""
    retry_after: float | None = None
    takes: int | None = None
    is_lost: bool = False
    cut: int | None = None
    how: Break = Break.RESET
    pace: float = 0.0
    piece: int = 65_536
    dialect: Dialect | None = None
    fields: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def refused(cls, *, after: float = 0.0) -> Self:
        """Nobody listens; it takes `after` seconds to find out."""
        return cls(fault=Fault.REFUSED, after=after)

    @classmethod
    def reset(cls, *, after: float = 0.0, takes: int | None = None) -> Self:
        """The connection breaks before the headers, if asked so after `takes` bytes of an upload."""
        return cls(fault=Fault.RESET, after=after, takes=takes)

    @classmethod
    def silent(cls, *, takes: int | None = None) -> Self:
        """Nothing ever comes, if asked so after `takes` bytes of an upload."""
        return cls(fault=Fault.SILENT, takes=takes)

    @classmethod
    def error(cls, status: int, code: str = "", *, after: float = 0.0) -> Self:
        """An error answer."""
        return cls(status=status, code=code, after=after)

    @classmethod
    def throttled(cls, retry_after: float | None = None, *, after: float = 0.0) -> Self:
        """429."""
        return cls(status=429, retry_after=retry_after, after=after)

    @classmethod
    def broken(cls, cut: int, how: Break = Break.RESET, *, after: float = 0.0, piece: int = 65_536) -> Self:
        """A body that breaks after `cut` bytes."""
        return cls(cut=cut, how=how, after=after, piece=piece)

    @classmethod
    def lost(cls, *, after: float = 0.0) -> Self:
        """The request is carried out, and nobody learns of it."""
        return cls(is_lost=True, after=after)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as an endpoint received it.

    Attributes:
        endpoint: id of the endpoint.
        at: when it came, in seconds of the running loop.
        operation: S3's name of the operation.
        bucket: bucket name.
        key: object key.
        parameters: in boto's names, without the body.
    """

    endpoint: str
    at: float
    operation: str
    bucket: str | None
    key: str | None
    parameters: Mapping[str, object] = field(default_factory=dict)


_SERVER_FAULTS = frozenset({408, 500, 502, 503, 504})
_BY_STATUS: Mapping[int, type[ServiceError]] = {
    304: NotModifiedError,
    401: AccessDeniedError,
    402: WritesDisabledError,
    403: AccessDeniedError,
    404: ObjectNotFoundError,
    412: PreconditionFailedError,
    413: EntityTooLargeError,
    507: WritesDisabledError,
}
_CODES = {
    400: "BadRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    413: "EntityTooLarge",
    416: "InvalidRange",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}


def refusal(
    status: int, code: str = "", *, kind: OperationKind, retry_after: float | None = None
) -> OperationError:
    """The error that a client of S3 makes of an error answer."""
    code = code or _CODES.get(status, str(status))
    reason = f"{status} {code}" if code != str(status) else code
    if status == 429 or code == "SlowDown":  # noqa: PLR2004  # HTTP's own numbers
        return ThrottledError(reason, retry_after=retry_after)
    if status in _SERVER_FAULTS or code == "RequestTimeout":
        return EndpointServerError(reason, status=status, code=code)
    kinds = ClockSkewError if code == "RequestTimeTooSkewed" else _BY_STATUS.get(status, ServiceError)
    if kinds is WritesDisabledError and kind is OperationKind.READ:
        kinds = ServiceError
    return kinds(reason, code=code, status=status)


__all__ = ["Break", "Dialect", "Fault", "Request", "Step", "refusal"]
