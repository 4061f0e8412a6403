"""Reading an object whole, into memory, and comparing it with the checksum that it was written with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.models import StoredObject
from flashback_async.objects.checksums import check_bytes
from flashback_async.objects.ranged import read_in_one, read_in_pieces

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from flashback_async.objects.ranged import Whole
    from flashback_async.objects.reading import ObjectStream
    from flashback_async.objects.runner import Runner


async def read_object(
    runner: Runner, stream: ObjectStream, *, in_pieces: bool = True, retry: bool
) -> StoredObject:
    """What `stream` has, which is not open yet; read once more, elsewhere, if its checksum is another one.

    The second time in one piece, so that the bytes are those of one endpoint, unless it breaks too.

    Raises:
        IntegrityError: the checksum of neither was the one that the object was written with.
        OperationError: it could not be read.
    """
    while True:
        async with stream:
            body, endpoint, attempts = await _read(runner, stream, in_pieces=in_pieces)
            expected = stream.expected
            wrong = None if expected is None else await check_bytes(expected, body)
        if wrong is None:
            return StoredObject(body, stream.info, endpoint, attempts)
        if not retry:
            raise stream.told(wrong)
        stream, in_pieces, retry = stream.again(), False, False


def _read(runner: Runner, stream: ObjectStream, *, in_pieces: bool) -> Awaitable[Whole]:
    """Everything that `stream` has, which is open and unread; in pieces if it is large and may be."""
    is_large = stream.length > runner.transfers.whole
    if is_large:
        stream.lift_deadline()
    return read_in_pieces(runner, stream) if is_large and in_pieces else read_in_one(stream)
