"""From what the parts know to the public values that `nodes()` and `stats()` return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.models import ClientStats, EndpointView

if TYPE_CHECKING:
    from flashback_async.routing import RouterSnapshot
    from flashback_async.transport.discovery import DiscoveryStatus
    from flashback_async.transport.monitor import Monitor


def endpoint_views(snapshot: RouterSnapshot) -> tuple[EndpointView, ...]:
    """Every endpoint of a snapshot, in its order."""
    return tuple(
        EndpointView(
            id=row.endpoint.id,
            url=row.endpoint.url,
            region=row.endpoint.region,
            status=row.status.name,
            breaker=row.breaker.value,
            latency=row.read_latency,
            write_latency=row.write_latency,
            throughput=row.read_throughput,
            in_flight=row.in_flight,
            streaming=row.streaming,
            requests=row.requests,
            failures=row.failures,
            throttled=row.throttled,
            opened=row.opened,
            retry_in=row.retry_in,
        )
        for row in snapshot.endpoints
    )


def client_stats(
    monitor: Monitor,
    discovery: DiscoveryStatus,
    snapshot: RouterSnapshot,
    *,
    leases: int,
    loop_lag: float,
) -> ClientStats:
    """The counters of one client, and the gauges of now."""
    return ClientStats(
        operations=monitor.operations,
        failed=monitor.failed,
        attempts=monitor.attempts,
        retries=monitor.retries,
        failovers=dict(monitor.failovers),
        hedges=monitor.hedges,
        hedges_won=monitor.hedges_won,
        resumed=monitor.resumed,
        lost_uploads=monitor.lost_uploads,
        bytes_read=monitor.bytes_read,
        bytes_written=monitor.bytes_written,
        leases=leases,
        in_flight=monitor.in_flight,
        retry_budget=snapshot.retry_budget,
        hedge_budget=snapshot.hedge_budget,
        table_age=discovery.age,
        table_stale=discovery.stale,
        discoveries=discovery.discoveries,
        discovery_failures=discovery.failures,
        unmatched_rows=discovery.unmatched_rows,
        dropped_rows=discovery.dropped_rows,
        loop_lag=loop_lag,
    )
