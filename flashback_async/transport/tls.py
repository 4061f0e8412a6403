"""Whom connections trust: one context for all clients of a process that trust the system's authorities."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from flashback_async.errors import ConfigurationError

_SYSTEM: Final[dict[object, ssl.SSLContext]] = {}


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """A context that trusts the authorities of `ca_file`, or the system's. Blocking: the system's take 25 ms.

    Who gets one must not change it: those of the system are shared, for as long as their file stays the same.

    Raises:
        ConfigurationError: `ca_file` has no usable certificates.
    """
    if ca_file is not None:
        try:
            return ssl.create_default_context(cafile=ca_file)
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(
                f"ca_file={str(ca_file)!r} holds no usable certificates: {error}"
            ) from error
    which = _system_authorities()
    found = _SYSTEM.get(which)
    # No lock, which a fork could inherit while it is held: of two threads both get what the first one stores.
    return _SYSTEM.setdefault(which, ssl.create_default_context()) if found is None else found


def _system_authorities() -> object:
    # Where OpenSSL looks, by its own rules and variables, and what tells that the file was replaced. What is
    # in the folder is looked up in each handshake.
    paths = ssl.get_default_verify_paths()
    try:
        state = Path(paths.cafile).stat() if paths.cafile else None
    except OSError:
        state = None
    return paths, state and (state.st_ino, state.st_mtime_ns, state.st_size)
