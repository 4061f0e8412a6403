"""Writing one object from any source: in one request, or in parts where it is large."""

from __future__ import annotations

import asyncio
from hashlib import md5
from typing import TYPE_CHECKING, BinaryIO, cast

from flashback_async.errors import EntityTooLargeError, OpenUpload, OperationError
from flashback_async.objects.advance import Advance
from flashback_async.objects.chain import Chain
from flashback_async.objects.checksums import checksum_of_parts, checksum_of_upload
from flashback_async.objects.conditional_writes import marked, written
from flashback_async.objects.info import object_info
from flashback_async.objects.limits import MOST_PARTS, TransferLimits
from flashback_async.objects.multipart import Asked, MultipartUpload, may_start_again, note_orphans
from flashback_async.objects.parts import source_of
from flashback_async.objects.shielding import finished
from flashback_async.objects.task_group import task_group
from flashback_async.routing.endpoint import WRITE
from flashback_async.transport.operation import Operation
from flashback_async.transport.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashback_async.config import ChecksumAlgorithm, ChecksumChoice
    from flashback_async.models import ObjectInfo
    from flashback_async.objects.advance import OnProgress
    from flashback_async.objects.checksums import Checksum
    from flashback_async.objects.completion import Written
    from flashback_async.objects.parts import Part, PartSource, PutSource
    from flashback_async.objects.runner import Runner
    from flashback_async.routing import Endpoint


async def write_object(
    runner: Runner,
    bucket: str,
    key: str,
    data: PutSource,
    parameters: Mapping[str, object],
    *,
    conditions: Mapping[str, object],
    checksum: ChecksumChoice | None,
    timeout: float | None,
    endpoint: Endpoint | str | None,
    retry: bool,
    limits: TransferLimits | None = None,
    progress: OnProgress | None = None,
) -> ObjectInfo:
    """Write one object.

    What is known to be small is one request, and so is what turns out to be. Everything else goes in parts,
    of which `concurrency + 1` are in memory at most, and takes as long as there is progress unless `timeout`
    says otherwise.

    Args:
        runner: runs it.
        bucket: checked bucket name.
        key: checked key.
        data: the source.
        parameters: what is stored beside the bytes, in boto's names.
        conditions: of the write, in boto's names.
        checksum: what the caller wants stored with it; None: what the settings say.
        timeout: seconds for all of it; None: the default for one request, none for parts.
        endpoint: the only endpoint to use.
        retry: whether what failed may be tried again.
        limits: sizes of parts; None: the client's.
        progress: told the bytes that arrived.

    Raises:
        PreconditionFailedError: the conditions do not hold.
        OperationError: it could not be written; `orphans` names uploads that may still be open.
        ConfigurationError: the source yields no bytes, or a checksum is wanted and it cannot be read twice.
        Exception: what the source or `progress` raises.
    """
    algorithm = runner.checksums.algorithm_for(checksum)
    limits = runner.transfers if limits is None else limits
    is_marked = bool(conditions) and retry
    sent = {**(marked(parameters) if is_marked else parameters), **conditions} if conditions else parameters
    upload = _in_memory(data, limits)
    source = await source_of(data) if upload is None else None
    try:
        if source is not None:
            upload = await _in_one(source, limits)
        if algorithm is not None:
            found = await _checksum(algorithm, upload, source)
            parameters, sent = found.beside(parameters), found.beside(sent)
            if upload is not None:
                sent = {**sent, **found.for_the_store()}
        if upload is not None:
            operation = Operation("PutObject", WRITE, bucket, key, sent, upload=upload, size=upload.size)
            if is_marked:
                answered = await written(runner, operation, timeout=timeout, endpoint=endpoint)
            else:
                answered = await runner.call(operation, timeout=timeout, endpoint=endpoint, retry=retry)
            if progress is not None:
                await Advance(progress)(upload.size)
            size, fields = upload.size, answered.fields
        else:
            journey = runner.journey(timeout=timeout, endpoint=endpoint, retry=retry, streamed=True)
            assert source is not None, "what is no single request has a source"
            asked = Asked(bucket, key, sent, journey.deadline, journey.pin, retry)
            operation = Operation("CreateMultipartUpload", WRITE, bucket, key)
            async with runner.running(operation, journey.deadline):
                whole = await _in_parts(runner, asked, source, limits, Advance(progress))
            size, fields = whole.size, {"ETag": whole.etag, "VersionId": whole.version_id}
    finally:
        if source is not None:
            await source.close()
    runner.monitor.bytes_written += size
    told = {**parameters, "ETag": fields.get("ETag")}
    if "VersionId" in fields:
        told["VersionId"] = fields["VersionId"]
    return object_info(bucket, key, told, size=size)


async def _checksum(
    algorithm: ChecksumAlgorithm, upload: Upload | None, source: PartSource | None
) -> Checksum:
    """Of all of it, whether in one request or in parts."""
    if upload is not None:
        return await checksum_of_upload(algorithm, upload)
    assert source is not None, "what is no single request has a source"
    return await checksum_of_parts(algorithm, source)


def _in_memory(data: PutSource, limits: TransferLimits) -> Upload | None:
    """The body of the only request, where the bytes are there and cannot change; None: it takes a look."""
    # Most objects: nothing to wait for, and nothing to close.
    return Upload.of_bytes(data) if type(data) is bytes and len(data) <= limits.whole else None


async def _in_one(source: PartSource, limits: TransferLimits) -> Upload | None:
    """The body of the only request; None: it takes more."""
    if source.size is not None:
        return await Upload.of(source.given) if source.size <= limits.whole else None  # type: ignore[arg-type]  # of known size
    pieces = await source.look_ahead(limits.part_size, limits.ahead)
    if pieces is None:
        return None
    if len(pieces) <= 1:
        return Upload.of_bytes(b"".join(pieces))
    return Upload(lambda: cast("BinaryIO", Chain(pieces)), sum(map(len, pieces)))


async def _in_parts(
    runner: Runner, asked: Asked, source: PartSource, limits: TransferLimits, advance: Advance
) -> Written:
    """As often as it takes, each time at another node."""
    size = limits.part_size_for(source.size)
    tried: list[str] = []
    orphans: tuple[OpenUpload, ...] = ()
    # At a node that the caller insists on, the requests' own attempts have to do.
    starts = runner.attempts if asked.retry and asked.endpoint is None else 1
    while True:
        starts -= 1
        upload: MultipartUpload | None = None
        try:
            upload = await MultipartUpload.create(runner, asked, tried)
            etag = await _send_parts(runner, upload, source, size, limits.concurrency, advance)
            return await upload.complete(etag)
        except BaseException as error:
            if upload is not None:
                tried.append(upload.endpoint_id)
                orphans += await finished(upload.abort())
            if upload is None or starts <= 0 or not _may_start_again(error, source):
                note_orphans(error, orphans)
                raise
        advance.restart()
        await source.rewind()


def _may_start_again(error: BaseException, source: PartSource) -> bool:
    if not may_start_again(error):
        return False
    if not source.is_replayable and isinstance(error, OperationError):
        error.reason += "; not started again, for the source can be read only once"
    return source.is_replayable


async def _send_parts(  # noqa: PLR0917  # private
    runner: Runner,
    upload: MultipartUpload,
    source: PartSource,
    size: int,
    concurrency: int,
    advance: Advance,
) -> str | None:
    """All parts, `concurrency` at a time, while the next one is being cut.

    Returns:
        The MD5 of it all as an ETag, where it is of use: what can be sent again need not be recognised.
    """
    slots = asyncio.Semaphore(concurrency)
    digest = None if source.is_replayable else md5(usedforsecurity=False)

    async def send(part_number: int, data: Part) -> None:
        try:
            async with runner.part_slots:
                await upload.send(part_number, data)
            await advance(len(data))
        finally:
            slots.release()

    async with task_group() as group:
        part_number = 0
        while data := await source.take(size):
            part_number += 1
            if part_number > MOST_PARTS:
                raise EntityTooLargeError(
                    f"more than {MOST_PARTS:,} parts of {size:,} bytes; raise part_size",
                    code="EntityTooLarge",
                )
            if digest is not None:
                await asyncio.to_thread(digest.update, data)
            await slots.acquire()
            group.create_task(send(part_number, data))
    return None if digest is None else f'"{digest.hexdigest()}"'
