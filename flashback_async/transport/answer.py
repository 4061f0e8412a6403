"""What the control plane answered, and how to tell it without repeating secrets or dumping bodies."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flashback_async.errors import DiscoveryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST_RETRY_AFTER = 300.0
"""Seconds of `Retry-After` that are believed."""

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_EXCERPT = 160
_JWT = re.compile(r"[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")
_INVISIBLE = re.compile(r"<(script|style)\b.*?(</\1\s*>|$)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whatever its status.

    Attributes:
        status: HTTP status.
        payload: the parsed JSON, None where the body was none.
        excerpt: a short piece of text that says what was wrong, safe to show.
        retry_after: seconds that the control plane asked us to wait, None where it did not.
        location: host that the answer points to, as redirects do; else empty.
    """

    status: int
    payload: object = field(repr=False)
    excerpt: str = ""
    retry_after: float | None = None
    location: str = ""

    @classmethod
    def read(
        cls,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        *,
        reason: str = "",
        secrets: Iterable[str] = (),
        wall_now: float,
    ) -> Answer:
        """Make sense of what arrived; `secrets` are kept out of the excerpt."""
        payload = _parsed(body)
        said = _complaint(payload) if payload is not None else body[: 1 << 20].decode("utf-8", "replace")
        return cls(
            status=status,
            payload=payload,
            excerpt=excerpt(said, secrets) or excerpt(reason, secrets),
            retry_after=_retry_after(headers, wall_now),
            location=_host_of(headers.get("Location", "")),
        )

    @property
    def is_success(self) -> bool:
        """2xx, JSON, and no `success: false` inside."""
        return self.is_2xx and self.payload is not None and not self.is_refusal

    @property
    def is_2xx(self) -> bool:
        """Whether the status is one of success."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_redirect(self) -> bool:
        """Whether the status points elsewhere."""
        return HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST

    @property
    def is_refusal(self) -> bool:
        """Whether the body says `success: false`, as it may under a status of 200."""
        return isinstance(self.payload, dict) and self.payload.get("success") in (False, "false", "False")

    @property
    def is_transient(self) -> bool:
        """Whether the status alone makes another try worthwhile."""
        return self.status in _TRANSIENT

    def failure(self, request: str, hint: str) -> DiscoveryError:
        """The error that names the request, what came back, and what to do about it."""
        if self.is_redirect:
            problem = f"answered {self.status}, a redirect to {self.location or 'nowhere'}"
        elif self.is_2xx and self.payload is None:
            problem = f"answered {self.status} without JSON"
        else:
            problem = f"answered {self.status}"
        said = f" ({self.excerpt})" if self.excerpt else ""
        return DiscoveryError(
            f"{request} {problem}{said}; {hint}", status=self.status, retry_after=self.retry_after
        )


def excerpt(text: str, secrets: Iterable[str] = ()) -> str:
    """At most 160 printable characters of `text`, without markup, without `secrets`, without any JWT."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _TAG.sub(" ", _INVISIBLE.sub(" ", text[:4096]))
    text = _JWT.sub("***", text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 3] + "..."


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _complaint(payload: object) -> str:
    """What an error body says, empty where it says nothing."""
    if not isinstance(payload, dict):
        return ""
    parts = (payload.get("error_code"), payload.get("message") or payload.get("error"))
    return ": ".join(part for part in parts if isinstance(part, str) and part)


def _host_of(location: str) -> str:
    try:
        return excerpt(urlsplit(location).hostname or "")
    except ValueError:
        return ""


def _retry_after(headers: Mapping[str, str], wall_now: float) -> float | None:
    """Seconds to wait: a number, or a date, measured against the server's own clock where it tells it."""
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            due = parsedate_to_datetime(text).timestamp()
            date = headers.get("Date")
            seconds = due - (parsedate_to_datetime(date).timestamp() if date else wall_now)
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


__all__ = ["LONGEST_RETRY_AFTER", "Answer", "excerpt"]
