"""The head of a request: what is sent is what was given, or nothing is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashback_async.errors import ConfigurationError
from flashback_async.transport.request_head import request_head


def test_a_head_is_complete_and_in_order():
    """Request line, host, the headers as given, and an empty line, in UTF-8."""
    head = request_head(
        "GET", "/b/k?x=1", "h:1", [("range", "bytes=0-1"), ("x-amz-meta-a", "é"), ("empty", "")]
    )

    assert (
        head
        == (
            "GET /b/k?x=1 HTTP/1.1\r\nhost: h:1\r\nrange: bytes=0-1\r\nx-amz-meta-a: é\r\nempty: \r\n\r\n"
        ).encode()
    )


@pytest.mark.parametrize(
    "sign", ["\r", "\n", "\r\n", "\0", "\ud800"], ids=["cr", "lf", "crlf", "nul", "half"]
)
@pytest.mark.parametrize("place", ["value", "name", "target", "host"])
def test_nothing_smuggles_a_header(sign, place):
    """A line break, NUL or half a character anywhere is refused, and the value is not in the error."""
    parts = {"value": "secret", "name": "x-a", "target": "/b/k", "host": "h"}
    parts[place] += f"{sign}x: y"

    with pytest.raises(ConfigurationError) as caught:
        request_head("GET", parts["target"], parts["host"], [("first", "1"), (parts["name"], parts["value"])])

    assert "secret" not in str(caught.value)
    assert ("header" in str(caught.value)) is (place in {"value", "name"})


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lines=st.lists(st.tuples(st.text("abc-\r\n\0", min_size=1), st.text("xy :\r\n\0é")), max_size=4))
def test_a_head_has_as_many_lines_as_it_was_given(lines):
    """Whatever the headers hold, either they are refused or each of them is one line."""
    clean = not any(sign in name + value for name, value in lines for sign in "\r\n\0")
    try:
        head = request_head("GET", "/", "h", lines)
    except ConfigurationError:
        assert not clean
        return

    assert clean
    assert head.decode().split("\r\n")[2:-2] == [f"{name}: {value}" for name, value in lines]
