# ruff: noqa: PLC0415  # a process imports what its own contestant needs, and no more
"""The clients of others that do not come with this package."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from measuring.face import BUCKET, CONNECTIONS, KEY_ID, KEY_SECRET, REGION, Contestant

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    # UNSIGNED-PAYLOAD, also over plain http.
    hashes = False
    # Whatever the size: three requests for one object.
    multipart = True

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
