"""The `flashback` command: copies, lists and watches, and shows what the package is for (`flashback demo`).

Needs the extra `cli` (`pip install 'flashback-async[cli]'`). The command line is a thin shell: what it can do
is what `FlashbackClient` does.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import NoReturn

_NEEDS = ("typer", "rich")
_BAD_ENVIRONMENT = 253
_INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command with the process's arguments; always ends in `SystemExit`."""
    if any(find_spec(name) is None for name in _NEEDS):
        sys.stderr.write("flashback: error: the command needs an extra: pip install 'flashback-async[cli]'\n")
        raise SystemExit(_BAD_ENVIRONMENT)
    try:
        # Only here, for these import the extra.
        from flashback_async.cli.app import app  # noqa: PLC0415

        app(prog_name="flashback")
    except KeyboardInterrupt:
        # Before the command began: from there on it is the command's own business.
        raise SystemExit(_INTERRUPTED) from None
    raise SystemExit(0)
