"""What a connection that fails is called, in words that name no header and no query."""

from __future__ import annotations

from flashback_async.errors import ClientClosedError, EndpointConnectError
from flashback_async.transport.causes import in_words
from flashback_async.transport.outcomes import unsent


class MalformedAnswerError(Exception):
    """What came is not an answer in HTTP/1.1; the connection cannot be used any more."""


def unreachable(host: str, port: int, error: Exception) -> EndpointConnectError:
    """No connection came about: refused, no such name, TLS failed."""
    return unsent(f"cannot connect to {host}:{port}: {in_words(error)}")


def too_slow(timeout: float) -> EndpointConnectError:
    """No connection came about in time."""
    return unsent(f"no connection within {timeout:g} s")


def unanswered(error: BaseException | None) -> EndpointConnectError:
    """The connection broke before the head of the answer had come; `error` is None where it was closed."""
    if error is None:
        return EndpointConnectError("the connection was closed without an answer")
    failure = EndpointConnectError(f"the connection failed: {in_words(error)}")
    failure.__cause__ = error
    return failure


def broken_off(arrived: int, announced: int | None, error: BaseException | None) -> EndpointConnectError:
    """The connection broke in the middle of a body."""
    came = f"{arrived} bytes" if announced is None else f"{arrived} of {announced} bytes"
    reason = "" if error is None else f", then {in_words(error)}"
    failure = EndpointConnectError(f"the body broke off: {came} came{reason}")
    failure.__cause__ = error
    return failure


def malformed(error: MalformedAnswerError) -> EndpointConnectError:
    """The answer makes no sense."""
    return EndpointConnectError(f"the connection failed: {error}")


def closed() -> ClientClosedError:
    """We closed the connection ourselves, under a request."""
    return ClientClosedError("the client was closed while the operation ran")
