"""What an upload in parts makes, and how the object is known when the answer to its completion is lost."""

from __future__ import annotations

from hashlib import md5
from typing import TYPE_CHECKING, NamedTuple, Self

from flashback_async.objects.conditional_writes import mark_of
from flashback_async.objects.info import number, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Written(NamedTuple):
    """What became of a write."""

    size: int
    etag: str | None
    version_id: str | None


class Expected(NamedTuple):
    """What tells an object as the one that an upload has made.

    The upload of a conditional write carries a mark, and only that counts: somebody else may have won with
    the same bytes.
    """

    size: int
    etags: frozenset[str | None]
    mark: object

    @classmethod
    def of(cls, size: int, parts: Sequence[str], whole: str | None, parameters: Mapping[str, object]) -> Self:
        """What is known beforehand.

        Args:
            size: bytes of the object.
            parts: ETags of its parts, in their order.
            whole: the ETag that it has at stores that compute it as that of a simple put.
            parameters: of the write, in boto's names.
        """
        return cls(size, frozenset({etag_of(parts), whole}) - {None}, mark_of(parameters))

    @property
    def is_recognisable(self) -> bool:
        """Whether the object can be told from others at all."""
        return self.mark is not None or bool(self.etags)

    def is_met_by(self, fields: Mapping[str, object]) -> bool:
        """Whether the object that an answer describes is that one."""
        is_ours = text(fields, "ETag") in self.etags if self.mark is None else mark_of(fields) == self.mark
        return is_ours and number(fields, "ContentLength") == self.size


def etag_of(parts: Sequence[str]) -> str | None:
    """The ETag that S3 gives an object of these parts; None where theirs are not MD5."""
    try:
        digests = b"".join(bytes.fromhex(etag.strip('"')) for etag in parts)
    except ValueError:
        return None
    return f'"{md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"'
