"""The body of one answer, delivered as it was announced, whatever its node does meanwhile.

`ObjectStream` is what this package's verbs hand out; this is for callers who ask in S3's own words, and get
the answer that came. What breaks goes on at the next endpoint, at the exact byte, under the same checks.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from flashback_async.errors import (
    ClientClosedError,
    ConfigurationError,
    IntegrityError,
    ObjectChangedError,
    OperationError,
    ServiceError,
)
from flashback_async.objects.checksums import Check
from flashback_async.objects.identity import CHANGED_STATUS, gone_or_replaced, identity_of
from flashback_async.objects.info import text
from flashback_async.objects.names import ByteRange
from flashback_async.objects.position import Position, position_of
from flashback_async.routing import OperationKind, Outcome
from flashback_async.transport.body import CONFIRMED
from flashback_async.transport.operation import Journey, Operation
from flashback_async.transport.outcomes import outcome_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from flashback_async.objects.identity import IdentityRule
    from flashback_async.objects.runner import Place, Runner
    from flashback_async.transport.body import LeasedBody

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
# Which part of the object to send; the rest of an answer is asked for with a range of its own.
_EXTENT = frozenset({"Range", "PartNumber"})
# What names the object, its version and its key to the operation that tells its size.
_SAME_OBJECT = frozenset({
    "Bucket", "Key", "VersionId", "RequestPayer", "ExpectedBucketOwner",
    "SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5",
})  # fmt: skip


class AnswerStream:
    """A streamed answer that owns its place, attempt and lease. The end, an error and `close` free them.

    Not for use by several tasks at once. A cancelled read closes it.

    Attributes:
        fields: what the first answer says, in boto's names, without the body.
    """

    def __init__(
        self,
        runner: Runner,
        operation: Operation,
        journey: Journey,
        place: Place,
        body: LeasedBody,
        *,
        is_resumable: bool,
    ) -> None:
        self.fields: Mapping[str, object] = body.fields
        self.attempts = journey.sent
        self._runner = runner
        self._operation = operation
        self._journey = journey
        self._place = place
        self._body = body
        self._is_resumable = is_resumable
        self._first = body
        self._position: Position | None = None
        self._length = body.length
        self._delivered = 0
        self._skip = 0
        self._fresh = 0
        self._closed = False
        self._check = _check_of(runner, operation, body)

    @classmethod
    async def opened(
        cls, runner: Runner, operation: Operation, journey: Journey, *, is_resumable: bool
    ) -> Self:
        """Ask, and wait for the headers.

        Raises:
            OperationError: no endpoint could answer, or the service said no.
        """
        place = await runner.place(operation, journey.deadline)
        try:
            body = await runner.executor.open(operation, journey)
        except BaseException as error:
            place.leave(error)
            raise
        return cls(runner, operation, journey, place, body, is_resumable=is_resumable)

    @property
    def endpoint_id(self) -> str:
        """Who serves it now."""
        return self._body.endpoint_id

    @property
    def is_at_end(self) -> bool:
        """Whether nothing more will come."""
        return self._closed or self._delivered == self._length

    async def read_some(self) -> bytes:
        """The next bytes as they arrive; empty at the verified end.

        Raises:
            ObjectChangedError: the object was replaced while it was being read.
            OperationError: the body broke, and nobody could continue it.
            ClientClosedError: the stream was closed before its end.
        """
        if self._delivered == self._length:
            self._end(Outcome.SUCCESS)
            return b""
        if self._closed:
            raise ClientClosedError("the body was closed before its end")
        try:
            return await self._next()
        except BaseException as error:
            self._end(Outcome.CANCELLED, error)
            raise

    def close(self) -> None:
        """Free everything, whether the end was reached or not. Idempotent, does not wait."""
        self._end(Outcome.CANCELLED)

    def _end(self, outcome: Outcome, error: BaseException | None = None) -> None:
        self._closed = True
        self._body.end(outcome)
        self._place.leave(error)

    async def _next(self) -> bytes:
        while True:
            try:
                data = await self._body.read(self._journey.deadline)
            except OperationError as error:
                await self._resume(error)
                continue
            if data:
                dropped = min(self._skip, len(data))
                self._skip -= dropped
                data = data[dropped:]
                if self._length is not None:
                    data = data[: self._length - self._delivered]
                self._delivered += len(data)
                self._fresh += len(data)
                self._runner.monitor.bytes_read += len(data)
                if self._check is not None:
                    self._check.update(data)
                if self._delivered == self._length:
                    self._complete()
                if data:
                    return data
            elif self._length is None and await self._learnt_length() is None:
                self._length = self._delivered
                self._complete()
                return b""
            elif self._delivered == self._length:
                self._complete()
                return b""
            else:
                missing = (self._length or 0) - self._delivered
                await self._resume(IntegrityError(f"the body ended with {missing} bytes missing"))

    def _complete(self) -> None:
        """Nothing is missing: let go, and compare; as in `ObjectStream`."""
        self._end(Outcome.SUCCESS)
        if self._check is not None and (wrong := self._check.error()) is not None:
            self._delivered, self._length = 0, None
            raise self._told(wrong)

    async def _resume(self, error: OperationError) -> None:
        """Go on at the next endpoint, at the first byte that is missing."""
        body, journey, executor = self._body, self._journey, self._runner.executor
        body.end(outcome_of(error))
        if self._fresh:
            # As in `ObjectStream`: only failures in a row use up the attempts, a few bytes spare no delay.
            journey.renew(self._runner.attempts, hops=self._fresh < CONFIRMED)
        self._fresh = 0
        journey.note(error, body.endpoint_id, body.elapsed)
        position = await self._first_position() if self._is_resumable else None
        if position is None or await self._learnt_length() is None:
            raise self._told(error)
        assert self._length is not None, "it was learnt"
        rest = ByteRange(position.start + self._delivered, position.start + self._length)
        identity = identity_of(self.fields, position.total)
        rule = self._runner.identity_rule
        operation = self._rest(rest, identity.etag, rule)
        await executor.recover(operation, journey, error)
        try:
            fresh = self._body = await executor.open(operation, journey)
        except ServiceError as refusal:
            if refusal.status in CHANGED_STATUS:
                raise self._changed(gone_or_replaced(refusal)) from refusal
            raise
        found = position_of(fresh.fields, fresh.status, rest, position.total)
        if found is None:
            found = position_of(fresh.fields, fresh.status, rest, await self._size())
        now = identity_of(fresh.fields, found.total if found is not None else None)
        if not rule.matches(identity, now):
            way_out = rule.way_out(identity, now)
            raise self._changed(f"it was {identity}, {fresh.endpoint_id} has {now}{way_out}")
        versions = [text(fields, "VersionId") for fields in (self.fields, fresh.fields)]
        if "VersionId" in operation.parameters and versions[0] != versions[1]:
            raise self._changed(f"it was version {versions[0]}, {fresh.endpoint_id} has {versions[1]}")
        if found is None or found.start > rest.start or found.stop < position.start + self._length:
            raise self._changed(f"{fresh.endpoint_id} has bytes {found} instead of {rest}")
        self._skip = rest.start - found.start
        self._runner.monitor.resumed += 1

    async def _first_position(self) -> Position | None:
        """Where the first answer begins within the object; the size is asked for where it does not tell."""
        if self._position is None:
            asked = _asked(self._operation.parameters)
            fields, status = self._first.fields, self._first.status
            self._position = position_of(fields, status, asked, None)
            if self._position is None:
                self._position = position_of(fields, status, asked, await self._size())
            if self._position is not None and asked is None and _EXTENT & self._operation.parameters.keys():
                # A part by its number, or a range that nobody here can read: only the answer could tell.
                self._position = self._position if self.fields.get("ContentRange") else None
        return self._position

    async def _learnt_length(self) -> int | None:
        """How much was to come, where the answer did not announce it: its end alone may be a truncation.

        Raises:
            ObjectChangedError: the size is that of another version by now, or more came than there is.
        """
        if self._length is None and self._is_resumable:
            position = await self._first_position()
            if position is not None and position.length < self._delivered:
                raise self._changed(f"there are {position.length} bytes now")
            self._length = None if position is None else position.length
        return self._length

    async def _size(self) -> int | None:
        given = self._operation.parameters
        parameters = {name: given[name] for name in _SAME_OBJECT & given.keys()}
        operation = Operation(
            "HeadObject", OperationKind.READ, self._operation.bucket, self._operation.key, parameters
        )
        journey = Journey(deadline=self._journey.deadline, attempts_left=self._runner.attempts)
        told = (await self._runner.executor.call(operation, journey)).fields
        first, now = identity_of(self.fields, None), identity_of(told, None)
        if not self._runner.identity_rule.matches(first, now):
            raise self._changed(f"it was {first}, and is {now}")
        size = told.get("ContentLength")
        return size if isinstance(size, int) else None

    def _rest(self, rest: ByteRange, etag: str | None, rule: IdentityRule) -> Operation:
        parameters = {
            name: value for name, value in self._operation.parameters.items() if name not in _EXTENT
        }
        parameters["Range"] = rest.header()
        if not rule.has_etag:
            # The first answer met the caller's own; another node has another ETag.
            parameters.pop("IfMatch", None)
        elif etag is not None:
            parameters["IfMatch"] = etag
        first = self._operation
        return Operation(first.name, first.kind, first.bucket, first.key, parameters, streamed=True)

    def _changed(self, how: str) -> OperationError:
        text = f"the object changed after {self._delivered} bytes: {how}"
        return self._told(ObjectChangedError(text, code="PreconditionFailed", status=412))

    def _told(self, error: OperationError) -> OperationError:
        operation = self._operation
        error.operation, error.bucket, error.key = operation.name, operation.bucket, operation.key
        error.endpoint = error.endpoint or self.endpoint_id
        error.attempts = tuple(self._journey.failures)
        return error


def _check_of(runner: Runner, operation: Operation, body: LeasedBody) -> Check | None:
    """What a whole object is compared with; None: it is a part, or was written without a checksum."""
    if operation.name != "GetObject" or _EXTENT & operation.parameters.keys() or body.status != HTTPStatus.OK:
        return None
    expected = runner.checksums.expected_of(body.fields)
    return None if expected is None else Check(expected)


def _asked(parameters: Mapping[str, object]) -> ByteRange | None:
    """The range that was asked for; None where there was none, or none that can be read here."""
    match = _RANGE.fullmatch(str(parameters.get("Range", "")))
    if match is None:
        return None
    first, last = match.groups()
    try:
        return ByteRange.of(
            (int(first), int(last) + 1 if last else None) if first else (-int(last or "0"), None)
        )
    except ConfigurationError:
        return None
