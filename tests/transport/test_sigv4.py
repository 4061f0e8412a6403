"""Signatures: against the vectors that AWS publishes, and against botocore's on any request."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from flashback_async.config import Credentials
from flashback_async.transport.sigv4 import EMPTY_PAYLOAD, NOT_SIGNED, UNSIGNED_PAYLOAD, Signer

VECTORS = json.loads((Path(__file__).parent / "aws4_testsuite.json").read_text())["vectors"]
THEN = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
EXAMPLE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
HOST = "node.example.com:9000"

WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="\x7f"), max_size=20)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True).filter(
    lambda name: name not in {"host", "authorization", "date", *NOT_SIGNED} and not name.startswith("x-amz-")
) | st.from_regex(r"x-amz-meta-[a-z]{1,5}", fullmatch=True)
ENCODED = WORDS.map(lambda text: quote(text, safe="-._~"))
QUERIES = st.lists(
    st.tuples(ENCODED.filter(bool), st.one_of(st.just(""), ENCODED.map(lambda value: f"={value}"))).map(
        "".join
    ),
    max_size=4,
).map("&".join)


class Request(NamedTuple):
    """One of AWS's vectors."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: str


def parsed(vector: dict[str, str]) -> Request:
    """The path in the form that AWS's other services sign, for S3 signs it as it is sent."""
    head, _, body = vector["req"].partition("\n\n")
    first, *lines = head.strip("\n").replace("\n ", "\n \x00").split("\n")
    headers: list[tuple[str, str]] = []
    for line in lines:
        if "\x00" in line:
            name, value = headers.pop()
            headers.append((name, f"{value} {line.strip(' ' + chr(0))}"))
        else:
            name, _, value = line.partition(":")
            headers.append((name.lower(), value))
    for line in vector["creq"].split("\n"):
        # The session's token joins the request while it is signed.
        if line.startswith("x-amz-security-token:") and "x-amz-security-token" not in dict(headers):
            headers.append(("x-amz-security-token", line.partition(":")[2]))
    method, _, target = first.removesuffix(" HTTP/1.1").partition(" ")
    query = quote(target.partition("?")[2], safe="=&%-._~")
    return Request(method, vector["creq"].split("\n")[1], query, headers, body)


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_a_published_vector_is_signed_as_published(name):
    """Every request of AWS's test suite gets the Authorization header that the suite gives."""
    request = parsed(VECTORS[name])

    told = Signer(EXAMPLE, "us-east-1", "service").authorization(
        request.method,
        request.path,
        request.query,
        request.headers,
        payload_hash=sha256(request.body.encode()).hexdigest(),
        now=THEN,
    )

    assert told == VECTORS[name]["authz"]


class BotoSigner(S3SigV4Auth):
    """botocore's, over a payload whose hash is given."""

    def __init__(self, credentials, payload_hash):
        super().__init__(credentials, "s3", "eu-west-1")
        self.payload_hash = payload_hash

    def payload(self, request):
        return self.payload_hash


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "POST"]),
    key=WORDS,
    query=QUERIES,
    headers=st.lists(st.tuples(NAMES, WORDS), max_size=5),
    payload_hash=st.sampled_from([EMPTY_PAYLOAD, UNSIGNED_PAYLOAD, sha256(b"body").hexdigest()]),
    token=st.none() | st.from_regex(r"[A-Za-z0-9+/=]{1,40}", fullmatch=True),
)
def test_any_request_is_signed_as_botocore_signs_it(method, key, query, headers, payload_hash, token):
    """Any key, query, headers, payload hash and token get the headers that botocore adds at the same time."""
    path = f"/bucket/{quote(key, safe='/~')}"
    request = AWSRequest(method=method, url=f"https://{HOST}{path}" + (f"?{query}" if query else ""))
    for name, value in headers:
        request.headers[name] = value
    BotoSigner(BotoCredentials("key", "sec/ret", token), payload_hash).add_auth(request)
    then = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

    told = Signer(Credentials("key", "sec/ret", token), "eu-west-1").headers(
        method, HOST, path, query, headers=headers, payload_hash=payload_hash, now=then.timestamp()
    )

    assert dict(told) == {name: request.headers[name] for name, _ in told}
    assert len(told) == (4 if token else 3)


def test_more_sets_of_names_than_are_kept_are_signed_as_botocore_signs_them():
    """However many sets of header names go through one signer, and whatever signs they hold, each is signed right."""
    signer = Signer(Credentials("key", "sec/ret"), "eu-west-1")
    for number in [*range(600), 0]:
        headers = [(f"x-amz-meta-{number}%s", "100%d"), ("range", "bytes=0-1")]
        request = AWSRequest(method="GET", url=f"https://{HOST}/b/k", headers=dict(headers))
        BotoSigner(BotoCredentials("key", "sec/ret"), EMPTY_PAYLOAD).add_auth(request)
        then = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

        told = signer.headers(
            "GET", HOST, "/b/k", "", headers=headers, payload_hash=EMPTY_PAYLOAD, now=then.timestamp()
        )

        assert dict(told) == {name: request.headers[name] for name, _ in told}


@pytest.mark.parametrize("name", sorted(NOT_SIGNED))
def test_what_proxies_change_is_not_signed(name):
    """A header that botocore leaves out of its signature is left out of ours."""
    signer = Signer(EXAMPLE, "us-east-1")

    def signed(*headers):
        return signer.headers("GET", HOST, "/b/k", "", headers=headers, payload_hash=EMPTY_PAYLOAD, now=THEN)

    assert signed((name, "x"), ("range", "bytes=0-1")) == signed(("range", "bytes=0-1")) != signed()


def test_a_signer_follows_the_clock_over_midnight_and_back():
    """One signer, used for years, signs every moment as a new one would, in whatever order they come."""
    lasting = Signer(EXAMPLE, "us-east-1")

    def signed(signer, now):
        return signer.headers("GET", HOST, "/b/k", "a&b=c", headers=[], payload_hash=EMPTY_PAYLOAD, now=now)

    for now in (THEN, THEN + 0.9, THEN + 1, THEN + 86_400, THEN + 86_400 * 400, THEN):
        assert signed(lasting, now) == signed(Signer(EXAMPLE, "us-east-1"), now)


def test_a_signer_shows_no_secret():
    """A signer in a log tells neither secret nor derived key."""
    signer = Signer(EXAMPLE, "us-east-1")
    signer.headers("GET", HOST, "/b/k", "", headers=[], payload_hash=EMPTY_PAYLOAD, now=THEN)

    assert EXAMPLE.key_secret not in repr(signer)
