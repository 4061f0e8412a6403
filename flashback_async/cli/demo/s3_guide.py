"""The guide's algorithm as a contestant, as fair as it can be.

Flashback's guide "Latency-aware routing for edge and AI pipelines", steps 3 to 6: list the nodes and their
published latencies, take the fastest one that is online, keep it for 60 s, use one client per endpoint, and
forget the choice whenever a request fails, which is passed on to the caller.

Repaired is what only keeps its code from working: the envelope around lists is unwrapped, `url` is read
instead of `endpoint`, a status counts in any case, buckets are asked for by their UUID, and every call has a
timeout. Kept is what it does: one choice for everything, no retry, nothing remembered of a failure.
aioboto3 is configured as this package configures it.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header

from flashback_async.cli.atomic_file import AtomicFile
from flashback_async.cli.demo.contestant import BUCKET, NodeFigures
from flashback_async.cli.workers import Job
from flashback_async.config import reveal
from flashback_async.errors import OperationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType

    from flashback_async.cli.demo.script import Phase
    from flashback_async.cli.demo.tree import SourceFile
    from flashback_async.cli.workers import Advance
    from flashback_async.config import FlashbackSettings

NAME = "the guide's algorithm"

CACHE_TTL: Final = 60.0
"""Seconds, as in the guide."""

_SMOOTHING: Final = 0.2
_PIECE: Final = 128 * 1024


@dataclass(slots=True)
class _Counters:
    """For the screen only; the algorithm knows none of this."""

    in_flight: int = 0
    requests: int = 0
    failures: int = 0
    latency: float | None = None


class Guide:
    """`async with` it."""

    def __init__(self, settings: FlashbackSettings, bucket_id: str) -> None:
        self._settings = settings
        self._bucket_id = bucket_id
        self._stack = AsyncExitStack()
        self._session = aioboto3.Session()
        self._clients: dict[str, asyncio.Future[Any]] = {}
        self._counters: dict[str, _Counters] = {}
        self._chosen = ""
        self._expires = 0.0

    async def __aenter__(self) -> Self:
        """Open a session for the control plane."""
        token = self._settings.jwt
        self._http = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                self._settings.base_url,
                headers={
                    "Accept": "application/json",
                    "Authorization": f"Bearer {reveal(token) if token is not None else ''}",
                },
                timeout=aiohttp.ClientTimeout(total=self._settings.first_byte_timeout),
            )
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every client."""
        await self._stack.aclose()

    async def best_endpoint(self) -> str:
        """The guide's `bestEndpoint`: the cached one, or the fastest that is online."""
        now = asyncio.get_running_loop().time()
        if self._chosen and now < self._expires:
            return self._chosen
        nodes, stats = await asyncio.gather(
            self._get("/node", nodeServices="1"), self._get("/stats/nodes/minute", bucketId=self._bucket_id)
        )
        latencies = {row["nodeId"]: row["latency_ms"] or float("inf") for row in stats}
        ranked = sorted(nodes, key=lambda node: float(latencies.get(node["ip"], float("inf"))))
        online = [node for node in ranked if node["status"].lower() == "online"]
        self._chosen = str((online or ranked)[0]["url"])
        self._expires = now + CACHE_TTL
        for node in nodes:
            self._counters.setdefault(node["url"], _Counters())
        return self._chosen

    def report_failure(self) -> None:
        """The guide's `reportFailure`."""
        self._expires = 0.0

    def upload(self, file: SourceFile) -> Job:
        """Put it where the algorithm says."""

        async def work(advance: Advance) -> None:
            # Small enough to be read at once, as the guide does.
            body = await asyncio.to_thread(file.path.read_bytes)

            async def put(client: Any) -> None:
                await client.put_object(Bucket=BUCKET, Key=file.name, Body=body)

            await self._request(put)
            advance(len(body))

        return Job(file.name, work, file.size)

    def download(self, file: SourceFile, target: Path) -> Job:
        """Get it from where the algorithm says."""

        async def work(advance: Advance) -> None:
            async def get(client: Any) -> None:
                answer = await client.get_object(Bucket=BUCKET, Key=file.name)
                body = answer["Body"]
                async with body, AtomicFile(target) as local:
                    while chunk := await body.read(_PIECE):
                        await local.write(chunk)
                        advance(len(chunk))

            await self._request(get)

        return Job(file.name, work, file.size)

    def nodes(self, phase: Phase) -> list[NodeFigures]:  # noqa: ARG002  # Contestant's signature
        """What the screen shows of it."""
        cached = self._chosen if self._expires else ""
        return [
            NodeFigures(
                url=url,
                opinion="cached" if url == cached else "",
                trusted=True if url == cached else None,
                first_byte=counters.latency,
                in_flight=counters.in_flight,
                requests=counters.requests,
                failures=counters.failures,
            )
            for url, counters in self._counters.items()
        ]

    def failovers(self) -> dict[str, int]:
        """It has none."""
        return {}

    def resumed(self) -> int:
        """It cannot."""
        return 0

    async def _request(self, call: Callable[[Any], Awaitable[None]]) -> None:
        """The guide's step 6: choose, call, report any failure, pass it on."""
        try:
            url = await self.best_endpoint()
            await self._counted(url, call)
        except (ClientError, BotoCoreError, aiohttp.ClientError, OSError) as error:
            self.report_failure()
            raise OperationError(f"{type(error).__name__}: {error}") from error

    async def _counted(self, url: str, call: Callable[[Any], Awaitable[None]]) -> None:
        counters, clock = self._counters[url], asyncio.get_running_loop().time
        client = await self._client(url)
        begun = clock()
        counters.in_flight += 1
        counters.requests += 1
        try:
            await call(client)
        except Exception:
            counters.failures += 1
            raise
        finally:
            counters.in_flight -= 1
        seconds = clock() - begun
        last = seconds if counters.latency is None else counters.latency
        counters.latency = last + _SMOOTHING * (seconds - last)

    async def _client(self, url: str) -> Any:
        """The guide's `Map` of clients: one per endpoint, made once."""
        if url not in self._clients:
            self._clients[url] = asyncio.ensure_future(self._stack.enter_async_context(self._made(url)))
        return await self._clients[url]

    def _made(self, url: str) -> Any:
        settings = self._settings
        key = settings.credentials()
        assert key is not None, "a sandbox has a key"
        context = self._session.client(
            "s3",
            endpoint_url=url,
            region_name=settings.region,
            aws_access_key_id=key.key_id,
            aws_secret_access_key=key.key_secret,
            config=AioConfig(
                signature_version="s3v4",
                s3={"addressing_style": settings.addressing},
                retries={"total_max_attempts": 1, "mode": "standard"},
                connect_timeout=settings.connect_timeout,
                read_timeout=settings.first_byte_timeout,
                max_pool_connections=settings.max_connections,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        return _WithoutExpect(context)

    async def _get(self, path: str, **query: str) -> list[dict[str, Any]]:
        async with self._http.get(path, params=query, raise_for_status=True) as answer:
            payload = await answer.json()
        rows: list[dict[str, Any]] = payload["data"]
        return rows


class _WithoutExpect:
    """A client that sends bodies at once, as this package's do: the header would cost it a round trip."""

    def __init__(self, context: Any) -> None:
        self._context = context

    async def __aenter__(self) -> Any:
        client = await self._context.__aenter__()
        client.meta.events.unregister("before-call.s3", add_expect_header)
        return client

    async def __aexit__(self, *error: object) -> None:
        await self._context.__aexit__(*error)
