"""Counts what happens, and logs changes of state once. The only place where routing events become text."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from flashback_async.routing import BreakerChanged, BreakerState, EndpointJoined, EndpointLeft, RateLearned

if TYPE_CHECKING:
    from flashback_async.routing import Event, Router

logger = logging.getLogger("flashback_async")


class Monitor:
    """Counters of one client. Changed on its loop only; reading them is always safe.

    Attributes:
        operations: operations that ended.
        failed: operations that raised something other than the service's own answer or a cancellation.
        in_flight: operations running now.
        attempts: attempts sent.
        retries: attempts after a failed one of their operation.
        failovers: retries that moved to another endpoint, per cause.
        hedges: attempts sent beside one that was late.
        hedges_won: hedges whose answer was the one that counted.
        resumed: bodies that went on elsewhere.
        lost_uploads: multipart uploads that may be open, and whose ids nobody knows.
        bytes_read: body bytes handed on.
        bytes_written: body bytes of successful uploads.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self.operations = 0
        self.failed = 0
        self.in_flight = 0
        self.attempts = 0
        self.retries = 0
        self.failovers: Counter[str] = Counter()
        self.hedges = 0
        self.hedges_won = 0
        self.resumed = 0
        self.lost_uploads = 0
        self.bytes_read = 0
        self.bytes_written = 0

    def drain(self) -> None:
        """Log what changed in the router since the last call."""
        for event in self._router.drain_events():
            level, text = _told(event)
            logger.log(level, "%s", text)


def _told(event: Event) -> tuple[int, str]:
    match event:
        case EndpointJoined(endpoint_id, url):
            return logging.INFO, f"endpoint {endpoint_id} joined at {url}"
        case EndpointLeft(endpoint_id, url):
            return logging.INFO, f"endpoint {endpoint_id} left, it was at {url}"
        case BreakerChanged(endpoint_id, _, BreakerState.OPEN, reason, retry_in):
            text = f"endpoint {endpoint_id} is out for {retry_in:.1f} s: {reason}"
            return logging.WARNING, text
        case BreakerChanged(endpoint_id, _, BreakerState.HALF_OPEN):
            return logging.DEBUG, f"endpoint {endpoint_id} is on trial"
        case BreakerChanged(endpoint_id):
            return logging.INFO, f"endpoint {endpoint_id} is back"
        case RateLearned(endpoint_id, rate, retry_after):
            wish = "" if retry_after is None else f", and to stay away for {retry_after:g} s"
            return logging.WARNING, f"endpoint {endpoint_id} asks for less: {rate:.1f} requests/s{wish}"
