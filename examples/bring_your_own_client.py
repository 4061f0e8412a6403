"""Read with an HTTP client of your own: Flashback says where, and learns from how it went.

Set FB_KEY_ID, FB_KEY_SECRET and FB_REFRESH_TOKEN, `pip install flashback-async`, run
`python bring_your_own_client.py bucket key > copy`.
"""

import asyncio
import sys
import time
from urllib.parse import quote

import aiohttp
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from flashback_async import Endpoint, FlashbackClient, FlashbackSettings

# Time limits per attempt: they are what makes a silent endpoint fail, so that the next one is asked.
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=5)
WORTH_ANOTHER = {429, 500, 502, 503, 504}  # status codes that another endpoint need not repeat


def signed_url(settings: FlashbackSettings, endpoint: Endpoint, bucket: str, key: str) -> URL:
    """The URL of an object at one endpoint, signed for a minute; no request is made."""
    pair = settings.credentials()
    request = AWSRequest("GET", f"{endpoint.url}/{bucket}/{quote(key)}")
    signer = Credentials(pair.key_id, pair.key_secret)
    S3SigV4QueryAuth(signer, "s3", settings.region, expires=60).add_auth(request)
    return URL(request.url, encoded=True)


async def read(
    flashback: FlashbackClient, http: aiohttp.ClientSession, bucket: str, key: str, *, attempts: int = 3
) -> bytes:
    """Read an object, from the next best endpoint whenever one fails."""
    tried: list[Endpoint] = []
    while True:
        try:
            async with flashback.lease_endpoint(bucket, tried=tried) as lease:
                tried.append(lease.endpoint)
                began = time.monotonic()
                async with http.get(signed_url(flashback.settings, lease.endpoint, bucket, key)) as answer:
                    lease.first_byte = time.monotonic() - began
                    answer.raise_for_status()
                    return await answer.read()
        except aiohttp.ClientError as error:  # the lease has told the router already
            if len(tried) == attempts or getattr(error, "status", 500) not in WORTH_ANOTHER:
                raise


async def main(bucket: str, key: str) -> None:
    async with FlashbackClient() as flashback, aiohttp.ClientSession(timeout=TIMEOUT) as http:
        sys.stdout.buffer.write(await read(flashback, http, bucket, key))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
