"""One endpoint's aioboto3 client behind the `S3Call` seam: how it is made, called and understood."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore import xform_name
from botocore.eventstream import EventStream
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header
from botocore.parsers import ResponseParserError

from flashback_async.errors import EndpointConnectError
from flashback_async.transport.s3_call import Progress, S3Answer
from flashback_async.transport.s3_content_md5 import send_content_md5
from flashback_async.transport.s3_errors import THROTTLING_CODES, from_boto_error, from_client_error
from flashback_async.transport.s3_model import streamed_input, streamed_output
from flashback_async.transport.s3_session import USER_AGENT, lean_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiobotocore.client import AioBaseClient

    from flashback_async.config import Credentials, FlashbackSettings
    from flashback_async.routing import Endpoint
    from flashback_async.transport.operation import Operation
    from flashback_async.transport.s3_http import HttpSession

# What a store answers that insists on a signed payload.
REFUSES_UNSIGNED: Final = frozenset({"XAmzContentSHA256Mismatch"})


class S3ClientFactory:
    """Makes equally configured clients. One session for all: botocore's models are loaded once."""

    def __init__(self, settings: FlashbackSettings, http: HttpSession) -> None:
        self._settings = settings
        self._http = http
        self._session = aioboto3.Session(botocore_session=lean_session())

    def make(self, endpoint: Endpoint, credentials: Credentials, *, sign_payload: bool) -> S3Client:
        """Make a client. Blocking (3 ms, the first ~110 ms): call it in a thread, one at a time."""
        config = AioConfig(
            user_agent=USER_AGENT,
            signature_version="s3v4",
            s3={
                "addressing_style": self._settings.addressing,
                "payload_signing_enabled": sign_payload,
            },
            # One retry layer: the executor's.
            retries={"total_max_attempts": 1, "mode": "standard"},
            # S3-compatible stores refuse the trailers that botocore >= 1.36 sends otherwise.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # Requests go to the endpoint that was picked, whatever host an operation would prefer.
            inject_host_prefix=False,
            http_session_cls=self._http.for_client,
            read_timeout=None,
        )
        client = asyncio.run(self._open(endpoint, credentials, config))
        # With it, a peer that accepts and stays silent hangs a PUT for ever; without, a PUT costs one round
        # trip less.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        client.meta.events.register("before-sign.s3.DeleteObjects", send_content_md5)
        return S3Client(client, self._http)

    async def _open(self, endpoint: Endpoint, credentials: Credentials, config: AioConfig) -> AioBaseClient:
        context = self._session.client(
            "s3",
            endpoint_url=endpoint.url,
            region_name=self._settings.region,
            aws_access_key_id=credentials.key_id,
            aws_secret_access_key=credentials.key_secret,
            aws_session_token=credentials.session_token,
            config=config,
        )
        client: AioBaseClient = await context.__aenter__()
        return client


class S3Client:
    """One genuine aioboto3 client, called through one method; errors come out as this package's.

    Attributes:
        http: the session that it sends with.
    """

    def __init__(self, client: AioBaseClient, http: HttpSession) -> None:
        self._client = client
        self.http = http

    @property
    def boto(self) -> AioBaseClient:
        """The client itself: it signs URLs, and knows what boto knows."""
        return self._client

    async def __call__(self, operation: Operation, *, progress: Progress) -> S3Answer:
        """Send `operation` once; see `S3Call`."""
        method = getattr(self._client, xform_name(operation.name))
        parameters: dict[str, object] = dict(operation.parameters)
        if operation.bucket is not None:
            parameters["Bucket"] = operation.bucket
        if operation.key is not None:
            parameters["Key"] = operation.key
        if operation.upload is not None:
            model = self._client.meta.service_model.operation_model(operation.name)
            body = parameters[streamed_input(model) or "Body"] = operation.upload.reader(progress)
            # Of bytes, boto tells the length by itself.
            if not isinstance(body, bytes) and "ContentLength" in model.input_shape.members:
                parameters["ContentLength"] = operation.upload.size
        try:
            fields: dict[str, Any] = await method(**parameters)
        except ClientError as error:
            raise from_client_error(error, operation.kind, now=datetime.now(UTC)) from error
        except (BotoCoreError, ResponseParserError, ValueError) as error:
            raise from_boto_error(error) from error
        except (aiohttp.ClientError, OSError) as error:
            # The body of an error answer broke off while boto was reading it.
            raise self.http.broken(error) from error
        status = int(fields["ResponseMetadata"]["HTTPStatusCode"])
        rows = fields.get("Errors") if operation.name == "DeleteObjects" else None
        return S3Answer(
            fields,
            status,
            self._body(operation, fields) if operation.streamed else None,
            is_throttled=any(row.get("Code") in THROTTLING_CODES for row in rows or ()),
        )

    def _body(self, operation: Operation, fields: dict[str, Any]) -> S3Body:
        """The unread body, taken out of an answer; what turns it into events stays there."""
        member = streamed_output(self._client.meta.service_model.operation_model(operation.name))
        assert member is not None, "only what is streamed comes here"
        stream = fields[member]
        if isinstance(stream, EventStream):
            return S3Body(stream, stream._raw_stream, self.http)  # noqa: SLF001  # nothing else leads to it
        del fields[member]
        # aiobotocore 2 puts a proxy around the response, 3 names it.
        proxied = getattr(stream, "__wrapped__", None)
        return S3Body(stream, stream.raw_stream if proxied is None else proxied, self.http)

    async def presign(self, operation: Operation, *, expires: int) -> str:
        """A URL that carries out `operation` for `expires` seconds; computed here, nothing is sent."""
        parameters = {**operation.parameters, "Bucket": operation.bucket, "Key": operation.key}
        try:
            url: str = await self._client.generate_presigned_url(
                xform_name(operation.name), Params=parameters, ExpiresIn=expires
            )
        except BotoCoreError as error:
            raise from_boto_error(error) from error
        return url

    async def close(self) -> None:
        """Free what the client holds; the connections belong to the pool."""
        await self._client.close()


class S3Body:
    """The unread body of an answer, as `RawBody`. aiohttp has memory of its own, from which all is copied."""

    is_direct = False

    def __init__(self, stream: object, response: aiohttp.ClientResponse, http: HttpSession) -> None:
        self._http = http
        # Kept: newer bodies are files, which close the response when they are collected.
        self._stream = stream
        self._response = response

    async def read(self) -> bytes:
        """The next bytes as they arrive, empty at the end."""
        return await self._next(-1)

    async def read_into(self, memory: memoryview, came: Callable[[], None]) -> int:  # noqa: ARG002  # of the seam
        """Put the next piece into `memory`."""
        data = await self._next(len(memory))
        memory[: len(data)] = data
        return len(data)

    async def _next(self, most: int) -> bytes:
        content = self._response.content
        try:
            return await (content.readany() if most < 0 else content.read(most))
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            # RuntimeError: the connection was closed on this side.
            raise self._http.broken(error) from error
        except asyncio.IncompleteReadError as error:
            raise EndpointConnectError("the body broke off") from error

    def at_hand(self) -> bytes | None:
        """What has arrived; None while nothing has, and where the connection broke."""
        content = self._response.content
        if content.exception() is not None:
            return None
        return content.read_nowait() or (b"" if content.at_eof() else None)

    def close(self) -> None:
        """Close the connection, unless the end was reached and it is back in the pool already."""
        self._response.close()
