"""`Bucket`: the verbs of a client, bound to one bucket."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, overload

from flashback_async.objects.verbs import Verbs
from flashback_async.routing import OperationKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from flashback_async.client import FlashbackClient
    from flashback_async.models import CommonPrefix, ObjectInfo
    from flashback_async.objects.lease import EndpointLease
    from flashback_async.routing import Endpoint


P = ParamSpec("P")
R = TypeVar("R")


def mirrored(verb: Callable[Concatenate[Verbs, str, P], R]) -> Callable[Concatenate[Bucket, P], R]:
    """A method of `Bucket` that is the client's verb with the bucket's name filled in.

    Signature and documentation are the verb's, so that they cannot differ.
    """

    @functools.wraps(verb)
    def method(self: Bucket, /, *args: P.args, **options: P.kwargs) -> R:
        call: Callable[Concatenate[str, P], R] = getattr(self.client, verb.__name__)
        return call(self.name, *args, **options)

    signature = inspect.signature(verb)
    without = [parameter for name, parameter in signature.parameters.items() if name != "bucket"]
    vars(method)["__signature__"] = signature.replace(parameters=without)
    method.__doc__ = f"See `FlashbackClient.{verb.__name__}`."
    method.__qualname__ = f"Bucket.{verb.__name__}"
    return method


class Bucket:
    """A view of a client. Its methods are the client's, without the first argument; they promise the same.

    Attributes:
        name: bucket name.
        client: the client.
    """

    def __init__(self, client: FlashbackClient, name: str) -> None:
        self.client = client
        self.name = name

    def __repr__(self) -> str:
        return f"Bucket({self.name!r})"

    get_object = mirrored(Verbs.get_object)
    stream_object = mirrored(Verbs.stream_object)
    get_ranges = mirrored(Verbs.get_ranges)
    head_object = mirrored(Verbs.head_object)
    object_exists = mirrored(Verbs.object_exists)
    put_object = mirrored(Verbs.put_object)
    upload_file = mirrored(Verbs.upload_file)
    download_file = mirrored(Verbs.download_file)
    copy_object = mirrored(Verbs.copy_object)
    delete_object = mirrored(Verbs.delete_object)

    @overload
    def list_objects(
        self,
        prefix: str = "",
        *,
        delimiter: None = None,
        start_after: str | None = None,
        page_size: int = 1_000,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ObjectInfo]: ...

    @overload
    def list_objects(
        self,
        prefix: str = "",
        *,
        delimiter: str,
        start_after: str | None = None,
        page_size: int = 1_000,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ObjectInfo | CommonPrefix]: ...

    def list_objects(
        self,
        prefix: str = "",
        *,
        delimiter: str | None = None,
        start_after: str | None = None,
        page_size: int = 1_000,
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ObjectInfo | CommonPrefix]:
        """See `FlashbackClient.list_objects`."""
        listing: AsyncIterator[ObjectInfo | CommonPrefix] = self.client.list_objects(
            self.name,
            prefix,
            delimiter=delimiter,
            start_after=start_after,
            page_size=page_size,
            timeout=timeout,
            endpoint=endpoint,
            retry=retry,
        )
        return listing

    list_object_versions = mirrored(Verbs.list_object_versions)
    get_objects = mirrored(Verbs.get_objects)
    head_objects = mirrored(Verbs.head_objects)
    put_objects = mirrored(Verbs.put_objects)
    copy_objects = mirrored(Verbs.copy_objects)
    delete_objects = mirrored(Verbs.delete_objects)
    generate_presigned_url = mirrored(Verbs.generate_presigned_url)

    async def pick_endpoint(self, *, kind: OperationKind = OperationKind.READ) -> Endpoint:
        """See `FlashbackClient.pick_endpoint`."""
        return await self.client.pick_endpoint(self.name, kind=kind)

    def lease_endpoint(
        self,
        *,
        kind: OperationKind = OperationKind.READ,
        tried: Sequence[Endpoint | str] = (),
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[EndpointLease]:
        """See `FlashbackClient.lease_endpoint`."""
        return self.client.lease_endpoint(self.name, kind=kind, tried=tried, timeout=timeout)
