"""What one endpoint takes for one kind of operation: over all buckets, and for each bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.routing.latency import LatencyFigure, ThroughputFigure

if TYPE_CHECKING:
    from flashback_async.routing.policy import RoutingPolicy


class Figures:
    """Latency over all buckets and per bucket, and throughput, of one (endpoint, kind).

    Most applications use one bucket. As long as all that was learned comes from a single one, its figure is
    the endpoint's: nothing is learned twice. The first other bucket makes a copy of it.

    Attributes:
        total: first bytes over all buckets.
        throughput: of large bodies, over all buckets.
        is_mixed: whether a bucket may have a figure of its own.
    """

    __slots__ = ("_by_bucket", "_policy", "_sole", "_total_alone", "is_mixed", "throughput", "total")

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self.total = LatencyFigure(policy)
        self._total_alone = (self.total,)
        self.throughput = ThroughputFigure(policy)
        self.is_mixed = False
        self._sole: str | None = None
        # In the order of their last use: the first one is forgotten first.
        self._by_bucket: dict[str, LatencyFigure] = {}

    @property
    def latencies(self) -> tuple[LatencyFigure, ...]:
        """Every latency figure."""
        return (self.total, *self._by_bucket.values())

    def latency_of(self, bucket: str | None) -> LatencyFigure:
        """The bucket's own figure once it has enough outcomes, else that of the endpoint."""
        if bucket is not None and self._by_bucket:
            own = self._by_bucket.get(bucket)
            if own is not None and own.outcomes >= self._policy.bucket_outcomes and own.floor is not None:
                return own
        return self.total

    def touched(self, bucket: str | None) -> tuple[LatencyFigure, ...]:
        """The figures that learn from an answer about `bucket`."""
        if not self.is_mixed:
            if bucket is not None and bucket == self._sole:
                return self._total_alone
            if bucket is not None and self._sole is None:
                self._sole = bucket
                return self._total_alone
            self._separate()
        if bucket is None:
            return self._total_alone
        return (self.total, self._own(bucket))

    def _separate(self) -> None:
        self.is_mixed = True
        if self._sole is not None:
            self._by_bucket[self._sole] = self.total.copy()

    def _own(self, bucket: str) -> LatencyFigure:
        figure = self._by_bucket.pop(bucket, None)
        if figure is None:
            figure = LatencyFigure(self._policy)
            while self._by_bucket and len(self._by_bucket) >= self._policy.bucket_limit:
                del self._by_bucket[next(iter(self._by_bucket))]
        self._by_bucket[bucket] = figure
        return figure
