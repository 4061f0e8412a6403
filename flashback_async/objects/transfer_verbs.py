"""The verbs for files and for whatever is large."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flashback_async.errors import ConfigurationError
from flashback_async.objects.conditions import ReadConditions
from flashback_async.objects.downloading import Download
from flashback_async.objects.headers import stored_headers, write_conditions
from flashback_async.objects.names import checked_bucket, checked_key
from flashback_async.objects.verb_family import VerbFamily
from flashback_async.objects.writing import write_object

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from flashback_async.config import ChecksumChoice
    from flashback_async.models import ObjectInfo, StorageHeaders
    from flashback_async.objects.advance import OnProgress
    from flashback_async.objects.parts import PutSource
    from flashback_async.routing import Endpoint


class TransferVerbs(VerbFamily):
    """Files up and down, in parts that move at the same time where they are large.

    They take `endpoint` and `retry` as every verb does. `timeout` is for all of it; without one a transfer
    goes on as long as there is progress, each request under the timers of `settings`.
    """

    async def download_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        part_size: int | None = None,
        concurrency: int | None = None,
        progress: OnProgress | None = None,
        fsync: bool = False,
        resume: bool = True,
        if_match: str | None = None,
        if_none_match: str | None = None,
        if_modified_since: datetime | None = None,
        if_unmodified_since: datetime | None = None,
        version_id: str | None = None,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectInfo:
        """Read one object into a file, which appears whole or not at all.

        More than `settings.multipart_threshold` is read in pieces, from several endpoints at once, all of the
        version that the first answer had. They go to a file beside `path` that takes its place at the end;
        directories are made as needed. What is interrupted, be it by a cancellation or by the end of the
        process, leaves nothing under the final name.

        Args:
            bucket: bucket name.
            key: object key.
            path: the file.
            part_size: bytes of a piece; default: `settings.part_size`.
            concurrency: pieces at once; default: `settings.transfer_concurrency`.
            progress: called with every number of bytes that reached the file, one call at a time; a function
                or an async one. They add up to the object's size; what an earlier try left comes first.
            fsync: wait until the disk has the file and its name.
            resume: keep the complete pieces of a large object when the download is interrupted, in
                `.flashback-*` files beside `path`, and go on from them the next time; an object that has
                changed since then, or is not the one that is asked for now, begins anew. False removes them.
            if_match: the ETag that it must have.
            if_none_match: the ETag that the caller has already.
            if_modified_since: the caller has what was written until then.
            if_unmodified_since: it must not have been written later.
            version_id: the version to read, where the bucket keeps versions.
            timeout: seconds for all of it.
            endpoint: see the class.
            retry: see the class.

        Returns:
            What the store says of the object.

        Raises:
            ObjectNotFoundError: there is no such object, version or bucket.
            NotModifiedError: the caller has it already. The file at `path` is as it was.
            PreconditionFailedError: it is another object than the caller expects.
            ObjectChangedError: the object was replaced while it was being read.
            IntegrityError: it was loaded twice, and neither time had the checksum that it was written with
                (`settings.checksum`).
            OSError: the disk says no.
            Exception: what `progress` raises, which ends the download.
        """
        runner = self._started()
        if not isinstance(path, str | os.PathLike):
            raise ConfigurationError(f"path={path!r:.80} is a {type(path).__name__}; give a path")
        download = Download(
            bucket=checked_bucket(bucket),
            key=checked_key(key),
            path=Path(path),
            limits=runner.transfers.asked(part_size, concurrency),
            fsync=fsync,
            conditions=ReadConditions(
                if_match=if_match,
                if_none_match=if_none_match,
                if_modified_since=if_modified_since,
                if_unmodified_since=if_unmodified_since,
                version_id=version_id,
            ),
            resume=resume,
            timeout=timeout,
            endpoint=endpoint,
            retry=retry,
        )
        return await download.run(runner, progress)

    async def upload_file(
        self,
        bucket: str,
        key: str,
        source: PutSource,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        content_encoding: str | None = None,
        content_disposition: str | None = None,
        storage_class: str | None = None,
        tagging: Mapping[str, str] | None = None,
        headers: StorageHeaders | None = None,
        checksum: ChecksumChoice | None = None,
        if_match: str | None = None,
        if_none_match: Literal["*"] | None = None,
        part_size: int | None = None,
        concurrency: int | None = None,
        progress: OnProgress | None = None,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectInfo:
        """Write one object from a file, or from whatever else `put_object` takes, and tell how far it is.

        More than `settings.multipart_threshold` goes in parts, to one node, as a multipart upload: the object
        appears whole or not at all, and at most `part_size * (concurrency + 1)` bytes are in memory. When
        the node fails, the upload is aborted and begins anew at another one, if `source` can be read again:
        bytes, paths, files that can seek, and sequences of bytes can. A failure or a cancellation aborts it
        before it is raised, which takes up to 15 s where the node is silent.

        Args:
            bucket: bucket name.
            key: object key.
            source: a path, or anything else that `put_object` takes.
            content_type: media type to store; the store's default without.
            metadata: user metadata to store, as text.
            cache_control: as in `put_object`; so are the further headers and the conditions. Conditions of an
                upload in parts are decided at its end, by the store, when all bytes were sent.
            content_encoding: see `cache_control`.
            content_disposition: see `cache_control`.
            storage_class: see `cache_control`.
            tagging: see `cache_control`.
            headers: see `cache_control`.
            checksum: see `cache_control`.
            if_match: see `cache_control`.
            if_none_match: see `cache_control`.
            part_size: bytes of a part, 5 MiB or more and less than 100 MB; default: `settings.part_size`,
                and as much more as 10,000 parts need.
            concurrency: parts at once; default: `settings.transfer_concurrency`.
            progress: called with every number of bytes that arrived, one call at a time; a function or an
                async one. They add up to the object's size, whatever had to be sent again.
            timeout: seconds for all of it; default: `settings.total_timeout` for what goes in one request.
            endpoint: see the class.
            retry: see the class.

        Returns:
            What was stored, with its ETag.

        Raises:
            PreconditionFailedError: the condition does not hold. Nothing was written.
            OperationError: it could not be written. `orphans` names uploads that could not be aborted, as at
                a dead node, with their UploadId and endpoint; other exceptions carry them as a note.
            EntityTooLargeError: more than 10,000 parts can carry.
            Exception: what `source` or `progress` raises, which ends the upload.
        """
        checked_bucket(bucket)
        checked_key(key)
        parameters = stored_headers(
            content_type=content_type,
            metadata=metadata,
            cache_control=cache_control,
            content_encoding=content_encoding,
            content_disposition=content_disposition,
            storage_class=storage_class,
            tagging=tagging,
            headers=headers,
        )
        conditions = write_conditions(if_match, if_none_match)
        runner = self._started()
        return await write_object(
            runner,
            bucket,
            key,
            source,
            parameters,
            conditions=conditions,
            checksum=checksum,
            timeout=timeout,
            endpoint=endpoint,
            retry=retry,
            limits=runner.transfers.asked(part_size, concurrency),
            progress=progress,
        )
