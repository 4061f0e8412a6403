"""What `Router.acquire` returns: an attempt at one endpoint, or the advice to wait."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flashback_async.routing.breaker import Permit
    from flashback_async.routing.endpoint import Endpoint, OperationKind
    from flashback_async.routing.record import EndpointRecord


class AttemptState(Enum):
    """An attempt is settled exactly once, and finished at most once after that."""

    OPEN = "open"
    SETTLED = "settled"
    STREAMING = "streaming"
    FINISHED = "finished"


# For what runs with every request; see `outcome`.
OPEN: Final = AttemptState.OPEN
SETTLED: Final = AttemptState.SETTLED
STREAMING: Final = AttemptState.STREAMING
FINISHED: Final = AttemptState.FINISHED


class Attempt:
    """One request to one endpoint, from the pick to its end. The router's; callers read `endpoint`.

    Attributes:
        endpoint: whom to ask.
        bucket: S3 bucket name, None where the operation has none.
        kind: read or write.
        started: when it was picked, in the seconds of the router's callers.
        is_quick: whether its first byte tells of latency: reads, and bodies small enough.
    """

    __slots__ = ("bucket", "endpoint", "is_quick", "kind", "permit", "record", "started", "state")

    def __init__(  # noqa: PLR0917  # made with every request; keywords would cost a tenth of it
        self,
        record: EndpointRecord,
        permit: Permit,
        bucket: str | None,
        kind: OperationKind,
        is_quick: bool,  # noqa: FBT001  # as above
        started: float,
    ) -> None:
        self.record = record
        self.permit = permit
        self.endpoint: Endpoint = record.report.endpoint
        self.bucket = bucket
        self.kind = kind
        self.is_quick = is_quick
        self.started = started
        self.state: AttemptState = OPEN

    def __repr__(self) -> str:
        return f"<Attempt {self.kind.value} at {self.endpoint.id}, {self.state.value}>"


@dataclass(frozen=True, slots=True)
class Wait:
    """Every endpoint that could serve is at its rate limit. Consumes no attempt.

    Attributes:
        seconds: until the first of them may be asked again.
    """

    seconds: float
