"""Whom connections trust."""

from __future__ import annotations

import ssl
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import trustme

from flashback_async.errors import ConfigurationError
from flashback_async.transport.tls import tls_context


@pytest.fixture
def authority(tmp_path):
    """A function that makes an authority, and a file with its certificate."""

    def make(name):
        path = tmp_path / name
        trustme.CA(organization_name=name).cert_pem.write_to_path(str(path))
        return path

    return make


def organizations(context):
    """Who is trusted."""
    return {dict(row[0] for row in ca["subject"])["organizationName"] for ca in context.get_ca_certs()}


def test_the_authorities_of_a_file_and_no_others(authority):
    """With a file its authorities are trusted, the system's are not; certificates and names are checked."""
    context = tls_context(authority("mine"))
    assert organizations(context) == {"mine"}
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_file_without_certificates_is_a_wrong_setting(tmp_path):
    """A file that is missing, or holds something else, is named in the error."""
    (tmp_path / "empty").touch()
    for name in ("empty", "missing"):
        with pytest.raises(ConfigurationError, match=f"ca_file=.*{name}.* no usable certificates"):
            tls_context(tmp_path / name)


def test_the_system_is_asked_once():
    """Whatever thread a client starts in: the system's authorities are in memory once, and are checked."""

    def made(_number):
        together.wait()
        return tls_context(None)

    together = Barrier(4)
    with ThreadPoolExecutor(4) as threads:
        first, *others = threads.map(made, range(4))
    assert all(other is first for other in others)
    assert (first.verify_mode, first.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_system_that_changes_is_asked_again(authority, monkeypatch):
    """Another file of the system's, and other certificates in the same one, count for whoever starts then."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority("first")))
    first = tls_context(None)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority("second")))
    second = tls_context(None)
    authority("changed").replace(authority("second"))
    third = tls_context(None)
    assert [organizations(context) for context in (first, second, third)] == [
        {"first"},
        {"second"},
        {"changed"},
    ]
