"""From the head of an answer to the dictionary that boto returns, compiled once from botocore's model.

Only answers that are as they should be come through here. Errors, and bodies where none belongs, are read by
botocore's own parser: they are rare, and nobody knows their forms as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import ParseError, XMLParser

from botocore.awsrequest import HeadersDict
from botocore.parsers import create_parser

from flashback_async.errors import EndpointServerError
from flashback_async.transport.s3_model import streamed_output
from flashback_async.transport.s3_timestamps import parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from botocore.exceptions import ClientError
    from botocore.model import OperationModel, Shape

_MAY_FAIL_YET: Final = 200
_SERVER_ERROR: Final = 500


class AnswerPlan:
    """One operation's answers. Dates are boto's too: aware, in dateutil's UTC."""

    __slots__ = ("_expires", "_from_code", "_map", "_members", "_model", "_parser", "_prefix", "streams_body")

    def __init__(self, model: OperationModel, from_code: Callable[[str], type[ClientError]]) -> None:
        self._model = model
        self._from_code = from_code
        self._parser = create_parser("rest-xml")
        self.streams_body: bool = model.has_streaming_output
        self._members: dict[str, tuple[str, Callable[[str], object] | None]] = {}
        self._prefix = self._map = ""
        shape = model.output_shape
        members = shape.members if shape is not None else {}
        for name, member in members.items():
            told = member.serialization
            if told.get("location") == "headers":
                self._prefix, self._map = told["name"].lower(), name
            elif told.get("location") == "header":
                self._members[told.get("name", name).lower()] = (name, _CONVERSIONS[member.type_name])
        self._expires = self._members.pop("expires", None) is not None

    @classmethod
    def of(cls, model: OperationModel, from_code: Callable[[str], type[ClientError]]) -> Self | None:
        """The plan for an operation; None where its answer is more than headers and a stream.

        Args:
            model: botocore's.
            from_code: the modelled exception for an error code, of a client whose callers will see it.
        """
        shape = model.output_shape
        members = shape.members if shape is not None else {}
        if model.has_event_stream_output:
            return None
        streamed = streamed_output(model)
        maps = [name for name, member in members.items() if member.serialization.get("location") == "headers"]
        covered = len(maps) <= 1 and all(
            name in {streamed, *maps} or _is_covered(member) for name, member in members.items()
        )
        return cls(model, from_code) if covered else None

    def fields(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> dict[str, Any]:
        """What boto returns for this answer, without the member that is a stream.

        Args:
            status: below 300.
            headers: values by lower-case names.
            body: of an operation that streams none; empty, unless something is odd.

        Raises:
            ClientError: the body is an error after all, or what is left of one.
            EndpointServerError: the answer is not S3's.
        """
        told = dict(headers)
        if body and not self.streams_body and self._model.output_shape is not None:
            self._check(status, told, body)
        metadata: dict[str, Any] = {}
        if "x-amzn-requestid" in told:
            metadata["RequestId"] = told["x-amzn-requestid"]
        elif "x-amz-request-id" in told:
            metadata["RequestId"] = told["x-amz-request-id"]
            metadata["HostId"] = told.get("x-amz-id-2", "")
        metadata["HTTPStatusCode"] = status
        metadata["HTTPHeaders"] = told
        metadata["RetryAttempts"] = 0
        fields: dict[str, Any] = {"ResponseMetadata": metadata}
        mapped: dict[str, str] = {}
        members, prefix = self._members, self._prefix
        if prefix:
            fields[self._map] = mapped
        try:
            for name, value in told.items():
                if (member := members.get(name)) is not None:
                    convert = member[1]
                    fields[member[0]] = value if convert is None else convert(value)
                elif prefix and prefix in name and name.startswith(prefix):
                    mapped[name[len(prefix) :]] = value
        except (ValueError, OverflowError, RuntimeError) as error:
            raise EndpointServerError(f"the answer is not S3's: {error!s:.80}", status=status) from error
        if self._expires and "expires" in told:
            self._add_expires(fields, told)
        return fields

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> ClientError:
        """What boto raises for an answer with a status of 300 or more.

        Args:
            status: HTTP status.
            headers: values by lower-case names.
            body: the whole body; HTML and nothing at all are understood as well.
        """
        told = dict(headers)
        expires: dict[str, Any] = {}
        if self._expires and "expires" in told:
            # Some stores send all headers of the object with a 412 to HEAD, and boto reads this one whatever
            # the status.
            self._add_expires(expires, told)
            expires.pop("Expires", None)
        response = {
            "status_code": status,
            "headers": HeadersDict(told),
            "body": body,
            "context": {"operation_name": self._model.name},
        }
        parsed = self._parser.parse(response, self._model.output_shape)
        parsed.update(expires)
        code = parsed.get("Error", {}).get("Code")
        modelled = self._model.service_model.shape_for_error_code(code) if code is not None else None
        if modelled is not None:
            parsed.update(self._parser.parse(response, modelled))
        parsed.setdefault("ResponseMetadata", {})["RetryAttempts"] = 0
        return self._from_code(code)(parsed, self._model.name)

    def _check(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """S3 may find out that it failed after it said 200, and what it sends then may break off."""
        parser = XMLParser(encoding="utf-8")  # noqa: S314  # as botocore reads every answer
        try:
            parser.feed(body)
            is_error = parser.close().tag == "Error"
        except ParseError as error:
            if status != _MAY_FAIL_YET:
                raise EndpointServerError(f"the answer is not S3's: {error}", status=status) from error
            is_error = True
        if is_error and status == _MAY_FAIL_YET:
            raise self.error(_SERVER_ERROR, headers, body)

    def _add_expires(self, fields: dict[str, Any], told: dict[str, str]) -> None:
        """Boto gives the text as well, and takes a date that is none out of the headers."""
        text = told["expires"]
        if not text:
            return
        fields["ExpiresString"] = text
        try:
            fields["Expires"] = parse_timestamp(text)
        except (ValueError, OverflowError, RuntimeError):
            del told["expires"]


# None: taken as it is.
_CONVERSIONS: Final[dict[str, Callable[[str], object] | None]] = {
    "string": None,
    "integer": int,
    "long": int,
    "boolean": "true".__eq__,
    "timestamp": parse_timestamp,
}


def _is_covered(member: Shape) -> bool:
    told = member.serialization
    return told.get("location") == "header" and member.type_name in _CONVERSIONS and "jsonvalue" not in told
