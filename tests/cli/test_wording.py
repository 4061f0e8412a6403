"""Numbers and names as people read them."""

from __future__ import annotations

import pytest

from flashback_async.cli.wording import (
    causes_text,
    counted,
    one_line,
    printable,
    seconds_text,
    size_text,
)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_023, "1023 B"),
        (1_024, "1.0 KiB"),
        (1_536, "1.5 KiB"),
        (10_188, "9.9 KiB"),
        (10_240, "10 KiB"),
        (1_048_575, "1.0 MiB"),
        (1_048_576, "1.0 MiB"),
        (5 * 1024**4, "5.0 TiB"),
        (10**21, "888178 PiB"),
    ],
)
def test_sizes_have_two_significant_digits_and_binary_units(size, text):
    """A size is as precise as people need it, and never rounds up to 1024 of a unit."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0.0 ms"),
        (0.0042, "4.2 ms"),
        (0.00996, "10 ms"),
        (0.412, "412 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (41.24, "41.2 s"),
        (75.0, "75 s"),
        (3_661.0, "3,661 s"),
    ],
)
def test_latencies_choose_their_unit(seconds, text):
    """A latency is told in the unit that people would choose; what is not known is a dash."""
    assert seconds_text(seconds) == text


def test_counts_agree_with_their_noun():
    """One object, two objects, thousands with separators."""
    assert [counted(n, "object") for n in (0, 1, 1_500)] == ["0 objects", "1 object", "1,500 objects"]


def test_causes_are_sorted_and_zeros_left_out():
    """A line of causes is the same for the same counts."""
    assert causes_text({"server": 2, "connect": 1_000, "body": 0}) == "connect 1,000, server 2"
    assert causes_text({}) == "none"


def test_control_characters_are_made_visible():
    """A key cannot move the cursor, change colours or fake lines."""
    assert printable("plain ünï") == "plain ünï"
    assert printable("a\x1b[31mb\r\n\x9b\udcff") == "a\\x1b[31mb\\r\\n\\x9b\\udcff"
    assert one_line("  two\n lines\t\x07") == "two lines \\x07"
