"""How botocore's requests reach the network: one aiohttp session for all endpoints.

botocore's own session would be one per client, each with an SSL context of its own (~25 ms on the loop), and
would follow redirects with the caller's signature. This one is plugged in through `AioConfig`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Self

import aiohttp
from aiobotocore.awsrequest import AioAWSResponse
from multidict import CIMultiDict
from yarl import URL

from flashback_async.errors import (
    ClientClosedError,
    EndpointConnectError,
    EndpointServerError,
    FlashbackError,
)
from flashback_async.transport.causes import in_words
from flashback_async.transport.outcomes import unsent
from flashback_async.transport.upload import UploadReader

if TYPE_CHECKING:
    import ssl

    from botocore.awsrequest import AWSPreparedRequest

REDIRECTS = frozenset({301, 302, 303, 307, 308})


class HttpSession:
    """The connections of all endpoints. Belongs to the loop that opened it."""

    def __init__(self, *, connect_timeout: float, tls: ssl.SSLContext | None) -> None:
        self._connect_timeout = connect_timeout
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._uploads: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Make the sessions, in the running loop. Connects nowhere yet."""
        # Leases bound the connections; the connector's own queue would wait without a deadline.
        connector = aiohttp.TCPConnector(
            limit=0,
            limit_per_host=0,
            ssl=self._tls or True,
            keepalive_timeout=30,
            enable_cleanup_closed=False,
        )
        self._session = self._over(connector)
        # On the same connections, but told which of them were used before: large uploads need to know it.
        self._uploads = self._over(connector, _tells_reuse())

    async def close(self) -> None:
        """Close every connection."""
        sessions = (self._uploads, self._session)
        self._session = self._uploads = None
        for session in sessions:
            if session is not None:
                await session.close()

    def for_client(self, **_unused: object) -> BotoHttpSession:
        """The face of this session that botocore makes for each client; what it asks for is set here."""
        return BotoHttpSession(self)

    async def send(self, request: AWSPreparedRequest) -> AioAWSResponse:
        """Send one signed request as it is.

        Raises:
            EndpointConnectError: no connection, or it broke before the headers came.
            EndpointServerError: the answer is a redirect; it is not followed with a signature.
            ClientClosedError: the session was closed before the answer.
        """
        headers = CIMultiDict(
            (name, value.decode("utf-8") if isinstance(value, bytes) else str(value))
            for name, value in request.headers.items()
        )
        headers["Accept-Encoding"] = "identity"
        body = request.body
        try:
            response = await self._answer(request.method, URL(request.url, encoded=True), headers, body)
            if not request.stream_output:
                await response.read()
        except FlashbackError:
            raise
        except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, OSError) as error:
            if isinstance(error.__cause__, FlashbackError):
                # Our own upload broke, inside aiohttp's writer; the endpoint has nothing to do with it.
                raise error.__cause__ from None
            raise self.broken(error) from error
        finally:
            if isinstance(body, UploadReader):
                body.close()
        if response.status in REDIRECTS:
            response.close()
            raise redirected(response.status, response.headers.get("Location"))
        names = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.raw_headers
        }
        answer = AioAWSResponse(request.url, response.status, {}, response)
        # Asked some seventy times for a header while the answer to a GET is parsed: botocore's own dictionary
        # takes five Python calls for each.
        answer.headers = CIMultiDict(names)
        return answer

    def broken(self, error: BaseException) -> FlashbackError:
        """What a broken connection is called: a fault of the endpoint, unless we closed it ourselves."""
        if self._session is None:
            return ClientClosedError("the client was closed while the operation ran")
        return connect_error(error, timeout=self._connect_timeout)

    async def _answer(
        self, method: str, url: URL, headers: CIMultiDict[str], body: object
    ) -> aiohttp.ClientResponse:
        """The head of the answer.

        A kept connection that breaks before the answer says nothing of the endpoint, which may have closed it
        just then: the request goes out once more. aiohttp does so by itself, but for bodies that it iterates.
        """
        if self._session is None or self._uploads is None:
            raise ClientClosedError("the client was closed while the operation ran")
        if not isinstance(body, UploadReader):
            # A checksum that follows the body comes in chunks; aiohttp wants to set that header itself.
            chunked = True if headers.pop("Transfer-Encoding", None) else None
            return await self._session.request(
                method, url, headers=headers, data=body, chunked=chunked, allow_redirects=False
            )
        connection = SimpleNamespace(reused=False)
        try:
            return await self._uploads.request(
                method, url, headers=headers, data=body, allow_redirects=False, trace_request_ctx=connection
            )
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            if not connection.reused or isinstance(error.__cause__, FlashbackError):
                raise
        return await self._session.request(method, url, headers=headers, data=body, allow_redirects=False)

    def _over(
        self, connector: aiohttp.TCPConnector, trace: aiohttp.TraceConfig | None = None
    ) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            connector_owner=trace is None,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
            skip_auto_headers={"Content-Type"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=None if trace is None else [trace],
        )


class BotoHttpSession:
    """What aiobotocore expects of an HTTP session; all of them share one `HttpSession`."""

    def __init__(self, shared: HttpSession) -> None:
        self._shared = shared

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """The connections outlive the client: they belong to the pool."""

    async def close(self) -> None:
        """As above."""

    async def send(self, request: AWSPreparedRequest) -> AioAWSResponse:
        """Send through the shared session."""
        return await self._shared.send(request)


def connect_error(error: BaseException, *, timeout: float | None = None) -> EndpointConnectError:
    """What a broken connection is called here, in words that name no header and no query."""
    if isinstance(error, aiohttp.ConnectionTimeoutError) and timeout is not None:
        return unsent(f"no connection within {timeout:g} s")
    if isinstance(error, aiohttp.ClientConnectorError):
        return unsent(f"cannot connect to {error.host}:{error.port}: {in_words(error.os_error)}")
    if isinstance(error, aiohttp.ClientPayloadError):
        return EndpointConnectError(f"the body broke off: {str(error).partition(chr(10))[0]}")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return EndpointConnectError("the connection was closed without an answer")
    text = str(error).partition("\n")[0].partition("?")[0]
    return EndpointConnectError(f"the connection failed: {text or type(error).__name__}")


def redirected(status: int, location: str | None) -> EndpointServerError:
    """An answer that would send the request elsewhere."""
    target = (location or "nowhere").partition("?")[0]
    return EndpointServerError(
        f"answered {status}, a redirect to {target!r}; requests that carry a signature stay where they were "
        "sent",
        status=status,
    )


def _tells_reuse() -> aiohttp.TraceConfig:
    """Sets `reused` of a request's context to whether its connection was used before."""

    async def kept(_session: object, context: SimpleNamespace, _parameters: object) -> None:
        context.trace_request_ctx.reused = True

    async def made(_session: object, context: SimpleNamespace, _parameters: object) -> None:
        context.trace_request_ctx.reused = False

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(kept)
    trace.on_connection_create_end.append(made)
    return trace
