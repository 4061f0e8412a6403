"""Timestamps of answers: ours beside botocore's."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from botocore.utils import parse_timestamp as botocore_parses
from hypothesis import given, settings
from hypothesis import strategies as some

from flashback_async.transport.s3_timestamps import parse_timestamp

FIRST, LAST = (datetime(year, 1, 1) for year in (1_000, 9_999))  # noqa: DTZ001  # hypothesis adds the zone
TIMES = some.datetimes(min_value=FIRST, max_value=LAST, timezones=some.just(UTC))
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def result(parse, value):
    """What comes out: the time and its distance from UTC, or the error and its words."""
    try:
        parsed = parse(value)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        return type(error), str(error)
    return parsed, parsed.utcoffset()


@settings(deadline=None)
@given(TIMES)
def test_what_s3_sends(time):
    """Headers and documents, with milliseconds and without, mean what botocore takes them for, in UTC."""
    whole = time.replace(microsecond=0)
    for text, meant in (
        (format_datetime(whole, usegmt=True), whole),
        (f"{whole:%Y-%m-%dT%H:%M:%S}Z", whole),
        (
            f"{whole:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1_000:03}Z",
            whole + timedelta(milliseconds=time.microsecond // 1_000),
        ),
    ):
        assert parse_timestamp(text) == botocore_parses(text) == meant
        assert parse_timestamp(text).utcoffset() == timedelta(0)


@settings(deadline=None)
@given(
    *(some.integers(0, top) for top in (9_999, 13, 32, 25, 61, 61, 999)),
    some.sampled_from(DAYS),
    some.sampled_from(MONTHS),
    some.sampled_from(("GMT", "UTC", "+0000", "+0130", "")),
    some.sampled_from(("Z", "z", "+00:00", "-03:30", "")),
)
def test_what_nobody_should_send(
    year, month, day, hour, minute, second, fraction, weekday, name, zone, suffix
):
    """Impossible dates, other zones and other digits come out as botocore has them, errors in its words."""
    for text in (
        f"{weekday}, {day:02} {name} {year:04} {hour:02}:{minute:02}:{second:02} {zone}",
        f"{weekday}, {day} {name} {year} {hour}:{minute}:{second} {zone}",
        f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{suffix}",
        f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction}{suffix}",
        f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}{suffix}",
    ):
        assert result(parse_timestamp, text) == result(botocore_parses, text), text


@pytest.mark.parametrize(
    "value",
    [
        1_767_225_600,
        1_767_225_600.25,
        "1767225600",
        "",
        "soon",
        "2026-01-01",
        "20260101T000000Z",
        "2026-W01-1T00:00:00Z",
        "2026-01-01T00:00:00Z ",
        "2026-01-01T00:00:00Z\n",
        "Thu, 01 Jan 2026 00:00:00 GMT\n",
        "Thursday, 01-Jan-26 00:00:00 GMT",
        "Thu Jan  1 00:00:00 2026",
        "٢٠٢٦-01-01T00:00:00Z",
    ],
    ids=repr,
)
def test_every_other_form_is_left_to_botocore(value):
    """Numbers, abbreviations and what is no time at all give botocore's answer."""
    assert result(parse_timestamp, value) == result(botocore_parses, value)


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00Z", "Thu, 01 Jan 2026 00:00:00 GMT"])
def test_times_can_be_pickled(text):
    """A time that another process unpickles is still the same, and still UTC."""
    there = pickle.loads(pickle.dumps(parse_timestamp(text)))
    assert there == datetime(2026, 1, 1, tzinfo=UTC)
    assert there.tzname() == "UTC"


ODD_DATES = [
    "Fri, 26 Nov 2026 20:00:00 GMT", "Thu, 26 Nov 0000 20:00:00 GMT", "Thu, 26 Nov 0007 20:00:00 GMT",
    "Thu, 26 Nov 0999 20:00:00 GMT", "Thu, 26 Nov 9999 20:00:00 GMT", "Thu, 26 Xyz 2026 20:00:00 GMT",
    "Thu, 32 Nov 2026 20:00:00 GMT", "Mon, 30 Feb 2026 20:00:00 GMT", "Thu, 00 Nov 2026 20:00:00 GMT",
    "Thu, 26 Nov 2026 24:00:00 GMT", "Thu, 26 Nov 2026 23:59:60 GMT", "Thu, 26 nov 2026 20:00:00 GMT",
    "thu, 26 Nov 2026 20:00:00 gmt", " Thu, 26 Nov 2026 20:00:00 GMT ", "Thu, 26 Nov 2026 20:00:00 UTC",
    "Thu, 26-Nov-2026 20:00:00 GMT", "Thursday, 26-Nov-26 20:00:00 GMT", "Thu Nov 26 20:00:00 2026",
    "Xyz, 26 Nov 2026 20:00:00 GMT", "26 Nov 2026 20:00:00 GMT", "tomorrow", "", "-1", "1e300", "nan",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD_DATES, ids=range(len(ODD_DATES)))
def test_an_odd_date_is_what_boto_takes_it_for(text):
    """The fast way of reading dates never reads one that boto reads otherwise, or not at all."""
    assert result(parse_timestamp, text) == result(botocore_parses, text)
