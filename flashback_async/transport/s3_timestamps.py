"""Timestamps of S3's answers, without dateutil's search for their format."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from botocore.utils import parse_timestamp as parse_any

# RFC 9110's IMF-fixdate, in headers. The day of the week says nothing that the date does not. Years from 1000
# on: dateutil takes others for abbreviated ones.
_FIXDATE: Final = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([1-9]\d{3})"
    r" (\d\d):(\d\d):(\d\d) GMT",
    re.ASCII,
)
_FIXDATE_LENGTH: Final = len("Thu, 01 Jan 1970 00:00:00 GMT")
# ISO 8601 in UTC, in documents; most stores send milliseconds.
_ISO_8601: Final = re.compile(
    r"([1-9]\d{3})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{3}))?Z",
    re.ASCII,
)
# Times of headers that are remembered: what is read often has its Last-Modified read as often.
_KEPT: Final = 1_024
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
# The very zone that botocore gives to what says GMT. On machines in UTC, it gives the machine's zone to what
# says Z: the same time, until it is pickled and read elsewhere.
_UTC: Final = parse_any("Thu, 01 Jan 1970 00:00:00 GMT").tzinfo


def parse_timestamp(value: Any) -> datetime:
    """What botocore makes of a timestamp. The formats that S3 sends are read here, all others by botocore.

    Raises:
        ValueError: botocore cannot read it either.
    """
    if isinstance(value, str):
        try:
            parsed = _from_header(value) if len(value) == _FIXDATE_LENGTH else _from_document(value)
            if parsed is not None:
                return parsed
        except ValueError:
            # No such day or time; botocore finds the words for it.
            pass
    told: datetime = parse_any(value)
    return told


@lru_cache(_KEPT)
def _from_header(text: str) -> datetime | None:
    """None: it has another form."""
    if (found := _FIXDATE.fullmatch(text)) is None:
        return None
    day, month, year, hour, minute, second = found.groups()
    return datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=_UTC)


def _from_document(text: str) -> datetime | None:
    """None: it has another form."""
    if (found := _ISO_8601.fullmatch(text)) is None:
        return None
    *whole, thousandths = found.groups()
    year, month, day, hour, minute, second = map(int, whole)
    return datetime(year, month, day, hour, minute, second, int(thousandths or 0) * 1_000, tzinfo=_UTC)
