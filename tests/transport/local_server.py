"""A real HTTP server in the loop of the test, on a port of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def serving(handler, *, ssl_context=None, **options):
    """Serve every request with `handler(request)`; yields the base URL."""
    runner = web.ServerRunner(web.Server(handler, **options), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
        await site.start()
        port = runner.addresses[0][1]
        yield f"{'https' if ssl_context else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
