"""The S3 verbs as callers see them. `FlashbackClient` is these plus a life cycle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from flashback_async.errors import ConfigurationError, ObjectNotFoundError
from flashback_async.models import ObjectInfo, StoredObject
from flashback_async.objects.info import number, object_info
from flashback_async.objects.listing import PAGE_LIMIT, pages_of
from flashback_async.objects.names import ByteRange, checked_bucket, checked_key, checked_metadata
from flashback_async.objects.ranged import read_whole
from flashback_async.objects.reading import ObjectStream
from flashback_async.objects.writing import write_object
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from flashback_async.objects.parts import PutSource
    from flashback_async.objects.runner import Runner
    from flashback_async.routing import Endpoint


class Verbs(ABC):
    """Reading, writing and listing objects through whichever endpoint is best at the moment.

    Every verb takes the same three options:

    - `timeout`: seconds for all of it, retries included. Default: `settings.total_timeout` for whole objects
      and metadata, none for streams. `math.inf` switches it off.
    - `endpoint`: the only endpoint to use, as an `Endpoint` or its id.
    - `retry`: False makes one attempt.

    Every verb raises `ConfigurationError` for arguments that cannot work (before anything is sent), a
    subclass of `ServiceError` when the service says no, a subclass of `EndpointError` or `ThrottledError`
    when no endpoint gave an answer in as many attempts as are allowed, `DeadlineExceededError` when time is
    up, and `ClientClosedError` when the client does not run. Cancelling a verb leaves no connection, permit
    or task.
    """

    @abstractmethod
    def _started(self) -> Runner:
        """What runs the verbs.

        Raises:
            ClientClosedError: the client is not running here.
        """

    async def put_object(
        self,
        bucket: str,
        key: str,
        data: PutSource,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
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
            timeout: seconds; see the class.
            endpoint: see the class.
            retry: see the class. A write whose answer was lost is sent again: whole objects are replaced
                whole, so writing the same bytes twice leaves the same object.

        Returns:
            What was stored, with its ETag.

        Raises:
            EntityTooLargeError: more than 10,000 parts can carry.
            WritesDisabledError: a quota has switched writes off.
        """
        checked_bucket(bucket)
        checked_key(key)
        parameters: dict[str, object] = {}
        if content_type is not None:
            parameters["ContentType"] = content_type
        if metadata is not None:
            parameters["Metadata"] = checked_metadata(metadata)
        runner = self._started()
        written = await write_object(
            runner, bucket, key, data, parameters, timeout=timeout, endpoint=endpoint, retry=retry
        )
        return ObjectInfo(
            bucket=bucket,
            key=key,
            size=written.size,
            etag=written.etag,
            content_type=content_type,
            metadata=metadata or {},
            version_id=written.version_id,
        )

    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        range: tuple[int, int | None] | None = None,  # noqa: A002  # part of the public contract
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> StoredObject:
        """Read one object, or a range of it, into memory.

        A body that breaks goes on at another endpoint, at the exact byte. More than
        `settings.multipart_threshold` is read in pieces from several endpoints at once, all of the same
        version, and takes as long as there is progress unless `timeout` is given.

        Args:
            bucket: bucket name.
            key: object key.
            range: half-open range of bytes, like a slice: (start, stop), (start, None), or (-n, None) for
                the last n bytes. A range past the end yields what there is.
            timeout: seconds; see the class.
            endpoint: see the class.
            retry: see the class.

        Raises:
            ObjectNotFoundError: there is no such object or bucket.
            ObjectChangedError: the object was replaced while it was being read.
        """
        async with self._stream(bucket, key, range, timeout, endpoint, retry=retry, streamed=False) as stream:
            whole = await read_whole(self._started(), stream)
            return StoredObject(
                body=whole.body, info=stream.info, endpoint=whole.endpoint, attempts=whole.attempts
            )

    def stream_object(
        self,
        bucket: str,
        key: str,
        *,
        range: tuple[int, int | None] | None = None,  # noqa: A002  # part of the public contract
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectStream:
        """Read one object, or a range of it, as it arrives.

        ```python
        async with client.stream_object("bucket", "key") as body:
            async for chunk in body: ...
        ```

        A body that stalls or breaks goes on at another endpoint, at the exact byte; the caller sees only
        bytes. Leaving the block early closes the connection. Arguments and errors are those of `get_object`;
        there is no total timeout unless given, and no byte for `settings.stall_timeout` counts as broken.
        """
        return self._stream(bucket, key, range, timeout, endpoint, retry=retry, streamed=True)

    async def head_object(
        self,
        bucket: str,
        key: str,
        *,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectInfo:
        """What the store says of one object, without its bytes.

        Raises:
            ObjectNotFoundError: there is no such object or bucket.
        """
        operation = Operation("HeadObject", OperationKind.READ, checked_bucket(bucket), checked_key(key))
        answered = await self._started().call(operation, timeout=timeout, endpoint=endpoint, retry=retry)
        return object_info(bucket, key, answered.fields, size=number(answered.fields, "ContentLength"))

    async def object_exists(
        self,
        bucket: str,
        key: str,
        *,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> bool:
        """Whether there is such an object. Every failure but "not found" is raised, never taken for False."""
        try:
            await self.head_object(bucket, key, timeout=timeout, endpoint=endpoint, retry=retry)
        except ObjectNotFoundError:
            return False
        return True

    async def delete_object(
        self,
        bucket: str,
        key: str,
        *,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> None:
        """Delete one object. One that is not there counts as deleted, as S3 has it."""
        operation = Operation("DeleteObject", OperationKind.WRITE, checked_bucket(bucket), checked_key(key))
        await self._started().call(operation, timeout=timeout, endpoint=endpoint, retry=retry)

    async def copy_object(
        self,
        bucket: str,
        source_key: str,
        key: str,
        *,
        to_bucket: str | None = None,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectInfo:
        """Copy one object within the store, with its metadata; no byte comes here.

        Args:
            bucket: bucket of the source.
            source_key: key of the source.
            key: key of the copy.
            to_bucket: bucket of the copy; the same one by default.
            timeout: seconds for the copy, and again for asking what was stored.
            endpoint: see the class.
            retry: see the class.

        Raises:
            ObjectNotFoundError: there is no such source.
        """
        source = {"Bucket": checked_bucket(bucket), "Key": checked_key(source_key, what="source_key")}
        target = bucket if to_bucket is None else checked_bucket(to_bucket)
        operation = Operation(
            "CopyObject", OperationKind.WRITE, target, checked_key(key), {"CopySource": source}
        )
        await self._started().call(operation, timeout=timeout, endpoint=endpoint, retry=retry)
        return await self.head_object(target, key, timeout=timeout, endpoint=endpoint, retry=retry)

    async def list_objects(
        self,
        bucket: str,
        prefix: str = "",
        *,
        page_size: int = PAGE_LIMIT,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ObjectInfo]:
        """Yield the objects whose keys start with `prefix`, in the store's order, page by page.

        Args:
            bucket: bucket name.
            prefix: start of the keys; empty for all.
            page_size: objects per request, 1 to 1,000.
            timeout: seconds for each page.
            endpoint: see the class.
            retry: see the class.
        """
        checked_bucket(bucket)
        if not isinstance(prefix, str):
            raise ConfigurationError(f"prefix={prefix!r:.80} is a {type(prefix).__name__}; give a string")
        if not isinstance(page_size, int) or not 1 <= page_size <= PAGE_LIMIT:
            raise ConfigurationError(f"page_size={page_size!r:.40} must be 1 to {PAGE_LIMIT}")
        runner = self._started()
        async for page in pages_of(
            runner, bucket, prefix, page_size=page_size, timeout=timeout, endpoint=endpoint, retry=retry
        ):
            for info in page:
                yield info

    def _stream(
        self,
        bucket: str,
        key: str,
        given_range: tuple[int, int | None] | None,
        timeout: float | None,
        endpoint: Endpoint | str | None,
        *,
        retry: bool,
        streamed: bool,
    ) -> ObjectStream:
        return ObjectStream(
            self._started(),
            checked_bucket(bucket),
            checked_key(key),
            range=ByteRange.of(given_range),
            timeout=timeout,
            endpoint=endpoint,
            retry=retry,
            streamed=streamed,
        )
