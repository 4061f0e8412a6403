"""`FlashbackClient`: the life cycle, and the only place where the parts are wired together."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Self

from flashback_async.bucket import Bucket
from flashback_async.config import FlashbackSettings
from flashback_async.errors import ClientClosedError, ConfigurationError
from flashback_async.objects.lease import EndpointLease, lend
from flashback_async.objects.names import checked_bucket
from flashback_async.objects.runner import Runner
from flashback_async.objects.verbs import Verbs
from flashback_async.objects.views import client_stats, endpoint_views
from flashback_async.routing import Endpoint, OperationKind, Outcome, Router
from flashback_async.transport.control_plane import ControlPlane
from flashback_async.transport.discovery import Discovery
from flashback_async.transport.discovery_source import ControlPlaneSource, StaticSource
from flashback_async.transport.executor import Executor, Timeouts
from flashback_async.transport.membership import Membership
from flashback_async.transport.monitor import Monitor
from flashback_async.transport.operation import Deadline
from flashback_async.transport.trust import EndpointTrust

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from types import ModuleType, TracebackType

    from flashback_async.models import ClientStats, EndpointView
    from flashback_async.transport.discovery_source import EndpointSource
    from flashback_async.transport.s3_pool import S3Pool


@dataclass(frozen=True, slots=True)
class _Running:
    """The parts of a started client."""

    loop: asyncio.AbstractEventLoop
    runner: Runner
    pool: S3Pool
    discovery: Discovery
    monitor: Monitor
    stack: AsyncExitStack


class FlashbackClient(Verbs):
    """An S3 client that sends every request to the endpoint that is best at the moment.

    ```python
    async with FlashbackClient() as fb:
        await fb.put_object("bucket", "key", b"data")
    ```

    Life: construct it anywhere, `start()` it (or enter it) in the loop that will use it, `aclose()` it there
    (or leave it), from any task. Between the two, discovery runs in the background and fills the table of
    endpoints. All methods belong to that loop; `router` may be shared with clients of other loops and
    threads.

    Args:
        settings: everything that can be told; default: the `FB_*` variables.
        router: a table of endpoints to share with other clients; default: one of its own.

    Raises:
        ConfigurationError: a setting cannot work, or there are no credentials.
    """

    def __init__(self, settings: FlashbackSettings | None = None, *, router: Router | None = None) -> None:
        if settings is not None and not isinstance(settings, FlashbackSettings):
            raise ConfigurationError(
                f"settings={settings!r:.80} is a {type(settings).__name__}; give FlashbackSettings(...)"
            )
        if router is not None and not isinstance(router, Router):
            raise ConfigurationError(f"router={router!r:.80} is a {type(router).__name__}; give a Router")
        self.settings = FlashbackSettings() if settings is None else settings
        if self.settings.credentials_provider is None:
            self.settings.credentials()
        self._random = Random()  # noqa: S311  # spreads load and retries, guards nothing
        self._router = router if router is not None else Router(random=self._random.random)
        self._changing = asyncio.Lock()
        self._running: _Running | None = None

    async def __aenter__(self) -> Self:
        """Start; see `start`."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; see `aclose`."""
        await self.aclose()

    async def start(self) -> None:
        """Discover the endpoints and get ready to serve. Idempotent; may be called again after `aclose`.

        Raises:
            DiscoveryError: the control plane gave no usable answer.
            ConfigurationError: the settings hold no way to find endpoints.
            ClientClosedError: the client runs in another event loop.
        """
        async with self._changing:
            if self._running is not None:
                self._here()
                return
            async with AsyncExitStack() as stack:
                runner, pool, discovery, monitor = await self._wire(stack)
                loop = asyncio.get_running_loop()
                self._running = _Running(loop, runner, pool, discovery, monitor, stack.pop_all())

    async def aclose(self, drain: float = 0.0) -> None:
        """Stop. Idempotent.

        Args:
            drain: seconds to wait for operations that run; those still running then end with an error. New
                ones are refused from the start.
        """
        async with self._changing:
            if self._running is None:
                return
            running = self._here()
            await running.runner.close(drain=drain)
            self._running = None
            await running.stack.aclose()
            running.monitor.drain()

    async def pick_endpoint(
        self, bucket: str | None = None, *, kind: OperationKind = OperationKind.READ
    ) -> Endpoint:
        """The endpoint that is best now for that bucket and kind. Takes no permit and counts nothing.

        Raises:
            NoEndpointAvailableError: the table is empty.
        """
        running = self._here()
        if bucket is not None:
            running.discovery.want_bucket(checked_bucket(bucket))
        return self._router.best(bucket, kind, now=running.loop.time())

    def lease_endpoint(
        self,
        bucket: str | None = None,
        *,
        kind: OperationKind = OperationKind.READ,
        tried: Sequence[Endpoint | str] = (),
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[EndpointLease]:
        """Lend an endpoint to a client of your own, as one attempt of the router's.

        ```python
        async with client.lease_endpoint("bucket") as lease:
            await my_own_client.get(lease.endpoint.url)
        ```

        How the block ends is what the router learns: a normal end is a success, boto's and aiohttp's errors
        are classified as ours are, a cancellation and everything unknown (a bare `TimeoutError` too) says
        nothing. Set `lease.outcome` to say it yourself.

        Args:
            bucket: S3 bucket name, None for any.
            kind: read or write.
            tried: endpoints that already failed this request.
            timeout: seconds to wait where every endpoint is at its rate limit.

        Raises:
            NoEndpointAvailableError: the table is empty.
            ThrottledError: every endpoint stays at its rate limit for longer than `timeout`.
        """
        running = self._here()
        if bucket is not None:
            running.discovery.want_bucket(checked_bucket(bucket))
        clock = running.loop.time
        seconds = self.settings.pool_timeout if timeout is None else timeout
        return lend(
            self._router,
            bucket,
            kind,
            tried=frozenset(row.id if isinstance(row, Endpoint) else row for row in tried),
            deadline=Deadline.after(seconds, now=clock()),
            clock=clock,
            sleep=asyncio.sleep,
            classify=_outcome_of_foreign,
        )

    def report_failure(self, endpoint: Endpoint | str, error: BaseException | None = None) -> None:
        """Tell that a request of your own failed at `endpoint`.

        Counts only while its breaker is closed. An `error` that is not the endpoint's fault (a 404, say)
        counts as what it is; without one, the endpoint is taken to be at fault.
        """
        running = self._here()
        outcome = Outcome.ENDPOINT_FAULT
        if isinstance(error, TimeoutError):
            outcome = Outcome.TIMEOUT
        elif error is not None:
            outcome = _outcome_of_foreign(error)
        self._router.report(_id_of(endpoint), outcome, now=running.loop.time())
        if outcome.is_fault:
            running.discovery.request_refresh()
        running.monitor.drain()

    def report_success(self, endpoint: Endpoint | str, *, first_byte: float | None = None) -> None:
        """Tell that a request of your own succeeded at `endpoint`; `first_byte`: seconds to its headers."""
        now = self._here().loop.time()
        self._router.report(_id_of(endpoint), Outcome.SUCCESS, now=now, first_byte=first_byte)

    def bucket(self, name: str) -> Bucket:
        """The same verbs, bound to one bucket."""
        return Bucket(self, checked_bucket(name))

    @property
    def router(self) -> Router:
        """The table of endpoints; give it to another client to share what is known of them."""
        return self._router

    def nodes(self) -> tuple[EndpointView, ...]:
        """Every endpoint as the router sees it now, in the order of the last discovery."""
        return endpoint_views(self._router.snapshot(now=self._here().loop.time()))

    def stats(self) -> ClientStats:
        """What this client has done since it started, and the gauges of now."""
        running = self._here()
        return client_stats(
            running.monitor,
            running.discovery.status(),
            self._router.snapshot(now=running.loop.time()),
            leases=running.pool.leases,
        )

    async def refresh(self) -> None:
        """Discover now; calls at the same time share one discovery.

        Raises:
            DiscoveryError: no usable answer; the last table stays.
        """
        await self._here().discovery.refresh()

    def _started(self) -> Runner:
        return self._here().runner

    def _here(self) -> _Running:
        running = self._running
        if running is None:
            raise ClientClosedError("the client is not running; use `async with`, or await start() first")
        if asyncio.get_running_loop() is not running.loop:
            raise ClientClosedError(
                "the client runs in another event loop; make one here, with "
                "FlashbackClient(..., router=other.router) to share what is known of the endpoints"
            )
        return running

    async def _wire(self, stack: AsyncExitStack) -> tuple[Runner, S3Pool, Discovery, Monitor]:
        """Make the parts and start them; `stack` takes them down again in reverse."""
        # boto takes a third of a second to import: paid when a client starts, off the loop.
        s3_pool = await asyncio.to_thread(_import_pool)
        settings, router, loop = self.settings, self._router, asyncio.get_running_loop()
        monitor = Monitor(router)
        pool = s3_pool.S3Pool(settings, clock=loop.time)
        stack.push_async_callback(pool.close)
        await pool.open()
        membership = Membership(router, monitor, on_change=pool.track)
        discovery = Discovery(
            self._source(stack),
            membership,
            interval=settings.discovery_interval,
            timeout=settings.discovery_timeout,
            clock=loop.time,
            random=self._random.random,
        )
        stack.push_async_callback(discovery.aclose)
        await discovery.start()
        await pool.ready()
        executor = Executor(
            router,
            pool,
            monitor,
            timeouts=Timeouts(
                pool=settings.pool_timeout,
                first_byte=settings.first_byte_timeout,
                stall=settings.stall_timeout,
            ),
            clock=loop.time,
            sleep=asyncio.sleep,
            on_trouble=discovery.request_refresh,
            on_bucket=discovery.want_bucket,
        )
        runner = Runner(
            executor,
            monitor,
            attempts=settings.attempts,
            total_timeout=settings.total_timeout,
            max_in_flight=settings.max_in_flight,
        )
        return runner, pool, discovery, monitor

    def _source(self, stack: AsyncExitStack) -> EndpointSource:
        settings = self.settings
        if not settings.has_control_plane():
            return StaticSource(settings.endpoints)
        control_plane = ControlPlane.from_settings(
            settings, clock=asyncio.get_running_loop().time, random=self._random.random
        )
        stack.push_async_callback(control_plane.aclose)
        trust = EndpointTrust.from_settings(settings)
        return ControlPlaneSource(control_plane, trust, settings, clock=asyncio.get_running_loop().time)


def _import_pool() -> ModuleType:
    from flashback_async.transport import s3_pool  # noqa: PLC0415  # boto is loaded when a client starts

    return s3_pool


def _outcome_of_foreign(error: BaseException) -> Outcome:
    from flashback_async.transport.s3_errors import outcome_of_foreign  # noqa: PLC0415  # as above

    return outcome_of_foreign(error, now=datetime.now(UTC))


def _id_of(endpoint: Endpoint | str) -> str:
    return endpoint.id if isinstance(endpoint, Endpoint) else endpoint
