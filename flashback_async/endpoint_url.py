"""What the URL of an endpoint or of the control plane may look like: requests there carry signatures."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from flashback_async.errors import ConfigurationError


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine: `localhost`, a name under it, or a loopback address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def checked_url(text: str, *, what: str) -> str:
    """Return `text` as `scheme://host[:port]`, or say what is wrong with it.

    A missing scheme means https. Requests to the URL carry signatures and data, so plain http is taken
    for loopback hosts only, and user names, paths, queries and ports outside 1..65535 are refused.

    Raises:
        ConfigurationError: `text` is no such URL; `what` names the setting in the message.
    """

    def refuse(reason: str) -> ConfigurationError:
        # A URL with a password in it must not reach a log through this message.
        shown = re.sub(r"//[^/@]*@", "//***@", text)
        return ConfigurationError(f"{what}: {shown!r} {reason}; write it like https://s3.example.com")

    if not isinstance(text, str) or not text.strip() or re.search(r"[\s\\\x00-\x1f]", text.strip()):
        raise refuse("is not a URL")
    candidate = text.strip()
    if "://" not in candidate:
        candidate = f"https://{candidate}"
    try:
        parts = urlsplit(candidate)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise refuse(f"is not a URL ({error})") from error
    faults = {
        f"has the scheme {parts.scheme!r}": parts.scheme not in {"https", "http"},
        "has no valid host name": not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host),
        "carries a user name or password": "@" in parts.netloc,
        "has the port 0": port == 0,
        "has a path or query; only scheme, host and port count": (
            parts.path not in {"", "/"} or "?" in candidate or "#" in candidate
        ),
        "would send signed requests unencrypted; use https": parts.scheme == "http" and not is_loopback(host),
    }
    for reason, found in faults.items():
        if found:
            raise refuse(reason)
    shown_host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown_host}" + (f":{port}" if port is not None else "")


__all__ = ["checked_url", "is_loopback"]
