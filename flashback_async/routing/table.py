"""The table: every endpoint known now, with its record. A new discovery makes a new table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.errors import NoEndpointAvailableError
from flashback_async.routing import catalog
from flashback_async.routing.attempt import Wait
from flashback_async.routing.breaker import BreakerState
from flashback_async.routing.endpoint import unlisted
from flashback_async.routing.events import EndpointJoined, EndpointLeft
from flashback_async.routing.record import EndpointRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flashback_async.routing.endpoint import EndpointReport
    from flashback_async.routing.events import Event
    from flashback_async.routing.policy import RoutingPolicy


class Table:
    """Membership at one moment. The router swaps it whole; which endpoints it has never changes.

    Attributes:
        records: endpoint id -> record, in the order of the discovery.
        rows: the records alone.
        discovered_at: when the discovery was applied, None for the table of before the first one.
    """

    __slots__ = ("discovered_at", "records", "rows")

    def __init__(self, records: Mapping[str, EndpointRecord], discovered_at: float | None = None) -> None:
        self.records = records
        self.rows = tuple(records.values())
        self.discovered_at = discovered_at

    def updated(
        self,
        news: Iterable[EndpointReport],
        *,
        now: float,
        policy: RoutingPolicy,
        random: Callable[[], float],
    ) -> tuple[Table, list[Event]]:
        """The table after a discovery, and what changed: survivors keep their records, others start anew."""
        change = catalog.updated({key: record.report for key, record in self.records.items()}, news)
        anew = {report.endpoint.id for report in change.joined}
        records: dict[str, EndpointRecord] = {}
        for key, report in change.reports.items():
            if key in anew:
                records[key] = EndpointRecord(report, policy, random)
            else:
                records[key] = self.records[key]
                records[key].report = report
        left = [EndpointLeft(report.endpoint.id, report.endpoint.url) for report in change.left]
        joined = [EndpointJoined(report.endpoint.id, report.endpoint.url) for report in change.joined]
        return Table(records, now), [*left, *joined]

    def holds(self, record: EndpointRecord) -> bool:
        """Whether that very record is still in the table: neither gone nor succeeded by another URL."""
        return self.records.get(record.report.endpoint.id) is record

    def failing(self, record: EndpointRecord, now: float) -> int:
        """How many endpoints fail at the moment, `record` included."""
        return 1 + sum(other.failing_until > now for other in self.rows if other is not record)

    def all(self) -> tuple[EndpointRecord, ...]:
        """Every record.

        Raises:
            NoEndpointAvailableError: there is none.
        """
        if not self.rows:
            raise NoEndpointAvailableError(
                "the table of endpoints is empty; check FB_ENDPOINTS, or ask the control plane with refresh()"
            )
        return self.rows

    def only(self, endpoint_id: str, now: float) -> EndpointRecord | Wait:
        """The one record with that id, or how long its rate limit has a request wait.

        Raises:
            NoEndpointAvailableError: the id is not in the table.
        """
        record = self.records.get(endpoint_id)
        if record is None:
            raise unlisted(endpoint_id, self.records)
        wait = record.limiter.wait(now)
        return Wait(wait) if wait > 0 else record

    def preferred(
        self, endpoint_id: str, bucket: str | None, now: float, policy: RoutingPolicy
    ) -> EndpointRecord | Wait | None:
        """That record, or how long its rate limit has a request wait; None: it is not to be used now.

        It is while it is known and serves the bucket, its breaker is closed, and the wait is a short one.
        """
        record = self.records.get(endpoint_id)
        if (
            record is None
            or not record.report.serves(bucket)
            or record.breaker.state is not BreakerState.CLOSED
        ):
            return None
        wait = record.limiter.wait(now)
        if wait > policy.preference_wait:
            return None
        return Wait(wait) if wait > 0 else record
