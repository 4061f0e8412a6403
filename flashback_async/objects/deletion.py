"""DeleteObjects: up to 1,000 keys with one request, and what became of each of them."""

from __future__ import annotations

import re
from copy import copy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from flashback_async.errors import FlashbackError, IntegrityError, ObjectNotFoundError, OperationError
from flashback_async.models import DeletedObject
from flashback_async.objects.info import text
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Operation
from flashback_async.transport.outcomes import may_go_elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flashback_async.objects.runner import Runner
    from flashback_async.routing import Endpoint
    from flashback_async.transport.executor import Answered

# What S3 takes with one request at most.
BATCH: Final = 1_000
# Characters that XML 1.0 cannot carry: one such key would spoil the request for all others.
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class Doomed(NamedTuple):
    """What is to be deleted: a key, or one version of it."""

    key: str
    version_id: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether XML can carry the key."""
        return _NOT_XML.search(self.key) is None


async def deleted(
    runner: Runner,
    bucket: str,
    batch: Sequence[Doomed],
    *,
    timeout: float | None,
    endpoint: Endpoint | str | None,
    retry: bool,
) -> dict[Doomed, DeletedObject | FlashbackError]:
    """Delete a batch; what became of each.

    Keys that were throttled, or that the service failed on, are asked for again, as an operation would be.

    Raises:
        OperationError: the request as a whole failed.
    """
    found: dict[Doomed, DeletedObject | FlashbackError] = {}
    left = list(dict.fromkeys(batch))
    journey = runner.journey(timeout=timeout, endpoint=endpoint, retry=retry, streamed=False)
    operation = _operation(bucket, left)
    async with runner.running(operation, journey.deadline):
        while True:
            started = runner.executor.clock()
            try:
                answered = await runner.executor.call(operation, journey)
            except FlashbackError as error:
                if not found:
                    raise
                # The others are gone already.
                return {**found, **dict.fromkeys(left, error)}
            told = _told(bucket, answered)
            found |= {doomed: told.get(doomed) or _untold(bucket, doomed, answered) for doomed in left}
            left = [doomed for doomed in left if _is_worth_another(found[doomed])]
            if not left:
                return found
            # Throttling goes first: it asks for less from then on.
            cause = next((one for one in map(found.get, left) if _is_throttled(one)), found[left[0]])
            assert isinstance(cause, OperationError), "it is worth another attempt"
            # A copy: what is raised at the end is completed with the whole request's key, which is none.
            cause = copy(cause)
            operation = _operation(bucket, left)
            journey.note(cause, answered.endpoint_id, runner.executor.clock() - started)
            try:
                await runner.executor.recover(operation, journey, cause)
            except OperationError:
                return found


def is_gone(refusal: ObjectNotFoundError) -> bool:
    """Whether a 404 to the deletion of one object means that there is none: some stores say so, S3 does not.

    Where an earlier attempt failed, it may have been carried out, and only its answer was lost.
    """
    return refusal.code != "NoSuchBucket" and (refusal.code == "NoSuchKey" or bool(refusal.attempts))


def _operation(bucket: str, batch: Sequence[Doomed]) -> Operation:
    rows = [
        {"Key": doomed.key}
        if doomed.version_id is None
        else {"Key": doomed.key, "VersionId": doomed.version_id}
        for doomed in batch
    ]
    return Operation(
        "DeleteObjects", OperationKind.WRITE, bucket, parameters={"Delete": {"Objects": rows, "Quiet": False}}
    )


def _told(bucket: str, answered: Answered) -> dict[Doomed, DeletedObject | FlashbackError]:
    # boto is known once a client has started, and not needed before.
    from flashback_async.transport.s3_errors import from_row  # noqa: PLC0415

    found: dict[Doomed, DeletedObject | FlashbackError] = {}
    for row, doomed in _rows(answered.fields, "Deleted"):
        mark = text(row, "DeleteMarkerVersionId") if row.get("DeleteMarker") else None
        is_new_mark = mark is not None and doomed.version_id is None
        found[doomed] = DeletedObject(bucket, doomed.key, doomed.version_id, mark if is_new_mark else None)
    for row, doomed in _rows(answered.fields, "Errors"):
        error = from_row(
            text(row, "Code") or "", text(row, "Message") or "", OperationKind.WRITE, now=datetime.now(UTC)
        )
        error.operation, error.bucket, error.key = "DeleteObjects", bucket, doomed.key
        error.endpoint = answered.endpoint_id
        is_done = isinstance(error, ObjectNotFoundError) and is_gone(error)
        found[doomed] = DeletedObject(bucket, doomed.key, doomed.version_id, None) if is_done else error
    return found


def _rows(fields: Mapping[str, object], name: str) -> Iterator[tuple[Mapping[str, object], Doomed]]:
    rows = fields.get(name)
    for row in rows if isinstance(rows, list) else []:
        if (key := text(row, "Key")) is not None:
            yield row, Doomed(key, text(row, "VersionId"))


def _untold(bucket: str, doomed: Doomed, answered: Answered) -> IntegrityError:
    return IntegrityError(
        "the answer does not say what became of it",
        operation="DeleteObjects",
        bucket=bucket,
        key=doomed.key,
        endpoint=answered.endpoint_id,
    )


def _is_worth_another(outcome: DeletedObject | FlashbackError) -> bool:
    return isinstance(outcome, OperationError) and may_go_elsewhere(outcome)


def _is_throttled(outcome: DeletedObject | FlashbackError | None) -> bool:
    return isinstance(outcome, OperationError) and outcome.is_throttling
