"""Which version of an object an answer carries, and how much of that two answers have to agree on.

One body may be made of the answers of several nodes. By default their ETag, length and Last-Modified must be
the same. Nodes in front of stores of different kinds may give one object different ETags, and mirrored stores
different times; for those the rule can be weakened, by `settings.resume_identity` and in no other way.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from flashback_async.objects.info import text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashback_async.config import ResumeIdentity
    from flashback_async.errors import ServiceError

logger = logging.getLogger("flashback_async")

# What a store answers to a resumed read when the object is not the one that was being read.
CHANGED_STATUS: Final = frozenset({404, 412, 416})
_PRECONDITION_FAILED: Final = 412
_GIVEN_UP: Final[Mapping[ResumeIdentity, str]] = {
    "etag_and_length": "a newer version with the same bytes",
    "last_modified": "a version of the same length that was written within the same second",
    "length": "any other version of the same length",
}


class Identity(NamedTuple):
    """What an answer says of the version that it carries."""

    etag: str | None
    last_modified: object
    total: int | None


def identity_of(fields: Mapping[str, object], total: int | None) -> Identity:
    """What an answer says of the version that it carries; `total`: bytes of the whole object."""
    return Identity(text(fields, "ETag"), fields.get("LastModified"), total)


class IdentityRule(NamedTuple):
    """What of an `Identity` counts; the length always does.

    Attributes:
        has_etag: whether the ETag counts. If not, no further request names it: the node would say 412.
        has_time: whether Last-Modified counts.
    """

    has_etag: bool = True
    has_time: bool = True

    @classmethod
    def of(cls, setting: ResumeIdentity) -> IdentityRule:
        """What a setting says. A weak rule is logged, with what it gives up."""
        if setting in _GIVEN_UP:
            logger.warning(
                "resume_identity=%r: %s is taken for the object that is being read, when a read goes on at "
                "another node",
                setting,
                _GIVEN_UP[setting],
            )
        return cls(
            has_etag=setting in {"etag", "etag_and_length"}, has_time=setting in {"etag", "last_modified"}
        )

    def matches(self, first: Identity, other: Identity) -> bool:
        """Whether two answers carry the same version; what one of them does not tell cannot differ."""
        return not any(
            counts and one is not None and two is not None and one != two
            for counts, one, two in zip((self.has_etag, self.has_time, True), first, other, strict=True)
        )

    def tells(self, identity: Identity) -> bool:
        """Whether it says what counts most, so that versions are not too easily taken for one another."""
        if self.has_etag:
            return identity.etag is not None
        return (identity.last_modified if self.has_time else identity.total) is not None

    def way_out(self, first: Identity, other: Identity) -> str:
        """What to say of two answers that do not match: the weaker rule under which they would, if any.

        Answers that differ in all but their length are too likely to be of two versions.
        """
        if self != STRICT or first.total is None or first.total != other.total:
            return ""
        if IdentityRule(has_etag=False).matches(first, other):
            return _hint("ETags", "last_modified")
        if IdentityRule(has_time=False).matches(first, other):
            return _hint("times", "etag_and_length")
        return ""


STRICT: Final = IdentityRule()


def gone_or_replaced(refusal: ServiceError) -> str:
    """What to say of a refusal with a `CHANGED_STATUS`."""
    # The node sees another ETag; of how much else differs it says nothing.
    way_out = _hint("ETags", "last_modified") if refusal.status == _PRECONDITION_FAILED else ""
    return f"it is gone or replaced ({refusal.reason}){way_out}"


def _hint(what: str, setting: ResumeIdentity) -> str:
    return f"; if its nodes give one object different {what}, set resume_identity={setting!r}"
