"""Reading an object whole, into memory, and comparing it with the checksum that it was written with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.models import StoredObject
from flashback_async.objects.checksums import check_bytes
from flashback_async.objects.frozen import maker
from flashback_async.objects.ranged import read_in_pieces

if TYPE_CHECKING:
    from flashback_async.objects.reading import ObjectStream
    from flashback_async.objects.runner import Runner


_stored = maker(StoredObject)


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
            if is_large := stream.length > runner.transfers.whole:
                stream.lift_deadline()
            if is_large and in_pieces:
                body, endpoint, attempts = await read_in_pieces(runner, stream)
            else:
                body = await stream.read()
                endpoint, attempts = stream.endpoint, stream.attempts
            expected = stream.expected
            wrong = None if expected is None else await check_bytes(expected, body)
        if wrong is None:
            return _stored(body, stream.info, endpoint, attempts)
        if not retry:
            raise stream.told(wrong)
        stream, in_pieces, retry = stream.again(), False, False
