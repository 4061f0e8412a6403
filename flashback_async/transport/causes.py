"""Why a connection failed, in words for people."""

from __future__ import annotations

import os
import socket
import ssl


def in_words(error: BaseException) -> str:
    """In the system's words where it is the system's error: asyncio's own text only repeats the address."""
    if isinstance(error, OSError):
        if error.errno and not isinstance(error, ssl.SSLError | socket.gaierror):
            return os.strerror(error.errno)
        if error.strerror:
            return error.strerror
    return str(error).partition("\n")[0] or type(error).__name__
