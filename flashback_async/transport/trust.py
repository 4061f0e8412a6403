"""Which of the addresses that the control plane lists may be used.

An endpoint receives signed requests and data, and its address comes from a network answer. So it must lie
within a domain that somebody named, speak https, and carry nothing but a host and a port.
"""

from __future__ import annotations

import logging
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flashback_async.endpoint_url import checked_url, is_loopback
from flashback_async.errors import ConfigurationError
from flashback_async.transport.answer import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flashback_async.config import FlashbackSettings

HOSTS_NAMED = 50
"""Refused hosts that are named in a warning each; a list of thousands would be somebody's mischief."""

_USUAL_PORTS = {"https": 443, "http": 80}
_REMEDY = "if it is yours, add it to FB_ALLOWED_DOMAINS"
_PATTERN = re.compile(r"^(https?://)?\*-", re.IGNORECASE)
_OTHER_API = re.compile(r"^(?:gcs|blob)-")

_logger = logging.getLogger("flashback_async.discovery")


class EndpointTrust:
    """Turns listed addresses into S3 endpoints, or refuses them.

    A node is one machine with three interfaces, and its address may name any of them: the pattern
    `*-us-east-1-aws.flashback.tech` and the hosts `gcs-…` and `blob-…` become `s3-…`. A host that was allowed
    by its full name is taken as it is. An address without a scheme means https; on this machine it means the
    scheme of the control plane.

    Args:
        allowed_domains: domains, with everything below them; or single hosts, addresses and `host:port`.
        control_plane: base URL of the control plane; when it is on loopback, so may the endpoints be.
    """

    def __init__(self, allowed_domains: Iterable[str], *, control_plane: str | None = None) -> None:
        self._hosts = frozenset(domain.lower().strip(".") for domain in allowed_domains)
        self._suffixes = tuple(f".{host}" for host in self._hosts if not _is_address(host))
        base = urlsplit(control_plane or "")
        self._local_scheme = base.scheme if is_loopback(base.hostname or "") else None
        self._named: set[str] = set()

    @classmethod
    def from_settings(cls, settings: FlashbackSettings) -> EndpointTrust:
        """The trust that `settings` express."""
        return cls(settings.allowed_domains, control_plane=settings.base_url)

    def admit(self, listed: str) -> str | None:
        """The S3 base URL for an address as listed, or None if it must not be used.

        A refused host is named in the log, once.
        """
        try:
            return self._endpoint(listed)
        except ConfigurationError as error:
            self._name_once(listed, str(error))
            return None

    def _endpoint(self, listed: str) -> str:
        if "@" in listed:  # refused below as well, but not in words that repeat a password
            raise ConfigurationError("its address carries a user name")
        address = _PATTERN.sub(r"\1s3-", listed.strip())
        parts = urlsplit(checked_url(address, what="its address"))
        host, scheme = parts.hostname or "", parts.scheme
        if self._local_scheme is not None and "://" not in address and is_loopback(host):
            scheme = self._local_scheme
        usual_port = _USUAL_PORTS[scheme]
        port = parts.port or usual_port
        if "" in host.split("."):
            raise ConfigurationError("its host name has an empty label")
        if host not in self._hosts and f"{host}:{port}" not in self._hosts:
            if is_loopback(host):
                if self._local_scheme is None:
                    raise ConfigurationError(f"it is on this machine, the control plane is not; {_REMEDY}")
            elif _is_address(host) or not host.endswith(self._suffixes):
                raise ConfigurationError(f"it is in none of the allowed domains; {_REMEDY}")
            host = _OTHER_API.sub("s3-", host)
        shown = f"[{host}]" if ":" in host else host
        return f"{scheme}://{shown}" + (f":{port}" if port != usual_port else "")

    def _name_once(self, listed: str, reason: str) -> None:
        name = excerpt(_host(listed))
        if name not in self._named and len(self._named) < HOSTS_NAMED:
            self._named.add(name)
            _logger.warning("the control plane lists the node %r, which is not used: %s", name, reason)


def _host(listed: str) -> str:
    """The host of an address that may be anything; the address itself where it has none."""
    bare = re.sub(r"^[^@]*@", "", listed.strip().lower().rpartition("//")[2])
    return re.split(r"[/?#]", bare, maxsplit=1)[0] or bare


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


__all__ = ["EndpointTrust"]
