"""What a signature says of the body: its SHA-256, or that TLS answers for it."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from flashback_async.transport.sigv4 import EMPTY_PAYLOAD, UNSIGNED_PAYLOAD

if TYPE_CHECKING:
    from flashback_async.transport.upload import UploadReader

# Bytes that are hashed at once on the loop: 64 KiB take ~0.05 ms, as long as the way to a thread and back.
ON_THE_LOOP: Final = 64 * 1_024


async def payload_hash(body: bytes | UploadReader | None, *, signed: bool) -> str:
    """The value of `x-amz-content-sha256` for one attempt.

    Args:
        body: as `Upload.reader` gives it. A reader is read to its end in a thread, where every piece is
            progress, and is back at its start afterwards; cancelled, it is anywhere, and still to be closed.
        signed: whether the body is part of the signature; a body of no bytes costs nothing, and always is
            where boto says so.

    Raises:
        ConfigurationError: the source became shorter, or cannot be read.
    """
    if not signed:
        return UNSIGNED_PAYLOAD
    if not body:
        return EMPTY_PAYLOAD
    if not isinstance(body, bytes):
        return await body.sha256()
    if len(body) <= ON_THE_LOOP:
        return sha256(body).hexdigest()
    return (await asyncio.to_thread(sha256, body)).hexdigest()
