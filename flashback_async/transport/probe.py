"""Measures the round trip to endpoints that no traffic measures."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol

import aiohttp

from flashback_async.transport.supervisor import SupervisedTask

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from flashback_async.routing.endpoint import Endpoint

INTERVAL = 10.0
"""Seconds between two probes of a node at least: each one counts against its 10 requests per second."""

JITTER = 0.1
"""Part of the interval by which rounds are stretched, so that processes drift apart."""

TIMEOUT = 5.0
"""Seconds for one probe: an answer that takes longer says as much as none."""

CONCURRENCY = 8
"""Probes under way at once: more would measure each other."""

PROBES_KEPT = 10
"""The least of so many probes counts: noise only ever adds time (MongoDB's drivers keep ten, too)."""

_BODY = 64 * 1024

_logger = logging.getLogger("flashback_async.probe")


class ProbeTable(Protocol):
    """The part of the router that takes probes."""

    def record_probe(self, endpoint_id: str, rtt: float | None, *, now: float) -> None:
        """Seconds of the round trip, None if the probe failed."""


@dataclass(slots=True, eq=False)
class _Record:
    """What is remembered of one URL."""

    probed_at: float
    figures: deque[float] = field(default_factory=lambda: deque(maxlen=PROBES_KEPT))


class Prober:
    """Asks `GET /health` of idle endpoints and tells the router the least round trip of late.

    Any HTTP answer means alive. A connection that a probe had to open is warmed by a first request, and a
    second one is timed, so that handshakes stay out of the figure; later probes find it warm.

    Life: `start()` begins rounds in a background task, the first one at once; `wake()` asks for a round
    before its time (new endpoints are probed, others not sooner than 10 s after the last time). `aclose()`
    ends the task and closes the connections. Without a task, `probe()` is one round.

    Args:
        router: takes the figures.
        idle: the endpoints that are worth a probe now; called at the start of each round.
        clock: monotonic seconds, those of the router's `now`.
        random: returns floats in [0, 1), for jitter.
        ssl_context: trusts other authorities than the system's.
    """

    def __init__(
        self,
        router: ProbeTable,
        idle: Callable[[], Iterable[Endpoint]],
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._router = router
        self._idle = idle
        self._clock = clock
        self._random = random
        self._ssl = ssl_context
        self._task = SupervisedTask(self._repeat, name="flashback: probes", random=random, logger=_logger)
        self._wake = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._records: dict[str, _Record] = {}

    def start(self) -> None:
        """Begin probing in the running loop. Idempotent."""
        if not self._task.running:
            self._wake = asyncio.Event()  # of this loop
            self._task.start()

    def wake(self) -> None:
        """Begin the next round now, as when endpoints joined. Returns at once; for the loop of `start()`."""
        self._wake.set()

    async def probe(self, endpoints: Iterable[Endpoint]) -> None:
        """Probe those of `endpoints` that were not probed for 10 s, at most 8 at a time.

        Never fails for an endpoint; cancellation ends all probes of the round.
        """
        now = self._clock()
        due = [endpoint for endpoint in endpoints if self._is_due(endpoint, now)]
        slots = asyncio.Semaphore(CONCURRENCY)
        async with asyncio.TaskGroup() as group:
            for endpoint in due:
                group.create_task(self._measure(endpoint, slots))
        self._forget_old()

    async def aclose(self) -> None:
        """End the task, wait for it, and close the connections. Idempotent."""
        await self._task.aclose()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _repeat(self) -> None:
        while True:
            self._wake.clear()
            await self.probe(tuple(self._idle()))
            self._task.thriving()
            try:
                # Timers may fire a hair early, and then nobody would be due.
                async with asyncio.timeout(INTERVAL * (1.0 + JITTER * self._random()) + 0.01):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _is_due(self, endpoint: Endpoint, now: float) -> bool:
        record = self._records.get(endpoint.url)
        return record is None or now - record.probed_at >= INTERVAL

    async def _measure(self, endpoint: Endpoint, slots: asyncio.Semaphore) -> None:
        async with slots:
            record = self._records.setdefault(endpoint.url, _Record(0.0))
            record.probed_at = self._clock()
            rtt = await self._round_trip(f"{endpoint.url}/health")
            if rtt is None:
                record.figures.clear()  # whatever is behind the address next may be another machine
            else:
                record.figures.append(rtt)
            self._router.record_probe(endpoint.id, min(record.figures, default=None), now=self._clock())

    async def _round_trip(self, url: str) -> float | None:
        """Seconds from request to answer on a warm connection, None where there is no answer."""
        try:
            async with asyncio.timeout(TIMEOUT):
                rtt, was_warm = await self._request(url)
                if not was_warm:
                    rtt, _ = await self._request(url)
                return rtt
        except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            return None

    async def _request(self, url: str) -> tuple[float, bool]:
        """(seconds from the connection to the headers, whether the connection was there before)."""
        timing = SimpleNamespace(connected_at=None)
        asked_at = self._clock()
        async with self._opened().get(
            url,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None),
            trace_request_ctx=timing,
        ) as response:
            answered_at = self._clock()
            # Read to its end, a body leaves the connection warm; a large one is not worth it.
            length = 0
            async for chunk in response.content.iter_chunked(_BODY):
                length += len(chunk)
                if length > _BODY:
                    break
        connected_at: float | None = timing.connected_at
        return answered_at - (asked_at if connected_at is None else connected_at), connected_at is None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(self._note_connected)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=CONCURRENCY,
                    keepalive_timeout=3.0 * INTERVAL,
                    ssl=self._ssl if self._ssl is not None else True,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trace_configs=[trace],
            )
        return self._session

    async def _note_connected(
        self,
        session: aiohttp.ClientSession,  # noqa: ARG002  # aiohttp's signature
        context: SimpleNamespace,
        params: aiohttp.TraceConnectionCreateEndParams,  # noqa: ARG002
    ) -> None:
        context.trace_request_ctx.connected_at = self._clock()

    def _forget_old(self) -> None:
        now = self._clock()
        too_old = now - PROBES_KEPT * INTERVAL
        self._records = {url: record for url, record in self._records.items() if record.probed_at > too_old}


__all__ = ["ProbeTable", "Prober"]
