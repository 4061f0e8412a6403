"""Conditional writes whose answer may be lost: a repeated one that meets its own success has succeeded.

A write with a condition is marked with an id of its own in its metadata. If a repeated attempt is answered
with 412, the mark on the object tells whether an earlier attempt was carried out and only its answer was
lost. Bytes or an ETag could not tell: another writer may have written the same ones. Uploads in parts carry
the mark from their creation on; `multipart` asks for it after their completion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from flashback_async.errors import OperationError, PreconditionFailedError
from flashback_async.objects.info import WRITE_ID
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Journey, Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashback_async.objects.runner import Runner
    from flashback_async.routing import Endpoint
    from flashback_async.transport.executor import Answered


def marked(parameters: Mapping[str, object]) -> dict[str, object]:
    """The parameters of a write, with an id of its own in the metadata."""
    given = parameters.get("Metadata")
    metadata = dict(given) if isinstance(given, dict) else {}
    return {**parameters, "Metadata": {**metadata, WRITE_ID: uuid4().hex}}


async def written(
    runner: Runner, operation: Operation, *, timeout: float | None, endpoint: Endpoint | str | None
) -> Answered:
    """Run a write that was `marked`, with retries; the answer of the attempt that was carried out.

    Raises:
        PreconditionFailedError: the condition does not hold, and did not hold before any attempt.
    """
    journey = runner.journey(timeout=timeout, endpoint=endpoint, retry=True, streamed=False)
    async with runner.running(operation, journey.deadline):
        try:
            return await runner.executor.call(operation, journey)
        except PreconditionFailedError as refusal:
            # Beside the refusal itself: attempts that failed, and may have been carried out all the same.
            if len(journey.failures) < 2:  # noqa: PLR2004
                raise
            found = await _head(runner, operation, journey, refusal)
            if found is None or mark_of(found.fields) != mark_of(operation.parameters):
                raise
            return found


async def _head(
    runner: Runner, operation: Operation, journey: Journey, refusal: PreconditionFailedError
) -> Answered | None:
    """What stands there, as the endpoint sees it that refused; None: nobody tells."""
    head = Operation("HeadObject", OperationKind.READ, operation.bucket, operation.key)
    second = Journey(deadline=journey.deadline, attempts_left=runner.attempts, pin=refusal.endpoint)
    try:
        return await runner.executor.call(head, second)
    except OperationError:
        return None


def mark_of(fields: Mapping[str, object]) -> object:
    """The id in the metadata of an answer or a request, None if there is none."""
    metadata = fields.get("Metadata")
    return metadata.get(WRITE_ID) if isinstance(metadata, dict) else None
