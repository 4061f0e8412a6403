"""`Bucket`: the verbs of a client, bound to one bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.routing import OperationKind

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from flashback_async.client import FlashbackClient
    from flashback_async.models import ObjectInfo, StoredObject
    from flashback_async.objects.advance import OnProgress
    from flashback_async.objects.lease import EndpointLease
    from flashback_async.objects.parts import PutSource
    from flashback_async.objects.reading import ObjectStream
    from flashback_async.routing import Endpoint


class Bucket:
    """A view of a client. Its methods are the client's, without the first argument; they promise the same.

    Attributes:
        name: bucket name.
    """

    def __init__(self, client: FlashbackClient, name: str) -> None:
        self._client = client
        self.name = name

    def __repr__(self) -> str:
        return f"Bucket({self.name!r})"

    async def put_object(
        self,
        key: str,
        data: PutSource,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectInfo:
        """See `FlashbackClient.put_object`."""
        return await self._client.put_object(
            self.name,
            key,
            data,
            content_type=content_type,
            metadata=metadata,
            timeout=timeout,
            endpoint=endpoint,
            retry=retry,
        )

    async def get_object(
        self,
        key: str,
        *,
        range: tuple[int, int | None] | None = None,  # noqa: A002  # part of the public contract
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> StoredObject:
        """See `FlashbackClient.get_object`."""
        return await self._client.get_object(
            self.name, key, range=range, timeout=timeout, endpoint=endpoint, retry=retry
        )

    def stream_object(
        self,
        key: str,
        *,
        range: tuple[int, int | None] | None = None,  # noqa: A002  # part of the public contract
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectStream:
        """See `FlashbackClient.stream_object`."""
        return self._client.stream_object(
            self.name, key, range=range, timeout=timeout, endpoint=endpoint, retry=retry
        )

    async def download_file(
        self,
        key: str,
        path: str | os.PathLike[str],
        *,
        part_size: int | None = None,
        concurrency: int | None = None,
        progress: OnProgress | None = None,
        fsync: bool = False,
        resume: bool = True,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectInfo:
        """See `FlashbackClient.download_file`."""
        return await self._client.download_file(
            self.name,
            key,
            path,
            part_size=part_size,
            concurrency=concurrency,
            progress=progress,
            fsync=fsync,
            resume=resume,
            timeout=timeout,
            endpoint=endpoint,
            retry=retry,
        )

    async def upload_file(
        self,
        key: str,
        source: PutSource,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        part_size: int | None = None,
        concurrency: int | None = None,
        progress: OnProgress | None = None,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectInfo:
        """See `FlashbackClient.upload_file`."""
        return await self._client.upload_file(
            self.name,
            key,
            source,
            content_type=content_type,
            metadata=metadata,
            part_size=part_size,
            concurrency=concurrency,
            progress=progress,
            timeout=timeout,
            endpoint=endpoint,
            retry=retry,
        )

    async def head_object(
        self,
        key: str,
        *,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectInfo:
        """See `FlashbackClient.head_object`."""
        return await self._client.head_object(self.name, key, timeout=timeout, endpoint=endpoint, retry=retry)

    async def object_exists(
        self,
        key: str,
        *,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> bool:
        """See `FlashbackClient.object_exists`."""
        return await self._client.object_exists(
            self.name, key, timeout=timeout, endpoint=endpoint, retry=retry
        )

    async def delete_object(
        self,
        key: str,
        *,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> None:
        """See `FlashbackClient.delete_object`."""
        await self._client.delete_object(self.name, key, timeout=timeout, endpoint=endpoint, retry=retry)

    async def copy_object(
        self,
        source_key: str,
        key: str,
        *,
        to_bucket: str | None = None,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> ObjectInfo:
        """See `FlashbackClient.copy_object`."""
        return await self._client.copy_object(
            self.name, source_key, key, to_bucket=to_bucket, timeout=timeout, endpoint=endpoint, retry=retry
        )

    def list_objects(
        self,
        prefix: str = "",
        *,
        page_size: int = 1_000,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ObjectInfo]:
        """See `FlashbackClient.list_objects`."""
        return self._client.list_objects(
            self.name, prefix, page_size=page_size, timeout=timeout, endpoint=endpoint, retry=retry
        )

    async def pick_endpoint(self, *, kind: OperationKind = OperationKind.READ) -> Endpoint:
        """See `FlashbackClient.pick_endpoint`."""
        return await self._client.pick_endpoint(self.name, kind=kind)

    def lease_endpoint(
        self,
        *,
        kind: OperationKind = OperationKind.READ,
        tried: Sequence[Endpoint | str] = (),
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[EndpointLease]:
        """See `FlashbackClient.lease_endpoint`."""
        return self._client.lease_endpoint(self.name, kind=kind, tried=tried, timeout=timeout)
