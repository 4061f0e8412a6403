"""Which object a read is content with: its conditions, sent with the request and checked on the answer.

Gateways may ignore conditions (rclone ignores If-Match), so an answer that does not meet them is refused
here, with the error that the store should have given.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from flashback_async.errors import NotModifiedError, PreconditionFailedError, ServiceError
from flashback_async.objects.headers import checked_header, checked_moment
from flashback_async.objects.info import text

if TYPE_CHECKING:
    from collections.abc import Mapping

# The version of what was written before a bucket kept versions. Stores need not name it.
UNVERSIONED = "null"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConditions:
    """What a caller asks of the object that it reads. Checked when it is made.

    Attributes:
        if_match: ETag (or several, with commas) that it must have.
        if_none_match: ETag that it must not have, for the caller knows that one already.
        if_modified_since: it must have been written later.
        if_unmodified_since: it must not have been written later.
        version_id: the version to read.
    """

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: datetime | None = None
    if_unmodified_since: datetime | None = None
    version_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no request can say.

        Raises:
            ConfigurationError: a value is not an ETag, a version, or a moment with its time zone.
        """
        for what in ("if_match", "if_none_match", "version_id"):
            if (value := getattr(self, what)) is not None:
                checked_header(value, what=what)
        for what in ("if_modified_since", "if_unmodified_since"):
            if (value := getattr(self, what)) is not None:
                checked_moment(value, what=what)

    @classmethod
    def of(
        cls,
        *,
        if_match: str | None,
        if_none_match: str | None,
        if_modified_since: datetime | None,
        if_unmodified_since: datetime | None,
        version_id: str | None,
    ) -> ReadConditions:
        """Those of a call; mostly there are none, and none are made.

        Raises:
            ConfigurationError: see `__post_init__`.
        """
        given = (if_match, if_none_match, if_modified_since, if_unmodified_since, version_id)
        if given == _NOTHING:
            return ANY
        return cls(
            if_match=if_match,
            if_none_match=if_none_match,
            if_modified_since=if_modified_since,
            if_unmodified_since=if_unmodified_since,
            version_id=version_id,
        )

    def first(self) -> dict[str, object]:
        """The parameters of the first request, in boto's names."""
        if self is ANY:
            return {}
        named = {
            "IfMatch": self.if_match,
            "IfNoneMatch": self.if_none_match,
            "IfModifiedSince": self.if_modified_since,
            "IfUnmodifiedSince": self.if_unmodified_since,
            "VersionId": self.version_id,
        }
        return {name: value for name, value in named.items() if value is not None}

    def further(self, etag: str | None) -> dict[str, object]:
        """Those of a request that goes on with what the first one found."""
        expected = self.if_match if etag is None else etag
        named = {"IfMatch": expected, "VersionId": self.version_id}
        return {name: value for name, value in named.items() if value is not None}

    def version(self) -> dict[str, object]:
        """The version alone, for nodes that give one object different ETags."""
        return {} if self.version_id is None else {"VersionId": self.version_id}

    def check_version(self, fields: Mapping[str, object]) -> None:
        """Refuse another version than the one that was asked for.

        Raises:
            ServiceError: it is another one, or the answer does not tell.
        """
        if self.version_id is None:
            return
        told = text(fields, "VersionId")
        if told != self.version_id and not (told is None and self.version_id == UNVERSIONED):
            raise ServiceError(
                f"asked for version {self.version_id!r:.80}, the answer is of "
                f"{'no version' if told is None else repr(told)}; does the bucket keep versions?",
                code="VersionMismatch",
            )

    def check(self, fields: Mapping[str, object]) -> None:
        """Refuse an answer that does not meet them, in the order of RFC 9110, 13.2.2.

        Raises:
            PreconditionFailedError: it is another object than the caller expects.
            NotModifiedError: it is the one that the caller has.
            ServiceError: it is another version than the one that was asked for.
        """
        if self is ANY:
            return
        etag, written = text(fields, "ETag"), fields.get("LastModified")
        modified = written if isinstance(written, datetime) else None
        self.check_version(fields)
        if self.if_match is not None:
            if etag is not None and not _is_among(etag, self.if_match):
                raise _unmet(f"its ETag is {etag}, not {self.if_match}")
        elif (
            self.if_unmodified_since is not None
            and modified is not None
            and modified > self.if_unmodified_since
        ):
            raise _unmet(f"it was written at {modified}, later than {self.if_unmodified_since}")
        if self.if_none_match is not None:
            if self.if_none_match == "*" or (etag is not None and _is_among(etag, self.if_none_match)):
                raise _known(f"its ETag is still {etag}")
        elif (
            self.if_modified_since is not None and modified is not None and modified <= self.if_modified_since
        ):
            raise _known(f"it was written at {modified}")


ANY = ReadConditions()
"""Whatever there is."""

_NOTHING = (None,) * 5


def _is_among(etag: str, given: str) -> bool:
    """Whether an ETag is one of those in a header's value; quotes and weakness do not tell them apart."""
    return given == "*" or _bare(etag) in {_bare(part) for part in given.split(",")}


def _bare(etag: str) -> str:
    return etag.strip().removeprefix("W/").strip('"')


def _unmet(how: str) -> PreconditionFailedError:
    return PreconditionFailedError(f"412 PreconditionFailed: {how}", code="PreconditionFailed", status=412)


def _known(how: str) -> NotModifiedError:
    return NotModifiedError(f"304: {how}", code="304", status=304)
