"""AWS Signature Version 4, as S3 wants it: pure, and with everything cached that lives longer than a request.

Equal to botocore's `S3SigV4Auth` to the byte; the tests compare them. S3 signs paths as they are sent:
encoded once, and with their dots and double slashes.
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hmac
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from flashback_async.config import Credentials

EMPTY_PAYLOAD: Final = sha256(b"").hexdigest()
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"

# What proxies on the way may change; botocore leaves the same ones out.
NOT_SIGNED: Final = frozenset({"expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"})


class _Moment(NamedTuple):
    """What all signatures of one second share. Swapped whole, so that threads may share a signer."""

    second: int
    amz_date: str
    day: str
    key: bytes
    scope: str
    credential: str


class Signer:
    """Signs requests with one key pair for one region; the derived key is computed once a day."""

    __slots__ = ("_credentials", "_moment", "_region", "_service")

    def __init__(self, credentials: Credentials, region: str, service: str = "s3") -> None:
        self._credentials = credentials
        self._region = region
        self._service = service
        self._moment = _Moment(-1, "", "", b"", "", "")

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
        added = [("x-amz-content-sha256", payload_hash), ("x-amz-date", moment.amz_date)]
        token = self._credentials.session_token
        if token:
            added.append(("x-amz-security-token", token))
        if headers or token:
            signed = [line for line in headers if line[0] not in NOT_SIGNED]
            names, lines = _canonical([("host", host), *added, *signed])
        else:
            # Most requests; the general way takes a quarter longer.
            names = "host;x-amz-content-sha256;x-amz-date"
            lines = f"host:{host}\nx-amz-content-sha256:{payload_hash}\nx-amz-date:{moment.amz_date}"
        request = f"{method}\n{path}\n{_sorted(query)}\n{lines}\n\n{names}\n{payload_hash}"
        added.append(("authorization", _authorization(moment, request, names)))
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
        """The `Authorization` header over exactly these headers, for services that want no more than that."""
        names, lines = _canonical(headers)
        request = f"{method}\n{path}\n{_sorted(query)}\n{lines}\n\n{names}\n{payload_hash}"
        return _authorization(self._at(now), request, names)

    def _at(self, now: float) -> _Moment:
        second = int(now)
        moment = self._moment
        if moment.second == second:
            return moment
        amz_date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day = amz_date[:8]
        if moment.day == day:
            moment = moment._replace(second=second, amz_date=amz_date)
        else:
            key = f"AWS4{self._credentials.key_secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            scope = f"{day}/{self._region}/{self._service}/aws4_request"
            moment = _Moment(second, amz_date, day, key, scope, f"{self._credentials.key_id}/{scope}")
        self._moment = moment
        return moment


def _canonical(headers: Collection[tuple[str, str]]) -> tuple[str, str]:
    """Names and lines of headers in order. Blanks at the ends do not count, and several count as one."""
    values: dict[str, str] = {}
    for name, value in headers:
        trimmed = " ".join(value.split())
        # A header that is sent several times is signed as one, in the order of sending.
        values[name] = f"{values[name]},{trimmed}" if name in values else trimmed
    names = sorted(values)
    return ";".join(names), "\n".join([f"{name}:{values[name]}" for name in names])


def _authorization(moment: _Moment, request: str, names: str) -> str:
    """Over a request in the form that is signed."""
    hashed = sha256(request.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{moment.amz_date}\n{moment.scope}\n{hashed}"
    signature = hmac.digest(moment.key, to_sign.encode(), "sha256").hex()
    return f"AWS4-HMAC-SHA256 Credential={moment.credential}, SignedHeaders={names}, Signature={signature}"


def _sorted(query: str) -> str:
    """By name, then by value; a name without a value gets an equals sign."""
    if not query:
        return query
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&"))
    return "&".join([f"{name}={value}" for name, value in pairs])
