"""Reading an object whole, into memory, and comparing it with the checksum that it was written with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.models import StoredObject
from flashback_async.objects.checksums import check_bytes
from flashback_async.objects.ranged import read_whole

if TYPE_CHECKING:
    from flashback_async.errors import IntegrityError
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
    found, wrong = await _read(runner, stream, in_pieces=in_pieces)
    if wrong is not None and retry:
        stream = stream.again()
        found, wrong = await _read(runner, stream, in_pieces=False)
    if wrong is not None:
        raise stream.told(wrong)
    return found


async def _read(
    runner: Runner, stream: ObjectStream, *, in_pieces: bool
) -> tuple[StoredObject, IntegrityError | None]:
    async with stream:
        whole = await read_whole(runner, stream, in_pieces=in_pieces)
        found = StoredObject(whole.body, stream.info, whole.endpoint, whole.attempts)
        expected = stream.expected
        return found, None if expected is None else await check_bytes(expected, whole.body)
