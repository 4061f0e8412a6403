"""nginx's request limiter: a leaky bucket per client address, decided synchronously."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashback_async.sandbox.behaviour import RateLimit


class LeakyBuckets:
    """One bucket per client; the arithmetic of nginx's `ngx_http_limit_req_module` with `nodelay`."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._excess: dict[str, tuple[float, float]] = {}

    def admit(self, client: str, now: float) -> bool:
        """Whether a request at `now` (seconds) passes; a refused one adds nothing to the bucket."""
        before = self._excess.get(client)
        if before is None:
            self._excess[client] = (0.0, now)
            return True
        excess, since = before
        excess = max(0.0, excess - self._limit.rate * (now - since) + 1)
        if excess > self._limit.burst:
            return False
        self._excess[client] = (excess, now)
        return True
