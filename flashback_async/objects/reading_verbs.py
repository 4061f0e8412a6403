"""The verbs that read one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.errors import ConfigurationError, ObjectNotFoundError, ServiceError
from flashback_async.objects.conditions import ReadConditions
from flashback_async.objects.info import number, object_info
from flashback_async.objects.names import ByteRange, checked_bucket, checked_count, checked_key
from flashback_async.objects.ranged_reads import read_ranges
from flashback_async.objects.read_request import ReadRequest
from flashback_async.objects.reading import ObjectStream
from flashback_async.objects.verb_family import VerbFamily
from flashback_async.objects.whole_reads import read_object
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from flashback_async.models import ObjectInfo, StoredObject
    from flashback_async.routing import Endpoint

# Bytes between two ranges that are rather read and dropped than asked for apart: at 50 MB/s they cost what
# one more request costs over 20 ms. (Arrow's object_store has the same default.)
COALESCE = 1_024 * 1_024
# As many as one connection pool of a browser to a host, more or less: what helps a reader and spares a node.
RANGES_IN_FLIGHT = 8


class ReadingVerbs(VerbFamily):
    """Reading one object. See `Verbs` for what all verbs have in common."""

    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        range: tuple[int, int | None] | None = None,  # noqa: A002  # part of the public contract
        if_match: str | None = None,
        if_none_match: str | None = None,
        if_modified_since: datetime | None = None,
        if_unmodified_since: datetime | None = None,
        version_id: str | None = None,
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
            if_match: the ETag that it must have.
            if_none_match: the ETag that the caller has already.
            if_modified_since: the caller has what was written until then.
            if_unmodified_since: it must not have been written later.
            version_id: the version to read, where the bucket keeps versions.
            timeout: seconds; see the class.
            endpoint: see the class.
            retry: see the class.

        Raises:
            ObjectNotFoundError: there is no such object, version or bucket.
            NotModifiedError: the caller has it already.
            PreconditionFailedError: it is another object than the caller expects.
            ObjectChangedError: the object was replaced while it was being read.
            IntegrityError: the whole object was read twice, and neither time had the checksum that it was
                written with (`settings.checksum`). Ranges are not compared.
        """
        conditions = ReadConditions.of(
            if_match=if_match,
            if_none_match=if_none_match,
            if_modified_since=if_modified_since,
            if_unmodified_since=if_unmodified_since,
            version_id=version_id,
        )
        request = ReadRequest(checked_bucket(bucket), checked_key(key), ByteRange.of(range), conditions)
        runner = self._started()
        stream = ObjectStream(
            runner, request, timeout=timeout, endpoint=endpoint, retry=retry, streamed=False
        )
        return await read_object(runner, stream, retry=retry)

    def stream_object(
        self,
        bucket: str,
        key: str,
        *,
        range: tuple[int, int | None] | None = None,  # noqa: A002  # part of the public contract
        if_match: str | None = None,
        if_none_match: str | None = None,
        if_modified_since: datetime | None = None,
        if_unmodified_since: datetime | None = None,
        version_id: str | None = None,
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
        A whole object that was written with a checksum is compared with it at its end: a wrong one is
        `IntegrityError` instead of the last bytes; the earlier ones were handed out by then.
        """
        conditions = ReadConditions.of(
            if_match=if_match,
            if_none_match=if_none_match,
            if_modified_since=if_modified_since,
            if_unmodified_since=if_unmodified_since,
            version_id=version_id,
        )
        request = ReadRequest(checked_bucket(bucket), checked_key(key), ByteRange.of(range), conditions)
        return ObjectStream(
            self._started(), request, timeout=timeout, endpoint=endpoint, retry=retry, verifies=True
        )

    async def get_ranges(
        self,
        bucket: str,
        key: str,
        ranges: Iterable[tuple[int, int | None]],
        *,
        coalesce: int = COALESCE,
        concurrency: int = RANGES_IN_FLIGHT,
        if_match: str | None = None,
        version_id: str | None = None,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> list[bytes]:
        """Read several ranges of one object, all of the same version; a single operation.

        Ranges near each other share a request, others are read at the same time. Whatever the first answer
        shows (ETag, length, time of the last write) all the others have to show as well.

        Args:
            bucket: bucket name.
            key: object key.
            ranges: as in `get_object`; they may overlap and come in any order.
            coalesce: bytes between two ranges up to which they are read with one request; 0: only ranges that
                touch or overlap.
            concurrency: requests at the same time.
            if_match: the ETag that it must have.
            version_id: the version to read, where the bucket keeps versions.
            timeout: seconds for all ranges; see the class.
            endpoint: see the class.
            retry: see the class.

        Returns:
            The bytes of each range, in the order asked. A range past the end yields what there is.

        Raises:
            ObjectNotFoundError: there is no such object, version or bucket.
            PreconditionFailedError: it is another object than the caller expects.
            ObjectChangedError: the object was replaced while it was being read.
            ServiceError: a range begins past the end (`status` 416, `code` `InvalidRange`).
        """
        if isinstance(coalesce, bool) or not isinstance(coalesce, int) or coalesce < 0:
            raise ConfigurationError(f"coalesce={coalesce!r:.40} must be a number of bytes, 0 or more")
        checked_count(concurrency, what="concurrency")
        wanted = []
        for given in ranges:
            if (asked := ByteRange.of(given)) is None:
                raise ConfigurationError("ranges holds None; read the whole object with get_object")
            wanted.append(asked)
        conditions = ReadConditions(if_match=if_match, version_id=version_id)
        request = ReadRequest(checked_bucket(bucket), checked_key(key), None, conditions)
        runner = self._started()
        if not wanted:
            return []
        return await read_ranges(
            runner,
            request,
            wanted,
            coalesce=coalesce,
            concurrency=concurrency,
            timeout=timeout,
            endpoint=endpoint,
            retry=retry,
        )

    async def head_object(
        self,
        bucket: str,
        key: str,
        *,
        if_match: str | None = None,
        if_none_match: str | None = None,
        if_modified_since: datetime | None = None,
        if_unmodified_since: datetime | None = None,
        version_id: str | None = None,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectInfo:
        """What the store says of one object, without its bytes.

        Raises:
            ObjectNotFoundError: there is no such object, version or bucket.
            NotModifiedError: the caller knows it already.
            PreconditionFailedError: it is another object than the caller expects.
        """
        conditions = ReadConditions.of(
            if_match=if_match,
            if_none_match=if_none_match,
            if_modified_since=if_modified_since,
            if_unmodified_since=if_unmodified_since,
            version_id=version_id,
        )
        operation = Operation(
            "HeadObject", OperationKind.READ, checked_bucket(bucket), checked_key(key), conditions.first()
        )
        answered = await self._started().call(operation, timeout=timeout, endpoint=endpoint, retry=retry)
        try:
            conditions.check(answered.fields)
        except ServiceError as refusal:
            refusal.operation, refusal.bucket, refusal.key = operation.name, bucket, key
            refusal.endpoint = answered.endpoint_id
            raise
        return object_info(bucket, key, answered.fields, size=number(answered.fields, "ContentLength"))

    async def object_exists(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> bool:
        """Whether there is such an object. Every failure but "not found" is raised, never taken for False."""
        try:
            await self.head_object(
                bucket, key, version_id=version_id, timeout=timeout, endpoint=endpoint, retry=retry
            )
        except ObjectNotFoundError:
            return False
        return True
