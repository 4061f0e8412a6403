"""What a discovery changes, told to everybody who has to know: the router first, then the pool of clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flashback_async.routing import Endpoint, EndpointReport, Router
    from flashback_async.transport.monitor import Monitor


class Membership:
    """Receives every discovery and every probe. Called on the client's loop."""

    def __init__(
        self, router: Router, monitor: Monitor, *, on_change: Callable[[Iterable[Endpoint]], None]
    ) -> None:
        self._router = router
        self._monitor = monitor
        self._on_change = on_change

    def apply_discovery(self, reports: Sequence[EndpointReport], *, now: float) -> None:
        """Swap the table, make clients for those who joined, and say so in the log."""
        self._router.apply_discovery(reports, now=now)
        self._on_change([report.endpoint for report in reports])
        self._monitor.drain()

    def record_probe(self, endpoint_id: str, rtt: float | None, *, now: float) -> None:
        """Pass on the round trip to an endpoint in seconds; None if the probe failed."""
        self._router.record_probe(endpoint_id, rtt, now=now)
