# ruff: noqa: PLC0415  # a process imports what its own contestant needs, and no more
"""The clients that are compared, behind one face.

Nothing is imported before `load`, so that a process holds what its own contestant needs and no more. All of
them get the same key, and verify nothing that they do not verify by default. `hashes` tells whether the body
of a PUT is hashed for its signature over plain http, which costs more than all else for large ones.
"""

from __future__ import annotations

import io
from itertools import cycle
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

BUCKET = "bench"
KEY_ID, KEY_SECRET, REGION = "key", "secret", "us-east-1"
CONNECTIONS = 1_024
"""More than any benchmark has in flight: nobody waits for a connection."""


class UnavailableError(Exception):
    """This contestant cannot take part; the text tells why."""


class Contestant:
    """Loaded, opened, used, closed; in this order, by one loop."""

    name: ClassVar[str]
    hashes: ClassVar[bool] = True
    blocking: ClassVar[bool] = False

    def load(self) -> None:
        """Import what it needs."""

    async def open(self, urls: Sequence[str]) -> None:
        """Get ready to be asked."""
        raise NotImplementedError

    async def get(self, key: str) -> int:
        """Read an object to its end; the bytes it had."""
        raise NotImplementedError

    async def put(self, key: str, data: bytes) -> None:
        """Store an object."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of everything."""


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


class S3fs(Contestant):
    """fsspec's S3 filesystem in its asynchronous form; aiobotocore underneath."""

    name = "s3fs"

    def load(self) -> None:
        import s3fs

        self._module = s3fs

    async def open(self, urls: Sequence[str]) -> None:
        self._fs = self._module.S3FileSystem(
            asynchronous=True,
            key=KEY_ID,
            secret=KEY_SECRET,
            endpoint_url=urls[0],
            client_kwargs={"region_name": REGION},
            config_kwargs={"max_pool_connections": CONNECTIONS, "s3": {"addressing_style": "path"}},
            skip_instance_cache=True,
        )
        self._session = await self._fs.set_session()

    async def get(self, key: str) -> int:
        return len(await self._fs._cat_file(f"{BUCKET}/{key}"))  # noqa: SLF001  # fsspec's asynchronous API

    async def put(self, key: str, data: bytes) -> None:
        await self._fs._pipe_file(f"{BUCKET}/{key}", data)  # noqa: SLF001

    async def close(self) -> None:
        await self._session.close()


class Obstore(Contestant):
    """Rust's object_store."""

    name = "obstore"

    def load(self) -> None:
        import obstore
        import obstore.store

        self._module = obstore

    async def open(self, urls: Sequence[str]) -> None:
        self._store = self._module.store.S3Store(
            BUCKET,
            endpoint=urls[0],
            region=REGION,
            access_key_id=KEY_ID,
            secret_access_key=KEY_SECRET,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )

    async def get(self, key: str) -> int:
        answer = await self._module.get_async(self._store, key)
        return len(await answer.bytes_async())

    async def put(self, key: str, data: bytes) -> None:
        await self._module.put_async(self._store, key, data, use_multipart=False)


class Opendal(Contestant):
    """Apache OpenDAL, Rust."""

    name = "opendal"
    hashes = False

    def load(self) -> None:
        import opendal

        self._module = opendal

    async def open(self, urls: Sequence[str]) -> None:
        self._operator = self._module.AsyncOperator(
            "s3",
            bucket=BUCKET,
            endpoint=urls[0],
            region=REGION,
            access_key_id=KEY_ID,
            secret_access_key=KEY_SECRET,
            disable_config_load="true",
            disable_ec2_metadata="true",
        )

    async def get(self, key: str) -> int:
        return len(await self._operator.read(key))

    async def put(self, key: str, data: bytes) -> None:
        await self._operator.write(key, data)


class Miniopy(Contestant):
    """MinIO's Python client on aiohttp."""

    name = "miniopy-async"

    def load(self) -> None:
        import miniopy_async

        self._module = miniopy_async

    async def open(self, urls: Sequence[str]) -> None:
        import aiohttp

        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._client = self._module.Minio(
            urls[0].removeprefix("http://"),
            access_key=KEY_ID,
            secret_key=KEY_SECRET,
            secure=False,
            region=REGION,
            session=self._session,
        )

    async def get(self, key: str) -> int:
        async with await self._client.get_object(BUCKET, key) as answer:
            return len(await answer.read())

    async def put(self, key: str, data: bytes) -> None:
        await self._client.put_object(BUCKET, key, io.BytesIO(data), len(data))

    async def close(self) -> None:
        await self._session.close()


class Torchconnector(Contestant):
    """The client of s3torchconnector: AWS's CRT behind Mountpoint's; it blocks, so threads call it."""

    name = "s3torchconnector"
    blocking = True

    def load(self) -> None:
        import os

        from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client

        os.environ.update(AWS_ACCESS_KEY_ID=KEY_ID, AWS_SECRET_ACCESS_KEY=KEY_SECRET)
        self._class = MountpointS3Client

    async def open(self, urls: Sequence[str]) -> None:
        self._client = self._class(REGION, endpoint=urls[0], force_path_style=True)

    def get_blocking(self, key: str) -> int:
        """Read an object to its end."""
        return sum(map(len, self._client.get_object(BUCKET, key)))

    def put_blocking(self, key: str, data: bytes) -> None:
        """Store an object."""
        stream = self._client.put_object(BUCKET, key)
        stream.write(data)
        stream.close()


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
