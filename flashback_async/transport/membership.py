"""What a discovery changes, told to everybody who has to know: the router first, then the pool of clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flashback_async.routing import Endpoint, EndpointReport, Router
    from flashback_async.transport.monitor import Monitor


class Membership:
    """Receives every discovery and every probe. Called on the client's loop.

    Attributes:
        on_join: called when an endpoint is new, once there is somebody to tell.
    """

    def __init__(
        self, router: Router, monitor: Monitor, *, on_change: Callable[[Iterable[Endpoint]], None]
    ) -> None:
        self._router = router
        self._monitor = monitor
        self._on_change = on_change
        self._known: frozenset[Endpoint] = frozenset()
        self.on_join: Callable[[], None] | None = None

    def apply_discovery(self, reports: Sequence[EndpointReport], *, now: float) -> None:
        """Swap the table, make clients for those who joined, and say so in the log."""
        self._router.apply_discovery(reports, now=now)
        now_known = frozenset(report.endpoint for report in reports)
        self._on_change(now_known)
        if self.on_join is not None and not now_known <= self._known:
            self.on_join()
        self._known = now_known
        self._monitor.drain()

    def record_probe(self, endpoint_id: str, rtt: float | None, *, now: float) -> None:
        """Pass on the round trip to an endpoint in seconds; None if the probe failed."""
        self._router.record_probe(endpoint_id, rtt, now=now)
