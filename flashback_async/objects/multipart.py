"""One multipart upload, from its creation to its end. It belongs to the node that created it.

UploadIds may be known to one node only, so every request of an upload is pinned. What is interrupted is
aborted before anything else happens; an upload that could not be aborted is an orphan, and told as such.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple, Self

from flashback_async.errors import (
    EndpointError,
    FlashbackError,
    IntegrityError,
    NoEndpointAvailableError,
    ObjectNotFoundError,
    OpenUpload,
    OperationError,
    PreconditionFailedError,
    ServiceError,
    ThrottledError,
)
from flashback_async.objects.completion import Expected, Written
from flashback_async.objects.info import text
from flashback_async.objects.lost_answers import created
from flashback_async.objects.shielding import finished
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Deadline, Operation, work_of
from flashback_async.transport.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from flashback_async.objects.parts import Part
    from flashback_async.objects.runner import Runner
    from flashback_async.transport.executor import Answered

logger = logging.getLogger("flashback_async")

# Seconds that an abort may take at a node, and a creation whose caller has gone.
FAREWELL = 7.5
# Conditions hold for the object, which exists from its completion on.
_OF_COMPLETION = frozenset({"IfMatch", "IfNoneMatch"})


class Asked(NamedTuple):
    """What a caller wants of a write: an object, by a deadline, where, and how often to try."""

    bucket: str
    key: str
    parameters: Mapping[str, object]
    deadline: Deadline
    endpoint: str | None
    retry: bool


class MultipartUpload:
    """An upload that is open at one node, until `complete` or `abort`.

    Attributes:
        endpoint_id: whose it is.
        moved: parts that arrived so far.
    """

    def __init__(self, runner: Runner, asked: Asked, endpoint_id: str, upload_id: str) -> None:
        self.endpoint_id = endpoint_id
        self.moved = 0
        self._runner = runner
        self._asked = asked
        self._upload_id = upload_id
        self._etags: dict[int, str] = {}
        self._size = 0

    @classmethod
    async def create(cls, runner: Runner, asked: Asked, tried: Collection[str]) -> Self:
        """Open one, preferably at a node that was not tried before.

        A cancellation waits for the answer: without the UploadId nobody could abort what was created.
        """
        parameters = {name: value for name, value in asked.parameters.items() if name not in _OF_COMPLETION}
        operation = Operation(
            "CreateMultipartUpload", OperationKind.WRITE, asked.bucket, asked.key, parameters
        )
        creation = asyncio.ensure_future(_call(runner, asked, operation, pin=asked.endpoint, tried=tried))
        try:
            answered = await asyncio.shield(creation)
        except asyncio.CancelledError as error:
            if not creation.cancelled():
                await finished(cls._undo(runner, asked, creation, error))
            raise
        return cls._opened(runner, asked, answered)

    @classmethod
    def _opened(cls, runner: Runner, asked: Asked, answered: Answered) -> Self:
        upload_id = text(answered.fields, "UploadId")
        if not upload_id:
            raise _told(asked, IntegrityError("the answer names no upload", endpoint=answered.endpoint_id))
        return cls(runner, asked, answered.endpoint_id, upload_id)

    @classmethod
    async def _undo(
        cls, runner: Runner, asked: Asked, creation: asyncio.Future[Answered], error: BaseException
    ) -> None:
        """What a cancelled caller asked for may exist by now."""
        await asyncio.wait([creation], timeout=FAREWELL)
        if not creation.done():
            creation.cancel()
            await asyncio.wait([creation])
        elif not creation.cancelled() and creation.exception() is None:
            upload = cls._opened(runner, asked, creation.result())
            note_orphans(error, await upload.abort())

    async def send(self, part_number: int, data: Part) -> None:
        """Send one part; again, as long as others arrive meanwhile: then the node is not what is wrong.

        Raises:
            OperationError: it could not be sent.
        """
        upload = Upload.of_bytes(data)
        operation = self._operation(
            "UploadPart", {"PartNumber": part_number}, upload=upload, size=upload.size
        )
        rounds = self._runner.attempts if self._asked.retry else 1
        for left in reversed(range(rounds)):
            moved = self.moved
            try:
                answered = await self._call(operation, streamed=True)
                break
            except EndpointError:
                if not left or self.moved == moved:
                    raise
        else:
            raise AssertionError("the last round ends the loop")
        etag = text(answered.fields, "ETag")
        if not etag:
            raise _told(self._asked, IntegrityError("a part has no ETag", endpoint=self.endpoint_id))
        self._etags[part_number] = etag
        self._size += len(data)
        self.moved += 1

    async def complete(self, whole: str | None) -> Written:
        """Make the parts the object. A lost answer is looked after, before anybody is told of a failure.

        Args:
            whole: the ETag that the object has at stores that compute it as that of a simple put.

        Raises:
            OperationError: the object is not there, or it cannot be told whether it is.
        """
        etags = [self._etags[part_number] for part_number in sorted(self._etags)]
        listed = [{"ETag": etag, "PartNumber": place} for place, etag in enumerate(etags, 1)]
        conditions = {name: value for name, value in self._asked.parameters.items() if name in _OF_COMPLETION}
        operation = self._operation(
            "CompleteMultipartUpload",
            {"MultipartUpload": {"Parts": listed}, **conditions},
            patience=work_of(self._size),
        )
        expected = Expected.of(self._size, etags, whole, self._asked.parameters)
        try:
            answered = await self._call(operation, streamed=True)
            etag = text(answered.fields, "ETag")
            if etag:
                return Written(self._size, etag, text(answered.fields, "VersionId"))
            # Some proxy's page, say.
            raise _told(self._asked, IntegrityError("the answer names no object", endpoint=self.endpoint_id))
        except (EndpointError, IntegrityError, ObjectNotFoundError, PreconditionFailedError):
            if not expected.is_recognisable or not self._asked.retry:
                raise
            landed = await self._landed(expected)
            if landed is None:
                raise
            return landed

    async def _landed(self, expected: Expected) -> Written | None:
        """The object, if it is made of our parts: then it was the answer only that got lost."""
        operation = Operation("HeadObject", OperationKind.READ, self._asked.bucket, self._asked.key)
        try:
            answered = await _call(self._runner, self._asked, operation, pin=self._asked.endpoint)
        except FlashbackError:
            return None  # what happened to the completion is the better news
        fields = answered.fields
        if not expected.is_met_by(fields):
            return None
        return Written(self._size, text(fields, "ETag"), text(fields, "VersionId"))

    async def abort(self) -> tuple[OpenUpload, ...]:
        """Give the upload up, through another node if its own is gone, within `FAREWELL` seconds each.

        Returns:
            Nothing, or the upload if it may still be open.
        """
        operation = self._operation("AbortMultipartUpload", {})
        for pin in dict.fromkeys((self.endpoint_id, self._asked.endpoint)):
            elsewhere = pin != self.endpoint_id
            deadline = Deadline.after(FAREWELL, now=self._runner.executor.clock())
            last = self._asked._replace(deadline=deadline, retry=True)
            try:
                await _call(
                    self._runner, last, operation, pin=pin, tried={self.endpoint_id} if elsewhere else ()
                )
            except ObjectNotFoundError:
                # Elsewhere it may be unknown and yet open here.
                if not elsewhere:
                    return ()
            except ServiceError:
                break
            except FlashbackError:
                continue
            else:
                return ()
        orphan = OpenUpload(self.endpoint_id, self._upload_id)
        logger.warning("%s/%s: %s could not be aborted", self._asked.bucket, self._asked.key, orphan)
        return (orphan,)

    def _operation(
        self,
        name: str,
        parameters: Mapping[str, object],
        *,
        upload: Upload | None = None,
        size: int | None = None,
        patience: float = 0.0,
    ) -> Operation:
        return Operation(
            name,
            OperationKind.WRITE,
            self._asked.bucket,
            self._asked.key,
            {"UploadId": self._upload_id, **parameters},
            upload=upload,
            size=size,
            patience=patience,
        )

    async def _call(self, operation: Operation, *, streamed: bool = False) -> Answered:
        return await _call(self._runner, self._asked, operation, pin=self.endpoint_id, streamed=streamed)


def may_start_again(error: BaseException) -> bool:
    """Whether the same upload may succeed at another node."""
    if isinstance(error, ServiceError):
        return error.code == "NoSuchUpload"
    # No endpoint: the upload's node left the table.
    return isinstance(error, EndpointError | ThrottledError | IntegrityError | NoEndpointAvailableError)


def note_orphans(error: BaseException, orphans: tuple[OpenUpload, ...]) -> None:
    """Name uploads that may still be open in the error that leaves for the caller."""
    if not orphans:
        return
    if isinstance(error, OperationError):
        error.orphans = (*error.orphans, *orphans)
    else:
        error.add_note(f"not aborted: {'; '.join(map(str, orphans))}")


async def _call(
    runner: Runner,
    asked: Asked,
    operation: Operation,
    *,
    pin: str | None,
    tried: Collection[str] = (),
    streamed: bool = False,
) -> Answered:
    """One request of a write that is already counted as running. `streamed`: as long as there is progress."""
    journey = runner.journey(timeout=None, endpoint=pin, retry=asked.retry, streamed=streamed)
    moments = [moment for moment in (journey.deadline.at, asked.deadline.at) if moment is not None]
    journey.deadline = Deadline(min(moments, default=None))
    journey.tried.update(tried)
    if operation.name == "CreateMultipartUpload":
        return await created(runner, operation, journey)
    return await runner.executor.call(operation, journey)


def _told(asked: Asked, error: OperationError) -> OperationError:
    error.bucket, error.key = asked.bucket, asked.key
    return error
