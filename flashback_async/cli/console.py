"""Where output goes: results to stdout, for people or as JSON lines; everything else to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping


def results() -> Console:
    """For tables on stdout. Colours follow the terminal, NO_COLOR and TERM."""
    return Console(highlight=False, soft_wrap=False)


def messages() -> Console:
    """For progress and messages on stderr."""
    return Console(stderr=True, highlight=False, soft_wrap=False)


def wants_json(asked: bool) -> bool:  # noqa: FBT001  # the value of --json
    """Whether results are JSON lines: asked for, or nobody looks at a terminal."""
    return asked or not sys.stdout.isatty()


def write_json(row: Mapping[str, object]) -> None:
    """Write one JSON line to stdout, at once: the reader may be waiting for it."""
    sys.stdout.write(json.dumps(row, default=str) + "\n")
    sys.stdout.flush()


def write_line(text: str) -> None:
    """Write one line of a result to stdout."""
    sys.stdout.write(f"{text}\n")


def flush_results() -> None:
    """Send what was written to whoever reads stdout, now."""
    sys.stdout.flush()


def note(text: str) -> None:
    """Write one line to stderr that is no error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
