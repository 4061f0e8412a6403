"""The client of a command: settings from the environment, and from the options that replace them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flashback_async.cli.exits import bad_argument
from flashback_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from flashback_async import FlashbackClient, FlashbackSettings

Endpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        show_default=False,
        help="Use this S3 endpoint and ask no control plane; repeatable. Default: FB_ENDPOINTS.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        metavar="PEM",
        show_default=False,
        help="Trust these certificate authorities. Default: FB_CA_FILE.",
    ),
]


def settings_from(endpoints: Sequence[str] | None, ca_file: Path | None) -> FlashbackSettings:
    """The settings of a command: `FB_*` variables, replaced by what its options say.

    Raises:
        CommandError: an option has a value that cannot work.
        ConfigurationError: a variable has.
    """
    # Only here: pydantic and aiohttp take a third of a second to import, and --help needs neither.
    from flashback_async.config import FlashbackSettings  # noqa: PLC0415
    from flashback_async.endpoint_url import checked_url  # noqa: PLC0415

    for endpoint in endpoints or ():
        try:
            checked_url(endpoint, what="--endpoint")
        except ConfigurationError as error:
            raise bad_argument(str(error)) from error
    if ca_file is not None and not ca_file.is_file():
        raise bad_argument(f"--ca-file: {str(ca_file)!r} is not a file; name a PEM file of certificates")
    given: dict[str, Any] = {"endpoints": tuple(endpoints) if endpoints else None, "ca_file": ca_file}
    return FlashbackSettings(**{name: value for name, value in given.items() if value is not None})


@asynccontextmanager
async def client_of(
    endpoints: Sequence[str] | None = None, ca_file: Path | None = None
) -> AsyncIterator[FlashbackClient]:
    """A running client for one command; see `settings_from`."""
    from flashback_async.client import FlashbackClient  # noqa: PLC0415  # as above

    async with FlashbackClient(settings_from(endpoints, ca_file)) as client:
        yield client
