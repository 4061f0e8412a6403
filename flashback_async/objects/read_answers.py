"""The answers to one read, each checked before a byte is taken: which object, which version, which bytes.

Gateways may ignore `Range` or `If-Match` (rclone does), so every answer says for itself what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashback_async.errors import IntegrityError, ObjectChangedError, OperationError, ServiceError
from flashback_async.objects.identity import CHANGED_STATUS, gone_or_replaced, identity_of
from flashback_async.objects.locating import located
from flashback_async.objects.position import position_of
from flashback_async.routing import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from flashback_async.objects.identity import Identity
    from flashback_async.objects.names import ByteRange
    from flashback_async.objects.position import Position
    from flashback_async.objects.read_request import ReadRequest
    from flashback_async.objects.runner import Runner
    from flashback_async.transport.body import LeasedBody
    from flashback_async.transport.operation import Journey, Operation


@dataclass(slots=True)
class ReadAnswer:
    """An answer that may be read. Whoever has it ends its body. Not to be changed."""

    body: LeasedBody
    position: Position
    identity: Identity


class ReadAnswers:
    """Asks for the bytes of one read. What is refused here is let go of here.

    Args:
        runner: sends it.
        request: the read.
        journey: what it has been through.
        attempts: for asking a node about the size.
    """

    __slots__ = (
        "_attempts",
        "_endpoint",
        "_journey",
        "_request",
        "_runner",
    )

    def __init__(self, runner: Runner, request: ReadRequest, journey: Journey, *, attempts: int) -> None:
        self._runner = runner
        self._request = request
        self._journey = journey
        self._attempts = attempts
        self._endpoint: str | None = None

    def first(self, operation: Operation) -> Awaitable[ReadAnswer]:
        """The answer to `operation`, to begin with.

        Raises:
            OperationError: no endpoint has it, or what it has is not what was asked for.
        """
        request, part_of = self._request, self._request.part_of
        pinned = None if part_of is None else part_of.identity
        return self._open(operation, request.range, pinned, 0)

    def further(self, rest: ByteRange, identity: Identity) -> Operation:
        """What to ask for to go on."""
        return self._request.rest(rest, identity, self._runner.identity_rule)

    async def go_on(self, operation: Operation, rest: ByteRange, identity: Identity) -> ReadAnswer:
        """An answer with the bytes in `rest` of that version. Raises what `first` raises."""
        answer = await self._open(operation, rest, identity, rest.start)
        body, position = answer.body, answer.position
        if position.start > rest.start or position.stop < (rest.stop or 0):
            body.end(Outcome.CALLER_FAULT)
            raise self._changed(f"{body.endpoint_id} has bytes {position} instead of {rest}", rest.start)
        return answer

    def told(self, error: OperationError) -> OperationError:
        """`error`, with what it is about."""
        error.operation, error.bucket, error.key = "GetObject", self._request.bucket, self._request.key
        if self._endpoint is not None:
            error.endpoint = self._endpoint
        error.attempts = tuple(self._journey.failures)
        return error

    async def _open(
        self, operation: Operation, asked: ByteRange | None, first: Identity | None, offset: int
    ) -> ReadAnswer:
        try:
            body = await self._runner.executor.open(operation, self._journey)
        except ServiceError as refusal:
            if first is not None and refusal.status in CHANGED_STATUS:
                raise self._changed(gone_or_replaced(refusal), offset) from refusal
            raise
        self._endpoint = body.endpoint_id
        try:
            self._check_conditions(body, first)
            total = None if first is None else first.total
            position = position_of(body.fields, body.status, asked, total)
            if position is None:
                position = await self._located(body, asked)
            return self._checked(body, position, first, offset)
        except BaseException:
            body.end(Outcome.CANCELLED)
            raise

    def _check_conditions(self, body: LeasedBody, first: Identity | None) -> None:
        conditions = self._request.conditions
        try:
            (conditions.check if first is None else conditions.check_version)(body.fields)
        except ServiceError as refusal:
            body.end(Outcome.CALLER_FAULT)
            raise self.told(refusal)  # noqa: B904  # it is the same error

    def _checked(
        self, body: LeasedBody, position: Position, first: Identity | None, offset: int
    ) -> ReadAnswer:
        """The answer, if it is of the version that was begun with."""
        rule = self._runner.identity_rule
        found = identity_of(body.fields, position.total)
        if first is not None and not rule.matches(first, found):
            way_out = rule.way_out(first, found)
            raise self._changed(f"it was {first}, {body.endpoint_id} has {found}{way_out}", offset)
        return ReadAnswer(body, position, found)

    async def _located(self, body: LeasedBody, asked: ByteRange | None) -> Position:
        try:
            return await located(
                body,
                asked,
                executor=self._runner.executor,
                head=self._request.head(),
                deadline=self._journey.deadline,
                attempts=self._attempts,
            )
        except IntegrityError as error:
            raise self.told(error)  # noqa: B904  # it is the same error

    def _changed(self, how: str, offset: int) -> OperationError:
        return self.told(
            ObjectChangedError(
                f"the object changed after {offset} bytes: {how}", code="ObjectChanged", status=412
            )
        )
