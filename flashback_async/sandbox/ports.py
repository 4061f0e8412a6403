"""Loopback ports that stay ours while nobody listens on them."""

from __future__ import annotations

import socket
from typing import Final

from flashback_async.sandbox.errors import SandboxError

_ATTEMPTS: Final = 50


class ReservedPort:
    """One port number, reserved on several loopback addresses until `close`.

    The sockets are bound and never listen: connecting is refused, and on Linux a child process that sets
    SO_REUSEADDR may listen there. So all addresses are known before any process starts, and a killed
    server finds its port free again.

    Attributes:
        hosts: the addresses.
        port: the port number on each of them.
    """

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts
        self.port = 0
        self._sockets: list[socket.socket] = []
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                for host in hosts:
                    self._bind(host)
            except OSError as error:
                self.close()
                if attempt == _ATTEMPTS:
                    raise SandboxError(
                        f"no port is free on all of {', '.join(hosts)} ({error}); the sandbox needs Linux, "
                        "where every address of 127.0.0.0/8 is local"
                    ) from error
            else:
                return

    def _bind(self, host: str) -> None:
        reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._sockets.append(reserved)
        # Only after binding: with SO_REUSEADDR before, two reservations could get the same port.
        reserved.bind((host, self.port))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port = reserved.getsockname()[1]

    def close(self) -> None:
        """Give the port back."""
        while self._sockets:
            self._sockets.pop().close()
        self.port = 0
