"""A local Flashback for a command: its errors tell the value or the extra that is missing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING

from flashback_async.cli.exits import CommandError, ExitCode, bad_argument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from flashback_async.sandbox import LocalFlashback, NodeSpec
    from flashback_async.sandbox.store import StoreKind


class Store(StrEnum):
    """What keeps the objects; an enum, which every typer understands."""

    MOTO = "moto"
    RCLONE = "rclone"

    @property
    def kind(self) -> StoreKind:
        """As the sandbox calls it."""
        return "moto" if self is Store.MOTO else "rclone"


@asynccontextmanager
async def local_flashback(
    nodes: int | Sequence[NodeSpec],
    *,
    store: Store,
    buckets: Sequence[str],
    latency: float | None = None,
    tls: bool = False,
    seed: int = 0,
) -> AsyncIterator[LocalFlashback]:
    """Run one for as long as the block lasts; the arguments are those of `LocalFlashback`.

    Raises:
        CommandError: the extra is missing, a value cannot work, or it did not start.
    """
    require_sandbox(tls=tls)
    # Only here: the rest of the command line does without the extra.
    from flashback_async.sandbox import LocalFlashback, SandboxConfigurationError, SandboxError  # noqa: PLC0415

    try:
        cluster = LocalFlashback(
            nodes, latency=latency, store=store.kind, buckets=buckets, tls=tls, seed=seed
        )
        await cluster.start()
    except SandboxConfigurationError as error:
        raise bad_argument(str(error)) from error
    except SandboxError as error:
        raise CommandError(str(error), ExitCode.BAD_ENVIRONMENT) from error
    try:
        yield cluster
    finally:
        await cluster.aclose()


def require_sandbox(*, tls: bool = False) -> None:
    """Make sure that what a sandbox needs is installed.

    Raises:
        CommandError: it is not.
    """
    needed = ("moto", "flask", "trustme") if tls else ("moto", "flask")
    if any(find_spec(name) is None for name in needed):
        raise CommandError(
            "this needs a local Flashback, which is an extra: pip install 'flashback-async[sandbox]'",
            ExitCode.BAD_ENVIRONMENT,
        )
