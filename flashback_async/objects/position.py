"""Which bytes of an object an answer to a read carries. Pure functions.

Gateways may ignore `Range` or `If-Match`, or answer a range with status 200, so every answer is taken at what
it says of itself: `Content-Range` if it has one, else its status and its length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashback_async.objects.info import text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashback_async.objects.names import ByteRange

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_PARTIAL = 206


@dataclass(slots=True)
class Position:
    """What part of which object an answer carries. `total` is None where the answer does not tell.

    Not to be changed.
    """

    start: int
    length: int
    total: int | None

    @property
    def stop(self) -> int:
        """Offset of the byte after the last one."""
        return self.start + self.length


def position_of(
    fields: Mapping[str, object], status: int, asked: ByteRange | None, total: int | None
) -> Position | None:
    """Where the bytes of an answer belong; None where only the size of the object could tell.

    Args:
        fields: what the answer says, in boto's names.
        status: its HTTP status.
        asked: the range that was asked for.
        total: size of the object, None while unknown.
    """
    told = text(fields, "ContentRange")
    match = None if told is None else _CONTENT_RANGE.fullmatch(told)
    if match is not None:
        first, last, size = match.groups()
        return Position(int(first), int(last) + 1 - int(first), None if size == "*" else int(size))
    given = fields.get("ContentLength")
    length = given if isinstance(given, int) else None
    if asked is None and length is not None:
        return Position(0, length, length)
    if total is None:
        return None
    if asked is not None:
        start, stop = asked.within(total)
        if status == _PARTIAL or (length == stop - start and length != total):
            return Position(start, stop - start if length is None else length, total)
    whole = total if length is None else length
    return Position(0, whole, whole)
