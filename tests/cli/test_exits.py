"""How errors become exit codes and lines."""

from __future__ import annotations

import pytest

from flashback_async import (
    AccessDeniedError,
    ConfigurationError,
    DiscoveryError,
    EndpointConnectError,
    NoEndpointAvailableError,
    ObjectNotFoundError,
)
from flashback_async.cli.exits import CommandError, ExitCode, bad_argument, exit_code_of, explained


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (bad_argument("x"), 252),
        (CommandError("x", ExitCode.BAD_ENVIRONMENT), 253),
        (ConfigurationError("x"), 253),
        (DiscoveryError("x"), 254),
        (NoEndpointAvailableError("x"), 254),
        (ObjectNotFoundError("x"), 254),
        (EndpointConnectError("x"), 254),
        (PermissionError(13, "denied", "f"), 1),
        (KeyError("x"), 255),
    ],
)
def test_every_kind_of_error_has_its_code(error, code):
    """Exit codes follow the AWS CLI: 252 arguments, 253 environment, 254 service; 1 a local file."""
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigurationError("two\nlines"), "two lines"),
        (
            ObjectNotFoundError("404", code="NoSuchKey", operation="GetObject", bucket="b", key="k"),
            "GetObject b/k: 404; `flashback ls fb://b` shows what there is",
        ),
        (
            ObjectNotFoundError("404", code="NoSuchBucket", operation="GetObject", bucket="b", key="k"),
            "GetObject b/k: 404; check the name of the bucket",
        ),
        (
            AccessDeniedError("403", operation="PutObject", bucket="b", key="k"),
            "PutObject b/k: 403; check FB_KEY_ID and FB_KEY_SECRET, and what that key may do",
        ),
        (EndpointConnectError("refused"), "refused; `flashback nodes` shows how the nodes are"),
        (PermissionError(13, "Permission denied", "/data/f"), "/data/f: Permission denied"),
        (PermissionError(13, "Permission denied", b"/data/\xff"), "/data/\\xff: Permission denied"),
        (OSError("odd"), "odd"),
        (KeyError("x"), "KeyError: 'x' (a bug; please report it with what --debug shows)"),
    ],
)
def test_every_error_is_one_line_with_a_remedy(error, line):
    """A line names what happened, and what can be done where the service's words do not say it."""
    assert explained(error) == line
