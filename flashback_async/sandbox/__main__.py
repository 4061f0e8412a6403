"""`python -m flashback_async.sandbox --nodes 4`: a local Flashback until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys

from flashback_async.sandbox.cluster import LocalFlashback
from flashback_async.sandbox.errors import SandboxError
from flashback_async.sandbox.serve import serve
from flashback_async.sandbox.store import STORES


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments (None: the process's own), serve, and return the exit code: 0, or 1 after an error."""
    parser = argparse.ArgumentParser(prog="python -m flashback_async.sandbox", description=__doc__)
    parser.add_argument("--nodes", type=int, default=4, help="number of gateways (default: 4)")
    parser.add_argument("--store", choices=STORES, default="moto", help="rclone verifies signatures")
    parser.add_argument("--bucket", action="append", help="a bucket to create; repeatable (default: demo)")
    parser.add_argument("--latency", type=float, help="seconds of distance, the same for all nodes")
    parser.add_argument("--tls", action="store_true", help="serve https")
    parser.add_argument("--seed", type=int, default=0, help="of all faults (default: 0)")
    options = parser.parse_args(arguments)
    try:
        cluster = LocalFlashback(
            options.nodes,
            store=options.store,
            buckets=options.bucket or ["demo"],
            latency=options.latency,
            tls=options.tls,
            seed=options.seed,
        )
        asyncio.run(serve(cluster, write=functools.partial(print, flush=True)))
    except SandboxError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
