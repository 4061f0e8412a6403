"""A certificate authority of the sandbox's own (trustme, from the extra `sandbox`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def issue(directory: Path, addresses: Iterable[str]) -> tuple[str, list[str]]:
    """Write an authority and one server certificate for these addresses and `*.localhost`.

    Returns:
        Path of the authority's certificate; paths of the server's certificate and of its key. All PEM.

    Raises:
        SandboxError: trustme is not installed.
    """
    try:
        import trustme  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise SandboxError("tls=True needs trustme: pip install 'flashback-async[sandbox]'") from error
    authority = trustme.CA()
    server = authority.issue_cert(*addresses, "localhost", "*.localhost")
    ca_file, certificate, key = (directory / name for name in ("ca.pem", "server.pem", "server.key"))
    authority.cert_pem.write_to_path(str(ca_file))
    for index, blob in enumerate(server.cert_chain_pems):
        blob.write_to_path(str(certificate), append=index > 0)
    key.touch(mode=0o600)
    server.private_key_pem.write_to_path(str(key))
    return str(ca_file), [str(certificate), str(key)]
