"""`python -m flashback_async.cli`: the `flashback` command where scripts are not on PATH."""

from __future__ import annotations

from flashback_async.cli import main

main()
