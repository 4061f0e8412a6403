"""Where settings come from, and how somebody is told that one of them cannot work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError

PREFIX = "FB_"


def from_environment(names: Mapping[str, object], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of these settings that are set to something."""
    found = {name: environment.get(PREFIX + name.upper(), "") for name in names}
    return {name: text for name, text in found.items() if text.strip()}


def explained(
    error: ValidationError, given: Mapping[str, object], *, from_environment: set[str]
) -> ConfigurationError:
    """One sentence per wrong setting: its name, its value unless secret, what is expected."""
    secrets = {"key_secret", "session_token", "read_key_secret", "jwt", "refresh_token"}
    sentences = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        message = problem["msg"].removeprefix("Value error, ")
        shown = PREFIX + name.upper() if name in from_environment else name
        if not name or message.startswith(f"{name}: "):
            sentences.append(message)
        elif problem["type"] == "extra_forbidden":
            sentences.append(f"{name} is not a setting; see FlashbackSettings for the names")
        elif name in secrets:
            sentences.append(f"{shown}: {message}")
        else:
            sentences.append(f"{shown}={given.get(name)!r}: {message}")
    return ConfigurationError("; ".join(sentences))
