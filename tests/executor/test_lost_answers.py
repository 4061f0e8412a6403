"""What takes a store long, and what is done about answers that never came."""

from __future__ import annotations

import logging
import pickle

import aiohttp
import pytest
from botocore.exceptions import ClientError
from virtual_time import run, scenario

from flashback_async.config import FlashbackSettings
from flashback_async.errors import EndpointConnectError, EndpointTimeoutError, NoEndpointAvailableError
from flashback_async.objects.routed_calls import RoutedCalls
from flashback_async.routing import Endpoint
from flashback_async.testing import Step
from flashback_async.transport.s3_client import S3ClientFactory
from flashback_async.transport.s3_facade import S3Facade
from flashback_async.transport.s3_http import HttpSession, connect_error

from .scenes import MIB, SUCCESS, Scene, now, pattern
from .transfers import asked, left_open, scene_of

KEY = {"Bucket": "bucket", "Key": "key"}
COPY = {**KEY, "CopySource": {"Bucket": "bucket", "Key": "source"}}


@pytest.fixture(scope="module")
def genuine():
    """A client that is not taken over yet."""
    settings = FlashbackSettings(endpoints=("https://a",), key_id="id", key_secret="secret")
    factory = S3ClientFactory(settings, HttpSession(connect_timeout=1, tls=None))
    return factory.make(Endpoint(id="a", url="https://a"), settings.credentials(), sign_payload=False).boto


@pytest.fixture
def s3_of(genuine):
    """A function from a scene to its `client.s3`."""

    async def sign(_bucket, _kind, *, pin):
        raise NoEndpointAvailableError(f"nobody signs for {pin}")

    return lambda scene: S3Facade(genuine, RoutedCalls(scene.runner, lambda: None), sign).client


# --- what takes long -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [5.1, 54.9])
def test_a_copy_may_take_its_time(s3_of, after):
    """A server-side copy is waited for beyond the first-byte timeout, through verbs and client.s3, and asked for once."""

    async def play():
        for copy in (
            lambda scene: scene.copy_object("bucket", "source", "key"),
            lambda scene: s3_of(scene).copy_object(**COPY),
        ):
            scene = Scene({"a": [Step(after=after)], "b": []})
            scene.store.put("bucket", "source", b"data")
            await copy(scene)
            assert scene.store.get("bucket", "key").data == b"data"
            assert asked(scene, "CopyObject") == ["a"]
            assert scene.router.settled[0] == ("a", SUCCESS)

    run(play())


@scenario
async def test_a_copy_leaves_time_for_another_node():
    """A node that is silent over a copy is left and blamed one first-byte timeout before the deadline, at the latest."""
    scene = Scene({"a": [Step.silent()], "b": [Step(after=4.9)]})
    scene.store.put("bucket", "source", b"data")
    await scene.copy_object("bucket", "source", "key", timeout=30)
    assert scene.asked[:2] == [("a", 0.0), ("b", 25.0)]
    assert now() == pytest.approx(29.9)


@scenario
async def test_a_copy_without_a_deadline_ends():
    """Without any timeout, a silent node has as long as the largest copy takes; a known size bounds it closer."""
    scene = Scene({"a": Step.silent()}, attempts=1)
    with pytest.raises(EndpointTimeoutError):
        await scene.copy_object("bucket", "source", "key", timeout=float("inf"))
    assert now() == pytest.approx(165.0)
    scene = Scene({"a": []})
    scene.store.put("bucket", "from/a", pattern(MIB))
    scene["a"].script.extend([Step(), Step.silent()])
    results = [
        row async for row in scene.copy_objects("bucket", "from/", "to/", retry=False, on_error="yield")
    ]
    assert isinstance(results[0].error, EndpointTimeoutError)
    assert now() == pytest.approx(165.0 + 5.0 + 1 / 32)


@scenario
async def test_the_end_of_an_upload_may_take_its_time_through_boto(s3_of):
    """A completion through client.s3 is waited for like a verb's, and so is a part that is copied; the rest is not."""
    scene = Scene({"a": []})
    s3 = s3_of(scene)
    upload = {**KEY, "UploadId": (await s3.create_multipart_upload(**KEY))["UploadId"]}
    part = await s3.upload_part(**upload, PartNumber=1, Body=b"data")
    scene["a"].script.append(Step(after=50.0))
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    await s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert scene.store.get("bucket", "key").data == b"data"
    # The script's store has no such operation: 501, after a time that only patience lasts.
    scene["a"].script.append(Step(after=50.0))
    with pytest.raises(ClientError, match="501"):
        await s3.upload_part_copy(**COPY, UploadId="any", PartNumber=1)
    assert now() == pytest.approx(100.0)
    scene["a"].then = Step.silent()
    for call in (s3.abort_multipart_upload(**upload), s3.create_multipart_upload(**KEY)):
        started = now()
        with pytest.raises(ClientError):
            await call
        assert now() - started < 20.0


# --- the end of an upload ------------------------------------------------------------------------------------


async def ready(scene, s3):
    """An upload whose two parts are there, as the arguments of its completion."""
    upload = {**KEY, "UploadId": (await s3.create_multipart_upload(**KEY))["UploadId"]}
    rows = [
        {"PartNumber": number, "ETag": (await s3.upload_part(**upload, PartNumber=number, Body=data))["ETag"]}
        for number, data in ((1, b"one"), (2, b"two"))
    ]
    scene.endpoints.requests.clear()
    return {**upload, "MultipartUpload": {"Parts": rows}}


@scenario
async def test_a_completion_that_meets_its_own_success(s3_of):
    """After a lost answer, NoSuchUpload is a success if the object is made of the parts listed."""
    scene = Scene({"a": []}, own_uploads=True)
    s3 = s3_of(scene)
    completion = await ready(scene, s3)
    scene["a"].script.append(Step.lost())
    answer = await s3.complete_multipart_upload(**completion)
    stored = scene.store.get("bucket", "key")
    assert stored.data == b"onetwo"
    assert (answer["ETag"], answer["Bucket"], answer["Key"]) == (stored.etag, "bucket", "key")
    assert asked(scene, "HeadObject") == ["a"]
    assert scene.leaks() == {}


@pytest.mark.parametrize("first", [[Step.refused()], [Step.error(503)], []])
def test_an_upload_that_is_not_there(s3_of, first):
    """Where no answer was lost, NoSuchUpload is raised, whatever the object is."""

    async def play():
        scene = Scene({"a": []}, own_uploads=True)
        s3 = s3_of(scene)
        completion = await ready(scene, s3)
        await s3.complete_multipart_upload(**completion)
        scene["a"].script.extend(first)
        with pytest.raises(ClientError) as caught:
            await s3.complete_multipart_upload(**completion)
        assert caught.value.response["Error"]["Code"] == "NoSuchUpload"
        assert asked(scene, "HeadObject") == []

    run(play())


@pytest.mark.parametrize("there", [b"somebody else's", None])
@pytest.mark.parametrize("listed", [{"Parts": [{"PartNumber": 1, "ETag": '"no md5"'}]}, None])
def test_somebody_elses_object_is_not_ours(s3_of, there, listed):
    """After a lost answer, NoSuchUpload is raised if the object has another ETag, or nobody can tell."""

    async def play():
        scene = Scene({"a": []}, own_uploads=True)
        s3 = s3_of(scene)
        completion = await ready(scene, s3)
        await s3.abort_multipart_upload(**KEY, UploadId=completion["UploadId"])
        if there is not None:
            scene.store.put("bucket", "key", there)
        scene["a"].script.append(Step.reset())
        if listed is not None:
            completion["MultipartUpload"] = listed
        with pytest.raises(ClientError) as caught:
            await s3.complete_multipart_upload(**completion)
        assert caught.value.response["Error"]["Code"] == "NoSuchUpload"

    run(play())


# --- the beginning of an upload ------------------------------------------------------------------------------


@scenario
async def test_a_lost_creation_is_told(caplog):
    """An upload that a lost answer may have left is named in a warning with the remedy, and counted; the write goes on elsewhere."""
    scene = scene_of({"a": [Step.lost()], "b": []}, own_uploads=True)
    await scene.put_object("bucket", "key", pattern(1_000))
    assert scene.store.get("bucket", "key").data == pattern(1_000)
    assert list(left_open(scene)) == ["a"]
    [record] = [row for row in caplog.records if row.levelno == logging.WARNING]
    assert "bucket/key: an upload may be open at a," in record.message
    assert "AbortIncompleteMultipartUpload" in record.message
    assert scene.monitor.lost_uploads == 1


@scenario
async def test_a_lost_creation_is_noted_on_the_error():
    """If the write fails for it, the error says so, pickled or not."""
    scene = scene_of({"a": Step.lost(), "b": Step.lost()}, own_uploads=True, attempts=2)
    with pytest.raises(EndpointConnectError) as caught:
        await scene.put_object("bucket", "key", pattern(1_000))
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert any("an upload may be open at a, b," in note for note in error.__notes__)
    assert scene.monitor.lost_uploads == 2


@pytest.mark.parametrize("step", [Step.refused(), Step.error(503), Step.throttled()])
def test_what_was_not_carried_out_is_not_told(caplog, step):
    """A node that could not be reached, or said that it would not, has no upload."""

    async def play():
        scene = scene_of({"a": [step], "b": []}, own_uploads=True)
        await scene.put_object("bucket", "key", pattern(1_000))
        assert left_open(scene) == {}
        assert scene.monitor.lost_uploads == 0
        assert "may be open" not in caplog.text

    run(play())


@scenario
async def test_a_lost_creation_through_boto_is_told(s3_of, caplog):
    """The same through client.s3."""
    scene = Scene({"a": [Step.lost()], "b": []}, own_uploads=True)
    await s3_of(scene).create_multipart_upload(**KEY)
    assert "bucket/key: an upload may be open at a," in caplog.text
    assert scene.monitor.lost_uploads == 1


def test_what_was_never_sent_is_safe_to_repeat():
    """Errors of connections that were never made say so; those of broken ones do not know."""
    assert connect_error(aiohttp.ConnectionTimeoutError(), timeout=2.0).is_retry_safe is True
    assert connect_error(aiohttp.ServerDisconnectedError()).is_retry_safe is None


# --- conditions ----------------------------------------------------------------------------------------------


@scenario
async def test_a_condition_through_boto_may_meet_its_own_success(s3_of):
    """A conditional write through client.s3 whose answer was lost is sent again, and its 412 is handed on as it is."""
    scene = Scene({"a": [Step.lost()], "b": []})
    with pytest.raises(ClientError) as caught:
        await s3_of(scene).put_object(**KEY, Body=b"data", IfNoneMatch="*")
    assert caught.value.response["Error"]["Code"] == "PreconditionFailed"
    assert asked(scene, "PutObject") == ["a", "b"]
    assert scene.store.get("bucket", "key").data == b"data"
    assert scene.leaks() == {}
