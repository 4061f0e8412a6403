"""Reading one object into a file, in pieces where it is large, and going on where an earlier try ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashback_async.errors import ObjectChangedError, ServiceError
from flashback_async.objects.advance import Advance
from flashback_async.objects.names import ByteRange
from flashback_async.objects.partial_file import PartialFile
from flashback_async.objects.ranged import Plan, read_pieces, readers
from flashback_async.objects.read_request import Pinned, ReadRequest
from flashback_async.objects.reading import ObjectStream
from flashback_async.objects.resume_record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from flashback_async.errors import IntegrityError
    from flashback_async.models import ObjectInfo
    from flashback_async.objects.advance import OnProgress
    from flashback_async.objects.conditions import ReadConditions
    from flashback_async.objects.limits import TransferLimits
    from flashback_async.objects.runner import Runner
    from flashback_async.routing import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What a caller wants of a download.

    Attributes:
        bucket: checked bucket name.
        key: checked key.
        path: where the file is to be.
        limits: sizes and numbers of pieces.
        fsync: whether the disk must have the file before it appears.
        conditions: which object the caller is content with.
        resume: whether to go on from an earlier try, and to leave something to go on from.
        timeout: seconds for all of it; None: as long as there is progress.
        endpoint: the only endpoint to use.
        retry: whether what failed may be tried again.
    """

    bucket: str
    key: str
    path: Path
    limits: TransferLimits
    fsync: bool
    conditions: ReadConditions
    resume: bool
    timeout: float | None
    endpoint: Endpoint | str | None
    retry: bool

    async def run(self, runner: Runner, progress: OnProgress | None) -> ObjectInfo:
        """Do it.

        Raises:
            ObjectNotFoundError: there is no such object.
            ObjectChangedError: it was replaced meanwhile.
            IntegrityError: it was loaded twice, and neither time had the checksum that it was written with.
            OperationError: it could not be read.
            OSError: the disk says no.
            Exception: what `progress` raises.
        """
        advance = Advance(progress)
        file = await PartialFile.find(self.path, self.bucket, self.key, advance, resume=self.resume)
        try:
            stream = None
            if file.record is not None and not self._is_of_use(runner, file.record):
                await file.forget()
            if file.record is not None:
                stream = await self._go_on(runner, file, file.record, advance)
            if stream is None:
                stream = self._stream(runner, None, None)
                await self._begin(runner, stream, file, concurrency=self.limits.concurrency)
            wrong = await _damage(file, stream)
            if wrong is not None and self.retry:
                advance.restart()
                # One at a time, so that the bytes are those of one endpoint unless that breaks.
                stream = stream.again(self._request(None, None))
                await self._begin(runner, stream, file, concurrency=1)
                wrong = await _damage(file, stream)
            if wrong is not None:
                raise stream.told(wrong)
            await file.commit(fsync=self.fsync)
        except ObjectChangedError:
            await file.forget()
            raise
        finally:
            await file.close()
        return stream.info

    async def _begin(
        self, runner: Runner, stream: ObjectStream, file: PartialFile, *, concurrency: int
    ) -> None:
        """All of it, by a stream that is not open yet."""
        async with stream:
            size = stream.length
            is_large = size > self.limits.whole
            etag, modified, _ = stream.identity
            record = Record(self.bucket, self.key, etag, modified, size, self.conditions.version_id)
            is_recognisable = runner.identity_rule.tells(stream.identity)
            await file.start(record, keep=self.resume and is_large and is_recognisable)
            piece = self.limits.part_size if is_large else max(1, size)
            await self._read(runner, stream, file, [(0, size)], piece, concurrency)

    def _is_of_use(self, runner: Runner, record: Record) -> bool:
        """Whether an earlier try was for what is wanted now, and can be told from other versions."""
        found = {"ETag": record.etag, "LastModified": record.last_modified, "VersionId": record.version_id}
        try:
            self.conditions.check(found)
        except ServiceError:
            return False
        is_same = record.version_id == self.conditions.version_id
        return is_same and runner.identity_rule.tells(record.identity)

    async def _go_on(
        self, runner: Runner, file: PartialFile, record: Record, advance: Advance
    ) -> ObjectStream | None:
        """The rest of an earlier try, by the stream returned; None: the object is another one by now."""
        missing = record.missing()
        # Something has to be asked for, to know that it is still the same object.
        start = missing[0][0] if missing else record.size - 1
        is_same = False
        try:
            async with self._stream(runner, ByteRange(start), Pinned(record.identity)) as stream:
                is_same = True
                await advance(record.loaded)
                part_size, concurrency = self.limits.part_size, self.limits.concurrency
                await self._read(runner, stream, file, missing, part_size, concurrency)
                return stream
        except ObjectChangedError:
            if is_same:
                raise
            await file.forget()
            return None

    async def _read(  # noqa: PLR0917  # private
        self,
        runner: Runner,
        stream: ObjectStream,
        file: PartialFile,
        missing: list[tuple[int, int]],
        piece: int,
        concurrency: int,
    ) -> None:
        at_once = readers(runner, stream, concurrency)
        await read_pieces(runner, stream, Plan(missing, piece), file, concurrency=at_once)

    def _stream(self, runner: Runner, asked: ByteRange | None, pinned: Pinned | None) -> ObjectStream:
        return ObjectStream(
            runner,
            self._request(asked, pinned),
            timeout=self.timeout,
            endpoint=self.endpoint,
            retry=self.retry,
        )

    def _request(self, asked: ByteRange | None, pinned: Pinned | None) -> ReadRequest:
        return ReadRequest(self.bucket, self.key, asked, self.conditions, part_of=pinned)


async def _damage(file: PartialFile, stream: ObjectStream) -> IntegrityError | None:
    """What is wrong with the file by the checksum that the object was written with; it is forgotten then."""
    wrong = None if stream.checksum is None else await file.check(stream.checksum)
    if wrong is not None:
        await file.forget()
    return wrong
