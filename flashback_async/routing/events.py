"""State changes that the router collects for the shell to log and count. Each happens once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashback_async.routing.breaker import BreakerState


@dataclass(frozen=True, slots=True)
class EndpointJoined:
    """An endpoint entered the table, or came back under another URL."""

    endpoint_id: str
    url: str


@dataclass(frozen=True, slots=True)
class EndpointLeft:
    """An endpoint left the table; its statistics went with it."""

    endpoint_id: str
    url: str


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """A breaker moved.

    Attributes:
        endpoint_id: whose breaker.
        old: state before.
        new: state after.
        reason: why it opened, in words; empty otherwise.
        retry_in: seconds until a trial is admitted; 0 unless it opened.
    """

    endpoint_id: str
    old: BreakerState
    new: BreakerState
    reason: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class RateLearned:
    """An endpoint asked for less; requests to it are limited from now on.

    Attributes:
        endpoint_id: whose limit.
        rate: requests per second.
        retry_after: seconds that the endpoint asked us to stay away, None if it did not.
    """

    endpoint_id: str
    rate: float
    retry_after: float | None


Event = EndpointJoined | EndpointLeft | BreakerChanged | RateLearned
