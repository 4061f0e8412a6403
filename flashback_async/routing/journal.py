"""What changed in the table and was not told yet."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from flashback_async.routing.breaker import BreakerState
from flashback_async.routing.events import BreakerChanged, Event, RateLearned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flashback_async.routing.record import EndpointRecord

# Nobody has drained for a long time by then; the oldest changes are the least interesting.
_EVENTS_KEPT = 1_000


class Journal:
    """The events since the last `drain`, oldest first. Changed only under the router's lock."""

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=_EVENTS_KEPT)

    def extend(self, events: Iterable[Event]) -> None:
        """Endpoints joined and left."""
        self._events.extend(events)

    def breaker_moved(self, record: EndpointRecord, before: BreakerState, now: float) -> None:
        """The breaker of an endpoint left the state `before`."""
        breaker = record.breaker
        opened = breaker.state is BreakerState.OPEN
        self._events.append(
            BreakerChanged(
                record.report.endpoint.id,
                before,
                breaker.state,
                breaker.reason if opened else "",
                max(0.0, breaker.retry_at - now) if opened else 0.0,
            )
        )

    def rate_learned(self, record: EndpointRecord, retry_after: float | None) -> None:
        """An endpoint asked for less for the first time."""
        rate = record.limiter.rate
        assert rate is not None, "that is what was learned"
        self._events.append(RateLearned(record.report.endpoint.id, rate, retry_after))

    def drain(self) -> list[Event]:
        """The events, which are forgotten here."""
        events = list(self._events)
        self._events.clear()
        return events
