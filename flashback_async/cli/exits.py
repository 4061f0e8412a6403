"""How a command ends: its exit code, and the one line that says why."""

from __future__ import annotations

from enum import IntEnum

from flashback_async.cli.wording import one_line
from flashback_async.errors import (
    AccessDeniedError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointError,
    FlashbackError,
    ObjectNotFoundError,
)


class ExitCode(IntEnum):
    """What the shell gets, after the AWS CLI where that has a code for it.

    Attributes:
        OK: all done.
        SOME_FAILED: some objects, or a local file.
        USAGE: unknown option or missing argument; the parser's own code.
        INTERRUPTED: Ctrl-C.
        BROKEN_PIPE: whoever read our output has left.
        BAD_ARGUMENT: an argument that cannot work.
        BAD_ENVIRONMENT: configuration or environment: no credentials, a missing extra.
        SERVICE: the service or the client failed.
        INTERNAL: a bug of ours.
    """

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    BAD_ARGUMENT = 252
    BAD_ENVIRONMENT = 253
    SERVICE = 254
    INTERNAL = 255


class CommandError(Exception):
    """The command cannot go on. The message names the value and the remedy."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


def bad_argument(message: str) -> CommandError:
    """What to raise for an argument that cannot work."""
    return CommandError(message, ExitCode.BAD_ARGUMENT)


def exit_code_of(error: Exception) -> ExitCode:
    """The exit code of a command that ended with `error`."""
    match error:
        case CommandError(code=code):
            return code
        case ConfigurationError():
            # Arguments are checked before a client is made; what is left are settings.
            return ExitCode.BAD_ENVIRONMENT
        case FlashbackError():
            return ExitCode.SERVICE
        case OSError():
            return ExitCode.SOME_FAILED
        case _:
            return ExitCode.INTERNAL


def explained(error: Exception) -> str:
    """One line that says what happened."""
    match error:
        case FlashbackError() | CommandError():
            return one_line(f"{error}{_remedy(error)}")
        case OSError(filename=str() | bytes() as name, strerror=str() as reason):
            return one_line(f"{_decoded(name)}: {reason}")
        case OSError():
            return one_line(str(error))
        case _:
            kind = type(error).__name__
            return one_line(f"{kind}: {error} (a bug; please report it with what --debug shows)")


def _remedy(error: FlashbackError | CommandError) -> str:
    """What to do about an answer of the service, whose own words do not say it."""
    match error:
        case ObjectNotFoundError(code="NoSuchBucket"):
            return "; check the name of the bucket"
        case ObjectNotFoundError(bucket=str() as bucket):
            return f"; `flashback ls fb://{bucket}` shows what there is"
        case AccessDeniedError():
            return "; check FB_KEY_ID and FB_KEY_SECRET, and what that key may do"
        case EndpointError() | DeadlineExceededError():
            return "; `flashback nodes` shows how the nodes are"
        case _:
            return ""


def _decoded(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode(errors="backslashreplace")
