"""Frozen views of the table. Taking one changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashback_async.routing.endpoint import OperationKind, unlisted

if TYPE_CHECKING:
    from flashback_async.routing.breaker import BreakerState
    from flashback_async.routing.endpoint import Endpoint, EndpointStatus
    from flashback_async.routing.record import EndpointRecord


@dataclass(frozen=True, slots=True)
class EndpointSnapshot:
    """One endpoint at one moment. Times are seconds, throughput is bytes per second.

    Attributes:
        endpoint: whom it is about.
        status: what discovery says.
        breaker: state of its breaker.
        breaker_reason: why it last opened, empty if it never did.
        read_latency: expected first byte of a read, None while unknown.
        write_latency: expected first byte of a small write, None while unknown.
        read_throughput: of large bodies read, None while unknown.
        in_flight: requests waiting for their first byte.
        streaming: bodies being read.
        requests: attempts settled, cancelled ones excepted.
        failures: faults and timeouts among them, and bodies that broke.
        throttled: 429s among them.
        opened: how often the breaker opened.
        retry_in: until an open breaker admits a trial, or a rate limit a request; 0 if it is open to calls.
        rate_limit: learned requests per second, None while there is no limit.
        probe_rtt: last round trip to the node itself, None if it was not probed or did not answer.
        probed_at: when it was last probed, None if never.
    """

    endpoint: Endpoint
    status: EndpointStatus
    breaker: BreakerState
    breaker_reason: str
    read_latency: float | None
    write_latency: float | None
    read_throughput: float | None
    in_flight: int
    streaming: int
    requests: int
    failures: int
    throttled: int
    opened: int
    retry_in: float
    rate_limit: float | None
    probe_rtt: float | None
    probed_at: float | None

    @classmethod
    def of(cls, record: EndpointRecord, now: float) -> EndpointSnapshot:
        """Freeze what is known of one endpoint at `now`."""
        breaker = record.breaker
        closed_for = 0.0 if breaker.admits(now) else max(0.0, breaker.retry_at - now)
        return cls(
            endpoint=record.report.endpoint,
            status=record.report.status,
            breaker=breaker.state,
            breaker_reason=breaker.reason,
            read_latency=_expected(record, OperationKind.READ, now),
            write_latency=_expected(record, OperationKind.WRITE, now),
            read_throughput=record.throughput(OperationKind.READ),
            in_flight=record.in_flight,
            streaming=record.streaming,
            requests=record.requests,
            failures=record.failures,
            throttled=record.throttled,
            opened=breaker.opened,
            retry_in=max(closed_for, record.limiter.wait(now)),
            rate_limit=record.limiter.rate,
            probe_rtt=record.probe_rtt,
            probed_at=record.probed_at,
        )


def _expected(record: EndpointRecord, kind: OperationKind, now: float) -> float | None:
    floor, excess, _ = record.expected(None, kind, now)
    return None if floor is None else floor + excess


@dataclass(frozen=True, slots=True)
class RouterSnapshot:
    """The whole table at one moment.

    Attributes:
        endpoints: in the order of the last discovery.
        in_flight: attempts acquired and not settled, of all endpoints, those that left the table included.
        streaming: bodies being read, likewise.
        retry_budget: tokens left in the budget that all endpoints share.
        hedge_budget: hedges that may be sent now.
        discovered_at: when the table was last replaced, None before the first time.
    """

    endpoints: tuple[EndpointSnapshot, ...]
    in_flight: int
    streaming: int
    retry_budget: int
    hedge_budget: int
    discovered_at: float | None

    def named(self, endpoint_id: str) -> Endpoint:
        """The endpoint with that id.

        Raises:
            NoEndpointAvailableError: it is not in the table.
        """
        known = {row.endpoint.id: row.endpoint for row in self.endpoints}
        if endpoint_id not in known:
            raise unlisted(endpoint_id, known)
        return known[endpoint_id]
