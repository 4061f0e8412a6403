"""Requests as they go out: any operation with any parameters, compared with what botocore sends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest
from botocore.exceptions import BotoCoreError
from botocore.model import ServiceModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashback_async.config import Credentials
from flashback_async.errors import ConfigurationError
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Operation
from flashback_async.transport.s3_model import streamed_input
from flashback_async.transport.s3_place import Place
from flashback_async.transport.s3_wire import WirePlan
from flashback_async.transport.sigv4 import EMPTY_PAYLOAD, UNSIGNED_PAYLOAD, Signer
from flashback_async.transport.upload import Upload

from .wire_reference import REGION, Canned, call, model, plans

# What a fast lane has to cover; the model decides about the rest.
HOT = frozenset(
    {"GetObject", "HeadObject", "PutObject", "DeleteObject", "UploadPart", "AbortMultipartUpload"}
)
URLS = (
    "https://node.example.com",
    "https://node.example.com:443",
    "http://127.0.0.1:9000",
    "http://[::1]:80",
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=12)
BUCKETS = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True) | st.sampled_from(
    ["bucket", "my.bucket", "my--bucket", "a", "ab", "192.168.1.1", "-bucket", "UPPER", "x" * 63, "x" * 64]
)
AWKWARD = [
    "/",
    "//",
    ".",
    "..",
    "/../",
    " ",
    "+",
    "%",
    "%2F",
    "?",
    "#",
    "&",
    "=",
    "~",
    "é",
    "日本",
    "😀",
    "\t",
    "\n",
]
KEYS = st.lists(st.sampled_from(AWKWARD) | TEXTS, min_size=1, max_size=6).map("".join).filter(bool)
TIMES = st.datetimes(
    datetime(1971, 1, 1),  # noqa: DTZ001  # naive by contract of the strategy
    datetime(2199, 1, 1),  # noqa: DTZ001  # as above
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
METADATA = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9_.-]{1,6}", fullmatch=True),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
    max_size=3,
).filter(lambda given: len({name.lower() for name in given}) == len(given))
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), TEXTS, st.binary(max_size=3), st.just([]),
    st.dictionaries(TEXTS, TEXTS, max_size=2), st.just(datetime(2020, 1, 1)), st.floats(allow_nan=False),  # noqa: DTZ001  # naive on purpose
)  # fmt: skip
OF_TYPE = {
    "string": TEXTS,
    "integer": st.integers(0, 2**31),
    "long": st.integers(0, 2**40),
    "boolean": st.booleans(),
    "timestamp": TIMES,
    "map": METADATA,
}


def is_botos(name: str, member: str) -> bool:
    """Whether a member makes boto do more than send it."""
    told = model().operation_model(name)
    shape = told.input_shape.members[member]
    return (
        member.startswith(("SSECustomer", "CopySourceSSECustomer"))
        or member in {"ContentLength", "Bucket", "Key", streamed_input(told)}
        or member in {told.http_checksum.get("requestAlgorithmMember"), told.http_checksum.get("requestValidationModeMember")}
        or shape.serialization.get("timestampFormat") == "iso8601"
    )  # fmt: skip


@st.composite
def usual(draw, name: str) -> dict[str, object]:
    """Parameters of the right types, as many as the draw likes."""
    shape = model().operation_model(name).input_shape
    free = sorted(member for member in shape.members if not is_botos(name, member))
    chosen = draw(st.lists(st.sampled_from(free), unique=True, max_size=8)) if free else []
    wanted = [*chosen, *(name for name in shape.required_members if name in free and name not in chosen)]
    return {member: draw(OF_TYPE[shape.members[member].type_name]) for member in wanted}


@st.composite
def calls(draw, parameters=usual):
    """An operation with a plan, and what it is called with."""
    name = draw(st.sampled_from(sorted(HOT)) | st.sampled_from(sorted(plans())))
    told = model().operation_model(name)
    has_key = "Key" in told.input_shape.members
    takes_body = streamed_input(told) is not None
    return Operation(
        name,
        OperationKind.READ,
        draw(BUCKETS),
        draw(KEYS) if has_key else None,
        draw(parameters(name)),
        Upload.of_bytes(draw(st.binary(max_size=8))) if takes_body and draw(st.booleans()) else None,
    )


def by_boto(operation: Operation, canned: Canned, **options) -> None:
    """Sent as the aioboto3 lane sends it."""
    parameters = dict(operation.parameters)
    if operation.bucket is not None:
        parameters["Bucket"] = operation.bucket
    if operation.key is not None:
        parameters["Key"] = operation.key
    if operation.upload is not None:
        parameters["Body"] = operation.upload.open().read()
        parameters["ContentLength"] = operation.upload.size
    call(operation.name, parameters, canned, **options)


def compare(operation: Operation, request, canned: Canned, *, token=None, signed=False) -> None:
    """Every byte that matters is the same, the signature included."""
    data = operation.upload.open().read() if operation.upload is not None else b""
    hashed = (sha256(data).hexdigest() if data else EMPTY_PAYLOAD) if signed else UNSIGNED_PAYLOAD
    lines = Signer(Credentials("key", "sec/ret", token), REGION).headers(
        request.method, request.host, request.path, request.query,
        headers=request.headers, payload_hash=hashed, now=canned.then,
    )  # fmt: skip
    target = f"{request.path}?{request.query}" if request.query else request.path
    scheme, _, rest = canned.url.partition("://")
    host, slash, boto_target = rest.partition("/")
    assert slash + boto_target == target
    assert host.removesuffix({"http": ":80", "https": ":443"}[scheme]) == request.host
    assert request.method == canned.method
    told = [*request.headers, *lines, *request.unsigned]
    assert len({name for name, _ in told}) == len(told)
    sent = dict(told)
    assert sent.pop("accept-encoding") == "identity"
    assert sent == canned.sent


def test_the_hot_operations_have_a_plan():
    """Reading, writing and deleting objects and parts rides the fast lane."""
    assert plans().keys() >= HOT


@pytest.mark.parametrize("name", ["ListObjectsV2", "CopyObject", "DeleteObjects", "CreateMultipartUpload",
                                  "SelectObjectContent", "WriteGetObjectResponse", "RenameObject"])  # fmt: skip
def test_what_carries_xml_or_needs_more_of_boto_has_none(name):
    """Operations with XML, events, drawn tokens or other hosts stay with boto."""
    assert WirePlan.of(model().operation_model(name)) is None


def imagined(*, given=None, told=None, **operation) -> WirePlan | None:
    """The plan of an operation that S3 does not have, with these members."""
    shapes = {
        "Text": {"type": "string"}, "Json": {"type": "string", "jsonvalue": True}, "Blob": {"type": "blob"},
        "Stream": {"type": "blob", "streaming": True}, "Float": {"type": "float"}, "Pair": {"type": "string", "min": 2},
        "Map": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Text"}},
        "Bucket": {"type": "string"},
    }  # fmt: skip
    bucket = {"Bucket": {"shape": "Bucket", "location": "uri", "locationName": "Bucket"}}
    shapes["In"] = {"type": "structure", "required": ["Bucket"], "members": {**bucket, **(given or {})}}
    shapes["Out"] = {"type": "structure", "members": told or {}}
    for name in ("In", "Out"):
        if "Body" in shapes[name]["members"]:
            shapes[name]["payload"] = "Body"
    made = {"name": "Imagined", "http": {"method": "PUT", "requestUri": "/{Bucket}"}, **operation}
    made |= {"input": {"shape": "In"}, "output": {"shape": "Out"}}
    service = ServiceModel({
        "metadata": {"protocol": "rest-xml", "serviceId": "S3"}, "operations": {"Imagined": made}, "shapes": shapes,
    }, "s3")  # fmt: skip
    return WirePlan.of(service.operation_model("Imagined"))


def in_header(shape: str, name: str = "X-A", location: str = "header") -> dict[str, str]:
    return {"shape": shape, "location": location, "locationName": name}


@pytest.mark.parametrize(
    "traits",
    [
        {"given": {"A": {"shape": "Text"}}},
        {"given": {"Body": {"shape": "Stream"}}},
        {"told": {"A": {"shape": "Text"}}},
        {"told": {"A": in_header("Json")}},
        {"told": {"A": in_header("Float")}},
        {"told": {"A": in_header("Map", "x-a-", "headers"), "B": in_header("Map", "x-b-", "headers")}},
        {"http": {"method": "PUT", "requestUri": "/elsewhere/{Bucket}"}},
        {"authtype": "none"},
        {"endpoint": {"hostPrefix": "data-"}},
        {"httpChecksumRequired": True},
        {"httpChecksum": {"requestChecksumRequired": True}},
    ],
    ids=["body", "unsized", "document", "json", "float", "two maps", "path", "unsigned", "host", "md5", "checksum"],
)  # fmt: skip
def test_what_s3_may_learn_one_day_stays_with_boto(traits):
    """An operation of a future model that needs more than a plan does gets none, in place of a wrong one."""
    assert imagined() is not None
    assert imagined(**traits) is None


@pytest.mark.parametrize("shape", ["Json", "Float", "Blob", "Pair"])
def test_a_parameter_that_plans_do_not_know_or_that_is_too_short_stays_with_boto(shape):
    """The operation has a plan, which passes on calls that give such a parameter."""
    plan = imagined(given={"A": in_header(shape), "B": in_header("Text", "X-B")})
    place = Place(URLS[0])

    assert plan.request(
        Operation("Imagined", OperationKind.READ, "bucket", None, {"B": "x"}), place
    ).headers == [("x-b", "x")]
    assert plan.request(Operation("Imagined", OperationKind.READ, "bucket", None, {"A": "x"}), place) is None


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    operation=calls(),
    url=st.sampled_from(URLS),
    token=st.sampled_from([None, "to/ken=="]),
    signed=st.booleans(),
)
def test_any_usual_request_equals_botos(operation, url, token, signed):
    """Well-typed parameters and any bucket and key: path, query, headers and signature are boto's."""
    canned = Canned()
    by_boto(operation, canned, url=url, token=token, signed=signed)

    request = plans()[operation.name].request(operation, Place(url))

    assert request is not None
    compare(operation, request, canned, token=token, signed=signed)


@st.composite
def unusual(draw, name: str) -> dict[str, object]:
    """Some parameters are of any type, some have no such name, and some that are required are missing."""
    given = draw(usual(name))
    members = sorted(model().operation_model(name).input_shape.members)
    for member in draw(st.lists(st.sampled_from([*members, "Nonsense"]), max_size=2)):
        given[member] = draw(ANYTHING)
    for member in draw(st.lists(st.sampled_from(sorted(given) or ["Nonsense"]), max_size=1)):
        given.pop(member, None)
    return given


@settings(max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(operation=calls(unusual), addressing=st.sampled_from(["path", "virtual"]), url=st.sampled_from(URLS))
def test_a_request_is_botos_or_left_to_boto(operation, addressing, url):
    """Whatever is given: what the plan makes is what boto sends, and what boto refuses it does not make."""
    request = plans()[operation.name].request(operation, Place(url, addressing=addressing))

    if request is not None:
        canned = Canned()
        by_boto(operation, canned, url=url, addressing=addressing)
        compare(operation, request, canned)


REFUSED = [
    Operation("GetObject", OperationKind.READ, "bucket", "k", {"Nonsense": 1}),
    Operation("GetObject", OperationKind.READ, "bucket", "k", {"PartNumber": "1"}),
    Operation("GetObject", OperationKind.READ, "bucket", "k", {"Range": None}),
    Operation("GetObject", OperationKind.READ, "bucket", "k", {"IfModifiedSince": "no date"}),
    Operation("GetObject", OperationKind.READ, "bucket", ""),
    Operation("GetObject", OperationKind.READ, "bucket"),
    Operation("GetObject", OperationKind.READ, None, "k"),
    Operation("GetObject", OperationKind.READ, "bu/cket", "k"),
    Operation("HeadObject", OperationKind.READ, "", "k"),
    Operation("DeleteObject", OperationKind.WRITE, "bucket", "k", {"BypassGovernanceRetention": "yes"}),
    Operation("UploadPart", OperationKind.WRITE, "bucket", "k", {"PartNumber": 1}),
    Operation("PutObject", OperationKind.WRITE, "bucket", "k", {"Metadata": {"a": "é"}}),
    Operation("PutObject", OperationKind.WRITE, "bucket", "k", {"Metadata": ["a"]}),
]


@pytest.mark.parametrize("operation", REFUSED, ids=range(len(REFUSED)))
def test_what_boto_refuses_is_left_to_boto(operation):
    """Parameters that boto refuses get no request here, so that boto's words reach the caller."""
    with pytest.raises(BotoCoreError):
        by_boto(operation, Canned())

    assert plans()[operation.name].request(operation, Place(URLS[0])) is None


LEFT = [
    Operation("GetObject", OperationKind.READ, "bucket", "k", {"SSECustomerKey": "x" * 32, "SSECustomerAlgorithm": "AES256"}),
    Operation("GetObject", OperationKind.READ, "bucket", "k", {"ChecksumMode": "ENABLED"}),
    Operation("PutObject", OperationKind.WRITE, "bucket", "k", {"ChecksumAlgorithm": "SHA256"}),
    Operation("PutObject", OperationKind.WRITE, "bucket", "k", {"Body": b"x"}),
    Operation("PutObject", OperationKind.WRITE, "bucket", "k", {"Metadata": {"a": 1}}),
    Operation("PutObject", OperationKind.WRITE, "bucket", "k", {"Metadata": {"a": "1", "A": "2"}}),
    Operation("PutObject", OperationKind.WRITE, "bucket", "k", {"Metadata": {"a b": "1"}}),
    Operation("PutObject", OperationKind.WRITE, "bucket", "k", {"Expires": datetime(2030, 1, 1)}),  # noqa: DTZ001  # naive on purpose
    Operation("GetObject", OperationKind.READ, "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine", "k"),
    Operation("GetObject", OperationKind.READ, "bucket--use1-az4--x-s3", "k"),
    Operation("GetObject", OperationKind.READ, "bucket", "k", upload=Upload.of_bytes(b"x")),
    Operation("GetObject", OperationKind.READ, "bucket", "\ud800"),
    Operation("GetObject", OperationKind.READ, "bucket", "k", {"ResponseContentType": "\ud800"}),
    Operation("HeadBucket", OperationKind.READ, "bucket", "k"),
]  # fmt: skip


@pytest.mark.parametrize("operation", LEFT, ids=range(len(LEFT)))
def test_what_boto_does_more_for_is_left_to_boto(operation):
    """Keys of customers, checksums, special buckets and what has no plain form are not half done here."""
    assert plans()[operation.name].request(operation, Place(URLS[0])) is None


@pytest.mark.parametrize(
    ("url", "bucket", "host", "path"),
    [
        ("https://node.example.com", "my-bucket", "my-bucket.node.example.com", "/k"),
        ("http://localhost:9000", "bucket", "bucket.localhost:9000", "/k"),
        ("http://127.0.0.1:9000", "bucket", "127.0.0.1:9000", "/bucket/k"),
        ("http://[::1]:9000", "bucket", "[::1]:9000", "/bucket/k"),
    ],
    ids=["name", "localhost", "ipv4", "ipv6"],
)
def test_virtual_addressing_puts_the_bucket_before_a_name(url, bucket, host, path):
    """With virtual addressing the bucket stands before the host, unless the host is an address; as boto does."""
    operation = Operation("GetObject", OperationKind.READ, bucket, "k")
    canned = Canned()
    by_boto(operation, canned, url=url, addressing="virtual")

    request = plans()["GetObject"].request(operation, Place(url, addressing="virtual"))

    assert (request.host, request.path) == (host, path)
    compare(operation, request, canned)


@pytest.mark.parametrize("bucket", ["my.bucket", "Bucket", "ab", "x" * 64, "-ab", "a_b"])
def test_a_bucket_that_is_no_label_is_left_to_boto(bucket):
    """With virtual addressing, a bucket that cannot stand before a host is placed by boto."""
    operation = Operation("GetObject", OperationKind.READ, bucket, "k")

    assert plans()["GetObject"].request(operation, Place(URLS[0], addressing="virtual")) is None


def test_a_plan_is_the_same_after_boto_has_used_the_model():
    """Boto takes the bucket out of the model when it first calls an operation; plans do not mind."""
    name = "GetObjectTorrent"
    operation = Operation(name, OperationKind.READ, "bucket", "k")
    fresh = plans()[name].request(operation, Place(URLS[0]))
    call(name, {"Bucket": "bucket", "Key": "k"}, Canned(), url=URLS[0])
    used = model().operation_model(name)

    assert WirePlan.of(used).request(operation, Place(URLS[0])) == fresh


def test_a_signed_head_is_all_that_goes_before_the_body():
    """Request line, host, what is signed, the signature, what is only sent, and the empty line."""
    upload = Upload.of_bytes(b"body")
    operation = Operation(
        "PutObject", OperationKind.WRITE, "bucket", "a b", {"ContentType": "text/plain"}, upload
    )
    request = plans()["PutObject"].request(operation, Place(URLS[0]))
    signer = Signer(Credentials("key", "secret"), REGION)

    head = request.signed_head(signer, payload_hash=UNSIGNED_PAYLOAD, now=0, also=[("user-agent", "me")])

    first, *lines = head.decode().split("\r\n")
    signed = signer.headers(
        "PUT", "node.example.com", "/bucket/a%20b", "",
        headers=request.headers, payload_hash=UNSIGNED_PAYLOAD, now=0,
    )  # fmt: skip
    assert first == "PUT /bucket/a%20b HTTP/1.1"
    assert lines == [
        "host: node.example.com",
        "content-type: text/plain",
        "content-length: 4",
        *(f"{name}: {value}" for name, value in signed),
        "accept-encoding: identity",
        "user-agent: me",
        "",
        "",
    ]


def test_a_query_is_part_of_the_target():
    """What stands in the query goes out as it was signed."""
    operation = Operation(
        "HeadObject", OperationKind.READ, "bucket", "k", {"VersionId": "a/b", "PartNumber": 2}
    )
    request = plans()["HeadObject"].request(operation, Place(URLS[0]))

    head = request.signed_head(
        Signer(Credentials("key", "secret"), REGION), payload_hash=EMPTY_PAYLOAD, now=0
    )

    assert head.startswith(b"HEAD /bucket/k?versionId=a%2Fb&partNumber=2 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "value", ["text\r\nx-amz-acl: public-read", "\0", "\ud800"], ids=["line", "nul", "half"]
)
def test_a_parameter_smuggles_nothing(value):
    """A parameter that would begin another header is refused, by the header's name."""
    operation = Operation("PutObject", OperationKind.WRITE, "bucket", "k", {"ContentType": value})
    request = plans()["PutObject"].request(operation, Place(URLS[0]))

    with pytest.raises(ConfigurationError, match="content-type"):
        request.signed_head(Signer(Credentials("key", "secret"), REGION), payload_hash=EMPTY_PAYLOAD, now=0)
