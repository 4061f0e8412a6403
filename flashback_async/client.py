"""`FlashbackClient`: the life cycle, and the only place where the parts are wired together."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Self

from flashback_async.bucket import Bucket
from flashback_async.config import FlashbackSettings
from flashback_async.errors import ClientClosedError, ConfigurationError
from flashback_async.objects.endpoint_verbs import EndpointVerbs, Lending
from flashback_async.objects.names import checked_bucket
from flashback_async.objects.routed_calls import RoutedCalls
from flashback_async.objects.runner import Runner
from flashback_async.objects.verbs import Verbs
from flashback_async.objects.views import client_stats, endpoint_views
from flashback_async.routing import Endpoint, Router, RoutingPolicy
from flashback_async.transport.control_plane import ControlPlane
from flashback_async.transport.discovery import Discovery
from flashback_async.transport.discovery_source import ControlPlaneSource, StaticSource
from flashback_async.transport.exchange import Timeouts
from flashback_async.transport.executor import Executor
from flashback_async.transport.loop_lag import LoopLag
from flashback_async.transport.membership import Membership
from flashback_async.transport.monitor import Monitor
from flashback_async.transport.probe import Prober
from flashback_async.transport.tls import tls_context
from flashback_async.transport.trust import EndpointTrust

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    # Where these types are not installed, type checkers see no more than with aioboto3 itself.
    from types_aiobotocore_s3 import S3Client

    from flashback_async.models import ClientStats, EndpointView
    from flashback_async.transport.discovery_source import EndpointSource
    from flashback_async.transport.s3_call import Pool, PoolFactory


@dataclass(frozen=True, slots=True)
class _Running:
    """The parts of a started client."""

    loop: asyncio.AbstractEventLoop
    runner: Runner
    pool: Pool
    s3: S3Client | None
    discovery: Discovery
    monitor: Monitor
    lag: LoopLag
    stack: AsyncExitStack


class FlashbackClient(Verbs, EndpointVerbs):
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
        router: a table of endpoints to share with other clients, with its policy; default: one of its own.
        pool: makes what leads to the endpoints; default: aioboto3 clients. `flashback_async.testing` has one
            that leads to endpoints in memory.

    Raises:
        ConfigurationError: a setting cannot work, or there are no credentials.
    """

    def __init__(
        self,
        settings: FlashbackSettings | None = None,
        *,
        router: Router | None = None,
        pool: PoolFactory | None = None,
    ) -> None:
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
        self._router = router if router is not None else self._new_router()
        self._make_pool = pool
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
                self._running = await self._wire(stack)

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

    def bucket(self, name: str) -> Bucket:
        """The same verbs, bound to one bucket."""
        return Bucket(self, checked_bucket(name))

    @property
    def s3(self) -> S3Client:
        """A genuine aioboto3 S3 client of which every call is routed, with all that boto knows of S3.

        Operations, paginators, waiters, transfers and bodies have boto's names, and answer with boto's
        dictionaries. Errors are boto's `ClientError`, with this package's as `__cause__`. Bodies own their
        connection, survive their node, and give it back at their end, on an error, on `close`, and when they
        are dropped. A multipart upload stays at the node that created it. URLs are signed for the node that
        is best at the moment. Closing it, or leaving `async with fb.s3 as s3`, leaves `fb` running.

        Raises:
            ClientClosedError: the client is not running here.
            ConfigurationError: the client leads to endpoints in memory.
        """
        s3 = self._here().s3
        if s3 is None:
            raise ConfigurationError(
                "client.s3 needs real endpoints; this client's are in memory, without boto: use the verbs"
            )
        return s3

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
            loop_lag=running.lag.worst(),
        )

    async def refresh(self) -> None:
        """Discover now; calls at the same time share one discovery.

        Raises:
            DiscoveryError: no usable answer; the last table stays.
        """
        await self._here().discovery.refresh()

    def _new_router(self) -> Router:
        policy = RoutingPolicy(read_slo=self.settings.read_slo or 0.0)
        return Router(policy=policy, random=self._random.random)

    def _idle_endpoints(self) -> list[Endpoint]:
        """Those whose distance no traffic measures at the moment."""
        rows = self._router.snapshot(now=asyncio.get_running_loop().time()).endpoints
        return [row.endpoint for row in rows if not row.in_flight and not row.streaming]

    def _started(self) -> Runner:
        return self._here().runner

    def _lending(self) -> Lending:
        running = self._here()
        return Lending(
            self._router,
            running.discovery,
            running.monitor,
            clock=running.loop.time,
            patience=self.settings.pool_timeout,
        )

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

    async def _wire(self, stack: AsyncExitStack) -> _Running:
        """Make the parts and start them; `stack` takes them down again in reverse."""
        settings, router, loop = self.settings, self._router, asyncio.get_running_loop()
        # Off the loop, and only now: boto takes a third of a second to import, the authorities 25 ms once.
        make_pool, tls = self._make_pool, None
        if make_pool is None:
            make_pool = await asyncio.to_thread(_import_pool)
            tls = await asyncio.to_thread(tls_context, settings.ca_file)
        monitor = Monitor(router)
        pool = make_pool(settings, tls=tls, clock=loop.time)
        stack.push_async_callback(pool.close)
        await pool.open()
        membership = Membership(router, monitor, on_change=pool.track)
        discovery = Discovery(
            self._source(stack, tls),
            membership,
            interval=settings.discovery_interval,
            timeout=settings.discovery_timeout,
            clock=loop.time,
            random=self._random.random,
        )
        stack.push_async_callback(discovery.aclose)
        await discovery.start()
        await pool.ready()
        if settings.probes:
            prober = Prober(
                membership, self._idle_endpoints, clock=loop.time, random=self._random.random, ssl_context=tls
            )
            stack.push_async_callback(prober.aclose)
            membership.on_join = prober.wake
            prober.start()
        # Only now: what starting costs the loop is not the user's.
        lag = LoopLag(loop)
        stack.callback(lag.close)
        lag.start()
        executor = Executor(
            router,
            pool,
            monitor,
            timeouts=Timeouts.of(settings),
            clock=loop.time,
            sleep=asyncio.sleep,
            on_trouble=discovery.request_refresh,
            on_bucket=discovery.want_bucket,
            lag=lag,
            hedging=settings.hedging,
            read_your_writes=settings.read_your_writes,
        )
        stack.callback(executor.close)
        runner = Runner.of(settings, executor, monitor)
        s3 = await pool.facade(router, RoutedCalls(runner, self._here))
        return _Running(loop, runner, pool, s3, discovery, monitor, lag, stack.pop_all())

    def _source(self, stack: AsyncExitStack, tls: ssl.SSLContext | None) -> EndpointSource:
        settings = self.settings
        if not settings.has_control_plane():
            return StaticSource(settings.endpoints)
        control_plane = ControlPlane.from_settings(
            settings,
            clock=asyncio.get_running_loop().time,
            random=self._random.random,
            ssl_context=tls,
        )
        stack.push_async_callback(control_plane.aclose)
        trust = EndpointTrust.from_settings(settings)
        return ControlPlaneSource(control_plane, trust, settings, clock=asyncio.get_running_loop().time)


def _import_pool() -> PoolFactory:
    from flashback_async.transport.s3_pool import S3Pool  # noqa: PLC0415  # boto is loaded when a client starts

    return S3Pool
