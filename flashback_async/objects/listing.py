"""Listing: pages are fetched as they are needed, each through the endpoint that is best by then."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flashback_async.errors import IntegrityError
from flashback_async.models import CommonPrefix, ObjectInfo, ObjectVersion
from flashback_async.objects.info import number, object_info, text
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from flashback_async.objects.runner import Runner
    from flashback_async.routing import Endpoint
    from flashback_async.transport.executor import Answered


# What S3 puts on one page at most.
PAGE_LIMIT = 1_000
# Every listing says at least one of these, an empty one too.
_MARKS = frozenset({"IsTruncated", "KeyCount", "MaxKeys", "Name"})
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


async def pages_of(
    runner: Runner,
    bucket: str,
    prefix: str,
    *,
    delimiter: str | None,
    start_after: str | None,
    page_size: int,
    timeout: float | None,
    endpoint: Endpoint | str | None,
    retry: bool,
) -> AsyncIterator[list[ObjectInfo | CommonPrefix]]:
    """Yield what is under `prefix`, a page at a time; `timeout` holds for each page."""
    given: dict[str, object] = {"Prefix": prefix, "MaxKeys": page_size}
    if delimiter is not None:
        given["Delimiter"] = delimiter
    # A token says where to go on by itself.
    place: dict[str, object] = {} if start_after is None else {"StartAfter": start_after}
    while True:
        operation = Operation("ListObjectsV2", OperationKind.READ, bucket, parameters={**given, **place})
        answered = await runner.call(operation, timeout=timeout, endpoint=endpoint, retry=retry)
        _check_page(answered, operation)
        fields = answered.fields
        rows: list[tuple[str, ObjectInfo | CommonPrefix]] = [
            (key, object_info(bucket, key, row, size=number(row, "Size")))
            for row, key in _rows(fields, "Contents", "Key")
        ]
        rows += [
            (common, CommonPrefix(bucket, common)) for _, common in _rows(fields, "CommonPrefixes", "Prefix")
        ]
        # boto tells objects and prefixes apart from each other; the store had them in one order.
        rows.sort(key=lambda row: row[0].encode())
        yield [row for _, row in rows]
        if not fields.get("IsTruncated"):
            return
        token = text(fields, "NextContinuationToken")
        if token is None or token == place.get("ContinuationToken"):
            raise _lost(answered, operation)
        place = {"ContinuationToken": token}


async def version_pages_of(
    runner: Runner,
    bucket: str,
    prefix: str,
    *,
    page_size: int,
    timeout: float | None,
    endpoint: Endpoint | str | None,
    retry: bool,
) -> AsyncIterator[list[ObjectVersion]]:
    """Yield the versions under `prefix`, a page at a time; `timeout` holds for each page."""
    place: dict[str, object] = {}
    while True:
        parameters: dict[str, object] = {"Prefix": prefix, "MaxKeys": page_size, **place}
        operation = Operation("ListObjectVersions", OperationKind.READ, bucket, parameters=parameters)
        answered = await runner.call(operation, timeout=timeout, endpoint=endpoint, retry=retry)
        _check_page(answered, operation)
        fields = answered.fields
        rows = [
            _version(bucket, key, row, is_delete_marker=name == "DeleteMarkers")
            for name in ("Versions", "DeleteMarkers")
            for row, key in _rows(fields, name, "Key")
        ]
        # As the store had them: by key, newest first.
        rows.sort(key=lambda row: row.last_modified or _LONG_AGO, reverse=True)
        rows.sort(key=lambda row: (row.key.encode(), not row.is_latest))
        yield rows
        if not fields.get("IsTruncated"):
            return
        key, version = text(fields, "NextKeyMarker"), text(fields, "NextVersionIdMarker")
        following: dict[str, object] = {} if key is None else {"KeyMarker": key}
        if version:
            following["VersionIdMarker"] = version
        if key is None or following == place:
            raise _lost(answered, operation)
        place = following


def _version(bucket: str, key: str, row: Mapping[str, object], *, is_delete_marker: bool) -> ObjectVersion:
    modified = row.get("LastModified")
    return ObjectVersion(
        bucket=bucket,
        key=key,
        version_id=text(row, "VersionId") or "null",
        is_latest=row.get("IsLatest") is True,
        is_delete_marker=is_delete_marker,
        size=number(row, "Size"),
        etag=text(row, "ETag"),
        last_modified=modified if isinstance(modified, datetime) else None,
        storage_class=text(row, "StorageClass"),
    )


def _rows(fields: Mapping[str, object], name: str, key: str) -> Iterator[tuple[Mapping[str, object], str]]:
    rows = fields.get(name)
    for row in rows if isinstance(rows, list) else []:
        if (value := text(row, key)) is not None:
            yield row, value


def _check_page(answered: Answered, operation: Operation) -> None:
    if not _MARKS & answered.fields.keys():
        # A proxy's page with status 200, say: it must not pass for an empty bucket.
        raise IntegrityError(
            "the answer is not a listing",
            operation=operation.name,
            bucket=operation.bucket,
            endpoint=answered.endpoint_id,
        )


def _lost(answered: Answered, operation: Operation) -> IntegrityError:
    return IntegrityError(
        "the listing says that it goes on, but not where",
        operation=operation.name,
        bucket=operation.bucket,
        endpoint=answered.endpoint_id,
    )
