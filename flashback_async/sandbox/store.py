"""Which stores there are, and whether this installation has them."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Any, Final, Literal, get_args

from flashback_async.sandbox.errors import SandboxError
from flashback_async.sandbox.rclone_program import fetch_rclone, installed_rclone

StoreKind = Literal["moto", "rclone"]

STORES: Final[tuple[str, ...]] = get_args(StoreKind)


async def store_config_of(kind: StoreKind) -> dict[str, Any]:
    """What the process of this kind of store must be told; `rclone` may be downloaded for it.

    Raises:
        SandboxError: it is not installed and cannot be had; the message says what to do.
    """
    if kind == "moto":
        if find_spec("moto") is None or find_spec("flask") is None:
            raise SandboxError("store='moto' needs moto's server: pip install 'flashback-async[sandbox]'")
        return {}
    program = installed_rclone() or await asyncio.to_thread(fetch_rclone)
    return {"program": str(program)}
