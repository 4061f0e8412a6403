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
    from collections.abc import Sequence


def _settings(urls: Sequence[str], **more: Any) -> Any:
    from flashback_async import FlashbackSettings

    return FlashbackSettings(
        endpoints=tuple(urls),
        key_id=KEY_ID,
        key_secret=KEY_SECRET,
        max_connections=CONNECTIONS,
        max_in_flight=2 * CONNECTIONS,
        # The cost is measured: a crowd that comes at once, on a slow machine, shall not run into deadlines.
        connect_timeout=30.0,
        pool_timeout=30.0,
        first_byte_timeout=30.0,
        **more,
    )


class Bare(Contestant):
    """The very aioboto3 clients that the package makes, called directly: same knobs, same shared session."""

    name = "aioboto3, our knobs"

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
        self._clients = [
            await asyncio.to_thread(
                factory.make, Endpoint(id=url, url=url), settings.credentials(), sign_payload=True
            )
            for url in urls
        ]
        self._next = cycle([client.boto for client in self._clients])

    async def get(self, key: str) -> int:
        answer = await next(self._next).get_object(Bucket=BUCKET, Key=key)
        async with answer["Body"] as body:
            return len(await body.read())

    async def put(self, key: str, data: bytes) -> None:
        await next(self._next).put_object(Bucket=BUCKET, Key=key, Body=data)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        await self._http.close()


class Stock(Bare):
    """aioboto3 as its README shows it; only the addressing and the size of the pool are set."""

    name = "aioboto3, stock"
    _session: ClassVar[Any] = None

    def load(self) -> None:
        import aioboto3
        import aiobotocore.config  # noqa: F401

        # One for all clients of a process, as its documentation advises.
        Stock._session = Stock._session or aioboto3.Session()

    async def open(self, urls: Sequence[str]) -> None:
        from aiobotocore.config import AioConfig

        self._contexts = [
            self._session.client(
                "s3",
                endpoint_url=url,
                region_name=REGION,
                aws_access_key_id=KEY_ID,
                aws_secret_access_key=KEY_SECRET,
                config=AioConfig(s3={"addressing_style": "path"}, max_pool_connections=CONNECTIONS),
            )
            for url in urls
        ]
        self._next = cycle([await context.__aenter__() for context in self._contexts])

    async def close(self) -> None:
        for context in self._contexts:
            await context.__aexit__(None, None, None)


class Flashback(Contestant):
    """This package, whole: routing, leases, deadlines, verification."""

    name = "flashback, aioboto3 lane"
    lane: ClassVar[str] = "aioboto3"

    def load(self) -> None:
        import flashback_async
        from flashback_async import FlashbackSettings

        self._class = flashback_async.FlashbackClient
        if self.lane != "aioboto3" and "lane" not in FlashbackSettings.model_fields:
            raise UnavailableError("this version of flashback_async has no setting `lane`")

    async def open(self, urls: Sequence[str]) -> None:
        more = {} if self.lane == "aioboto3" else {"lane": self.lane}
        self._client = self._class(_settings(urls, **more))
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


CONTESTANTS: dict[str, type[Contestant]] = {
    "bare": Bare,
    "stock": Stock,
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
