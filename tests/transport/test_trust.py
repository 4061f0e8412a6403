"""Which listed addresses become endpoints, and which never do."""

from __future__ import annotations

import pytest

from flashback_async.config import FlashbackSettings
from flashback_async.transport.trust import HOSTS_NAMED, EndpointTrust

CLOUD = "https://backend.flashback.tech"
LOCAL = "http://127.0.0.1:8000"


def _admit(listed, *, domains=("flashback.tech",), control_plane=CLOUD):
    return EndpointTrust(domains, control_plane=control_plane).admit(listed)


@pytest.mark.parametrize(
    ("listed", "url"),
    [
        ("https://s3-us-east-1-aws.flashback.tech", "https://s3-us-east-1-aws.flashback.tech"),
        ("https://s3-us-east-1-aws.flashback.tech/", "https://s3-us-east-1-aws.flashback.tech"),
        ("  s3-us-east-1-aws.flashback.tech ", "https://s3-us-east-1-aws.flashback.tech"),
        ("S3-US-EAST-1-AWS.Flashback.Tech", "https://s3-us-east-1-aws.flashback.tech"),
        ("*-us-east-1-aws.flashback.tech", "https://s3-us-east-1-aws.flashback.tech"),
        ("https://*-us-east-1-aws.flashback.tech", "https://s3-us-east-1-aws.flashback.tech"),
        ("HTTPS://*-us-east-1-aws.flashback.tech", "https://s3-us-east-1-aws.flashback.tech"),
        ("gcs-eu-central-1-azure.flashback.tech", "https://s3-eu-central-1-azure.flashback.tech"),
        ("https://blob-eu-central-1-gcp.flashback.tech", "https://s3-eu-central-1-gcp.flashback.tech"),
        ("https://node1.flashback.tech", "https://node1.flashback.tech"),
        ("https://flashback.tech", "https://flashback.tech"),
        ("https://s3.flashback.tech:443", "https://s3.flashback.tech"),
        ("https://s3.flashback.tech:8443", "https://s3.flashback.tech:8443"),
        ("xn--bcher-kva.flashback.tech", "https://xn--bcher-kva.flashback.tech"),
    ],
)
def test_every_form_of_address_becomes_the_s3_endpoint(listed, url):
    """Full URL, bare host, pattern, and the hosts of the other interfaces lead to the same endpoint."""
    assert _admit(listed) == url


@pytest.mark.parametrize(
    "listed",
    [
        # another domain, however it is dressed
        "https://evilflashback.tech",
        "https://flashback.tech.evil.com",
        "https://flashback.tech-evil.com",
        "https://s3.flashback.technology",
        "https://evil.com/flashback.tech",
        "https://evil.com?.flashback.tech",
        "https://evil.com#.flashback.tech",
        "https://evil.com\\.flashback.tech",
        "https://evil.com%2f.flashback.tech",
        "https://evil.com\t.flashback.tech",
        "https://evil.com\n.flashback.tech",
        "https://evil.com\x00.flashback.tech",
        "https://evil.com;.flashback.tech",
        "*-us-east-1-aws.evil.com",
        "gcs-us-east-1.evil.com",
        # user names
        "https://flashback.tech@evil.com",
        "https://user:pw@s3.flashback.tech",
        "https://@s3.flashback.tech",
        "s3.flashback.tech@evil.com",
        # look-alikes
        "https://flаshback.tech",  # noqa: RUF001  # a Cyrillic letter
        "https://s3.flashback。tech",
        "https://ｆlashback.tech",  # noqa: RUF001
        "https://xn--flshback-2of.tech",
        # addresses
        "https://203.0.113.10",
        "https://2130706433",
        "https://0x7f000001",
        "https://[::1]",
        "https://[2001:db8::1]",
        "https://127.0.0.1",
        "https://localhost",
        "http://localhost:9000",
        "http://s3.localhost",
        # schemes
        "http://s3.flashback.tech",
        "http://*-us-east-1-aws.flashback.tech",
        "ftp://s3.flashback.tech",
        "javascript://s3.flashback.tech",
        "//s3.flashback.tech",
        "file:///etc/passwd",
        # ports and hosts that are none
        "https://s3.flashback.tech:0",
        "https://s3.flashback.tech:65536",
        "https://s3.flashback.tech:http",
        "https://s3.flashback.tech:-1",
        "https://s3.flashback.tech.",
        "https://.flashback.tech",
        "https://s3..flashback.tech",
        "https://*.flashback.tech",
        "https://s3-*.flashback.tech",
        # not only a host
        "https://s3.flashback.tech/bucket",
        "https://s3.flashback.tech/?x=1",
        "https://s3.flashback.tech#x",
        "https://[::1",
        "",
        "   ",
        "*-",
        "https://",
    ],
)
def test_everything_else_is_refused(listed):
    """No trick leads to a host outside the domain, to plain http, or to anything but a host and a port."""
    assert _admit(listed) is None


def test_domains_of_ones_own():
    """A domain covers what is below it; a host, an address and `host:port` cover only themselves."""
    domains = (
        "mycompany.com",
        "Gcs-Gateway.Other.org",
        "203.0.113.7",
        "exact.example:8443",
        "[::1]",
        "2001:db8::1",
    )
    accepted = {
        "*-us-west-2.mycompany.com": "https://s3-us-west-2.mycompany.com",
        "https://gcs-gateway.other.org": "https://gcs-gateway.other.org",
        "203.0.113.7": "https://203.0.113.7",
        "https://[2001:db8::1]:9000": "https://[2001:db8::1]:9000",
        "https://exact.example:8443": "https://exact.example:8443",
    }
    for listed, url in accepted.items():
        assert _admit(listed, domains=domains) == url
    for listed in (
        "https://1.203.0.113.7",
        "https://exact.example",
        "https://a.exact.example:8443",
        "other.org",
    ):
        assert _admit(listed, domains=domains) is None


@pytest.mark.parametrize(
    ("domains", "control_plane", "accepted"),
    [
        (("flashback.tech",), LOCAL, True),
        (("flashback.tech",), "http://localhost:8000", True),
        (("flashback.tech",), "http://[::1]:8000", True),
        (("flashback.tech",), CLOUD, False),
        (("flashback.tech",), None, False),
        (("127.0.0.1",), CLOUD, True),
        (("127.0.0.1:9000",), CLOUD, True),
        (("127.0.0.1:9001",), CLOUD, False),
    ],
)
def test_loopback_needs_a_local_control_plane_or_a_mention(domains, control_plane, accepted):
    """Nobody on the network can point the client at services of its own machine."""
    expected = "http://127.0.0.1:9000" if accepted else None
    assert _admit("http://127.0.0.1:9000", domains=domains, control_plane=control_plane) == expected


def test_loopback_addresses_keep_their_form():
    """Ports and IPv6 brackets survive, usual ports are left out, other interfaces become s3."""
    for listed, url in (
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("http://localhost:80", "http://localhost"),
        ("http://gcs-us-east-1.localhost:9000", "http://s3-us-east-1.localhost:9000"),
        ("https://127.0.0.1:9000", "https://127.0.0.1:9000"),
    ):
        assert _admit(listed, control_plane=LOCAL) == url


def test_loopback_without_a_scheme_speaks_like_the_control_plane():
    """A bare host means https, unless both are on this machine and the control plane speaks http."""
    for listed in ("127.0.0.1:9000", "*-us-east-1-aws.localhost:9000", "localhost"):
        assert _admit(listed, control_plane=LOCAL).startswith("http:")
        assert _admit(listed, control_plane="https://localhost:8000").startswith("https:")
    assert _admit("s3.flashback.tech", control_plane=LOCAL) == "https://s3.flashback.tech"
    assert _admit("127.0.0.1:9000", domains=["127.0.0.1"]) == "https://127.0.0.1:9000"


def test_a_refused_host_is_named_once(caplog):
    """The warning names the host and the setting, once however often and in whatever form it is listed."""
    trust = EndpointTrust(["flashback.tech"], control_plane=CLOUD)
    for listed in ("https://s3.other.com", "S3.OTHER.COM", "https://s3.other.com/", "https://s3.more.com"):
        trust.admit(listed)
        trust.admit(listed)
    messages = [record.getMessage() for record in caplog.records]
    assert ["s3.other.com" in message for message in messages] == [True, False]
    assert all("FB_ALLOWED_DOMAINS" in message for message in messages)


def test_the_log_shows_no_password(caplog):
    """What stands before the @ stays out of the log."""
    for listed in (
        "https://user:hunter2@s3.other.com",
        "user:hunter2@s3.more.com",
        "https://u:hun/ter2@x.com",
    ):
        assert _admit(listed) is None
    assert len(caplog.records) == 3
    assert "hun" not in caplog.text


def test_a_flood_of_hosts_does_not_flood_the_log(caplog):
    """Thousands of refused hosts are dropped, and some of them named."""
    trust = EndpointTrust(["flashback.tech"])
    for number in range(3 * HOSTS_NAMED):
        assert trust.admit(f"https://n{number}.other.com") is None
    assert len(caplog.records) == HOSTS_NAMED


def test_settings_express_trust():
    """Allowed domains and base URL of the settings decide."""
    local = FlashbackSettings(base_url=LOCAL, jwt="t")
    assert EndpointTrust.from_settings(local).admit("http://127.0.0.1:9000") == "http://127.0.0.1:9000"
    named = FlashbackSettings(allowed_domains="my.org", jwt="t")
    assert EndpointTrust.from_settings(named).admit("*-eu.my.org") == "https://s3-eu.my.org"
    assert EndpointTrust.from_settings(named).admit("s3.flashback.tech") is None
