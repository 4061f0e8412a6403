"""An endpoint lent to a caller's own client, with the permit and the bookkeeping of one attempt."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashback_async.errors import DeadlineExceededError, ThrottledError
from flashback_async.routing import Outcome, Wait
from flashback_async.transport.operation import SHORTEST_WAIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from flashback_async.routing import Endpoint, OperationKind, Router
    from flashback_async.transport.operation import Deadline


@dataclass(slots=True)
class EndpointLease:
    """What `lease_endpoint` hands out. The endpoint is yours to call until the block ends.

    Attributes:
        endpoint: whom to call.
        outcome: how it went, if the caller knows better than the way the block ends; set it inside the block.
        first_byte: seconds to the headers, if the caller measured them; else the time of the whole block
            counts for nothing.
    """

    endpoint: Endpoint
    outcome: Outcome | None = None
    first_byte: float | None = None


@asynccontextmanager
async def lend(
    router: Router,
    bucket: str | None,
    kind: OperationKind,
    *,
    tried: frozenset[str],
    deadline: Deadline,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    classify: Callable[[BaseException], Outcome],
) -> AsyncIterator[EndpointLease]:
    """Acquire an endpoint, and settle it with how the block ends."""
    while isinstance(choice := router.acquire(bucket, kind, tried, now=clock()), Wait):
        if choice.seconds >= deadline.remaining(clock()):
            raise ThrottledError(
                f"every endpoint is at its rate limit for another {choice.seconds:.2f} s",
                operation="lease_endpoint",
                bucket=bucket,
                retry_after=choice.seconds,
            )
        await sleep(max(SHORTEST_WAIT, choice.seconds))
    lease = EndpointLease(choice.endpoint)
    outcome = Outcome.CANCELLED
    try:
        yield lease
        outcome = Outcome.SUCCESS
    except DeadlineExceededError:
        raise
    except Exception as error:
        outcome = classify(error)
        raise
    finally:
        settled = outcome if lease.outcome is None else lease.outcome
        router.settle(choice, settled, now=clock(), first_byte=lease.first_byte)
