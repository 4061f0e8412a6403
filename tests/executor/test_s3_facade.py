"""`client.s3` over endpoints in memory: a genuine client whose calls never touch a socket."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    ReadTimeoutError,
    ResponseStreamingError,
    WaiterError,
)
from virtual_time import run, scenario

from flashback_async.errors import (
    ClientClosedError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointConnectError,
    EndpointServerError,
    EndpointTimeoutError,
    FlashbackError,
    IntegrityError,
    NoEndpointAvailableError,
    ObjectChangedError,
    PoolTimeoutError,
    ThrottledError,
)
from flashback_async.routing import OperationKind
from flashback_async.testing import Break, Dialect, MemoryEndpoints, Step
from flashback_async.transport.executor import Answered
from flashback_async.transport.s3_facade import S3Facade
from flashback_async.transport.s3_model import Traits
from flashback_async.transport.s3_refusals import broken_body, to_boto
from flashback_async.transport.s3_uploads import UploadHomes

from .scenes import CALLER_FAULT, KIB, MIB, SUCCESS, Scene, now, pattern

READ, WRITE = OperationKind.READ, OperationKind.WRITE
KEY = {"Bucket": "bucket", "Key": "key"}
RCLONE = Dialect(partial_status=200, if_match=False)
BARE = Dialect(partial_status=200, content_range=False, if_match=False)
WHOLE = Dialect(ranges=False, if_match=False)


# --- bodies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", Break)
@pytest.mark.parametrize(
    ("asked", "wanted", "rest"),
    [
        (None, slice(0, 10_000), "bytes=1234-9999"),
        ("bytes=100-", slice(100, 10_000), "bytes=1334-9999"),
        ("bytes=100-4099", slice(100, 4_100), "bytes=1334-4099"),
        ("bytes=-5000", slice(5_000, 10_000), "bytes=6234-9999"),
    ],
)
def test_a_body_goes_on_at_the_exact_byte(s3_of, how, asked, wanted, rest):
    """After a reset, a truncation or a stall, the next node is asked for the missing bytes of that version, whatever range was asked for."""

    async def play():
        scene = Scene({"a": Step.broken(1_234, how, piece=500), "b": Step()})
        version = scene.store.put("bucket", "key", pattern(10_000))
        response = await s3_of(scene).get_object(**KEY, **({"Range": asked} if asked else {}))
        assert response["ContentLength"] == len(pattern(10_000)[wanted])
        assert await response["Body"].read() == pattern(10_000)[wanted]
        assert scene.endpoints.requests[1].parameters == {**KEY, "Range": rest, "IfMatch": version.etag}
        assert (scene.monitor.resumed, scene.monitor.operations, scene.monitor.failed) == (1, 1, 0)
        assert scene.router.finished[-1] == ("b", SUCCESS)
        assert scene.leaks() == {}

    run(play())


TRIPLES = random.Random(7)
CUTS = [
    (size, TRIPLES.choice([0, 1, size - 1, TRIPLES.randrange(size)]), TRIPLES.choice(list(Break)))
    for size in (TRIPLES.choice([1, 2, 1_000, 65_536, 65_537, MIB + 1]) for _ in range(40))
]


@pytest.mark.parametrize("dialect", [Dialect(), RCLONE, BARE, WHOLE])
def test_bodies_equal_the_stored_objects(s3_of, dialect):
    """Whatever the size, the place of the cut, its kind, and the node's way to answer a range: the bytes are those stored."""

    async def play():
        for size, cut, how in CUTS:
            scene = Scene({"a": Step.broken(cut, how), "b": Step()}, dialect=dialect)
            scene.store.put("bucket", "key", pattern(size))
            body = (await s3_of(scene).get_object(**KEY))["Body"]
            assert b"".join([piece async for piece in body.iter_chunks(100_000)]) == pattern(size)
            assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize("dialect", [RCLONE, BARE])
def test_a_range_of_a_node_that_does_not_tell_its_place(s3_of, dialect):
    """Where the answer to a range does not tell which bytes it has, the size of that version is asked for, and only after it broke."""

    async def play():
        scene = Scene({"a": [Step.broken(70), Step()], "b": Step()}, dialect=dialect)
        scene.store.put("bucket", "key", pattern(1_000))
        body = (await s3_of(scene).get_object(**KEY, Range="bytes=-500"))["Body"]
        assert [request.operation for request in scene.endpoints.requests] == ["GetObject"]
        assert await body.read() == pattern(1_000)[500:]
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_replaced_object_is_not_mixed(s3_of):
    """A body whose object was replaced ends with boto's PreconditionFailed, and with our reason as its cause."""
    scene = Scene({"a": Step.broken(500, piece=500), "b": Step()})
    scene.store.put("bucket", "key", pattern(1_000))
    body = (await s3_of(scene).get_object(**KEY))["Body"]
    assert await body.read(500) == pattern(1_000)[:500]
    scene.store.put("bucket", "key", pattern(1_000, seed=1))
    with pytest.raises(ClientError, match="PreconditionFailed") as caught:
        await body.read()
    assert isinstance(caught.value.__cause__, ObjectChangedError)
    assert scene.leaks() == {}


@pytest.mark.parametrize("dialect", [RCLONE, WHOLE])
def test_a_replaced_object_is_noticed_without_conditions(s3_of, dialect):
    """A node that ignores the condition does not slip another version in."""

    async def play():
        scene = Scene({"a": Step.broken(500, piece=500), "b": Step()}, dialect=dialect)
        scene.store.put("bucket", "key", pattern(1_000))
        body = (await s3_of(scene).get_object(**KEY))["Body"]
        await body.read(500)
        scene.store.put("bucket", "key", pattern(1_000, seed=1))
        with pytest.raises(ClientError, match="PreconditionFailed"):
            await body.read()
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_part_of_another_place_is_refused(s3_of):
    """A node that sends other bytes than those missing ends the body instead of corrupting it."""
    wrong = Step(fields={"ContentRange": "bytes 700-999/1000"})
    scene = Scene({"a": Step.broken(500), "b": wrong})
    scene.store.put("bucket", "key", pattern(1_000))
    with pytest.raises(ClientError, match="instead of"):
        await (await s3_of(scene).get_object(**KEY))["Body"].read()
    assert scene.leaks() == {}


@pytest.mark.parametrize("given", [{"Range": "bytes=0-9,20-29"}, {"PartNumber": 2}, {"Range": "bytes=5-2"}])
def test_what_cannot_be_placed_is_not_resumed(s3_of, given):
    """A body of which nobody tells the place within its object breaks with an error, never with wrong bytes."""

    async def play():
        scene = Scene({"a": Step.broken(500), "b": Step()}, dialect=WHOLE)
        scene.store.put("bucket", "key", pattern(1_000))
        body = (await s3_of(scene).get_object(**KEY, **given))["Body"]
        with pytest.raises(ResponseStreamingError):
            await body.read()
        assert len(scene.endpoints.requests) == 1
        assert scene.monitor.failed == 1
        assert scene.leaks() == {}

    run(play())


CHUNKED = Dialect(content_length=False)


@pytest.mark.parametrize("how", [None, *Break])
def test_a_body_without_a_length(s3_of, how):
    """A body in chunks is read to its end, which is told from a truncation by the size of that version; if it
    breaks or ends before, the rest is asked for.
    """

    async def play():
        scene = Scene({"a": Step() if how is None else [Step.broken(500, how)], "b": Step()}, dialect=CHUNKED)
        version = scene.store.put("bucket", "key", pattern(1_000))
        body = (await s3_of(scene).get_object(**KEY))["Body"]
        assert await body.read() == pattern(1_000)
        assert await body.read() == b""
        reads = [
            request.parameters for request in scene.endpoints.requests if request.operation == "GetObject"
        ]
        rest = {**KEY, "Range": "bytes=500-999", "IfMatch": version.etag}
        assert reads == [KEY] + [rest] * (how is not None)
        assert [request.operation for request in scene.endpoints.requests].count("HeadObject") == 1
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize("size", [0, 400, 1_000, 3_000])
@pytest.mark.parametrize("dialect", [CHUNKED, Dialect(content_length=False, etag=False, last_modified=False)])
def test_a_body_without_a_length_that_is_replaced(s3_of, size, dialect):
    """Where the object is another one by the time that its size is asked for, nobody can tell whether all of
    the body came: that is an error, unless the sizes agree and nothing else tells the versions apart.
    """

    async def play():
        scene = Scene(ids="a", dialect=dialect)
        scene.store.put("bucket", "key", pattern(1_000))
        body = (await s3_of(scene).get_object(**KEY))["Body"]
        scene.store.put("bucket", "key", pattern(size, seed=1))
        if size == 1_000 and not dialect.etag:
            assert await body.read() == pattern(1_000)
        elif size > 1_000 and not dialect.etag:
            # Taken for a truncation of the longer one: no worse than what the node says of itself.
            assert len(await body.read()) == size
        else:
            with pytest.raises(ClientError):
                await body.read()
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize(
    ("how", "kind", "code"),
    [
        (Break.RESET, ResponseStreamingError, "ServiceUnavailable"),
        (Break.SHORT, ResponseStreamingError, "ServiceUnavailable"),
        (Break.STALL, ReadTimeoutError, "RequestTimeout"),
    ],
)
def test_a_body_that_nobody_continues(s3_of, how, kind, code):
    """When all attempts at a body break, the error is a ClientError and what plain aiobotocore raises as well."""

    async def play():
        broken = Step.broken(0, how)
        scene = Scene({"a": broken, "b": broken})
        scene.store.put("bucket", "key", pattern(1_000))
        body = (await s3_of(scene).get_object(**KEY))["Body"]
        with pytest.raises(ClientError) as caught:
            await body.read()
        assert isinstance(caught.value, kind)
        assert caught.value.response["Error"]["Code"] == code
        assert isinstance(caught.value.__cause__, FlashbackError)
        with pytest.raises(ClientClosedError):
            await body.read()
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_cancelled_read_frees_the_lease(s3_of):
    """A read that is cancelled while the node stalls, or while the body is being resumed, leaves nothing behind."""
    for patience in (3.0, 11.0):
        scene = Scene({"a": Step.broken(10, Break.STALL), "b": Step.silent()})
        scene.store.put("bucket", "key", pattern(1_000))
        body = (await s3_of(scene).get_object(**KEY))["Body"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(patience):
                await body.read()
        assert scene.leaks() == {}


@scenario
async def test_a_dropped_body_frees_the_lease(s3_of):
    """A body that nobody holds any more is freed by the loop, not by the collector."""
    scene = Scene({"a": Step()})
    scene.store.put("bucket", "key", pattern(1_000))
    await s3_of(scene).get_object(**KEY)
    gc.collect()
    await asyncio.sleep(0)
    assert scene.leaks() == {}


# --- what is retried, and what is raised ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "step", [Step.refused(), Step.reset(), Step.silent(), Step.error(503), Step.throttled()]
)
def test_a_failed_attempt_goes_on_elsewhere(s3_of, step):
    """Reads and writes go on at another node, and boto's metadata tells how often."""

    async def play():
        scene = Scene({"a": step, "b": Step()})
        s3 = s3_of(scene)
        response = await s3.put_object(**KEY, Body=pattern(600 * KIB))
        assert response["ResponseMetadata"]["RetryAttempts"] == 1
        assert scene.store.get("bucket", "key").data == pattern(600 * KIB)
        assert (await s3.head_object(**KEY))["ContentLength"] == 600 * KIB
        assert scene.monitor.bytes_written == 600 * KIB
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize(
    ("step", "kind", "code", "status", "cause"),
    [
        (Step.refused(), EndpointConnectionError, "ServiceUnavailable", 503, EndpointConnectError),
        (Step.reset(), EndpointConnectionError, "ServiceUnavailable", 503, EndpointConnectError),
        (Step.silent(), ReadTimeoutError, "RequestTimeout", 408, EndpointTimeoutError),
        (Step.error(500), ClientError, "InternalError", 500, EndpointServerError),
        (Step.error(502, "502"), ClientError, "502", 502, EndpointServerError),
        (Step.throttled(), ClientError, "SlowDown", 503, ThrottledError),
    ],
)
def test_all_attempts_fail(s3_of, step, kind, code, status, cause):
    """When nobody answers, the error is a ClientError with a code, and the botocore error of a plain client too."""

    async def play():
        scene = Scene({"a": step, "b": step, "c": step})
        for call in (s3_of(scene).head_object(**KEY), s3_of(scene).get_object(**KEY)):
            with pytest.raises(ClientError) as caught:
                await call
            error = caught.value
            assert isinstance(error, kind)
            assert error.response["Error"]["Code"] == code
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status
            assert error.response["ResponseMetadata"]["RetryAttempts"] == 2
            assert isinstance(error.__cause__, cause)
            assert len(error.__cause__.attempts) == 3
            assert str(error).startswith(f"An error occurred ({code}) when calling the ")
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_refusal_is_modelled(s3_of):
    """An error code that botocore's model knows is raised as its class, at the first attempt."""
    scene = Scene({"a": Step(), "b": Step()})
    s3 = s3_of(scene)
    with pytest.raises(s3.exceptions.NoSuchKey):
        await s3.get_object(**KEY)
    with pytest.raises(s3.exceptions.NoSuchBucket):
        await s3.list_objects_v2(Bucket="missing")
    with pytest.raises(ClientError, match="501"):
        await s3.list_buckets()
    assert len(scene.endpoints.requests) == 3
    assert {outcome for _, outcome in scene.router.settled} == {CALLER_FAULT}
    assert scene.leaks() == {}


@scenario
async def test_time_is_bounded(s3_of):
    """A call is over after the total timeout; a large upload may take longer, as long as it moves."""
    scene = Scene({"a": Step(pace=20.0, piece=500)}, total=7.0, stall=30.0)
    await s3_of(scene).put_object(**KEY, Body=pattern(MIB))
    assert now() == 80.0
    scene = Scene({"a": Step.silent()}, total=7.0, first_byte=30.0)
    with pytest.raises(ReadTimeoutError) as caught:
        await s3_of(scene).head_object(**KEY)
    assert isinstance(caught.value.__cause__, DeadlineExceededError)
    assert now() == 87.0
    assert scene.leaks() == {}


@scenario
async def test_paginators_and_waiters_survive_a_node(s3_of):
    """Pages and polls are single calls: each one goes elsewhere by itself, and hours of waiting cost nothing."""
    scene = Scene({"a": Step(), "b": Step()})
    for number in range(5):
        scene.store.put("bucket", f"dir/{number}", b"")
    s3 = s3_of(scene)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="bucket", PaginationConfig={"PageSize": 2})
    keys = []
    async for page in pages:
        keys += [row["Key"] for row in page["Contents"]]
        scene["a"].then = Step.reset()
    assert keys == [f"dir/{number}" for number in range(5)]
    start = now()
    with pytest.raises(WaiterError):
        await s3.get_waiter("object_exists").wait(**KEY, WaiterConfig={"Delay": 600, "MaxAttempts": 7})
    assert 3_600 <= now() - start < 3_610
    assert scene.leaks() == {}


@scenario
async def test_signing_needs_an_endpoint(s3_of):
    """When there is nobody to sign for, that is a ClientError as well."""
    with pytest.raises(EndpointConnectionError, match="nobody signs"):
        await s3_of(Scene()).generate_presigned_url("get_object", KEY)
    with pytest.raises(ClientError, match="nobody signs"):
        await s3_of(Scene()).generate_presigned_post("bucket", "key")


@scenario
async def test_endpoints_in_memory_have_no_boto():
    """A client for tests says that `s3` needs real endpoints."""
    client = MemoryEndpoints.of("a").client()
    with pytest.raises(ClientClosedError):
        _ = client.s3
    async with client:
        with pytest.raises(ConfigurationError, match="needs real endpoints"):
            _ = client.s3


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (PoolTimeoutError("busy"), ReadTimeoutError, "RequestTimeout"),
        (EndpointServerError("a redirect", status=301), ClientError, "ServiceUnavailable"),
        (IntegrityError("short"), ClientError, "ServiceUnavailable"),
        (NoEndpointAvailableError("nobody"), EndpointConnectionError, "ServiceUnavailable"),
    ],
)
def test_errors_of_our_own_have_a_code(genuine, error, kind, code):
    """Each error that no service sent has a code, a class that callers of boto handle, and its text."""
    told = to_boto(error, "GetObject", genuine.exceptions.from_code)
    assert isinstance(told, ClientError)
    assert isinstance(told, kind)
    assert told.response["Error"] == {"Code": code, "Message": str(error)}


@pytest.mark.parametrize("error", [ClientClosedError("closed"), ConfigurationError("data ended")])
def test_errors_of_the_caller_stay_ours(genuine, error):
    """What boto has no word for is raised as it is."""
    assert to_boto(error, "GetObject", genuine.exceptions.from_code) is error
    assert broken_body(error, "GetObject", genuine.exceptions.from_code) is error


# --- what the model says -------------------------------------------------------------------------------------


def traits(client):
    model = client.meta.service_model
    return {name: Traits.of(model.operation_model(name)) for name in model.operation_names}


def test_operations_are_classified_by_the_model(genuine):
    """Every operation has its kind, its streams and its place in an upload from botocore's model."""
    known = traits(genuine)

    def those(**wanted):
        return {
            name
            for name, row in known.items()
            if all(getattr(row, field) == value for field, value in wanted.items())
        }

    assert len(known) > 100
    reads = those(kind=READ)
    assert {"GetObject", "HeadBucket", "ListParts", "ListObjectsV2"} <= reads
    assert not {name for name in reads if name.startswith(("Put", "Delete", "Copy", "Upload"))}
    assert those(body_in="Body") == {"PutObject", "UploadPart", "WriteGetObjectResponse"}
    # Newer models have more streams, by other names.
    assert {"CopyObject", "GetObject", "PutBucketPolicy"} <= those(body_in=None)
    assert those(body_out="Body", has_events=False) == {"GetObject", "GetObjectTorrent"}
    assert those(body_out="Payload", has_events=True) == {"SelectObjectContent"}
    assert those(is_resumable=True) == {"GetObject"}
    assert those(starts_upload=True) == {"CreateMultipartUpload"}
    assert those(within_upload=True, ends_upload=False) == {"ListParts", "UploadPart", "UploadPartCopy"}
    assert those(ends_upload=True) == {"AbortMultipartUpload", "CompleteMultipartUpload"}


class RecordedCalls:
    """Answers everything, and writes down where it was asked to go."""

    def __init__(self, **answers):
        self.answers = answers
        self.pins = []

    def check(self):
        """Always running."""

    async def call(self, operation, *, pin):
        self.pins.append((operation.name, pin))
        answer = self.answers.get(operation.name, {})
        if isinstance(answer, Exception):
            raise answer
        return Answered(answer, 200, "home", 1)

    async def open(self, operation, *, pin, is_resumable):
        raise AssertionError(operation, pin, is_resumable)


@scenario
async def test_an_upload_stays_at_its_home(genuine):
    """What belongs to a multipart upload goes to the node that created it, until the upload is over; others go anywhere."""
    signed = []

    async def sign(bucket, kind, *, pin):
        signed.append((bucket, kind, pin))
        raise NoEndpointAvailableError("nobody signs")

    calls = RecordedCalls(CreateMultipartUpload={"UploadId": "u"})
    s3 = S3Facade(genuine, calls, sign).client
    upload = {**KEY, "UploadId": "u"}
    await s3.create_multipart_upload(**KEY)
    await s3.upload_part(**upload, PartNumber=1, Body=b"")
    await s3.list_parts(**upload)
    await s3.upload_part(**{**upload, "UploadId": "foreign"}, PartNumber=1, Body=b"")
    await s3.put_object(**KEY, Body=b"")
    with pytest.raises(ClientError):
        await s3.generate_presigned_url("upload_part", {**upload, "PartNumber": 1})
    await s3.complete_multipart_upload(**upload)
    await s3.list_parts(**upload)
    assert calls.pins == [
        ("CreateMultipartUpload", None),
        ("UploadPart", "home"),
        ("ListParts", "home"),
        ("UploadPart", None),
        ("PutObject", None),
        ("CompleteMultipartUpload", "home"),
        ("ListParts", None),
    ]
    assert signed == [("bucket", WRITE, "home")]


@scenario
async def test_an_upload_that_is_unknown_is_forgotten(genuine):
    """An upload that its own node does not know any more is pinned no longer."""
    gone = Scene({"a": Step.error(404, "NoSuchUpload")})
    calls = RecordedCalls(CreateMultipartUpload={"UploadId": "u"})
    s3 = S3Facade(genuine, calls, None).client
    await s3.create_multipart_upload(**KEY)
    with pytest.raises(FlashbackError) as caught:
        await gone.head_object("bucket", "key")
    calls.answers["ListParts"] = caught.value
    for _ in range(2):
        with pytest.raises(s3.exceptions.NoSuchUpload):
            await s3.list_parts(**KEY, UploadId="u")
    assert calls.pins[1:] == [("ListParts", "home"), ("ListParts", None)]


def test_homes_are_bounded():
    """Of many uploads that are never ended, those that were used last are remembered."""
    homes = UploadHomes(remembered=2)
    homes.remember("a", "node")
    homes.remember("b", "node")
    assert homes.of("a") == "node"
    homes.remember("c", "node")
    homes.remember(None, "node")
    homes.forget(None)
    assert (homes.of("a"), homes.of("b"), homes.of("c"), homes.of(1)) == ("node", None, "node", None)
    assert len(homes) == 2
