"""Keeps the router's table up to date: in the background, and at once when requests fail."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flashback_async.errors import ClientClosedError, DiscoveryError, FlashbackError
from flashback_async.transport.discovery_source import Discovered
from flashback_async.transport.single_flight import SingleFlight
from flashback_async.transport.supervisor import SupervisedTask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flashback_async.routing.endpoint import EndpointReport
    from flashback_async.transport.discovery_source import EndpointSource

JITTER = 0.1
"""Part of the interval by which it varies either way, so that processes started together drift apart."""

URGENT_SPACING = 0.5
"""Seconds between two discoveries at least, however many requests fail (MongoDB's drivers do the same)."""

STALE_AGE = 60.0
"""Seconds after which an unconfirmed table may be out of date: the guide's shortest cache time."""

STALE_MISSES = 3
"""Discoveries that fail in a row before the table may be out of date."""

BUCKETS_KEPT = 100
"""Buckets that figures are asked for; requests for others are routed without published latencies."""

_logger = logging.getLogger("flashback_async.discovery")


class Table(Protocol):
    """The part of the router that takes discoveries."""

    def apply_discovery(self, reports: Sequence[EndpointReport], *, now: float) -> None:
        """Every endpoint known now."""


@dataclass(frozen=True, slots=True)
class DiscoveryStatus:
    """How discovery is doing.

    Attributes:
        discoveries: those that succeeded.
        failures: those that failed.
        unmatched_rows: rows of statistics in the last one that fitted no node.
        dropped_rows: rows in the last one that were malformed or named an address that is not allowed.
        age: seconds since the table was last confirmed, None before the first time.
        stale: whether the table may be out of date: not confirmed for 60 s, or after 3 failures in a row.
        last_error: why the last one failed, or what was missing from it; empty when all is well.
    """

    discoveries: int
    failures: int
    unmatched_rows: int
    dropped_rows: int
    age: float | None
    stale: bool
    last_error: str


class Discovery:
    """Asks a source for endpoints and hands them to the router.

    Life: `start()` awaits the first discovery, then a background task repeats it every `interval` seconds,
    give or take a tenth, and sooner after `request_refresh()`. An answer that fails or is empty changes
    nothing: the last good table stays. A crash of the task is logged and followed by a restart, it never
    reaches a request. `aclose()` ends the task; start and close may come from different tasks of one loop.
    With a source that never changes there is no task.

    The synchronous methods are for the request path: they never block, and must be called in the loop that
    started this.

    Args:
        source: where endpoints come from; stays the caller's to close.
        router: takes them.
        interval: seconds between discoveries.
        timeout: seconds for one.
        clock: monotonic seconds, those of the router's `now`.
        random: returns floats in [0, 1), for jitter.
    """

    def __init__(
        self,
        source: EndpointSource,
        router: Table,
        *,
        interval: float = 10.0,
        timeout: float = 10.0,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._source = source
        self._router = router
        self._interval = interval
        self._timeout = timeout
        self._clock = clock
        self._random = random
        self._task = SupervisedTask(self._repeat, name="flashback: discovery", random=random, logger=_logger)
        self._flight: SingleFlight[None] | None = None
        self._running = False
        self._wake = asyncio.Event()
        self._buckets: set[str] = set()
        self._begun_at = float("-inf")
        self._resting_until = float("-inf")
        self._confirmed_at: float | None = None
        self._last = Discovered(())
        self._discoveries = self._failures = self._misses = 0
        self._last_error = ""

    async def start(self) -> None:
        """Discover once, then keep the table up to date in the background. Idempotent while running.

        Raises:
            DiscoveryError: the first discovery failed; as after a cancellation, nothing is left running.
        """
        if self._running:
            return
        if self._flight is None:
            self._flight = SingleFlight(self._discover, name="discovery")
            self._wake = asyncio.Event()  # of this loop
        flight = self._flight
        await _explained(flight)
        if self._flight is flight and not self._running:
            self._running = True
            if not self._source.is_constant:
                self._task.start()

    async def refresh(self) -> None:
        """Discover now. Callers that come meanwhile share the run; the cancellation of one spares the others.

        Raises:
            DiscoveryError: it failed; the table stays as it was.
            ClientClosedError: not started, or closed meanwhile.
        """
        if self._flight is None or not self._running:
            raise ClientClosedError("discovery is not running; start the client first")
        await _explained(self._flight)

    def request_refresh(self) -> None:
        """Discover soon, because requests fail: at most once per 0.5 s, less often while discovery fails.

        Returns at once. Without effect when not running, or when the source never changes.
        """
        if self._running:
            self._wake.set()

    def want_bucket(self, name: str) -> None:
        """Ask for figures of this S3 bucket from now on; a bucket seen for the first time is urgent.

        Returns at once; cheap enough for every request. At most 100 buckets are kept.
        """
        if name not in self._buckets and len(self._buckets) < BUCKETS_KEPT:
            self._buckets.add(name)
            self.request_refresh()

    def status(self) -> DiscoveryStatus:
        """How discovery is doing, at this moment."""
        age = None if self._confirmed_at is None else self._clock() - self._confirmed_at
        constant = self._source.is_constant
        return DiscoveryStatus(
            discoveries=self._discoveries,
            failures=self._failures,
            unmatched_rows=self._last.unmatched_rows,
            dropped_rows=self._last.dropped_rows,
            age=0.0 if constant and age is not None else age,
            stale=not constant and self._is_stale(age),
            last_error=self._last_error,
        )

    async def aclose(self) -> None:
        """Cancel what runs and wait for its end. Idempotent; `start()` works again afterwards."""
        self._running = False
        flight, self._flight = self._flight, None
        await self._task.aclose()
        if flight is not None:
            await flight.aclose()

    async def _repeat(self) -> None:
        flight = self._flight
        assert flight is not None
        while True:
            await self._pause()
            # A failure is counted and logged where it happens; a bug goes on to the supervisor.
            with suppress(FlashbackError):
                await flight.join()

    async def _pause(self) -> None:
        """Wait until the next discovery is due, or urgent and not too soon."""
        interval = self._interval * (1.0 + JITTER * (2.0 * self._random() - 1.0))
        spacing = URGENT_SPACING * 2.0 ** min(self._misses, 16)
        if self._misses:
            spacing *= 1.0 - self._random() / 2.0
        begun_at = None
        while begun_at != self._begun_at:  # somebody's refresh meanwhile makes the wait begin anew
            begun_at = self._begun_at
            soonest = max(begun_at + min(spacing, interval), self._resting_until)
            await asyncio.sleep(max(0.0, soonest - self._clock()))
            due = max(begun_at + interval, self._resting_until)
            with suppress(TimeoutError):
                async with asyncio.timeout(due - self._clock()):
                    await self._wake.wait()

    async def _discover(self) -> None:
        self._begun_at = self._clock()
        self._wake.clear()  # whoever asked until now is served by this run
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._asked()
            self._router.apply_discovery(found.reports, now=self._clock())
        except TimeoutError as error:
            late = DiscoveryError(f"discovery took longer than {self._timeout:g} s; see FB_DISCOVERY_TIMEOUT")
            self._missed(str(late))
            raise late from error
        except FlashbackError as error:
            self._missed(str(error), error.retry_after)
            raise
        except Exception as error:
            self._missed(f"discovery crashed: {type(error).__name__}")
            raise
        self._confirmed(found)

    async def _asked(self) -> Discovered:
        found = await self._source.discover(frozenset(self._buckets))
        if not found.reports:
            raise DiscoveryError("discovery found no endpoint; the last table is better than none")
        return found

    def _missed(self, reason: str, retry_after: float | None = None) -> None:
        self._failures += 1
        self._misses += 1
        self._last_error = reason
        self._resting_until = self._clock() + (retry_after or 0.0)
        if self._confirmed_at is not None and self._misses == 1:
            _logger.warning("discovery failed, the last table of endpoints stays: %s", reason)
        if self._confirmed_at is not None and self._misses == STALE_MISSES:
            _logger.warning("discovery keeps failing, the table of endpoints may be out of date: %s", reason)

    def _confirmed(self, found: Discovered) -> None:
        if self._misses and self._confirmed_at is not None:
            _logger.info("discovery works again after %d failures", self._misses)
        if found.degraded and not self._last.degraded:
            _logger.warning("discovery works in part: %s", found.degraded)
        elif self._last.degraded and not found.degraded:
            _logger.info("discovery is complete again")
        if found.unmatched_rows and not self._last.unmatched_rows:
            _logger.warning("%d rows of statistics name no listed node", found.unmatched_rows)
        self._discoveries += 1
        self._misses = 0
        self._last_error = found.degraded
        self._last = found
        self._confirmed_at = self._clock() - found.age
        self._task.thriving()

    def _is_stale(self, age: float | None) -> bool:
        limit = max(STALE_AGE, 2.0 * self._interval)  # a slower rhythm of the caller's choice is no fault
        return self._misses >= STALE_MISSES or (age is not None and age > limit)


async def _explained(flight: SingleFlight[None]) -> None:
    """Join a discovery; a bug in it reaches the caller as a failed discovery, too."""
    try:
        await flight.join()
    except FlashbackError:
        raise
    except Exception as error:
        raise DiscoveryError(f"discovery crashed: {type(error).__name__}; the cause is attached") from error


__all__ = ["Discovery", "DiscoveryStatus", "Table"]
