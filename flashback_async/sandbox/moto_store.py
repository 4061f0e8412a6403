"""The process of the moto store: breadth, but no signatures are checked and every connection is closed."""

from __future__ import annotations

import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server
from werkzeug.test import Client

from flashback_async.sandbox import worker
from flashback_async.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashback_async.sandbox.admin import Call


class MotoService:
    """moto's server in a thread of this process."""

    def __init__(self, host: str, port: int, buckets: Sequence[str]) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        app = DomainDispatcherApplication(create_backend_app)
        self._client = Client(app)
        for name in buckets:
            self._put(name)
        with socket.create_server((host, port), backlog=1024) as listener:
            server = make_server(
                host, port, app, threaded=True, request_handler=MotoRequestHandler, fd=listener.fileno()
            )
        threading.Thread(target=server.serve_forever, daemon=True).start()

    @property
    def calls(self) -> dict[str, Call]:
        """What the admin channel offers."""
        return {"create_bucket": self.create_bucket, "clear": self.clear}

    async def create_bucket(self, name: str) -> None:
        """Create a bucket; one that exists already is left as it is."""
        self._put(name)

    async def clear(self, buckets: Sequence[str]) -> None:
        """Forget everything, then create these buckets."""
        self._client.post("/moto-api/reset")
        for name in buckets:
            self._put(name)

    async def aclose(self) -> None:
        """Nothing to do: the server's threads end with the process."""

    def _put(self, name: str) -> None:
        response = self._client.put(f"/{name}", base_url="http://127.0.0.1")
        if response.status_code != 200:  # noqa: PLR2004 - the one status of success
            raise SandboxError(f"bucket {name!r} was not created: {response.get_data(as_text=True)}")


async def start(config: dict[str, Any]) -> MotoService:
    """Start moto on the `host` and `port` of the configuration, with its `buckets`."""
    return MotoService(config["host"], config["port"], config["buckets"])


if __name__ == "__main__":
    worker.run(start)
