"""Where the bytes of an answer belong, where only the size of the object can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.errors import IntegrityError
from flashback_async.objects.position import position_of
from flashback_async.transport.operation import Journey

if TYPE_CHECKING:
    from flashback_async.objects.names import ByteRange
    from flashback_async.objects.position import Position
    from flashback_async.transport.body import LeasedBody
    from flashback_async.transport.executor import Executor
    from flashback_async.transport.operation import Deadline, Operation


async def located(
    body: LeasedBody,
    asked: ByteRange | None,
    *,
    executor: Executor,
    head: Operation,
    deadline: Deadline,
    attempts: int,
) -> Position:
    """Where the bytes of `body` belong, whose answer does not tell: `head` asks its endpoint for the size.

    Raises:
        IntegrityError: the endpoint does not tell how long the object is.
        OperationError: it did not answer.
    """
    journey = Journey(deadline=deadline, attempts_left=attempts, pin=body.endpoint_id)
    size = (await executor.call(head, journey)).fields.get("ContentLength")
    if not isinstance(size, int):
        raise IntegrityError(f"{body.endpoint_id} does not tell how long the object is")
    position = position_of(body.fields, body.status, asked, size)
    assert position is not None, "the size settles it"
    return position
