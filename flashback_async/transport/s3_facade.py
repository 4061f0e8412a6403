"""`client.s3`: a genuine aioboto3 client of which every call is routed.

The one method through which all of boto's calls go is replaced. What is built on top of it stays boto's own:
the methods of the operations, paginators, waiters, aioboto3's transfers. The calls themselves are made by the
endpoints' clients, in the pool.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol

from botocore.handlers import VALID_BUCKET

from flashback_async.errors import FlashbackError, ServiceError
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Operation, work_of
from flashback_async.transport.s3_body import Checksum, GuardedBody, Stream
from flashback_async.transport.s3_model import Traits
from flashback_async.transport.s3_refusals import broken_body, to_boto
from flashback_async.transport.s3_uploads import UploadHomes
from flashback_async.transport.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiobotocore.client import AioBaseClient

    from flashback_async.routing import Endpoint, Router
    from flashback_async.transport.executor import Answered
    from flashback_async.transport.s3_client import S3Client

# What a store answers for an upload that is over, or was never its own.
NO_SUCH_UPLOAD = "NoSuchUpload"


class Opened(Stream, Protocol):
    """A streamed answer: its fields, and the bytes as they arrive."""

    @property
    def fields(self) -> Mapping[str, object]:
        """What the answer says, in boto's names, without the bytes."""

    @property
    def attempts(self) -> int:
        """Attempts up to its headers."""


class Calls(Protocol):
    """Carries operations out. `pin`: id of the only endpoint to use."""

    def check(self) -> None:
        """Raise ClientClosedError unless the client is running, in this loop."""

    async def call(self, operation: Operation, *, pin: str | None) -> Answered:
        """An operation whose answer is read whole. Raises FlashbackError."""

    async def open(self, operation: Operation, *, pin: str | None, is_resumable: bool) -> Opened:
        """An operation up to its headers. Raises FlashbackError."""


class Signers(Protocol):
    """Finds the client that signs a URL."""

    async def __call__(self, bucket: str | None, kind: OperationKind, *, pin: str | None) -> AioBaseClient:
        """The client of the endpoint that is best at the moment, or of the one that is pinned."""


class S3Facade:
    """Takes a client over: its calls and its signatures. Everything else stays as it is.

    Args:
        client: made like the endpoints' own, and not one of theirs.
        calls: carries operations out.
        signers: finds the client that signs.

    Attributes:
        client: the client.
        uploads: where the multipart uploads that it created live.
    """

    def __init__(self, client: AioBaseClient, calls: Calls, signers: Signers) -> None:
        self.client = client
        self.uploads = UploadHomes()
        self._calls = calls
        self._signers = signers
        self._model = client.meta.service_model
        self._known: dict[str, Traits] = {}
        client._make_api_call = self._call  # noqa: SLF001  # the one way of all calls
        client.generate_presigned_url = self._presigned_url
        client.generate_presigned_post = self._presigned_post

    async def _call(self, operation_name: str, api_params: dict[str, Any]) -> dict[str, Any]:
        traits = self._traits(operation_name)
        upload_id = api_params.get("UploadId") if traits.within_upload else None
        pin = self.uploads.of(upload_id)
        try:
            self._calls.check()
            operation = await _operation(traits, api_params)
            if traits.body_out is not None:
                return await self._open(traits, operation, pin)
            answered = await self._calls.call(operation, pin=pin)
        except FlashbackError as error:
            if isinstance(error, ServiceError) and error.code == NO_SUCH_UPLOAD:
                self.uploads.forget(upload_id)
            told = self._told(error, operation_name)
            raise told from (None if told is error else error)
        if traits.starts_upload:
            self.uploads.remember(answered.fields.get("UploadId"), answered.endpoint_id)
        elif traits.ends_upload:
            self.uploads.forget(upload_id)
        return _answer(answered.fields, answered.attempts)

    async def _open(self, traits: Traits, operation: Operation, pin: str | None) -> dict[str, Any]:
        assert traits.body_out is not None, "asked before"
        opened = await self._calls.open(operation, pin=pin, is_resumable=traits.is_resumable)
        asks_checksum = operation.parameters.get("ChecksumMode") == "ENABLED"
        body = GuardedBody(
            opened,
            translate=lambda error: broken_body(error, traits.name, self.client.exceptions.from_code),
            checksum=Checksum.of(opened.fields) if asks_checksum else None,
        )
        fields = _answer(opened.fields, opened.attempts)
        if traits.has_events:
            # They read from it, in the words of aiohttp, and close it.
            fields[traits.body_out]._raw_stream = body  # noqa: SLF001  # there is no other way in
        else:
            fields[traits.body_out] = body
        return fields

    async def _presigned_url(
        self,
        ClientMethod: str,  # noqa: N803  # boto's names, here and below
        Params: Mapping[str, Any] | None = None,  # noqa: N803
        ExpiresIn: int = 3600,  # noqa: N803
        HttpMethod: str | None = None,  # noqa: N803
    ) -> str:
        """Sign a URL for the endpoint that is best at the moment; see boto."""
        given = Params or {}
        name = self.client.meta.method_to_api_mapping.get(ClientMethod)
        traits = None if name is None else self._traits(name)
        kind = OperationKind.READ if traits is None else traits.kind
        signer = await self._signer(given, kind, str(name))
        url: str = await signer.generate_presigned_url(ClientMethod, Params, ExpiresIn, HttpMethod)
        return url

    async def _presigned_post(
        self,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        Fields: dict[str, Any] | None = None,  # noqa: N803
        Conditions: list[Any] | None = None,  # noqa: N803
        ExpiresIn: int = 3600,  # noqa: N803
    ) -> dict[str, Any]:
        """Sign a form for the endpoint that is best at the moment; see boto."""
        signer = await self._signer({"Bucket": Bucket}, OperationKind.WRITE, "PostObject")
        form: dict[str, Any] = await signer.generate_presigned_post(
            Bucket, Key, Fields, Conditions, ExpiresIn
        )
        return form

    async def _signer(self, given: Mapping[str, Any], kind: OperationKind, name: str) -> AioBaseClient:
        try:
            self._calls.check()
            pin = self.uploads.of(given.get("UploadId"))
            return await self._signers(_bucket(given), kind, pin=pin)
        except FlashbackError as error:
            told = self._told(error, name)
            raise told from (None if told is error else error)

    def _told(self, error: FlashbackError, operation_name: str) -> Exception:
        return to_boto(error, operation_name, self.client.exceptions.from_code)

    def _traits(self, operation_name: str) -> Traits:
        traits = self._known.get(operation_name)
        if traits is None:
            traits = self._known[operation_name] = Traits.of(self._model.operation_model(operation_name))
        return traits


class BestSigners:
    """The endpoints' own clients, as `Signers`.

    Args:
        router: knows which endpoint is best.
        client: the client of an endpoint, for a kind of operation.
        clock: seconds of the running loop.
    """

    def __init__(
        self,
        router: Router,
        client: Callable[[Endpoint, OperationKind], Awaitable[S3Client]],
        clock: Callable[[], float],
    ) -> None:
        self._router = router
        self._client = client
        self._clock = clock

    async def __call__(self, bucket: str | None, kind: OperationKind, *, pin: str | None) -> AioBaseClient:
        """See `Signers`.

        Raises:
            NoEndpointAvailableError: the table is empty.
        """
        now = self._clock()
        rows = self._router.snapshot(now=now).endpoints if pin is not None else ()
        pinned = next((row.endpoint for row in rows if row.endpoint.id == pin), None)
        endpoint = self._router.best(bucket, kind, now=now) if pinned is None else pinned
        return (await self._client(endpoint, kind)).boto


async def _operation(traits: Traits, given: Mapping[str, Any]) -> Operation:
    """What the caller asked for, verbatim; a body that boto can send is made ready to be sent again."""
    parameters = dict(given)
    upload = None
    if traits.body_in is not None and traits.body_in in parameters:
        upload = await _upload(parameters[traits.body_in])
        if upload is not None:
            del parameters[traits.body_in]
    key = given.get("Key")
    return Operation(
        traits.name,
        traits.kind,
        _bucket(given),
        key if isinstance(key, str) else None,
        parameters,
        upload=upload,
        streamed=traits.body_out is not None,
        size=None if upload is None else upload.size,
        patience=work_of(None) if traits.takes_long else 0.0,
    )


def _bucket(given: Mapping[str, Any]) -> str | None:
    """The bucket as the router counts it; boto also takes ARNs there, and refuses the rest itself."""
    bucket = given.get("Bucket")
    return bucket if isinstance(bucket, str) and VALID_BUCKET.fullmatch(bucket) else None


async def _upload(body: Any) -> Upload | None:
    """The body, from its current position; None for what boto refuses, and shall.

    What cannot be read twice is read into memory: it could not be sent to another endpoint otherwise.
    """
    if isinstance(body, str):
        return await Upload.of(body.encode())
    if isinstance(body, bytes | bytearray):
        return await Upload.of(body)
    read = getattr(body, "read", None)
    if read is None:
        return None
    return await Upload.of(await read() if inspect.iscoroutinefunction(read) else body)


def _answer(fields: Mapping[str, object], attempts: int) -> dict[str, Any]:
    """An answer as boto gives it, with our retries where boto tells its own."""
    metadata = fields.get("ResponseMetadata")
    told = dict(metadata) if isinstance(metadata, dict) else {"HTTPHeaders": {}}
    # Of the endpoint's client, which makes one attempt only.
    told.pop("MaxAttemptsReached", None)
    return {**fields, "ResponseMetadata": {**told, "RetryAttempts": attempts - 1}}
