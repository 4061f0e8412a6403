"""How an operation looks on the wire, compiled once from botocore's service model.

For every operation whose request and answer carry no XML: what botocore's serialiser works out anew for each
request is a few look-ups here. The bytes are botocore's; the tests compare them. Whatever a plan does not
cover (it returns None), and whatever boto would refuse in its own words, belongs to the aioboto3 client.
"""

from __future__ import annotations

import re
from calendar import timegm
from dataclasses import dataclass
from datetime import datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from botocore.exceptions import ClientError

from flashback_async.transport.request_head import request_head
from flashback_async.transport.s3_answers import AnswerPlan
from flashback_async.transport.s3_model import streamed_input
from flashback_async.transport.s3_place import UncoveredError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Self

    from botocore.model import OperationModel, Shape

    from flashback_async.transport.operation import Operation
    from flashback_async.transport.s3_place import Place
    from flashback_async.transport.sigv4 import Signer

# Boto derives further headers from a customer's key, for itself and for the copied object.
_DERIVED_FROM: Final = ("SSECustomer", "CopySourceSSECustomer")
# Texts that select what boto computes and verifies itself.
_CHECKSUM_SWITCHES: Final = ("requestAlgorithmMember", "requestValidationModeMember")
_IN_HEAD: Final = frozenset({"uri", "querystring", "header", "headers"})
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9._~/-]+")
_TEMPLATE: Final = re.compile(r"/\{Bucket\}(?P<key>/\{Key\+\})?(?:\?(?P<query>[^{}]*))?")
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Bodies arrive as they are stored.
_UNSIGNED: Final = (("accept-encoding", "identity"),)
_UNSIGNED_EMPTY: Final = (*_UNSIGNED, ("content-length", "0"))


@dataclass(slots=True)
class WireRequest:
    """A request before it is signed; names of headers in small letters. Not to be changed.

    Attributes:
        method: in capitals.
        host: the `Host` header.
        path: percent-encoded.
        query: percent-encoded, without the question mark.
        headers: what is signed beside the host.
        unsigned: what is only sent.
    """

    method: str
    host: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    unsigned: tuple[tuple[str, str], ...]

    def signed_head(
        self, signer: Signer, *, payload_hash: str, now: float, also: Collection[tuple[str, str]] = ()
    ) -> bytes:
        """All that goes before the body, from the request line to the empty line.

        Args:
            signer: of the key pair to use.
            payload_hash: SHA-256 of the body in hex, or `UNSIGNED_PAYLOAD`.
            now: seconds since 1970.
            also: lower-case names and values of what is sent beside, unsigned.

        Raises:
            ConfigurationError: a parameter holds what cannot be sent, such as a line break.
        """
        method, host, path, query, headers = self.method, self.host, self.path, self.query, self.headers
        try:
            signed = signer.headers(
                method, host, path, query, headers=headers, payload_hash=payload_hash, now=now
            )
        except UnicodeEncodeError:
            signed = []  # refused below, by name
        target = f"{path}?{query}" if query else path
        return request_head(method, target, host, [*headers, *signed, *self.unsigned, *also])


class WirePlan:
    """One operation, from its parameters to a request; its `answer` is the way back."""

    __slots__ = ("_body", "_has_key", "_headers", "_maps", "_method", "_query", "_required",
                 "_template_query", "answer")  # fmt: skip

    def __init__(self, model: OperationModel, template: re.Match[str], answer: AnswerPlan) -> None:
        self.answer = answer
        self._method: str = model.http["method"]
        self._has_key = template["key"] is not None
        self._template_query = template["query"] or ""
        self._body = streamed_input(model)
        self._required = frozenset(model.input_shape.required_members) - {"Bucket", "Key"}
        self._headers: dict[str, tuple[str, Callable[[object], str]]] = {}
        self._query: dict[str, tuple[str, Callable[[object], str]]] = {}
        self._maps: dict[str, str] = {}
        # The length is the upload's.
        left_out = {model.http_checksum.get(switch) for switch in _CHECKSUM_SWITCHES} | {"ContentLength"}
        for name, shape in model.input_shape.members.items():
            if name in left_out or name.startswith(_DERIVED_FROM):
                continue
            told = shape.serialization
            location = told.get("location")
            convert = _conversion(shape, in_query=location == "querystring")
            if location == "headers" and shape.key.type_name == shape.value.type_name == "string":
                self._maps[name] = told["name"].lower()
            elif location == "header" and convert is not None:
                self._headers[name] = (told["name"].lower(), convert)
            elif location == "querystring" and convert is not None:
                self._query[name] = (quote(told["name"], safe="-._~"), convert)

    @classmethod
    def of(
        cls, model: OperationModel, from_code: Callable[[str], type[ClientError]] = lambda _code: ClientError
    ) -> Self | None:
        """The plan for an operation; None where its request or answer is more than headers and a stream.

        Args:
            model: botocore's.
            from_code: the modelled exception for an error code, of a client whose callers will see it.
        """
        answer = AnswerPlan.of(model, from_code)
        template = _TEMPLATE.fullmatch(_full_uri(model))
        if template is None or answer is None:
            return None
        streamed = streamed_input(model)
        if streamed is not None and "ContentLength" not in model.input_shape.members:
            return None
        if any(
            name != streamed and shape.serialization.get("location") not in _IN_HEAD
            for name, shape in model.input_shape.members.items()
        ):
            return None
        # Boto draws the token of an idempotent call, prefixes hosts, signs otherwise, and adds checksums.
        if model.idempotent_members or model.endpoint or model.auth_type or model.http_checksum_required:
            return None
        return None if model.http_checksum.get("requestChecksumRequired") else cls(model, template, answer)

    def request(self, operation: Operation, place: Place) -> WireRequest | None:
        """What boto would send; None if only boto knows, or if boto would refuse it."""
        try:
            host, path = self._path(operation, place)
            query, headers = self._serialised(operation.parameters)
        except (UncoveredError, UnicodeEncodeError):
            return None
        unsigned = _UNSIGNED if self._method in _BODILESS else _UNSIGNED_EMPTY
        if operation.upload is not None:
            if self._body is None:
                return None
            # Signed, for boto takes it as a parameter.
            headers.append(("content-length", str(operation.upload.size)))
            unsigned = _UNSIGNED
        return WireRequest(self._method, host, path, query, headers, unsigned)

    def _path(self, operation: Operation, place: Place) -> tuple[str, str]:
        bucket, key = operation.bucket, operation.key
        if not isinstance(bucket, str) or isinstance(key, str) is not self._has_key:
            raise UncoveredError
        host, path = place.of(bucket)
        if not self._has_key:
            return host, path or "/"
        if not key:
            raise UncoveredError
        return host, f"{path}/{key if _PLAIN_KEY.fullmatch(key) else quote(key, safe='/~')}"

    def _serialised(self, parameters: Mapping[str, object]) -> tuple[str, list[tuple[str, str]]]:
        """Query and headers, in the order of the parameters."""
        if self._required and not self._required <= parameters.keys():
            raise UncoveredError
        headers: list[tuple[str, str]] = []
        query = self._template_query
        for name, value in parameters.items():
            if (member := self._headers.get(name)) is not None:
                headers.append((member[0], member[1](value)))
            elif (member := self._query.get(name)) is not None:
                pair = f"{member[0]}={quote(member[1](value), safe='-._~')}"
                query = f"{query}&{pair}" if query else pair
            elif (prefix := self._maps.get(name)) is not None:
                headers += _map_lines(prefix, value)
            else:
                raise UncoveredError
        return query, headers


def _full_uri(model: OperationModel) -> str:
    """With the bucket, which boto takes out of the model when the operation is called for the first time."""
    uri: str = model.http["requestUri"]
    return f"/{{Bucket}}{uri}" if "authPath" in model.http else uri


def _conversion(shape: Shape, *, in_query: bool) -> Callable[[object], str] | None:
    """From a value to its text; None for types that boto has to handle."""
    at_least: int = shape.metadata.get("min", 0)

    def text(value: object) -> str:
        if not isinstance(value, str) or len(value) < at_least:
            raise UncoveredError
        return value

    def number(value: object) -> str:
        if type(value) is not int or value < at_least:
            raise UncoveredError
        return str(value)

    if shape.type_name == "timestamp":
        default = "iso8601" if in_query else "rfc822"
        return _http_date if shape.serialization.get("timestampFormat", default) == "rfc822" else None
    if "jsonvalue" in shape.serialization:
        return None
    return {"string": text, "integer": number, "long": number, "boolean": _boolean}.get(shape.type_name)


def _boolean(value: object) -> str:
    if not isinstance(value, bool):
        raise UncoveredError
    return "true" if value else "false"


def _http_date(value: object) -> str:
    """Boto reads texts, numbers and naive times as well; they are its business."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise UncoveredError
    return formatdate(timegm(value.utctimetuple()), usegmt=True)


def _map_lines(prefix: str, value: object) -> list[tuple[str, str]]:
    """Metadata: plain ASCII, under names that can be headers, and stay different as such."""
    if not isinstance(value, dict):
        raise UncoveredError
    lines: dict[str, str] = {}
    for name, text in value.items():
        if not (isinstance(name, str) and isinstance(text, str) and text.isascii()):
            raise UncoveredError
        if not _HEADER_NAME.fullmatch(name):
            raise UncoveredError
        lines[prefix + name.lower()] = text
    if len(lines) < len(value):
        raise UncoveredError
    return list(lines.items())
