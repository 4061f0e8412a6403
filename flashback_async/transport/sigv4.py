"""AWS Signature Version 4, as S3 wants it: pure, and with everything cached that lives longer than a request.

Equal to botocore's `S3SigV4Auth` to the byte; the tests compare them. S3 signs paths as they are sent:
encoded once, and with their dots and double slashes.
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from hashlib import _Hash as HASH

    from flashback_async.config import Credentials

EMPTY_PAYLOAD: Final = sha256(b"").hexdigest()
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_END: Final = "aws4_request"

# What proxies on the way may change; botocore leaves the same ones out.
NOT_SIGNED: Final = frozenset({"expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"})
# Signed in every request, and trimmed already.
_ADDED: Final[tuple[str, ...]] = ("host", "x-amz-content-sha256", "x-amz-date")
# Sets of header names whose form is kept: a program sends few, whatever the values.
_FORMS: Final = 256

# RFC 2104: what the key is mixed with, before it is hashed in front of the text and of the text's hash.
_BLOCK: Final = 64
_INNER: Final = bytes(value ^ 0x36 for value in range(256))
_OUTER: Final = bytes(value ^ 0x5C for value in range(256))


@dataclass(frozen=True, slots=True)
class _Day:
    """What all signatures of one day share.

    `inner` and `outer` are the two hashes of an HMAC that have taken the derived key, and are copied for each
    signature: that takes less than half the time of `hmac.digest`.
    """

    date: str
    inner: HASH
    outer: HASH
    scope: str


@dataclass(frozen=True, slots=True)
class _Moment:
    """What all signatures of one second share. Swapped whole, so that threads may share a signer."""

    second: int
    amz_date: str
    day: _Day
    # Has taken the text that is signed as far as the hash of the request.
    inner: HASH
    # The header as far as the names of what is signed.
    beginning: str


class Signer:
    """Signs requests with one key pair for one region; the derived key is computed once a day."""

    __slots__ = ("_credentials", "_moment", "_region", "_service")

    def __init__(self, credentials: Credentials, region: str, service: str = "s3") -> None:
        self._credentials = credentials
        self._region = region
        self._service = service
        self._moment: _Moment | None = None

    def headers(
        self,
        method: str,
        host: str,
        path: str,
        query: str,
        *,
        headers: Collection[tuple[str, str]],
        payload_hash: str,
        now: float,
    ) -> list[tuple[str, str]]:
        """The header lines that make a request a signed one.

        Args:
            method: in capitals.
            host: the `Host` header, in small letters and without the scheme's own port.
            path: percent-encoded, as it is sent.
            query: percent-encoded, as it is sent, in any order and without the question mark; may be empty.
            headers: lower-case name and value of what else is sent and signed; none of those returned here.
            payload_hash: SHA-256 of the body in hex, or `UNSIGNED_PAYLOAD`.
            now: seconds since 1970.

        Returns:
            lower-case names and values, to be sent beside `headers`.
        """
        moment = self._at(now)
        token = self._credentials.session_token
        added = [("x-amz-content-sha256", payload_hash), ("x-amz-date", moment.amz_date)]
        names, values = _ADDED, [host, payload_hash, moment.amz_date]
        if token:
            added.append(("x-amz-security-token", token))
            headers = [*headers, added[-1]]
        if headers:
            names += tuple([name for name, _ in headers])
            values += [_trimmed(value) for _, value in headers]
        form = _form(names, NOT_SIGNED)
        lines = form.template % form.order(values)
        request = f"{method}\n{path}\n{_sorted(query)}\n{lines}\n\n{form.names}\n{payload_hash}"
        added.append(("authorization", _authorization(moment, request, form.names)))
        return added

    def authorization(
        self,
        method: str,
        path: str,
        query: str,
        headers: Collection[tuple[str, str]],
        *,
        payload_hash: str,
        now: float,
    ) -> str:
        """The `Authorization` header over exactly these headers, for services that want no more than that.

        At least the host is among them.
        """
        form = _form(tuple([name for name, _ in headers]), frozenset())
        lines = form.template % form.order([_trimmed(value) for _, value in headers])
        request = f"{method}\n{path}\n{_sorted(query)}\n{lines}\n\n{form.names}\n{payload_hash}"
        return _authorization(self._at(now), request, form.names)

    def _at(self, now: float) -> _Moment:
        second = int(now)
        moment = self._moment
        if moment is not None and moment.second == second:
            return moment
        amz_date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        date = amz_date[:8]
        day = moment.day if moment is not None and moment.day.date == date else self._on(date)
        inner = day.inner.copy()
        inner.update(f"{_ALGORITHM}\n{amz_date}\n{day.scope}\n".encode())
        beginning = f"{_ALGORITHM} Credential={self._credentials.key_id}/{day.scope}, SignedHeaders="
        moment = self._moment = _Moment(second, amz_date, day, inner, beginning)
        return moment

    def _on(self, date: str) -> _Day:
        key = f"AWS4{self._credentials.key_secret}".encode()
        for part in (date, self._region, self._service, _END):
            key = hmac.digest(key, part.encode(), "sha256")
        key = key.ljust(_BLOCK, b"\0")
        scope = f"{date}/{self._region}/{self._service}/{_END}"
        return _Day(date, sha256(key.translate(_INNER)), sha256(key.translate(_OUTER)), scope)


def _trimmed(value: str) -> str:
    """Blanks at the ends do not count, and several count as one."""
    return value if value.isalnum() else " ".join(value.split())


@dataclass(frozen=True, slots=True)
class _Form:
    """What requests with headers of the same names share, which takes longer to find than to fill in.

    Attributes:
        names: of what is signed, in order.
        template: their lines, with a place for each value.
        order: brings the values, given in the order of sending, into that of the template.
    """

    names: str
    template: str
    order: Callable[[list[str]], object]


@lru_cache(_FORMS)
def _form(sent: tuple[str, ...], left_out: frozenset[str]) -> _Form:
    """That of requests with these names in the order of sending, of which at least one is signed."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(sent):
        if name not in left_out:
            places.setdefault(name, []).append(place)
    names = sorted(places)
    # A header that is sent several times is signed as one, in the order of sending.
    lines = [f"{name.replace('%', '%%')}:{','.join(['%s'] * len(places[name]))}" for name in names]
    order = [place for name in names for place in places[name]]
    return _Form(";".join(names), "\n".join(lines), itemgetter(*order))


def _authorization(moment: _Moment, request: str, names: str) -> str:
    """Over a request in the form that is signed."""
    inner, outer = moment.inner.copy(), moment.day.outer.copy()
    inner.update(sha256(request.encode()).hexdigest().encode())
    outer.update(inner.digest())
    return f"{moment.beginning}{names}, Signature={outer.hexdigest()}"


def _sorted(query: str) -> str:
    """By name, then by value; a name without a value gets an equals sign."""
    if not query:
        return query
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return "&".join([f"{name}={value}" for name, value in pairs])
