"""What a verb asks for: one S3 operation with its parameters, the time it may take, and how far it got."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flashback_async.errors import FailedAttempt
from flashback_async.transport.outcomes import may_have_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashback_async.errors import OperationError
    from flashback_async.routing import OperationKind
    from flashback_async.transport.upload import Upload

# Seconds; a rate limit is waited for at least so long. A rounding error's worth of waiting may be over before
# the clock has moved, and would be waited for again and again.
SHORTEST_WAIT = 0.001

# Bytes per second at which a store copies, or puts parts together, at least; rclone moves every byte.
_STORE_RATE = 32 * 1_024 * 1_024
# Bytes that one CopyObject moves at most: S3's rule.
_MOST_COPIED = 5 * 1_024**3

# A listing is not among them: it takes longer than most reads, and would be late as a matter of course.
_HEDGEABLE = frozenset({"GetObject", "HeadObject"})
# What leaves another object, or none, under a key. A part or a tag does not: who took it may lack the object.
_REPLACES = frozenset({"CompleteMultipartUpload", "CopyObject", "DeleteObject", "PutObject"})


@dataclass(slots=True)
class Operation:
    """One S3 operation. Not to be changed; frozen, it would cost three times as much, with every request.

    Attributes:
        name: in S3's spelling, such as `GetObject`.
        kind: read or write.
        bucket: bucket name, None where the operation has none.
        key: object key, None where the operation has none.
        parameters: in boto's names, without the body.
        upload: the body to send, None where there is none.
        streamed: whether the answer's body is handed on unread.
        size: bytes of the body that moves, where known; weighs in the pick from 1 MiB on.
        patience: seconds to the first byte of the answer beyond the client's first-byte timeout, where the
            store has more to do for it than usual; see `work_of`. A deadline cuts it short so far that
            another attempt has its first byte.
    """

    name: str
    kind: OperationKind
    bucket: str | None = None
    key: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    upload: Upload | None = None
    streamed: bool = False
    size: int | None = None
    patience: float = 0.0

    @property
    def is_replayable(self) -> bool:
        """Whether a failed attempt may be followed by another one."""
        return self.upload is None or self.upload.is_replayable

    @property
    def is_hedgeable(self) -> bool:
        """Whether a second attempt may run beside one that is late."""
        return self.name in _HEDGEABLE

    def replaced_keys(self) -> list[str]:
        """The keys under which there is another object than before, or none, once it was carried out."""
        if self.key is not None:
            return [self.key] if self.name in _REPLACES else []
        doomed = self.parameters.get("Delete")
        rows = doomed.get("Objects") if self.name == "DeleteObjects" and isinstance(doomed, dict) else None
        return [row["Key"] for row in rows or ()]


def work_of(size: int | None) -> float:
    """Seconds that a store may work by itself on an object of so many bytes; None: nobody knows how many."""
    return (_MOST_COPIED if size is None else size) / _STORE_RATE


@dataclass(slots=True)
class Deadline:
    """One absolute moment for a whole operation; every wait in it derives from this. See `Operation`.

    Attributes:
        at: seconds on the client's clock, None for never.
    """

    at: float | None = None

    @classmethod
    def after(cls, seconds: float | None, *, now: float) -> Deadline:
        """The moment `seconds` from `now`; None for never."""
        return cls(None if seconds is None else now + seconds)

    def remaining(self, now: float) -> float:
        """Seconds left; infinite where there is no deadline, negative once it has passed."""
        return float("inf") if self.at is None else self.at - now

    def within(self, seconds: float, *, now: float) -> float:
        """The moment `seconds` from `now`, or the deadline if that comes first."""
        moment = now + seconds
        return moment if self.at is None else min(moment, self.at)


class Journey:
    """What one operation has been through so far. A resumed body continues the one of its first answer.

    Attributes:
        deadline: when the caller's patience ends.
        pin: id of the only endpoint to use, None for any.
        may_hedge: whether a late attempt may be raced by a second one, where the client does that.
        attempts_left: attempts that may still be made; progress of a body refills it.
        tried: ids of endpoints that failed it.
        failures: every failed attempt.
        hops: failures that the next delay counts.
        paid: what its retries have taken from the shared budget.
        sent: attempts made.
        unanswered: ids of endpoints, one per attempt, that may have carried it out and lost the answer.
    """

    __slots__ = (
        "attempts_left",
        "deadline",
        "failures",
        "hops",
        "may_hedge",
        "paid",
        "pin",
        "sent",
        "tried",
        "unanswered",
    )

    # By hand: a dataclass with three factories takes twice as long to make, with every request.
    def __init__(
        self, deadline: Deadline, attempts_left: int, *, pin: str | None = None, may_hedge: bool = False
    ) -> None:
        self.deadline = deadline
        self.attempts_left = attempts_left
        self.pin = pin
        self.may_hedge = may_hedge
        self.tried: set[str] = set()
        self.failures: list[FailedAttempt] = []
        self.hops = 0
        self.paid = 0
        self.sent = 0
        self.unanswered: list[str] = []

    def note(self, error: OperationError, endpoint_id: str, elapsed: float) -> None:
        """An attempt, or the body of its answer, failed after `elapsed` seconds."""
        error.endpoint = error.endpoint or endpoint_id
        self.failures.append(FailedAttempt(endpoint_id, elapsed, f"{type(error).__name__}: {error.reason}"))
        self.tried.add(endpoint_id)
        if may_have_run(error):
            self.unanswered.append(endpoint_id)

    def renew(self, attempts: int, *, hops: bool) -> None:
        """There was progress: what fails from here on is new. `hops`: the delays go on growing."""
        self.attempts_left = attempts
        self.tried.clear()
        if not hops:
            self.hops = 0
