"""What the sandbox raises on purpose."""

from __future__ import annotations

from flashback_async.errors import ConfigurationError, FlashbackError


class SandboxError(FlashbackError):
    """The sandbox, not the code under test, failed. The message names the process and the way out."""


class SandboxConfigurationError(SandboxError, ConfigurationError):
    """A value given to the sandbox cannot work; it is also a `ValueError`."""


def require(condition: bool, message: str) -> None:  # noqa: FBT001 - reads as an assertion
    """Raise `SandboxConfigurationError(message)` unless the condition holds."""
    if not condition:
        raise SandboxConfigurationError(message)
