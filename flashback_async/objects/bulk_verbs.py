"""The verbs for many objects."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, Literal

from flashback_async.errors import ConfigurationError
from flashback_async.models import ObjectInfo, StoredObject
from flashback_async.objects.bounded import Input, bounded
from flashback_async.objects.bulk import OnError, check_bounds, check_input, checked_pair, name_of, told
from flashback_async.objects.headers import stored_headers, write_conditions
from flashback_async.objects.listing_verbs import ListingVerbs
from flashback_async.objects.names import checked_bucket, checked_key
from flashback_async.objects.read_request import ReadRequest
from flashback_async.objects.reading import ObjectStream
from flashback_async.objects.whole_reads import read_object
from flashback_async.objects.writing_verbs import WritingVerbs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from flashback_async.config import ChecksumChoice
    from flashback_async.models import BulkResult, StorageHeaders
    from flashback_async.objects.budget import Share
    from flashback_async.objects.parts import PutSource
    from flashback_async.routing import Endpoint

# Half of what one endpoint's pool has (`max_connections`), so that a single healthy node can carry it all and
# leaves room for others; over 100 ms it is some 300 requests a second.
IN_FLIGHT: Final = 32
# Bytes of bodies in hand: a few seconds of a fast line, and a small part of any machine's memory.
MAX_BYTES: Final = 64 * 1_024 * 1_024


class BulkVerbs(WritingVerbs, ListingVerbs):
    """Many objects, each through the endpoint that is best by then.

    What these verbs have in common:

    - They are asynchronous generators over an input of any length: an iterable or async iterable (a listing,
      say), of which only so much is taken as is worked on. The consumer drives them: nothing begins before
      the first result is asked for, and a slow consumer slows everything down. A single string is refused
      with `ConfigurationError`.
    - `concurrency`: requests at the same time; those whose results were not taken yet count. What all verbs
      of the client do at once stays within `settings.max_in_flight` and `max_connections` besides.
    - `max_bytes`: bytes of bodies in hand, a single larger object excepted, which then comes alone. Large
      objects move in parts, which count as one request here.
    - `ordered`: results come in the order of the input; without, as they are ready.
    - `on_error`: with `"raise"` the first failure ends everything and is raised. With `"yield"` each failure
      is the `error` of its key's result, and the others go on; errors that are not of this package, and a
      closed client, are raised all the same.
    - Each result is a `BulkResult` with the `key`, and the `value` that the verb for one object would return.
    - `timeout`, `endpoint` and `retry` are those of each single request.

    Left early (`break`, an exception, a cancellation), they leave no task, connection or permit, once they
    are closed: Python closes a generator when its last reference is gone; `contextlib.aclosing` does so at
    once, and waits for it. An input that fails is raised after the results of what it yielded before.
    """

    def get_objects(
        self,
        bucket: str,
        keys: Input[str | ObjectInfo],
        *,
        concurrency: int = IN_FLIGHT,
        max_bytes: int = MAX_BYTES,
        ordered: bool = False,
        on_error: OnError = "raise",
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncGenerator[BulkResult[StoredObject], None]:
        """Read many objects into memory; see the class.

        Args:
            bucket: bucket name.
            keys: keys, or the `ObjectInfo`s of a listing. Those tell the size, so that nothing is asked for
                before there is room for it; else the size is known with the headers, and bodies wait.
            concurrency: requests at the same time. Up to half of `settings.max_connections`, large objects
                are read in pieces, as by `get_object`; beyond, each with one request.
            max_bytes: bytes of bodies in hand.
            ordered: whether results keep the order of the input.
            on_error: `"raise"` or `"yield"`.
            timeout: seconds for each object.
            endpoint: see `Verbs`.
            retry: see `Verbs`.
        """
        checked_bucket(bucket)
        check_input(keys, what="keys")
        check_bounds(concurrency, max_bytes, on_error)
        runner = self._started()

        # Streams that wait for room hold a connection each. If they could hold all of a node's, none would be
        # left for the pieces of the object that they wait for.
        in_pieces = concurrency <= runner.transfers.together

        async def get(asked: str | ObjectInfo, share: Share) -> StoredObject:
            request = ReadRequest(bucket, checked_key(name_of(asked)))
            await share.granted()
            stream = ObjectStream(
                runner,
                request,
                timeout=timeout,
                endpoint=endpoint,
                retry=retry,
                streamed=False,
                admit=share.take,
            )
            return await read_object(runner, stream, in_pieces=in_pieces, retry=retry)

        return bounded(
            keys,
            told(get, on_error),
            concurrency=concurrency,
            ordered=ordered,
            max_bytes=max_bytes,
            size_of=lambda asked: asked.size if isinstance(asked, ObjectInfo) else None,
        )

    def head_objects(
        self,
        bucket: str,
        keys: Input[str | ObjectInfo],
        *,
        concurrency: int = IN_FLIGHT,
        ordered: bool = False,
        on_error: OnError = "raise",
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncGenerator[BulkResult[ObjectInfo], None]:
        """What the store says of many objects; see the class."""
        checked_bucket(bucket)
        check_input(keys, what="keys")
        check_bounds(concurrency, 1, on_error)
        self._started()

        async def head(asked: str | ObjectInfo, _share: Share) -> ObjectInfo:
            return await self.head_object(
                bucket, checked_key(name_of(asked)), timeout=timeout, endpoint=endpoint, retry=retry
            )

        return bounded(keys, told(head, on_error), concurrency=concurrency, ordered=ordered)

    def put_objects(
        self,
        bucket: str,
        objects: Input[tuple[str, PutSource]],
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        storage_class: str | None = None,
        tagging: Mapping[str, str] | None = None,
        headers: StorageHeaders | None = None,
        checksum: ChecksumChoice | None = None,
        if_none_match: Literal["*"] | None = None,
        concurrency: int = IN_FLIGHT,
        max_bytes: int = MAX_BYTES,
        ordered: bool = False,
        on_error: OnError = "raise",
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncGenerator[BulkResult[ObjectInfo], None]:
        """Write many objects; see the class.

        Args:
            bucket: bucket name.
            objects: pairs of a key and what `put_object` takes as `data`.
            content_type: for all of them, as in `put_object`; so are the further headers.
            metadata: see `content_type`.
            cache_control: see `content_type`.
            storage_class: see `content_type`.
            tagging: see `content_type`.
            headers: see `content_type`.
            checksum: as in `put_object`.
            if_none_match: `"*"`: write only where there is no object.
            concurrency: requests at the same time.
            max_bytes: bytes of bodies that are on their way. The input is asked for one object more at most.
                What does not tell its length before it is read (pipes, iterables) does not count: a few parts
                of each are in memory.
            ordered: whether results keep the order of the input.
            on_error: `"raise"` or `"yield"`.
            timeout: seconds for each object.
            endpoint: see `Verbs`.
            retry: see `Verbs`.
        """
        checked_bucket(bucket)
        check_input(objects, what="objects")
        check_bounds(concurrency, max_bytes, on_error)
        stored_headers(
            content_type=content_type,
            metadata=metadata,
            cache_control=cache_control,
            content_encoding=None,
            content_disposition=None,
            storage_class=storage_class,
            tagging=tagging,
            headers=headers,
        )
        write_conditions(None, if_none_match)
        self._started().checksums.algorithm_for(checksum)

        async def put(pair: tuple[str, PutSource], share: Share) -> ObjectInfo:
            key, data = checked_pair(pair)
            if not share.has_asked:
                share.ask(await _size_on_disk(data))
            await share.granted()
            try:
                return await self.put_object(
                    bucket,
                    key,
                    data,
                    content_type=content_type,
                    metadata=metadata,
                    cache_control=cache_control,
                    storage_class=storage_class,
                    tagging=tagging,
                    headers=headers,
                    checksum=checksum,
                    if_none_match=if_none_match,
                    timeout=timeout,
                    endpoint=endpoint,
                    retry=retry,
                )
            finally:
                share.end()

        return bounded(
            objects,
            told(put, on_error),
            concurrency=concurrency,
            ordered=ordered,
            max_bytes=max_bytes,
            size_of=_size_in_memory,
        )

    def copy_objects(
        self,
        bucket: str,
        prefix: str,
        to_prefix: str,
        *,
        to_bucket: str | None = None,
        concurrency: int = IN_FLIGHT,
        ordered: bool = False,
        on_error: OnError = "raise",
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncGenerator[BulkResult[ObjectInfo], None]:
        """Copy every object under a prefix to another prefix within the store; see the class.

        Args:
            bucket: bucket of the sources.
            prefix: start of the keys of the sources; empty for all.
            to_prefix: what the copies have in its place.
            to_bucket: bucket of the copies; the same one by default.
            concurrency: requests at the same time.
            ordered: whether results keep the order of the keys.
            on_error: `"raise"` or `"yield"`; a listing that fails is raised in any case.
            timeout: seconds for each copy, and for each page of the listing.
            endpoint: see `Verbs`.
            retry: see `Verbs`.

        Returns:
            Results with the key of the source, and what was stored: size, ETag and time; `head_object` tells
            more.
        """
        checked_bucket(bucket)
        target = bucket if to_bucket is None else checked_bucket(to_bucket)
        for what, given in (("prefix", prefix), ("to_prefix", to_prefix)):
            if not isinstance(given, str):
                raise ConfigurationError(f"{what}={given!r:.80} is a {type(given).__name__}; give a string")
        if target == bucket and to_prefix.startswith(prefix):
            # The listing would come upon the copies, and copy them again, without end.
            raise ConfigurationError(
                f"to_prefix={to_prefix!r:.80} is under prefix={prefix!r:.80} in the same bucket; copies "
                "would be copied again"
            )
        check_bounds(concurrency, 1, on_error)
        self._started()

        async def copy(source: ObjectInfo, _share: Share) -> ObjectInfo:
            key = to_prefix + source.key.removeprefix(prefix)
            return await self._copied(source, target, key, timeout=timeout, endpoint=endpoint, retry=retry)

        sources = self.list_objects(bucket, prefix, timeout=timeout, endpoint=endpoint, retry=retry)
        return bounded(sources, told(copy, on_error), concurrency=concurrency, ordered=ordered)


def _size_in_memory(pair: tuple[str, PutSource]) -> int | None:
    """Bytes of an object that is in memory already; None where that has to be looked up first."""
    match pair:
        case (_, bytes() | bytearray() | memoryview() as data):
            return memoryview(data).nbytes
    return None


async def _size_on_disk(data: object) -> int:
    """Bytes of a file that is named; 0 for whatever is only read while it is sent."""
    if not isinstance(data, str | os.PathLike):
        return 0
    try:
        return await asyncio.to_thread(os.path.getsize, data)
    except (OSError, ValueError):
        return 0  # The verb will say what is wrong with it.
