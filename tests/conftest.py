"""What every test gets: nothing of this machine's environment, and aioresponses that fits aiohttp."""

from __future__ import annotations

import inspect
import os
import signal
from unittest.mock import Mock

import aiohttp
import aioresponses.core
import pytest

if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:

    class _MockedResponse(aiohttp.ClientResponse):
        """aioresponses 0.7.9 does not know the argument that aiohttp 3.14 made mandatory."""

        def __init__(self, *args, **kwargs):
            kwargs.setdefault("stream_writer", Mock(output_size=0))
            super().__init__(*args, **kwargs)

    aioresponses.core.ClientResponse = _MockedResponse


def pytest_configure():
    """What a test starts can be interrupted: a shell has what runs in its background ignore SIGINT, which
    children inherit.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def hermetic_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("FB_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))


def pytest_terminal_summary(terminalreporter):
    """Show what the chaos runs measured, whichever process they ran in."""
    reports = [report for rows in terminalreporter.stats.values() for report in rows]
    for report in reports:
        if getattr(report, "when", None) == "call":
            for name, text in report.user_properties:
                if name == "figures":
                    terminalreporter.write_line(text)
