"""End-to-end checksums: computed by writers, stored in the metadata, compared by every whole read."""

from __future__ import annotations

import asyncio
import io
import sys
from base64 import b64encode
from hashlib import md5, sha256
from typing import TYPE_CHECKING

import google_crc32c
import pytest
from virtual_time import run, scenario

from flashback_async.errors import ConfigurationError, IntegrityError
from flashback_async.objects.answer_stream import AnswerStream
from flashback_async.routing import OperationKind
from flashback_async.testing import Dialect, MemoryEndpoints, MemoryStore, Step
from flashback_async.transport.operation import Operation

from .scenes import CANCELLED, MIB, SUCCESS, pattern
from .transfers import SMALL, files_in, left_open, names, scene_of

if TYPE_CHECKING:
    from .scenes import Scene

ALGORITHMS = {
    "crc32c": lambda data: google_crc32c.Checksum(data).digest().hex(),
    "sha256": lambda data: sha256(data).hexdigest(),
    "md5": lambda data: md5(data).hexdigest(),
}
DATA = pattern(1_050)
WRONG = b"?" + DATA[1:]
SHA = f"sha256:{sha256(DATA).hexdigest()}"


def stored(scene: Scene, key: str = "key"):
    return scene.store.get("bucket", key).metadata


def damaged(scripts=None, *, bad: str, data=DATA, algorithm="sha256", **options) -> Scene:
    """Endpoints of which those in `bad` serve the object with a byte flipped, and nothing else different."""
    scene = scene_of(scripts or {"a": Step(), "b": Step()}, **options)
    metadata = {f"flashback-{algorithm}": ALGORITHMS[algorithm](data)}
    good = scene.store.put("bucket", "key", data, metadata=metadata)
    other = MemoryStore("bucket")
    other.put("bucket", "key", bytes([data[0] ^ 1]) + data[1:], metadata=metadata, etag=good.etag)
    for name in bad:
        scene[name].store = other
    return scene


async def chunks(data: bytes):
    for start in range(0, len(data), 70):
        yield data[start : start + 70]


def generator(data: bytes):
    yield from (data[start : start + 70] for start in range(0, len(data), 70))


# --- writes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 1, 250, 1_050])
@pytest.mark.parametrize("source", ["bytes", "view", "path", "file", "list"])
def test_every_source_that_can_be_read_twice(algorithm, size, source, tmp_path):
    """Whatever can be read twice is stored with its checksum, in one request or in parts."""
    data = pattern(size)
    path = tmp_path / "file"
    path.write_bytes(b"before" * (source == "file") + data)
    file = path.open("rb")
    file.seek(6)
    sources = {
        "bytes": data,
        "view": memoryview(bytearray(data)),
        "path": path,
        "file": file,
        "list": [data[:7], data[7:]],
    }

    async def play():
        scene = scene_of(ids="a", checksum=algorithm)
        info = await scene.put_object("bucket", "key", sources[source], metadata={"mine": "1"})
        value = ALGORITHMS[algorithm](data)
        assert scene.store.get("bucket", "key").data == data
        assert stored(scene) == {"mine": "1", f"flashback-{algorithm}": value}
        assert info.checksum == f"{algorithm}:{value}"
        assert info.metadata == {"mine": "1"}
        head = await scene.head_object("bucket", "key")
        assert (head.checksum, head.metadata) == (info.checksum, {"mine": "1"})
        assert (await scene.get_object("bucket", "key")).body == data
        assert scene.leaks() == {}

    with file:
        run(play())


@pytest.mark.parametrize("source", [chunks, generator], ids=["async", "sync"])
def test_a_small_source_that_is_read_once(source):
    """What goes in one request is in memory by then, and has its checksum however it came."""

    async def play():
        scene = scene_of(ids="a", checksum="sha256")
        await scene.put_object("bucket", "key", source(DATA[:200]))
        assert stored(scene) == {"flashback-sha256": ALGORITHMS["sha256"](DATA[:200])}

    run(play())


@pytest.mark.parametrize("source", [chunks, generator], ids=["async", "sync"])
def test_a_large_source_that_is_read_once_is_refused(source):
    """What goes in parts needs its checksum before the first one, so a source that is read once is refused; nothing is written, and the way out is named."""

    async def play():
        scene = scene_of(ids="a", checksum="sha256")
        with pytest.raises(ConfigurationError, match="checksum='none'"):
            await scene.upload_file("bucket", "key", source(DATA))
        assert names(scene) == []
        await scene.upload_file("bucket", "key", source(DATA), checksum="none")
        assert stored(scene) == {}
        assert left_open(scene) == {}

    run(play())


@scenario
async def test_the_call_wins_over_the_setting():
    """A call may ask for a checksum of its own, or for none."""
    scene = scene_of(ids="a", checksum="crc32c")
    await scene.put_object("bucket", "key", DATA, checksum="sha256")
    assert list(stored(scene)) == ["flashback-sha256"]
    await scene.put_object("bucket", "key", DATA, checksum="none")
    assert stored(scene) == {}
    async for result in scene.put_objects("bucket", [("key", DATA)], checksum="md5"):
        assert result.value.checksum == f"md5:{md5(DATA).hexdigest()}"


@scenario
async def test_without_the_setting_nothing_is_added():
    """By default no checksum is computed, stored or shown."""
    scene = scene_of(ids="a")
    assert (await scene.put_object("bucket", "key", DATA[:9])).checksum is None
    assert "Metadata" not in scene.endpoints.requests[0].parameters
    assert (await scene.get_object("bucket", "key")).info.checksum is None


@scenario
async def test_an_unknown_algorithm_is_refused_at_once():
    """A checksum that there is not is named with those that there are, before anything is read or sent."""
    scene = scene_of(ids="a")
    with pytest.raises(ConfigurationError, match="'sha1'.*'crc32c', 'sha256', 'md5', or 'none'"):
        await scene.put_object("bucket", "key", DATA, checksum="sha1")
    with pytest.raises(ConfigurationError, match="sha1"):
        scene.put_objects("bucket", [], checksum="sha1")
    assert names(scene) == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_store_is_told_an_md5(algorithm):
    """An MD5 goes along as Content-MD5, with which the store refuses other bytes; in one request only."""

    async def play():
        scene = scene_of(ids="a", checksum=algorithm)
        await scene.put_object("bucket", "key", DATA[:200])
        await scene.put_object("bucket", "key", DATA)
        told = [request.parameters.get("ContentMD5") for request in scene.endpoints.requests]
        expected = b64encode(md5(DATA[:200]).digest()).decode() if algorithm == "md5" else None
        assert told == [expected, *[None] * (len(told) - 1)]

    run(play())


@scenario
async def test_a_conditional_write_carries_its_mark_as_well():
    """The mark of a conditional write and a checksum stand beside each other, and neither is shown."""
    scene = scene_of({"a": Step(is_lost=True), "b": Step()}, checksum="sha256")
    info = await scene.put_object("bucket", "key", DATA[:9], if_none_match="*", metadata={"mine": "1"})
    assert set(stored(scene)) == {"mine", "flashback-sha256", "flashback-write-id"}
    assert info.metadata == {"mine": "1"}
    assert info.checksum is not None


@scenario
async def test_an_upload_that_begins_anew_has_the_same_checksum():
    """A multipart upload that moves to another node is stored with the checksum of the whole source."""
    scene = scene_of(
        {"a": [Step(), *[Step(status=500)] * 99], "b": Step()}, checksum="sha256", own_uploads=True
    )
    await scene.upload_file("bucket", "key", io.BytesIO(DATA))
    assert scene.store.get("bucket", "key").data == DATA
    assert stored(scene) == {"flashback-sha256": ALGORITHMS["sha256"](DATA)}


@scenario
async def test_a_source_that_fails_while_it_is_hashed(tmp_path):
    """A file that can no longer be read is an error of the caller's, and nothing is written."""
    scene = scene_of(ids="a", checksum="sha256")

    class Failing(io.BytesIO):
        def read(self, amount=-1):
            raise OSError("the disk says no")

    with pytest.raises(ConfigurationError, match="the disk says no"):
        await scene.put_object("bucket", "key", Failing(b"data"))
    assert names(scene) == []


@scenario
async def test_a_file_that_grows_is_hashed_as_far_as_it_is_sent():
    """What is appended after the length was taken is neither sent nor hashed."""
    scene = scene_of(ids="a", checksum="sha256")

    class Growing(io.BytesIO):
        def seek(self, offset, whence=0):
            at = super().seek(offset, whence)
            return at - 3 if whence == 2 else at

    await scene.put_object("bucket", "key", Growing(b"data..."))
    assert scene.store.get("bucket", "key").data == b"data"
    assert stored(scene) == {"flashback-sha256": ALGORITHMS["sha256"](b"data")}


# --- whole objects -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [200, 1_050])
def test_a_damaged_object_is_read_elsewhere(algorithm, size):
    """Bytes with another checksum are read once more, from another node, in one piece or in many."""

    async def play():
        data = pattern(size)
        scene = damaged(bad="a", data=data, algorithm=algorithm)
        stored_object = await scene.get_object("bucket", "key")
        assert stored_object.body == data
        assert stored_object.endpoint == "b"
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize("size", [200, 1_050, 5 * MIB])
def test_an_object_that_is_damaged_everywhere(size):
    """Damage that another node has too is an error that names both checksums, after two reads; it closes no node."""

    async def play():
        data = pattern(size)
        scene = damaged(bad="ab", data=data)
        with pytest.raises(IntegrityError) as raised:
            await scene.get_object("bucket", "key")
        assert sha256(data).hexdigest() in str(raised.value)
        assert sha256(bytes([data[0] ^ 1]) + data[1:]).hexdigest() in str(raised.value)
        assert (raised.value.bucket, raised.value.key) == ("bucket", "key")
        assert {outcome for _, outcome in scene.router.finished} <= {SUCCESS, CANCELLED}
        assert {row.breaker.value for row in scene.router.snapshot(now=0.0).endpoints} == {"closed"}
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_without_retry_there_is_one_read():
    """With `retry=False` a damaged body is an error at once."""
    scene = damaged(bad="a")
    with pytest.raises(IntegrityError):
        await scene.get_object("bucket", "key", retry=False, range=None)
    assert {request.endpoint for request in scene.endpoints.requests} >= {"a"}
    scene = damaged(bad="a", data=DATA[:200])
    with pytest.raises(IntegrityError):
        await scene.get_object("bucket", "key", retry=False)
    assert scene.ranges == [("a", None)]


@scenario
async def test_the_second_read_has_the_rest_of_the_time():
    """The deadline is that of the call, whichever read it ends."""
    scene = damaged({"a": Step(after=0.6), "b": Step(after=0.6)}, bad="a", data=DATA[:200])
    with pytest.raises(TimeoutError):
        await scene.get_object("bucket", "key", timeout=1.0)
    assert asyncio.get_running_loop().time() == pytest.approx(1.0)


@scenario
async def test_many_objects_are_compared_too():
    """`get_objects` compares as `get_object` does."""
    scene = damaged(bad="a", data=DATA[:200])
    async for result in scene.get_objects("bucket", ["key"]):
        assert result.value.body == DATA[:200]
    scene = damaged(bad="ab", data=DATA[:200])
    async for result in scene.get_objects("bucket", ["key"], on_error="yield"):
        assert isinstance(result.error, IntegrityError)


@scenario
async def test_ranges_are_not_compared():
    """A range has no checksum of its own: it is handed out as it came, also where it is all there is."""
    scene = damaged(bad="ab")
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
    assert (await scene.get_object("bucket", "key", range=(0, None))).body == wrong
    assert await scene.get_ranges("bucket", "key", [(0, 2_000)]) == [wrong]
    async with scene.stream_object("bucket", "key", range=(0, None)) as body:
        assert await body.read() == wrong


@pytest.mark.parametrize(
    "metadata",
    [{"flashback-sha256": "0" * 63}, {"flashback-sha256": "X" * 64}, {"flashback-sha1": "0" * 40}],
    ids=["short", "no-digits", "unknown"],
)
def test_what_is_no_checksum_is_none(metadata):
    """Metadata that looks like ours and cannot be a checksum does not make an object unreadable."""

    async def play():
        scene = scene_of(ids="a")
        scene.store.put("bucket", "key", DATA, metadata=metadata)
        found = await scene.get_object("bucket", "key")
        assert (found.body, found.info.checksum) == (DATA, None)

    run(play())


# --- streams -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_stream_is_compared_at_its_end(algorithm):
    """A damaged stream ends with an error instead of its last bytes, and can be read no further."""

    async def play():
        scene = damaged({"a": Step(piece=100)}, bad="a", algorithm=algorithm)
        async with scene.stream_object("bucket", "key") as body:
            pieces = []
            with pytest.raises(IntegrityError, match=algorithm):
                pieces.extend([data async for data in body])
            assert sum(map(len, pieces)) < len(DATA)
            with pytest.raises(Exception, match="left"):
                await body.read()
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_stream_that_moved_is_compared_as_a_whole():
    """The checksum is that of all bytes, whichever node they came from, however often it broke."""
    for dialect in (None, Dialect(ranges=False)):
        scripts = {"a": Step(cut=400, piece=90), "b": Step(cut=300, piece=90), "c": Step()}
        scene = damaged(scripts, bad="", dialect=dialect)
        async with scene.stream_object("bucket", "key") as body:
            assert await body.read() == DATA
        scene = damaged(scripts, bad="a", dialect=dialect)
        async with scene.stream_object("bucket", "key") as body:
            with pytest.raises(IntegrityError):
                await body.read()


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize("bad", ["", "a"], ids=["good", "bad"])
def test_bodies_of_the_facade_are_compared(length, bad):
    """What `client.s3` hands out whole is compared at its end; its parts are not."""

    async def play():
        scene = damaged({"a": Step(piece=100)}, bad=bad, dialect=Dialect(content_length=length))
        for parameters in ({}, {"Range": "bytes=0-2000"}):
            operation = Operation("GetObject", OperationKind.READ, "bucket", "key", parameters, streamed=True)
            journey = scene.runner.journey(timeout=None, endpoint=None, retry=True, streamed=True)
            body = await AnswerStream.opened(scene.runner, operation, journey, is_resumable=True)
            found = b""
            if bad and not parameters:
                with pytest.raises(IntegrityError):
                    while data := await body.read_some():
                        found += data
                with pytest.raises(Exception, match="closed"):
                    await body.read_some()
            else:
                while data := await body.read_some():
                    found += data
                assert found == scene["a"].store.get("bucket", "key").data
            body.close()
        assert scene.leaks() == {}

    run(play())


# --- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 200, 1_050, 5 * MIB])
def test_a_file_is_compared_before_it_appears(algorithm, size, tmp_path):
    """A download that is damaged is loaded once more, from another node, and only what is right appears."""

    async def play():
        data = pattern(size)
        moved = []
        limits = SMALL if size < MIB else None
        scene = damaged(bad="a" if size else "", data=data or b"x", algorithm=algorithm, transfers=limits)
        if not size:
            await scene.put_object("bucket", "key", b"", checksum=algorithm)
        info = await scene.download_file("bucket", "key", tmp_path / "f", progress=moved.append)
        assert info.checksum == f"{algorithm}:{ALGORITHMS[algorithm](data)}"
        assert files_in(tmp_path) == {"f": data}
        assert sum(moved) == size
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize(("bad", "retry"), [("ab", True), ("a", False)])
def test_a_damaged_file_never_appears(bad, retry, tmp_path):
    """What stays damaged leaves what was there, no file under the final name, and nothing to go on from."""

    async def play():
        (tmp_path / "f").write_bytes(b"before")
        scene = damaged({"a": Step(), "b": Step()}, bad=bad)
        with pytest.raises(IntegrityError, match="sha256"):
            await scene.download_file("bucket", "key", tmp_path / "f", retry=retry)
        assert files_in(tmp_path) == {"f": b"before"}
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_damage_in_pieces_of_an_earlier_try_is_found(tmp_path):
    """A download that goes on is compared as a whole, and damage from the first try is loaded anew."""
    scene = damaged({"a": Step(pace=0.1, piece=10), "b": Step()}, bad="a")
    download = asyncio.ensure_future(
        scene.download_file("bucket", "key", tmp_path / "f", concurrency=1, endpoint="a")
    )
    await asyncio.sleep(4.5)
    download.cancel()
    await asyncio.wait([download])
    assert len(files_in(tmp_path)) == 2
    await scene.download_file("bucket", "key", tmp_path / "f", endpoint="b")
    assert files_in(tmp_path) == {"f": DATA}
    assert scene.ranges[-1] == ("b", None)


# --- ETags, encryption, what is not installed --------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "etag", "fields", "is_compared"),
    [
        ("md5", f'"{md5(DATA).hexdigest()}"', {}, True),
        ("sha256", f'"{md5(DATA).hexdigest()}"', {}, False),
        ("none", f'"{md5(DATA).hexdigest()}"', {}, False),
        ("md5", f'"{md5(DATA).hexdigest()}-3"', {}, False),
        ("md5", '"0x8DC"', {}, False),
        ("md5", f'"{md5(DATA).hexdigest()}"', {"ServerSideEncryption": "aws:kms"}, False),
        ("md5", f'"{md5(DATA).hexdigest()}"', {"ServerSideEncryption": "AES256"}, True),
        ("md5", f'"{md5(DATA).hexdigest()}"', {"SSECustomerAlgorithm": "AES256"}, False),
    ],
    ids=["md5", "other", "none", "parts", "foreign", "kms", "sse-s3", "sse-c"],
)
def test_an_etag_is_compared_where_it_is_an_md5(setting, etag, fields, is_compared):
    """With `md5`, an object without a checksum is compared with its ETag if that can be nothing but an MD5."""

    async def play():
        scene = scene_of({"a": Step(fields=fields)}, checksum=setting)
        scene.store.put("bucket", "key", WRONG[:200] + DATA[200:], etag=etag)
        if is_compared:
            with pytest.raises(IntegrityError, match="md5"):
                await scene.get_object("bucket", "key")
        else:
            assert (await scene.get_object("bucket", "key")).body == WRONG

    run(play())


def test_crc32c_needs_its_extra(monkeypatch, caplog):
    """Without google-crc32c, asking for it names the extra at once; reading goes on, and says once that nothing is compared."""
    monkeypatch.setitem(sys.modules, "google_crc32c", None)

    async def play():
        with pytest.raises(ConfigurationError, match=r"flashback-async\[crc32c\]"):
            async with MemoryEndpoints.of("a").client(checksum="crc32c"):
                pass
        scene = scene_of(ids="a")
        with pytest.raises(ConfigurationError, match=r"flashback-async\[crc32c\]"):
            await scene.put_object("bucket", "key", DATA, checksum="crc32c")
        scene.store.put("bucket", "key", DATA, metadata={"flashback-crc32c": "00000000"})
        for _ in range(2):
            assert (await scene.get_object("bucket", "key")).body == DATA

    run(play())
    said = [record.getMessage() for record in caplog.records if "checksums" in record.getMessage()]
    assert len(said) == 1
    assert "flashback-async[crc32c]" in said[0]
