"""Bounded JSON exchanges with the control plane: one request, one answer, no policy.

What comes back is not trusted: sizes are counted while reading (decompressed too), redirects are not
followed, cookies are not kept.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import zlib
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from flashback_async.endpoint_url import checked_url
from flashback_async.errors import ClientClosedError, ConfigurationError, DiscoveryError
from flashback_async.transport.answer import Answer, excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MAX_ANSWER = 8 * 1024 * 1024
"""Bytes of one answer, decompressed. 10,000 rows of statistics are about 2 MB."""

CONNECT_TIMEOUT = 3.0
"""Seconds to connect: a handshake takes two round trips, and what is left of a call allows another try."""

_CHUNK = 64 * 1024


class UnansweredError(DiscoveryError):
    """No whole answer arrived: connection refused, reset, cut off, or out of time. Worth another try."""


class JsonChannel:
    """A small connection pool to one host. Opened by the first exchange, bound to that event loop.

    Args:
        base_url: scheme, host and port of the control plane; https, or http on loopback.
        ca_file: PEM file of certificate authorities to trust instead of the system's.
        ssl_context: a context that is already there; wins over `ca_file`.
        wall_clock: seconds since 1970, for a `Retry-After` date without a `Date` beside it.

    Raises:
        ConfigurationError: `base_url` is no such URL, or `ca_file` holds no certificates.
    """

    def __init__(
        self,
        base_url: str,
        *,
        ca_file: Path | str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.base_url = checked_url(base_url, what="base_url")
        self._ssl = ssl_context if ssl_context is not None or ca_file is None else _trusting(ca_file)
        self._wall_clock = wall_clock
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, str] | None = None,
        bearer: str | None = None,
    ) -> Answer:
        """Send one request and read the whole answer, whatever its status.

        Cancellation closes the connection of the exchange.

        Args:
            method: HTTP method.
            path: path on the host, with its leading slash, already encoded.
            timeout: seconds for everything, from connecting to the last byte.
            query: query parameters.
            body: sent as a JSON object; its values are kept out of the excerpt.
            bearer: access token; kept out of the excerpt.

        Raises:
            UnansweredError: no whole answer arrived.
            DiscoveryError: the answer is too large or oddly encoded, or the certificate is not trusted.
            ClientClosedError: closed, or opened in another event loop.
        """
        request = f"{method} {path}"
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        session = self._opened()
        url = URL(self.base_url + path, encoded=True).with_query(dict(query or {}))
        try:
            async with (
                asyncio.timeout(timeout),
                session.request(
                    method,
                    url,
                    headers=headers,
                    json=None if body is None else dict(body),
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(CONNECT_TIMEOUT, timeout)),
                ) as response,
            ):
                content = await _bounded_body(response, request)
                return Answer.read(
                    response.status,
                    response.headers,
                    content,
                    reason=response.reason or "",
                    secrets=[*(body or {}).values(), bearer or ""],
                    wall_now=self._wall_clock(),
                )
        except aiohttp.ClientSSLError as error:
            raise DiscoveryError(
                f"{request}: the certificate of {self.base_url} is not trusted ({_brief(error)}); "
                "check FB_BASE_URL, or name its authority in FB_CA_FILE"
            ) from error
        except TimeoutError as error:
            raise UnansweredError(
                f"{request}: no whole answer from {self.base_url} in time ({timeout:.3g} s); "
                "check the network and FB_BASE_URL"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnansweredError(
                f"{request}: no whole answer from {self.base_url} ({_brief(error)}); "
                "check the network and FB_BASE_URL"
            ) from error

    async def aclose(self) -> None:
        """Close the connections. Idempotent; exchanges under way fail."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise ClientClosedError("the control plane's client is closed; make a new one")
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=8, ssl=self._ssl if self._ssl is not None else True),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # aiohttp may inflate a whole chunk before anybody can count it
            )
        elif self._loop is not loop:
            raise ClientClosedError(
                "the control plane's client belongs to another event loop; make one per loop"
            )
        return self._session


def _trusting(ca_file: Path | str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(f"ca_file: {str(ca_file)!r} holds no certificates ({error})") from error


async def _bounded_body(response: aiohttp.ClientResponse, request: str) -> bytes:
    """The body, inflated if need be, read no further than the limit."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip"}:
        raise DiscoveryError(
            f"{request} answered in the encoding {excerpt(encoding)!r} that nobody asked for; "
            "check the proxies on the way",
            status=response.status,
        )
    gzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if "gzip" in encoding else None
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        try:
            body += gzip.decompress(chunk, MAX_ANSWER + 1 - len(body)) if gzip else chunk
        except zlib.error as error:
            raise UnansweredError(f"{request} answered damaged gzip", status=response.status) from error
        if len(body) > MAX_ANSWER:
            raise DiscoveryError(
                f"{request} answered more than {MAX_ANSWER >> 20} MiB, far more than any table of nodes; "
                "check FB_BASE_URL",
                status=response.status,
            )
    if gzip and not gzip.eof:
        raise UnansweredError(f"{request} answered gzip that ends too soon", status=response.status)
    return bytes(body)


def _brief(error: Exception) -> str:
    return excerpt(str(error)) or type(error).__name__


__all__ = ["MAX_ANSWER", "JsonChannel", "UnansweredError"]
