"""Keys that rotate at the server, which verifies signatures, while requests run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys

import aioboto3
import pytest

from flashback_async import AccessDeniedError, FlashbackSettings
from flashback_async.config import Credentials

# moto takes a while over every signature that it looks up, and may have half of a core for itself.
PATIENCE = 30.0
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Locksmith:
    """Makes keys at the server, takes them away, and provides the last one made."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = Credentials("any", "thing")
        self.asked = 0
        self._rotating = asyncio.Lock()
        self._session = aioboto3.Session(region_name="us-east-1")

    async def open(self) -> None:
        """The first user and key; only so many calls are free."""
        async with self._iam() as iam:
            await iam.create_user(UserName="user")
            await iam.put_user_policy(UserName="user", PolicyName="all", PolicyDocument=json.dumps(POLICY))
            self.key = await self._made(iam)

    async def rotate(self) -> None:
        """Make another key, and take the old one away."""
        async with self._rotating, self._iam() as iam:
            old, self.key = self.key, await self._made(iam)
            await iam.delete_access_key(UserName="user", AccessKeyId=old.key_id)

    async def provide(self) -> Credentials:
        """The key of now."""
        self.asked += 1
        await asyncio.sleep(0.02)
        return self.key

    async def _made(self, iam) -> Credentials:
        key = (await iam.create_access_key(UserName="user"))["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    def _iam(self):
        return self._session.client(
            "iam",
            endpoint_url=self.url,
            aws_access_key_id=self.key.key_id,
            aws_secret_access_key=self.key.key_secret,
        )


@pytest.fixture
async def locksmith():
    """A moto of its own that asks for keys after three calls."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from moto.server import main; main()",
        *("-H", "127.0.0.1", "-p", "0"),
        env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    said = b""
    while (found := re.search(rb"http://127\.0\.0\.1:(\d+)", said)) is None:
        said += await process.stderr.readline()
    drained = asyncio.create_task(process.stderr.read())
    try:
        smith = Locksmith(f"http://127.0.0.1:{int(found[1])}")
        await smith.open()
        yield smith
    finally:
        process.kill()
        await process.wait()
        await drained


async def test_no_request_fails_while_keys_rotate(locksmith, running):
    """Two hundred writes, reads, heads and calls of client.s3, 32 at a time, outlive two rotations, and the provider is asked a handful of times."""
    settings = FlashbackSettings(
        endpoints=(locksmith.url, locksmith.url.replace("127.0.0.1", "localhost")),
        credentials_provider=locksmith.provide,
        first_byte_timeout=PATIENCE,
    )
    slots, done = asyncio.Semaphore(32), 0
    async with running(settings) as fb:
        await fb.s3.create_bucket(Bucket="bucket")
        failovers = dict(fb.stats().failovers)

        async def some(place: int) -> None:
            nonlocal done
            async with slots:
                key, data = f"key {place}", str(place).encode()
                if place % 2:
                    await fb.s3.put_object(Bucket="bucket", Key=key, Body=data)
                    assert (await fb.head_object("bucket", key)).size == len(data)
                else:
                    await fb.put_object("bucket", key, data)
                    assert (await fb.get_object("bucket", key)).body == data
                done += 1
                if done in {15, 50}:
                    await locksmith.rotate()

        async with asyncio.TaskGroup() as group:
            for place in range(100):
                group.create_task(some(place))
        # The last rotation may have come after the last of them.
        await fb.put_object("bucket", "last", b"data")
        assert 2 <= locksmith.asked <= 6
        assert dict(fb.stats().failovers) == failovers
        assert {view.failures for view in fb.nodes()} == {0}
        # moto cannot verify it, but it names the key.
        assert locksmith.key.key_id in await fb.generate_presigned_url("bucket", "key 7")


async def test_a_key_that_stays_wrong_is_refused(locksmith, running):
    """Where the provider insists on a key that the server does not know, requests are refused, and it is not asked for each of them."""
    locksmith.key = Credentials("AKIANOBODY", "nothing")
    settings = FlashbackSettings(
        endpoints=(locksmith.url,), credentials_provider=locksmith.provide, first_byte_timeout=PATIENCE
    )
    async with running(settings) as fb:
        refused = await asyncio.gather(
            *(fb.put_object("bucket", f"key {place}", b"data") for place in range(50)),
            return_exceptions=True,
        )
        assert {type(error) for error in refused} == {AccessDeniedError}
        assert locksmith.asked <= 4
