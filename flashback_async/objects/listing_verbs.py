"""The verbs that list objects and their versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from flashback_async.errors import ConfigurationError
from flashback_async.objects.listing import PAGE_LIMIT, pages_of, version_pages_of
from flashback_async.objects.names import checked_bucket, checked_count, checked_key
from flashback_async.objects.verb_family import VerbFamily

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from flashback_async.models import CommonPrefix, ObjectInfo, ObjectVersion
    from flashback_async.routing import Endpoint


class ListingVerbs(VerbFamily):
    """Listing a bucket. See `Verbs` for what all verbs have in common."""

    @overload
    def list_objects(
        self,
        bucket: str,
        prefix: str = "",
        *,
        delimiter: None = None,
        start_after: str | None = None,
        page_size: int = PAGE_LIMIT,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ObjectInfo]: ...

    @overload
    def list_objects(
        self,
        bucket: str,
        prefix: str = "",
        *,
        delimiter: str,
        start_after: str | None = None,
        page_size: int = PAGE_LIMIT,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ObjectInfo | CommonPrefix]: ...

    async def list_objects(
        self,
        bucket: str,
        prefix: str = "",
        *,
        delimiter: str | None = None,
        start_after: str | None = None,
        page_size: int = PAGE_LIMIT,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        """Yield the objects whose keys start with `prefix`, in the store's order, page by page.

        Args:
            bucket: bucket name.
            prefix: start of the keys; empty for all.
            delimiter: with `"/"`, keys that go on behind the next slash after `prefix` are not listed but
                summed up as one `CommonPrefix` each, between the objects, in the order of the keys: one level
                of a tree.
            start_after: begin behind this key, which need not exist.
            page_size: objects and prefixes per request, 1 to 1,000.
            timeout: seconds for each page.
            endpoint: see the class.
            retry: see the class.
        """
        checked_bucket(bucket)
        _check_text(prefix, what="prefix")
        if delimiter is not None and not (isinstance(delimiter, str) and delimiter):
            raise ConfigurationError(
                f"delimiter={delimiter!r:.80} must be text; leave it out to list all keys"
            )
        if start_after is not None:
            checked_key(start_after, what="start_after")
        checked_count(page_size, what="page_size", limit=PAGE_LIMIT)
        runner = self._started()
        async for page in pages_of(
            runner,
            bucket,
            prefix,
            delimiter=delimiter,
            start_after=start_after,
            page_size=page_size,
            timeout=timeout,
            endpoint=endpoint,
            retry=retry,
        ):
            for row in page:
                yield row

    async def list_object_versions(
        self,
        bucket: str,
        prefix: str = "",
        *,
        page_size: int = PAGE_LIMIT,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ObjectVersion]:
        """Yield every version of the objects whose keys start with `prefix`, and the marks of deletions.

        By key, the latest version first. Where the bucket keeps no versions, each object has the one `null`.

        Args:
            bucket: bucket name.
            prefix: start of the keys; empty for all.
            page_size: versions per request, 1 to 1,000.
            timeout: seconds for each page.
            endpoint: see the class.
            retry: see the class.

        Raises:
            ServiceError: the store does not know versions.
        """
        checked_bucket(bucket)
        _check_text(prefix, what="prefix")
        checked_count(page_size, what="page_size", limit=PAGE_LIMIT)
        runner = self._started()
        async for page in version_pages_of(
            runner, bucket, prefix, page_size=page_size, timeout=timeout, endpoint=endpoint, retry=retry
        ):
            for row in page:
                yield row


def _check_text(prefix: object, *, what: str) -> None:
    if not isinstance(prefix, str):
        raise ConfigurationError(f"{what}={prefix!r:.80} is a {type(prefix).__name__}; give a string")
