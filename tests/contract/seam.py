"""What every implementation of the seam promises, as one suite: the in-memory endpoints and the real client.

A subclass provides `leases` and `endpoint`, and says in class attributes where its store departs from S3:

```python
class TestMoto(SeamContract):
    @pytest.fixture
    async def leases(self, ...):        # a Leases; at most CONNECTIONS leases per endpoint
        yield pool
    @pytest.fixture
    def endpoint(self, ...): return Endpoint(id=..., url=...)
    @pytest.fixture
    async def bucket(self, ...): return "a-bucket-that-exists"     # may hold other objects
```
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import pytest

from flashback_async.errors import (
    NotModifiedError,
    ObjectNotFoundError,
    OperationError,
    PoolTimeoutError,
    PreconditionFailedError,
    ServiceError,
)
from flashback_async.objects.names import ByteRange
from flashback_async.objects.position import position_of
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Operation
from flashback_async.transport.upload import SLICE, Upload

if TYPE_CHECKING:
    from flashback_async.routing import Endpoint
    from flashback_async.transport.s3_call import Leases, S3Answer

READ, WRITE = OperationKind.READ, OperationKind.WRITE
CONNECTIONS = 2
PART = 5 * 1_024 * 1_024
"""Bytes of a part at least, the last one excepted."""
MISSING_BUCKET = "no-such-bucket-anywhere"
SIZE = 100_000
DATA = bytes(number * 7 % 251 for number in range(SIZE))


class Got(NamedTuple):
    """An answer with its body read."""

    fields: dict
    status: int
    body: bytes


class Told:
    """Writes down the progress of an upload."""

    def __init__(self) -> None:
        self.calls: list[bool] = []

    def __call__(self, *, complete: bool) -> None:
        self.calls.append(complete)


def nobody(*, complete: bool) -> None:
    """Progress that nobody wants to know."""


class SeamContract:
    """The suite. Every key is new, so stores may be shared and need not be empty."""

    partial_status = 206
    """Status of an answer to a range."""
    honours_if_match = True
    keeps_metadata_on_copy = True
    knows_what_is_gone = True
    """Whether a part of an upload that was aborted is told as such."""
    slashes_are_plain = True
    """Whether keys like `a//b` are kept as they are."""

    @pytest.fixture
    def tells_every_slice(self) -> bool:
        """Whether progress of an upload is told slice by slice, however many leave at once."""
        return True

    @pytest.fixture
    def key(self) -> str:
        return f"contract/{uuid4().hex}"

    @pytest.fixture
    def send(self, leases: Leases, endpoint: Endpoint, bucket: str):
        """Send one operation over a lease of its own."""

        async def sent(name, key=None, data=None, *, into=None, progress=nobody, **parameters) -> Got:
            kind = READ if name in {"GetObject", "HeadObject", "ListObjectsV2"} else WRITE
            operation = Operation(
                name,
                kind,
                bucket if into is None else into,
                key,
                parameters,
                upload=None if data is None else await Upload.of(data),
                streamed=name == "GetObject",
            )
            lease = await leases.lease(endpoint, kind, timeout=5)
            try:
                return await drained(await lease.call(operation, progress=progress))
            finally:
                lease.release()

        return sent

    @pytest.mark.parametrize("size", [0, 1, SIZE, SLICE, SLICE + 1, 3 * SLICE + 5])
    async def test_put_and_get(self, send, key, size):
        """What is put comes back byte for byte, with its length, ETag, time, type and metadata."""
        data = (DATA * 10)[:size]
        put = await send("PutObject", key, data, ContentType="text/plain", Metadata={"colour": "red"})
        got = await send("GetObject", key)
        assert (got.status, got.body) == (200, data)
        assert got.fields["ContentLength"] == size
        assert got.fields["ETag"] == put.fields["ETag"]
        assert got.fields["ETag"].strip('"')
        assert isinstance(got.fields["LastModified"], datetime)
        assert got.fields["LastModified"].tzinfo is not None
        assert got.fields["ContentType"] == "text/plain"
        assert got.fields["Metadata"] == {"colour": "red"}

    async def test_head_is_get_without_a_body(self, send, key):
        """HEAD tells what GET tells."""
        await send("PutObject", key, DATA, Metadata={"colour": "red"})
        head, got = await send("HeadObject", key), await send("GetObject", key)
        names = ("ContentLength", "ETag", "LastModified", "ContentType", "Metadata")
        assert {name: head.fields[name] for name in names} == {name: got.fields[name] for name in names}

    async def test_put_replaces(self, send, key):
        """A second put replaces the first, whole, with another ETag."""
        first = await send("PutObject", key, DATA)
        second = await send("PutObject", key, b"short")
        got = await send("GetObject", key)
        assert (got.body, got.fields["ETag"]) == (b"short", second.fields["ETag"])
        assert first.fields["ETag"] != second.fields["ETag"]

    @pytest.mark.parametrize(
        "given",
        [
            (0, 1),
            (0, SIZE),
            (10, 20),
            (SIZE - 1, SIZE),
            (SIZE - 10, SIZE + 10),
            (5, None),
            (-1, None),
            (-500, None),
        ],
    )
    async def test_ranges(self, send, key, given):
        """A range is a slice, and the answer tells where its bytes belong."""
        await send("PutObject", key, DATA)
        asked = ByteRange.of(given)
        got = await send("GetObject", key, Range=asked.header())
        assert got.status == self.partial_status
        position = position_of(got.fields, got.status, asked, SIZE)
        assert position.length == got.fields["ContentLength"] == len(got.body)
        assert got.body == DATA[position.start : position.stop] == DATA[slice(*given)]

    @pytest.mark.parametrize("room", [1_000, 65_536, 2 * SIZE])
    async def test_bodies_are_read_into_memory(self, leases, endpoint, bucket, send, key, room):
        """Read into memory, or taken as it is at hand, a body has the same bytes, and an end."""
        await send("PutObject", key, DATA)
        get = Operation("GetObject", READ, bucket, key, streamed=True)
        async with held(leases, endpoint) as lease:
            body = (await lease.call(get, progress=nobody)).body
            memory, found = memoryview(bytearray(room)), b""
            while count := await body.read_into(memory, lambda: None):
                found += memory[:count]
            assert found == DATA
            assert await body.read_into(memory, lambda: None) == 0
            body.close()
            body = (await lease.call(get, progress=nobody)).body
            found = b""
            while (piece := body.at_hand()) is None or piece:
                piece = await body.read() if piece is None else piece
                if not piece:
                    break
                found += piece
            assert found == DATA
            body.close()

    async def test_a_range_past_the_end_is_refused(self, send, key):
        """A range that starts past the end is 416."""
        await send("PutObject", key, b"short")
        with pytest.raises(ServiceError) as caught:
            await send("GetObject", key, Range="bytes=100-200")
        assert (caught.value.status, caught.value.code) == (416, "InvalidRange")

    async def test_if_match(self, send, key):
        """A condition that holds changes nothing; one that does not is a typed refusal."""
        etag = (await send("PutObject", key, DATA)).fields["ETag"]
        assert (await send("GetObject", key, IfMatch=etag)).body == DATA
        assert (await send("GetObject", key, IfMatch=etag, Range="bytes=5-9")).body == DATA[5:10]
        if self.honours_if_match:
            with pytest.raises(PreconditionFailedError) as caught:
                await send("GetObject", key, IfMatch='"0123456789abcdef0123456789abcdef"')
            assert (caught.value.status, caught.value.code) == (412, "PreconditionFailed")

    async def test_what_is_not_there(self, send, key):
        """A missing object is ObjectNotFoundError with S3's code, for GET and HEAD."""
        with pytest.raises(ObjectNotFoundError) as caught:
            await send("GetObject", key)
        assert (caught.value.status, caught.value.code) == (404, "NoSuchKey")
        with pytest.raises(ObjectNotFoundError) as caught:
            await send("HeadObject", key)
        assert caught.value.status == 404

    @pytest.mark.parametrize("name", ["GetObject", "PutObject", "ListObjectsV2"])
    async def test_a_bucket_that_is_not_there(self, send, key, name):
        """A missing bucket has a code of its own."""
        arguments = {"PutObject": (key, b"data"), "GetObject": (key,), "ListObjectsV2": ()}[name]
        with pytest.raises(ObjectNotFoundError) as caught:
            await send(name, *arguments, into=MISSING_BUCKET)
        assert (caught.value.status, caught.value.code) == (404, "NoSuchBucket")

    async def test_delete(self, send, key):
        """Deleting removes, and deleting again is no error."""
        await send("PutObject", key, DATA)
        for _ in range(2):
            await send("DeleteObject", key)
            with pytest.raises(ObjectNotFoundError):
                await send("HeadObject", key)

    async def test_copy(self, send, key, bucket):
        """A copy has the bytes of its source, and its metadata."""
        await send("PutObject", key, DATA, ContentType="text/plain", Metadata={"colour": "red"})
        answer = await send("CopyObject", f"{key}.copy", CopySource={"Bucket": bucket, "Key": key})
        assert answer.fields["CopyObjectResult"]["ETag"]
        got = await send("GetObject", f"{key}.copy")
        assert got.body == DATA
        if self.keeps_metadata_on_copy:
            assert (got.fields["ContentType"], got.fields["Metadata"]) == ("text/plain", {"colour": "red"})

    async def test_copying_what_is_not_there(self, send, key, bucket):
        """A missing source is not found."""
        with pytest.raises(ObjectNotFoundError) as caught:
            await send("CopyObject", key, CopySource={"Bucket": bucket, "Key": f"{key}.none"})
        assert caught.value.status == 404

    async def test_delete_many(self, send, key):
        """Many are deleted with one request, those that are not there as well, and the answer names each."""
        names = [f"{key}/{number}" for number in range(3)]
        await send("PutObject", names[0], DATA)
        await send("PutObject", names[1], DATA)
        rows = {"Objects": [{"Key": name} for name in names], "Quiet": False}
        fields = (await send("DeleteObjects", Delete=rows)).fields
        assert sorted(row["Key"] for row in fields["Deleted"]) == names
        assert (await send("ListObjectsV2", Prefix=f"{key}/", MaxKeys=10)).fields.get("Contents", []) == []

    async def test_common_prefixes(self, send, key):
        """A delimiter sums up what is deeper."""
        for tail in ("a", "b/1", "b/2"):
            await send("PutObject", f"{key}/{tail}", DATA)
        fields = (await send("ListObjectsV2", Prefix=f"{key}/", Delimiter="/", MaxKeys=10)).fields
        assert [row["Key"] for row in fields["Contents"]] == [f"{key}/a"]
        assert [row["Prefix"] for row in fields["CommonPrefixes"]] == [f"{key}/b/"]

    async def test_conditions_of_reads(self, send, key):
        """What the caller has is 304, what it does not expect 412, and what it asks for comes."""
        if not self.honours_if_match:
            pytest.skip("this store ignores conditions")
        etag = (await send("PutObject", key, DATA)).fields["ETag"]
        written = (await send("HeadObject", key)).fields["LastModified"]
        for name in ("GetObject", "HeadObject"):
            for known in ({"IfNoneMatch": etag}, {"IfModifiedSince": written}):
                with pytest.raises(NotModifiedError) as caught:
                    await send(name, key, **known)
                assert (caught.value.status, caught.value.code) == (304, "304")
            with pytest.raises(PreconditionFailedError):
                await send(name, key, IfUnmodifiedSince=written - timedelta(hours=1))
            await send(name, key, IfNoneMatch='"other"')

    async def test_conditions_of_writes(self, send, key):
        """A put over something, or over something else than expected, is refused and writes nothing."""
        if not self.honours_if_match:
            pytest.skip("this store ignores conditions")
        await send("PutObject", key, DATA, IfNoneMatch="*")
        for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"0123456789abcdef0123456789abcdef"'}):
            with pytest.raises(PreconditionFailedError) as caught:
                await send("PutObject", key, b"other", **condition)
            assert caught.value.code == "PreconditionFailed"
        assert (await send("GetObject", key)).body == DATA

    async def test_parts_become_one_object(self, send, key):
        """Parts that are sent in any order, one of them twice, are the object in the order of their numbers."""
        created = await send(
            "CreateMultipartUpload", key, ContentType="text/plain", Metadata={"colour": "red"}
        )
        upload_id = created.fields["UploadId"]
        pieces = {1: DATA[:1] * PART, 2: b"last"}
        etags = {}
        for number, data in ((2, b"before"), (2, pieces[2]), (1, pieces[1])):
            sent = await send("UploadPart", key, data, UploadId=upload_id, PartNumber=number)
            etags[number] = sent.fields["ETag"]
        with pytest.raises(ObjectNotFoundError):
            await send("HeadObject", key)
        parts = [{"PartNumber": number, "ETag": etags[number]} for number in (1, 2)]
        done = await send(
            "CompleteMultipartUpload", key, UploadId=upload_id, MultipartUpload={"Parts": parts}
        )
        assert done.fields["ETag"].strip('"').endswith("-2")
        got = await send("GetObject", key)
        assert got.body == pieces[1] + pieces[2]
        assert got.fields["ContentType"] == "text/plain"
        assert got.fields["Metadata"] == {"colour": "red"}
        # S3 says the same again for a while, others have forgotten the upload.
        with suppress(ObjectNotFoundError):
            again = await send(
                "CompleteMultipartUpload", key, UploadId=upload_id, MultipartUpload={"Parts": parts}
            )
            assert again.fields["ETag"] == done.fields["ETag"]

    async def test_an_aborted_upload_is_gone(self, send, key):
        """What is aborted is unknown from then on, and never becomes an object."""
        upload_id = (await send("CreateMultipartUpload", key)).fields["UploadId"]
        await send("UploadPart", key, b"data", UploadId=upload_id, PartNumber=1)
        await send("AbortMultipartUpload", key, UploadId=upload_id)
        # moto answers 500 to a part of an upload that it does not know.
        with pytest.raises(OperationError) as caught:
            await send("UploadPart", key, b"data", UploadId=upload_id, PartNumber=1)
        assert not self.knows_what_is_gone or caught.value.code == "NoSuchUpload"
        with pytest.raises(ObjectNotFoundError):
            await send("HeadObject", key)

    async def test_parts_that_were_not_sent_make_no_object(self, send, key):
        """A completion with a part that nobody sent, or with another ETag, is refused."""
        upload_id = (await send("CreateMultipartUpload", key)).fields["UploadId"]
        sent = await send("UploadPart", key, b"data", UploadId=upload_id, PartNumber=1)
        wrong = '"' + "0" * 32 + '"'
        for parts in ([(1, wrong)], [(1, sent.fields["ETag"]), (2, wrong)]):
            listed = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
            with pytest.raises(ServiceError):
                await send(
                    "CompleteMultipartUpload", key, UploadId=upload_id, MultipartUpload={"Parts": listed}
                )
        with suppress(ObjectNotFoundError):  # rclone forgets an upload whose completion failed
            await send("AbortMultipartUpload", key, UploadId=upload_id)
        with pytest.raises(ObjectNotFoundError):
            await send("HeadObject", key)

    async def test_listing(self, send, key):
        """Pages come in the order of the keys and lead to the next; rows tell size, ETag and time."""
        names = [f"{key}/{number:02d}" for number in range(5)]
        for number, name in enumerate(names):
            await send("PutObject", name, DATA[:number])
        rows, parameters, pages = [], {}, 0
        while True:
            fields = (await send("ListObjectsV2", Prefix=f"{key}/", MaxKeys=2, **parameters)).fields
            rows += fields.get("Contents", [])
            pages += 1
            if not fields["IsTruncated"]:
                break
            parameters = {"ContinuationToken": fields["NextContinuationToken"]}
        assert [row["Key"] for row in rows] == names
        assert [row["Size"] for row in rows] == list(range(5))
        assert all(row["ETag"] and isinstance(row["LastModified"], datetime) for row in rows)
        assert pages == 3

    async def test_an_empty_listing(self, send, key):
        """Nothing under a prefix is an empty page, and the last one."""
        fields = (await send("ListObjectsV2", Prefix=f"{key}/nothing", MaxKeys=10)).fields
        assert (fields.get("Contents", []), fields["IsTruncated"]) == ([], False)

    @pytest.mark.parametrize(
        "tail", ["a b", "ü", "a+b", "a%2Fb", "a?b=c&d", "a/b", "\U0001f600", "'()*!~", "a//b"]
    )
    async def test_any_key(self, send, key, tail):
        """Whatever the characters of a key, it is one and the same for put, get and list."""
        if "//" in tail and not self.slashes_are_plain:
            pytest.skip("this store joins slashes")
        name = f"{key}/{tail}"
        await send("PutObject", name, tail.encode())
        assert (await send("GetObject", name)).body == tail.encode()
        rows = (await send("ListObjectsV2", Prefix=f"{key}/", MaxKeys=10)).fields["Contents"]
        assert [row["Key"] for row in rows] == [name]

    @pytest.mark.parametrize("size", [0, 1, SLICE, SLICE + 1, 3 * SLICE])
    async def test_progress_of_an_upload(self, send, key, size, tells_every_slice):
        """A body that leaves in slices is told as it leaves, its end as such; a small one tells nothing."""
        told = Told()
        await send("PutObject", key, (DATA * 10)[:size], progress=told)
        slices = -(-size // SLICE) if size > SLICE else 0
        # Slices that leave at once may be told in one word.
        ends = slices if tells_every_slice else min(slices, 1)
        # Over plain http the body is read once more before, for its signature, which completes nothing.
        before = told.calls[: len(told.calls) - ends]
        assert told.calls[len(before) :] == [number == ends for number in range(1, ends + 1)]
        assert not any(before)
        assert slices or not before
        assert len(told.calls) <= 2 * slices

    async def test_a_body_may_be_left(self, leases, endpoint, bucket, send, key):
        """Closing a body early does not hurt the next request over the same lease or another one."""
        await send("PutObject", key, DATA * 10)
        get = Operation("GetObject", READ, bucket, key, streamed=True)
        async with held(leases, endpoint) as lease:
            for _ in range(3):
                answer = await lease.call(get, progress=nobody)
                assert await answer.body.read()
                answer.body.close()
                answer.body.close()
            assert (await drained(await lease.call(get, progress=nobody))).body == DATA * 10

    async def test_leases_are_bounded(self, leases, endpoint):
        """With every connection taken, the wait is limited; the error names the endpoint and the leases."""
        told = f"{CONNECTIONS} leases are held, the oldest for"
        async with held(leases, endpoint), held(leases, endpoint) as second:
            with pytest.raises(PoolTimeoutError, match=told) as caught:
                await leases.lease(endpoint, READ, timeout=0.05)
            assert caught.value.endpoint == endpoint.id
            second.release()
            second.release()
            (await leases.lease(endpoint, READ, timeout=1)).release()


@asynccontextmanager
async def held(leases: Leases, endpoint: Endpoint):
    """A lease for the time of a block."""
    lease = await leases.lease(endpoint, READ, timeout=5)
    try:
        yield lease
    finally:
        lease.release()


async def drained(answer: S3Answer) -> Got:
    """The answer with its body read to the end and closed."""
    pieces = []
    if answer.body is not None:
        try:
            while piece := await answer.body.read():
                pieces.append(piece)
        finally:
            answer.body.close()
    return Got(dict(answer.fields), answer.status, b"".join(pieces))
