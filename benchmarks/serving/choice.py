"""Which server a benchmark runs against: nginx, or one in pure Python where nginx is not installed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from serving.fixed import fixed_servers
from serving.nginx import Server, missing, nginx

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

FIXED = "fixed"


def add_option(parser: argparse.ArgumentParser) -> None:
    """`--server`, for a command line."""
    parser.add_argument(
        "--server",
        choices=("nginx", FIXED),
        default="nginx",
        help="`fixed` needs no nginx, and knows one size only: its own CPU then bounds the throughput",
    )


def complaint_of(name: str) -> str | None:
    """What has to be installed before that server can run, or None."""
    found = missing() if name == "nginx" else None
    return f"{found}; or --server {FIXED}, where a benchmark has it" if found else None


@contextmanager
def serving(
    name: str, sizes: Sequence[int], *, addresses: int = 1, core: int | None = None
) -> Iterator[Server]:
    """A running server under so many URLs, until the block ends."""
    if name == "nginx":
        with nginx(tuple(sizes), addresses=addresses, core=core) as server:
            yield server
        return
    (size,) = sizes
    with fixed_servers(size, addresses) as urls:
        yield Server(FIXED, urls)
