"""The verbs that write, copy or delete one object."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from flashback_async.errors import ObjectNotFoundError
from flashback_async.models import ObjectInfo
from flashback_async.objects.deletion import is_gone
from flashback_async.objects.headers import (
    checked_header,
    copied_headers,
    stored_headers,
    write_conditions,
)
from flashback_async.objects.info import text
from flashback_async.objects.names import checked_bucket, checked_key
from flashback_async.objects.reading_verbs import ReadingVerbs
from flashback_async.objects.writing import write_object
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Operation, work_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashback_async.config import ChecksumChoice
    from flashback_async.models import StorageHeaders
    from flashback_async.objects.parts import PutSource
    from flashback_async.routing import Endpoint


class WritingVerbs(ReadingVerbs):
    """Writing, copying and deleting one object. See `Verbs` for what all verbs have in common."""

    async def put_object(
        self,
        bucket: str,
        key: str,
        data: PutSource,
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
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectInfo:
        """Write one object, replacing what was there.

        Args:
            bucket: bucket name.
            key: object key.
            data: bytes, a path (`str` or `PathLike`), a file open in binary mode, read from its position, or
                an iterable of bytes, async or not. More than `settings.multipart_threshold` goes in parts,
                of which a few are in memory; see `upload_file`. Bytes that can change must not until then.
            content_type: media type to store; the store's default without.
            metadata: user metadata to store, as text.
            cache_control: how long caches may keep it.
            content_encoding: how the bytes are encoded, such as `gzip`; they are stored as they are.
            content_disposition: how it is to be presented, such as `attachment; filename="a.csv"`.
            storage_class: storage class; the store's default without.
            tagging: tags to store, at most ten.
            headers: what else is to be stored with it.
            checksum: end-to-end checksum to store with it, which every whole read compares: `crc32c`,
                `sha256`, `md5` or `none`; default: `settings.checksum`. It is in the metadata
                (`flashback-sha256`, never shown there), so the bytes are read once more before they are
                sent; what goes in parts has to come from a source that can be read twice.
            if_match: write only over an object with this ETag.
            if_none_match: `"*"`: write only where there is no object.
            timeout: seconds; see the class.
            endpoint: see the class.
            retry: see the class. A write whose answer was lost is sent again: whole objects are replaced
                whole, so writing the same bytes twice leaves the same object. A conditional one is marked in
                the metadata it sends (`flashback-write-id`, never shown here), so that a repeated attempt
                that meets its own success is known for one.

        Returns:
            What was stored, with its ETag.

        Raises:
            PreconditionFailedError: the condition does not hold. Nothing was written.
            EntityTooLargeError: more than 10,000 parts can carry.
            WritesDisabledError: a quota has switched writes off.
            ConfigurationError: a checksum is wanted of what cannot be read twice, or its extra is missing.
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
            data,
            parameters,
            conditions=conditions,
            checksum=checksum,
            timeout=timeout,
            endpoint=endpoint,
            retry=retry,
        )

    async def delete_object(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        if_match: str | None = None,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> None:
        """Delete one object. One that is not there counts as deleted, as S3 has it.

        Args:
            bucket: bucket name.
            key: object key.
            version_id: the version to delete for good. Without, a bucket that keeps versions only gets a mark
                that the object was deleted.
            if_match: delete only the object with this ETag. The store decides, and gateways are known to
                ignore it; a deletion whose answer was lost may meet its own success as an error.
            timeout: seconds; see the class.
            endpoint: see the class.
            retry: see the class.

        Raises:
            PreconditionFailedError: the condition does not hold. Nothing was deleted.
        """
        parameters: dict[str, object] = {}
        if if_match is not None:
            parameters["IfMatch"] = checked_header(if_match, what="if_match")
        if version_id is not None:
            parameters["VersionId"] = checked_header(version_id, what="version_id")
        operation = Operation(
            "DeleteObject", OperationKind.WRITE, checked_bucket(bucket), checked_key(key), parameters
        )
        try:
            await self._started().call(operation, timeout=timeout, endpoint=endpoint, retry=retry)
        except ObjectNotFoundError as refusal:
            if not is_gone(refusal):
                raise

    async def copy_object(
        self,
        bucket: str,
        source_key: str,
        key: str,
        *,
        to_bucket: str | None = None,
        source_version_id: str | None = None,
        source_if_match: str | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        content_encoding: str | None = None,
        content_disposition: str | None = None,
        storage_class: str | None = None,
        tagging: Mapping[str, str] | None = None,
        headers: StorageHeaders | None = None,
        if_match: str | None = None,
        if_none_match: Literal["*"] | None = None,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectInfo:
        """Copy one object within the store, with its metadata; no byte comes here.

        Its checksum is part of that: a copy that replaces the metadata has none.

        Args:
            bucket: bucket of the source.
            source_key: key of the source.
            key: key of the copy.
            to_bucket: bucket of the copy; the same one by default.
            source_version_id: version of the source.
            source_if_match: ETag that the source must have.
            content_type: see `put_object`. This, `metadata` or any header that describes the content replaces
                all of them: what is not given then is not taken from the source.
            metadata: see `content_type`.
            cache_control: see `content_type`.
            content_encoding: see `content_type`.
            content_disposition: see `content_type`.
            storage_class: storage class of the copy; the store's default without.
            tagging: tags instead of those of the source.
            headers: what else is to be stored with it.
            if_match: write only over an object with this ETag.
            if_none_match: `"*"`: write only where there is no object. Gateways are known to ignore both; a
                conditional copy whose answer was lost may meet its own success as `PreconditionFailedError`.
            timeout: seconds for the copy, and again for asking what was stored.
            endpoint: see the class.
            retry: see the class.

        Raises:
            ObjectNotFoundError: there is no such source.
            PreconditionFailedError: a condition does not hold. Nothing was written.
        """
        target = bucket if to_bucket is None else checked_bucket(to_bucket)
        source = {"Bucket": checked_bucket(bucket), "Key": checked_key(source_key, what="source_key")}
        if source_version_id is not None:
            source["VersionId"] = checked_header(source_version_id, what="source_version_id")
        parameters = {
            "CopySource": source,
            **copied_headers(
                stored_headers(
                    content_type=content_type,
                    metadata=metadata,
                    cache_control=cache_control,
                    content_encoding=content_encoding,
                    content_disposition=content_disposition,
                    storage_class=storage_class,
                    tagging=tagging,
                    headers=headers,
                )
            ),
            **write_conditions(if_match, if_none_match),
        }
        if source_if_match is not None:
            parameters["CopySourceIfMatch"] = checked_header(source_if_match, what="source_if_match")
        operation = Operation(
            "CopyObject",
            OperationKind.WRITE,
            target,
            checked_key(key),
            parameters,
            patience=work_of(None),
        )
        await self._started().call(operation, timeout=timeout, endpoint=endpoint, retry=retry)
        return await self.head_object(target, key, timeout=timeout, endpoint=endpoint, retry=retry)

    async def _copied(
        self,
        source: ObjectInfo,
        bucket: str,
        key: str,
        *,
        timeout: float | None,
        endpoint: Endpoint | str | None,
        retry: bool,
    ) -> ObjectInfo:
        """Copy an object that was listed; what the listing and the answer tell is not asked for again."""
        parameters = {"CopySource": {"Bucket": source.bucket, "Key": source.key}}
        operation = Operation(
            "CopyObject",
            OperationKind.WRITE,
            bucket,
            checked_key(key),
            parameters,
            patience=work_of(source.size),
        )
        answered = await self._started().call(operation, timeout=timeout, endpoint=endpoint, retry=retry)
        told = answered.fields.get("CopyObjectResult")
        fields = told if isinstance(told, dict) else {}
        modified = fields.get("LastModified")
        return ObjectInfo(
            bucket=bucket,
            key=key,
            size=source.size,
            etag=text(fields, "ETag"),
            last_modified=modified if isinstance(modified, datetime) else None,
            version_id=text(answered.fields, "VersionId"),
        )
