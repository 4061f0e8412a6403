"""Listing: pages are fetched as they are needed, each through the endpoint that is best by then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.errors import IntegrityError
from flashback_async.objects.info import number, object_info, text
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flashback_async.models import ObjectInfo
    from flashback_async.objects.runner import Runner
    from flashback_async.routing import Endpoint


# What S3 puts on one page at most.
PAGE_LIMIT = 1_000
# Every listing says at least one of these, an empty one too.
_MARKS = frozenset({"IsTruncated", "KeyCount", "MaxKeys", "Name"})


async def pages_of(
    runner: Runner,
    bucket: str,
    prefix: str,
    *,
    page_size: int,
    timeout: float | None,
    endpoint: Endpoint | str | None,
    retry: bool,
) -> AsyncIterator[list[ObjectInfo]]:
    """Yield the objects under `prefix`, a page at a time; `timeout` holds for each page."""
    token: str | None = None
    while True:
        parameters: dict[str, object] = {"Prefix": prefix, "MaxKeys": page_size}
        if token is not None:
            parameters["ContinuationToken"] = token
        operation = Operation("ListObjectsV2", OperationKind.READ, bucket, parameters=parameters)
        answered = await runner.call(operation, timeout=timeout, endpoint=endpoint, retry=retry)
        if not _MARKS & answered.fields.keys():
            # A proxy's page with status 200, say: it must not pass for an empty bucket.
            raise IntegrityError(
                "the answer is not a listing",
                operation="ListObjectsV2",
                bucket=bucket,
                endpoint=answered.endpoint_id,
            )
        rows = answered.fields.get("Contents")
        yield [
            object_info(bucket, key, row, size=number(row, "Size"))
            for row in (rows if isinstance(rows, list) else [])
            if (key := text(row, "Key")) is not None
        ]
        if not answered.fields.get("IsTruncated"):
            return
        following = text(answered.fields, "NextContinuationToken")
        if following is None or following == token:
            raise IntegrityError(
                "the listing says that it goes on, but not where",
                operation="ListObjectsV2",
                bucket=bucket,
                endpoint=answered.endpoint_id,
            )
        token = following
