"""Reading an answer, and telling it without secrets or dumps."""

from __future__ import annotations

import pytest

from flashback_async.transport.answer import Answer, excerpt

from .tokens import jwt

WALL = 1_768_473_000.0  # Thu, 15 Jan 2026 10:30:00 GMT


def _answer(status=200, body=b"{}", reason="", secrets=(), **headers):
    names = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Answer.read(status, names, body, reason=reason, secrets=secrets, wall_now=WALL)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0),
        (" 1.5 ", 1.5),
        ("-3", 0.0),
        ("86400", 300.0),
        ("inf", 300.0),
        ("Thu, 15 Jan 2026 10:30:07 GMT", 7.0),
        ("Thu, 15 Jan 2026 10:29:00 GMT", 0.0),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text, seconds):
    """Both forms are read, clamped to 0 .. 300 s, and nonsense is no wish at all."""
    assert _answer(429, retry_after=text).retry_after == seconds


def test_a_date_is_measured_by_the_servers_clock():
    """A wrong local clock does not turn seven seconds into a year."""
    answer = _answer(503, retry_after="Thu, 15 Jan 2032 10:30:07 GMT", date="Thu, 15 Jan 2032 10:30:00 GMT")
    assert answer.retry_after == 7.0
    assert _answer(503, retry_after="Thu, 15 Jan 2032 10:30:07 GMT", date="rubbish").retry_after is None


@pytest.mark.parametrize(
    ("status", "body", "success"),
    [
        (200, b"[]", True),
        (204, b"", False),
        (200, b'{"success": true}', True),
        (200, b'{"success": null}', True),
        (200, b'{"success": false}', False),
        (200, b'{"success": "false"}', False),
        (200, b"null", False),
        (200, b"<html>", False),
        (200, b"[" * 100_000, False),
        (200, b"\xff\xfe\xfd", False),
        (200, b"\xef\xbb\xbf[1]", True),
        (302, b"[]", False),
        (500, b"[]", False),
    ],
)
def test_success_needs_a_status_and_json(status, body, success):
    """Only JSON under 2xx without `success: false` counts, and no body raises."""
    assert _answer(status, body).is_success is success


def test_the_error_names_what_came_back():
    """Message and code of an error body, the reason of an empty one, the target of a redirect."""
    for answer, told in (
        (
            _answer(500, b'{"success":false,"error_code":"INTERNAL_ERROR","message":"Database down"}'),
            "GET /x answered 500 (INTERNAL_ERROR: Database down); help",
        ),
        (_answer(403, b'{"error":"no"}'), "GET /x answered 403 (no); help"),
        (_answer(404, b"{}", reason="Not Found"), "GET /x answered 404 (Not Found); help"),
        (_answer(418, b'{"message": {"a": 1}}'), "GET /x answered 418; help"),
        (
            _answer(302, b"", location="https://user:pw@login.example.com/?next=secret"),
            "GET /x answered 302, a redirect to login.example.com; help",
        ),
        (_answer(302, b"", location="https://[oops"), "GET /x answered 302, a redirect to nowhere; help"),
        (_answer(200, b"<h1>Sign in</h1>"), "GET /x answered 200 without JSON (Sign in); help"),
    ):
        assert str(answer.failure("GET /x", "help")) == told


def test_repr_shows_no_payload():
    """A payload may hold tokens."""
    assert "hidden" not in repr(_answer(200, b'{"accessToken": "hidden"}'))


def test_the_error_carries_status_and_wish():
    """What decides about another try is on the error."""
    error = _answer(429, b"", retry_after="9").failure("GET /x", "help")
    assert (error.status, error.retry_after) == (429, 9.0)


def test_an_excerpt_is_short_clean_and_without_secrets():
    """Markup, scripts, control characters, tokens and most of the text are left out."""
    page = (
        "<html><head><style>body { color: red }</style><SCRIPT>alert(1)</script></head>"
        f"<body><h1>502 Bad\x00 Gateway</h1>\r\n<p>token s3cr3t and {jwt(exp=1)}</p>{'x' * 500}</body></html>"
    )
    shown = excerpt(page, ["s3cr3t", ""])
    assert shown.startswith("502 Bad Gateway token *** and *** xxx")
    assert len(shown) == 160
    assert shown.endswith("...")
    assert excerpt("<script>" + "y" * 5000) == ""


def test_secrets_are_cut_before_the_text_is():
    """A secret at the edge of what is read is not shown in half."""
    assert "s3cr" not in excerpt("<p>" + "<br>" * 1022 + "s3cr3t-token", ["s3cr3t-token"])
