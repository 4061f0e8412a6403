"""Answers as they come in: any head, and any error, read as botocore reads it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashback_async.errors import EndpointServerError
from flashback_async.transport.s3_model import streamed_output
from flashback_async.transport.s3_wire import WirePlan

from .wire_reference import Canned, call, client, model, plans

URL = "https://node.example.com:9000"
PARAMETERS = {"Bucket": "bucket", "Key": "k", "UploadId": "u", "PartNumber": 1, "Id": "i"}
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=12)
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1))  # noqa: DTZ001  # naive by contract
HTTP_DATES = MOMENTS.map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
OTHER_DATES = MOMENTS.map(datetime.isoformat) | st.sampled_from(
    ["0", "-1", "1e30", "nan", "inf", "1700000000", "tomorrow", "Thu, 32 Nov 2026 20:00:00 GMT", "Thu, 26 Xyz 2026 20:00:00 GMT",
     "Thu, 26-Nov-2026 20:00:00 GMT", "Thu, 26 Nov 2026 20:00:00 +0200", "Thu Nov 26 20:00:00 2026",
     "Fri, 26 Nov 2026 20:00:00 GMT", "Thu, 26 Nov 2026 24:00:00 GMT", "Thu, 26 Nov 0000 20:00:00 GMT"]
)  # fmt: skip
OF_TYPE = {
    "string": VALUES,
    "integer": st.integers(-9, 2**40).map(str) | st.sampled_from(["", "many", " 7 ", "1.5"]),
    "boolean": st.sampled_from(["true", "false", "True", ""]),
    "timestamp": HTTP_DATES | OTHER_DATES,
}
OF_TYPE["long"] = OF_TYPE["integer"]
STRANGE = st.dictionaries(
    st.sampled_from(["date", "server", "x-amz-meta-", "x-amz-meta-a", "x-amz-meta-x-amz-meta-b", "x-metadata",
                     "x-amz-request-id", "x-amz-id-2", "x-amzn-requestid", "expires", "content-type"]),
    VALUES,
    max_size=5,
)  # fmt: skip


def parameters(name: str) -> dict[str, object]:
    shape = model().operation_model(name).input_shape
    return {member: PARAMETERS.get(member, "x") for member in shape.required_members}


@st.composite
def heads(draw) -> tuple[str, list[tuple[str, str]]]:
    """An operation, and the headers of an answer to it."""
    name = draw(st.sampled_from(["GetObject", "HeadObject", "PutObject"]) | st.sampled_from(sorted(plans())))
    shape = model().operation_model(name).output_shape
    members = [
        member
        for member in (shape.members.values() if shape is not None else ())
        if member.serialization.get("location") == "header"
    ]
    chosen = draw(st.lists(st.sampled_from(members), max_size=8)) if members else []
    told = draw(STRANGE)
    for member in chosen:
        told[member.serialization["name"].lower()] = draw(OF_TYPE[member.type_name])
    return name, draw(st.permutations(list(told.items())))


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(head=heads(), status=st.sampled_from([200, 204, 206]))
def test_any_head_is_read_as_boto_reads_it(head, status):
    """Same names, same values of the same types; where boto breaks over a value, the endpoint is at fault."""
    name, headers = head
    told = model().operation_model(name)
    try:
        expected = call(name, parameters(name), Canned(status, headers))
    except (ValueError, OverflowError, RuntimeError):
        if dict(headers).get("expires") == "":
            return  # boto breaks over a header that says nothing; it is passed over here
        with pytest.raises(EndpointServerError, match="the answer is not S3's"):
            plans()[name].answer.fields(status, dict(headers))
        return
    expected.pop(streamed_output(told), None)

    fields = plans()[name].answer.fields(status, dict(headers))

    assert fields == expected
    assert {name: type(value) for name, value in fields.items()} == {
        name: type(value) for name, value in expected.items()
    }


def test_a_typical_answer_has_botos_names_and_types():
    """A GET's answer: quoted ETag, length as a number, aware date, metadata, and what boto adds of its own."""
    headers = [
        ("last-modified", "Thu, 26 Nov 2026 20:00:00 GMT"), ("etag", '"e"'), ("content-length", "4096"),
        ("x-amz-request-id", "r"), ("x-amz-id-2", "h"), ("x-amz-meta-a", "b"), ("x-amz-delete-marker", "false"),
        ("x-amz-tagging-count", "2"), ("expires", "never"),
    ]  # fmt: skip

    fields = plans()["GetObject"].answer.fields(200, dict(headers))

    assert fields == {
        "LastModified": datetime(2026, 11, 26, 20, tzinfo=UTC),
        "ETag": '"e"',
        "ContentLength": 4096,
        "DeleteMarker": False,
        "TagCount": 2,
        "ExpiresString": "never",
        "Metadata": {"a": "b"},
        "ResponseMetadata": {
            "RequestId": "r",
            "HostId": "h",
            "HTTPStatusCode": 200,
            "HTTPHeaders": {name: value for name, value in headers if name != "expires"},
            "RetryAttempts": 0,
        },
    }


def test_an_empty_expires_is_passed_over():
    """A header that names no date at all costs nobody the object."""
    fields = plans()["GetObject"].answer.fields(200, [("expires", "")])

    assert fields.keys() == {"Metadata", "ResponseMetadata"}


BODIES = {
    "s3": b"<?xml version='1.0'?><Error><Code>%s</Code><Message>no</Message><RequestId>r</RequestId></Error>",
    "wrapped": b"<ErrorResponse><Error><Code>%s</Code><Message>no</Message></Error><RequestId>r</RequestId></ErrorResponse>",
    "state": b"<Error><Code>%s</Code><StorageClass>GLACIER</StorageClass></Error>",
    "html": b"<html><body><h1>429 Too Many Requests</h1><!-- %s --></body></html>",
    "page": b"<!DOCTYPE html><p>broken <b>%s",
    "text": b"upstream said %s",
    "cut": b"<Error><Code>%s</Co",
}
CODES = [
    "NoSuchKey",
    "NoSuchUpload",
    "InvalidObjectState",
    "SlowDown",
    "AccessDenied",
    "PreconditionFailed",
    "Ünknown",
]


def raised(name: str, canned: Canned) -> ClientError:
    with pytest.raises(ClientError) as caught:
        call(name, parameters(name), canned)
    return caught.value


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(["GetObject", "PutObject", "DeleteObject", "UploadPart", "AbortMultipartUpload"]),
    status=st.sampled_from([304, 400, 403, 404, 409, 412, 413, 416, 429, 500, 501, 502, 503, 504, 507]),
    body=st.just(b"") | st.tuples(st.sampled_from(sorted(BODIES)), st.sampled_from(CODES)).map(
        lambda pair: BODIES[pair[0]] % pair[1].encode()
    ),
    headers=st.dictionaries(st.sampled_from(["x-amz-request-id", "x-amz-id-2", "retry-after"]), VALUES),
    expires=st.none() | HTTP_DATES | st.sampled_from(["", "0", "never"]),
)  # fmt: skip
def test_any_error_is_botos(name, status, body, headers, expires):
    """Error documents, HTML of proxies, half documents and nothing: same code, message, metadata and class."""
    if expires is not None:
        headers = {**headers, "expires": expires}
    expected = raised(name, Canned(status, list(headers.items()), body))
    from_code = client(URL, "path", token=None, signed=False).exceptions.from_code

    told = WirePlan.of(model().operation_model(name), from_code).answer.error(status, headers, body)

    assert type(told) is type(expected)
    assert told.response == expected.response
    assert told.operation_name == expected.operation_name


@pytest.mark.parametrize("name", ["HeadObject", "HeadBucket"])
@pytest.mark.parametrize("status", [304, 403, 404, 412, 503])
@pytest.mark.parametrize(
    "expires", [[], [("expires", "Thu, 31 Dec 2099 00:00:00 GMT")], [("expires", "never")]]
)
def test_an_error_to_a_head_is_its_status(name, status, expires):
    """HEAD has no body to tell a code: boto's code is the status, and so is ours, whatever else is told."""
    headers = [("x-amz-request-id", "r"), *expires]

    told = plans()[name].answer.error(status, dict(headers), b"")

    assert told.response["Error"]["Code"] == str(status)
    assert told.response == raised(name, Canned(status, headers)).response


@pytest.mark.parametrize("body", [BODIES["s3"] % b"SlowDown", BODIES["cut"] % b"SlowDown", b"not XML"])
def test_an_error_inside_a_200_is_one(body):
    """S3 may fail after it said 200: the same 500 as boto makes of it, not a success."""
    expected = raised("PutObject", Canned(200, [], body))

    with pytest.raises(ClientError) as caught:
        plans()["PutObject"].answer.fields(200, {}, body)

    assert caught.value.response == expected.response
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500


def test_a_document_that_is_no_error_changes_nothing():
    """An answer whose body says more than anybody asked is read from its head, as by boto."""
    canned = Canned(200, [("etag", '"e"')], b"<Fine/>")

    assert plans()["PutObject"].answer.fields(200, dict(canned.headers), canned.body) == call(
        "PutObject", parameters("PutObject"), canned
    )


def test_a_body_that_is_no_document_is_not_s3s():
    """Beside any other status than 200, a body that is no XML is the endpoint's fault; boto breaks over it."""
    with pytest.raises(ResponseParserError):
        call("DeleteObject", parameters("DeleteObject"), Canned(204, [], b"gone"))

    with pytest.raises(EndpointServerError, match="the answer is not S3's"):
        plans()["DeleteObject"].answer.fields(204, {}, b"gone")
