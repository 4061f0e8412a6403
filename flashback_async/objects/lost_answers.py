"""Answers that are lost: what may have been carried out all the same, and who is told.

A creation of an upload whose answer is lost may leave an upload whose id nobody knows. It is not looked for:
a listing of uploads tells neither who began one nor with which metadata, and another writer may be about to
write the same key. So nothing is aborted, and whoever can make a lifecycle rule is told.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from flashback_async.errors import FlashbackError, ObjectNotFoundError, OperationError
from flashback_async.objects.completion import etag_of
from flashback_async.objects.deletion import is_gone
from flashback_async.objects.info import text
from flashback_async.routing import OperationKind
from flashback_async.transport.executor import Answered
from flashback_async.transport.operation import Journey, Operation

if TYPE_CHECKING:
    from flashback_async.objects.runner import Runner

logger = logging.getLogger("flashback_async")


async def created(runner: Runner, operation: Operation, journey: Journey) -> Answered:
    """Run a CreateMultipartUpload; log, count and note on its error the uploads that it may have left."""
    try:
        answered = await runner.executor.call(operation, journey)
    except FlashbackError as error:
        _tell(runner, operation, journey, error)
        raise
    _tell(runner, operation, journey, None)
    return answered


async def completed(runner: Runner, operation: Operation, journey: Journey) -> Answered:
    """Run a CompleteMultipartUpload that a caller asked for in S3's words.

    Where an attempt may have been carried out and the next one finds no upload, the object tells: if it has
    the ETag that S3 gives an object of the parts listed, it is theirs.

    Raises:
        ObjectNotFoundError: there is no such upload, and no object of those parts.
    """
    try:
        return await runner.executor.call(operation, journey)
    except ObjectNotFoundError as refusal:
        if refusal.code != "NoSuchUpload" or not journey.unanswered:
            raise
        found = await _object_of_parts(runner, operation, journey, refusal.endpoint)
        if found is None:
            raise
        return found


async def removed(runner: Runner, operation: Operation, journey: Journey) -> Answered:
    """Run a DeleteObject that a caller asked for in S3's words.

    After an attempt that may have been carried out, a 404 is its success. Without one it is the store's own
    word, and callers of boto get that.

    Raises:
        ObjectNotFoundError: there was no such object, or no such bucket.
    """
    try:
        return await runner.executor.call(operation, journey)
    except ObjectNotFoundError as refusal:
        if not (refusal.attempts and is_gone(refusal)):
            raise
        status = HTTPStatus.NO_CONTENT.value
        told = {"HTTPStatusCode": status, "HTTPHeaders": {}}
        return Answered({"ResponseMetadata": told}, status, str(refusal.endpoint), journey.sent)


async def _object_of_parts(
    runner: Runner, operation: Operation, journey: Journey, endpoint: str | None
) -> Answered | None:
    listed = operation.parameters.get("MultipartUpload")
    parts = listed.get("Parts", ()) if isinstance(listed, dict) else ()
    etag = etag_of([str(part.get("ETag", "")) for part in parts]) if parts else None
    if etag is None:
        return None
    head = Operation("HeadObject", OperationKind.READ, operation.bucket, operation.key)
    second = Journey(deadline=journey.deadline, attempts_left=runner.attempts, pin=endpoint)
    try:
        answered = await runner.executor.call(head, second)
    except OperationError:
        return None  # what happened to the completion is the better news
    if text(answered.fields, "ETag") != etag:
        return None
    told = {"VersionId", "ResponseMetadata"} & answered.fields.keys()
    fields = {name: answered.fields[name] for name in told}
    fields |= {"Bucket": operation.bucket, "Key": operation.key, "ETag": etag}
    return Answered(fields, answered.status, answered.endpoint_id, journey.sent + second.sent)


def _tell(runner: Runner, operation: Operation, journey: Journey, error: FlashbackError | None) -> None:
    if not journey.unanswered:
        return
    places = ", ".join(dict.fromkeys(journey.unanswered))
    told = (
        f"{operation.bucket}/{operation.key}: an upload may be open at {places}, for the answer to its "
        "creation was lost, and with it the UploadId; a lifecycle rule with AbortIncompleteMultipartUpload "
        "removes it"
    )
    logger.warning("%s", told)
    runner.monitor.lost_uploads += len(journey.unanswered)
    if error is not None:
        error.add_note(told)
