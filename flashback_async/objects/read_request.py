"""What is asked of the store to read one object: to begin, for a part of it, to go on, and for its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flashback_async.objects.conditions import ANY, ReadConditions
from flashback_async.routing.endpoint import READ
from flashback_async.transport.operation import Operation

if TYPE_CHECKING:
    from flashback_async.objects.identity import Identity, IdentityRule
    from flashback_async.objects.names import ByteRange
    from flashback_async.transport.operation import Deadline


class Pinned(NamedTuple):
    """What a read has to agree with. `deadline`: it is a part of a larger one, and has to be done by then."""

    identity: Identity
    deadline: Deadline | None = None


@dataclass(slots=True)
class ReadRequest:
    """The operations of one read. Not to be changed; see `Operation`.

    Attributes:
        bucket: bucket name.
        key: object key.
        range: what is wanted of it; None: everything.
        conditions: which object the caller is content with.
        part_of: the version that it must be, None where the first answer decides it.
    """

    bucket: str
    key: str
    range: ByteRange | None = None
    conditions: ReadConditions = ANY
    part_of: Pinned | None = None

    def first(self, rule: IdentityRule) -> Operation:
        """The operation to begin with; `rule`: what counts of the version that it is part of."""
        if self.part_of is not None:
            return self._further(self.range, self.part_of.identity, rule)
        return self._get(self.range, self.conditions.first())

    def rest(self, asked: ByteRange, identity: Identity, rule: IdentityRule) -> Operation:
        """The one that goes on with the version that the first one found."""
        return self._further(asked, identity, rule)

    def head(self) -> Operation:
        """The one that tells the size."""
        version = self.conditions.version_id
        parameters = {} if version is None else {"VersionId": version}
        return Operation("HeadObject", READ, self.bucket, self.key, parameters)

    def _further(self, asked: ByteRange | None, identity: Identity, rule: IdentityRule) -> Operation:
        conditions = self.conditions
        return self._get(asked, conditions.further(identity.etag) if rule.has_etag else conditions.version())

    def _get(self, asked: ByteRange | None, conditions: dict[str, object]) -> Operation:
        parameters = conditions if asked is None else {**conditions, "Range": asked.header()}
        size = asked.stop - asked.start if asked is not None and asked.stop is not None else None
        return Operation("GetObject", READ, self.bucket, self.key, parameters, streamed=True, size=size)
