"""Complete answers that the sandbox's servers write themselves, in the formats of the real ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

S3_CODES: Final = {
    200: "SlowDown",
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    413: "EntityTooLarge",
    429: "SlowDown",
    500: "InternalError",
    501: "NotImplemented",
    503: "SlowDown",
}
"""The S3 error code that goes with a status when none is given (200: S3 reports SlowDown inside it)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and type of one answer; `fields` are further header lines."""

    status: int
    body: bytes
    content_type: str
    fields: tuple[bytes, ...] = ()

    @property
    def start(self) -> bytes:
        """The status line."""
        return f"HTTP/1.1 {self.status} {reason(self.status)}".encode()

    @property
    def lines(self) -> tuple[bytes, ...]:
        """All field lines."""
        return (
            f"Content-Type: {self.content_type}".encode(),
            f"Content-Length: {len(self.body)}".encode(),
            *self.fields,
        )


def reason(status: int) -> str:
    """The usual words for a status, also for one that HTTP does not name."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def html_answer(status: int, *, retry_after: float | None = None) -> Answer:
    """An error page as nginx writes it."""
    title = f"{status} {reason(status)}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx/1.25.5</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, page.encode(), "text/html", _retry_after(retry_after))


def xml_answer(status: int, code: str | None = None, *, retry_after: float | None = None) -> Answer:
    """An error as S3 writes it; a missing code is derived from the status."""
    name = code if code is not None else S3_CODES.get(status, "InternalError")
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{name}</Code><Message>{reason(status)}, injected by the sandbox</Message>"
        f"<RequestId>{uuid4().hex[:16].upper()}</RequestId></Error>"
    )
    return Answer(status, document.encode(), "application/xml", _retry_after(retry_after))


def json_answer(value: Any, status: int = 200) -> Answer:
    """A control plane's answer."""
    return Answer(status, json.dumps(value).encode(), "application/json")


def _retry_after(seconds: float | None) -> tuple[bytes, ...]:
    return () if seconds is None else (f"Retry-After: {seconds:g}".encode(),)
