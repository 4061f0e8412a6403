# ruff: noqa: PLC0415  # a process imports what its own contestant needs, and no more
"""The clients that are compared, behind one face.

Nothing is imported before `load`, so that a process holds what its own contestant needs and no more. All of
them get the same key, and verify nothing that they do not verify by default. `hashes` tells whether the body
of a PUT is hashed for its signature over plain http, which costs more than all else for large ones.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any, ClassVar

from measuring.face import BUCKET, CONNECTIONS, KEY_ID, KEY_SECRET, REGION, Contestant, UnavailableError
from measuring.others import Miniopy, Obstore, Opendal, S3fs, Torchconnector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE = 30.0
"""Seconds. Cost is measured: a crowd that comes at once, on a slow machine, shall not run into deadlines."""


def _settings(urls: Sequence[str], **more: Any) -> Any:
    from flashback_async import FlashbackSettings

    return FlashbackSettings(
        endpoints=tuple(urls),
        key_id=KEY_ID,
        key_secret=KEY_SECRET,
        max_connections=CONNECTIONS,
        max_in_flight=2 * CONNECTIONS,
        connect_timeout=PATIENCE,
        pool_timeout=PATIENCE,
        first_byte_timeout=PATIENCE,
        **more,
    )


class Aioboto3(Contestant):
    """Clients of aioboto3's, called directly and in turn; the way they are made is what differs."""

    clients: Sequence[Any]
    _next: Iterator[Any]

    async def get(self, key: str) -> int:
        answer = await next(self._next).get_object(Bucket=BUCKET, Key=key)
        async with answer["Body"] as body:
            return len(await body.read())

    async def put(self, key: str, data: bytes) -> None:
        await next(self._next).put_object(Bucket=BUCKET, Key=key, Body=data)

    async def close(self) -> None:
        for client in self.clients:
            await client.close()


class Stock(Aioboto3):
    """aioboto3 as its README shows it; only the addressing and the size of the pool are set."""

    name = "aioboto3, stock"
    _session: ClassVar[Any] = None

    def load(self) -> None:
        import aioboto3
        import aiobotocore.config  # noqa: F401

        # One for all clients of a process, as its documentation advises.
        Stock._session = Stock._session or aioboto3.Session()

    async def open(self, urls: Sequence[str]) -> None:
        config = self.config()
        contexts = [
            self._session.client(
                "s3",
                endpoint_url=url,
                region_name=REGION,
                aws_access_key_id=KEY_ID,
                aws_secret_access_key=KEY_SECRET,
                config=config,
            )
            for url in urls
        ]
        self.clients = [await context.__aenter__() for context in contexts]
        self._next = cycle(self.clients)

    def config(self) -> Any:
        """What botocore is told."""
        from aiobotocore.config import AioConfig

        return AioConfig(s3={"addressing_style": "path"}, max_pool_connections=CONNECTIONS)


class Bare(Stock):
    """aioboto3's own session and HTTP, told what this package tells its clients: what it is held to."""

    name = "aioboto3, same Config"

    async def open(self, urls: Sequence[str]) -> None:
        from botocore.handlers import add_expect_header

        await super().open(urls)
        for client in self.clients:
            client.meta.events.unregister("before-call.s3", add_expect_header)

    def config(self) -> Any:
        # Not imported from the package: its memory would count as aioboto3's. A test compares the two.
        from importlib.metadata import version

        from aiobotocore.config import AioConfig

        return AioConfig(
            user_agent=f"flashback-async/{version('flashback-async')}",
            signature_version="s3v4",
            s3={"addressing_style": "path", "payload_signing_enabled": True},
            retries={"total_max_attempts": 1, "mode": "standard"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            inject_host_prefix=False,
            read_timeout=None,
            connect_timeout=PATIENCE,
            max_pool_connections=CONNECTIONS,
        )


class Underneath(Aioboto3):
    """The very clients that this package calls: its session of botocore, its one session of HTTP."""

    name = "aioboto3, as underneath"

    def load(self) -> None:
        import flashback_async.transport.s3_client  # noqa: F401

    async def open(self, urls: Sequence[str]) -> None:
        import asyncio

        from flashback_async.routing import Endpoint
        from flashback_async.transport.s3_client import S3ClientFactory
        from flashback_async.transport.s3_http import HttpSession

        settings = _settings(urls)
        self._http = HttpSession(connect_timeout=settings.connect_timeout, tls=None)
        self._http.open()
        factory = S3ClientFactory(settings, self._http)
        made = [
            await asyncio.to_thread(
                factory.make, Endpoint(id=url, url=url), settings.credentials(), sign_payload=True
            )
            for url in urls
        ]
        self.clients = [client.boto for client in made]
        self._next = cycle(self.clients)

    async def close(self) -> None:
        await super().close()
        await self._http.close()


class Flashback(Contestant):
    """This package, whole: routing, leases, deadlines, verification."""

    name = "flashback, aioboto3 lane"
    lane: ClassVar[str] = "aioboto3"

    def load(self) -> None:
        from flashback_async import FlashbackClient

        self._class = FlashbackClient

    async def open(self, urls: Sequence[str]) -> None:
        self._client = self._class(_settings(urls, lane=self.lane))
        await self._client.start()

    async def get(self, key: str) -> int:
        return len((await self._client.get_object(BUCKET, key)).body)

    async def put(self, key: str, data: bytes) -> None:
        await self._client.put_object(BUCKET, key, data)

    async def close(self) -> None:
        await self._client.aclose()


class FlashbackFast(Flashback):
    """The same on its own HTTP."""

    name = "flashback, fast lane"
    lane = "fast"

    def load(self) -> None:
        super().load()
        # As the client does when it starts. Without it there is no fast lane.
        import flashback_async.transport.http1.connections  # noqa: F401


CONTESTANTS: dict[str, type[Contestant]] = {
    "bare": Bare,
    "stock": Stock,
    "underneath": Underneath,
    "flashback": Flashback,
    "flashback-fast": FlashbackFast,
    "s3fs": S3fs,
    "miniopy": Miniopy,
    "obstore": Obstore,
    "opendal": Opendal,
    "torchconnector": Torchconnector,
}
"""What the command lines call them."""


def loaded(key: str) -> Contestant:
    """A contestant with its imports done.

    Raises:
        UnavailableError: it is not installed, or not part of this version.
    """
    contestant = CONTESTANTS[key]()
    try:
        contestant.load()
    except ImportError as error:
        raise UnavailableError(f"not installed: {error}") from error
    return contestant
