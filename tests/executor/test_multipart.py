"""Writing large objects: in parts, at one node, aborted when it fails, begun anew elsewhere."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest
from virtual_time import run, scenario

from flashback_async.errors import (
    AccessDeniedError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointConnectError,
    EndpointError,
    EntityTooLargeError,
    IntegrityError,
    ObjectNotFoundError,
    OpenUpload,
    OperationError,
    PreconditionFailedError,
    ServiceError,
)
from flashback_async.models import StorageHeaders
from flashback_async.objects.limits import TransferLimits
from flashback_async.testing import Step

from .scenes import SUCCESS, now, pattern
from .transfers import PART, SMALL, asked, left_open, names, scene_of

SIZE = 1_050
DATA = pattern(SIZE)
FINE = Step()


async def chunks(data=DATA, size=70, *, then=None):
    """An async iterable that can be read once, and may fail at its end."""
    for at in range(0, len(data), size):
        yield data[at : at + size]
    if then is not None:
        raise then


@scenario
async def test_a_large_object_goes_in_parts_to_one_node():
    """Every request of an upload goes to the node that created it; the object is whole, with its own ETag."""
    scene = scene_of(ids="abc", own_uploads=True)
    info = await scene.put_object("bucket", "key", DATA, content_type="text/plain", metadata={"a": "1"})
    version = scene.store.get("bucket", "key")
    assert version.data == DATA
    assert (version.content_type, version.metadata) == ("text/plain", {"a": "1"})
    assert (info.size, info.etag, info.content_type) == (SIZE, version.etag, "text/plain")
    assert info.etag.endswith('-11"')
    assert {request.endpoint for request in scene.endpoints.requests} == {"a"}
    assert names(scene) == ["CreateMultipartUpload", *["UploadPart"] * 11, "CompleteMultipartUpload"]
    assert left_open(scene) == scene.leaks() == {}
    assert scene.monitor.bytes_written == SIZE
    assert scene.monitor.operations == 1


@pytest.mark.parametrize("size", [0, 1, 249, 250, 251, 300, 301, 1_000])
def test_the_threshold_decides(size):
    """Up to the threshold an object is one request, above it parts, whether its length is told or not."""

    async def play():
        data = pattern(size)
        for source in (data, chunks(data), [data]):
            scene = scene_of(ids="a")
            info = await scene.put_object("bucket", "key", source)
            assert (scene.store.get("bucket", "key").data, info.size) == (data, size)
            in_one = size <= (250 if source is data else 300)
            assert (names(scene) == ["PutObject"]) is in_one, source
            assert scene.leaks() == {}

    run(play())


@scenario
async def test_parts_move_at_the_same_time_but_never_too_many():
    """`concurrency` parts are on their way at once, and not one more."""
    scene = scene_of({"a": Step(after=1.0)})
    await scene.put_object("bucket", "key", pattern(900))
    starts = [request.at for request in scene.endpoints.requests if request.operation == "UploadPart"]
    assert starts == [1.0] * 3 + [2.0] * 3 + [3.0] * 3


@scenario
async def test_all_objects_share_the_places_for_parts():
    """However many large objects move, no more parts are on their way than the client allows in all."""
    limits = TransferLimits(threshold=250, part_size=PART, concurrency=3, together=4)
    scene = scene_of({"a": Step(after=1.0)}, transfers=limits)
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(scene.put_object("bucket", f"key{number}", pattern(300)))
    starts = [request.at for request in scene.endpoints.requests if request.operation == "UploadPart"]
    assert [starts.count(float(second)) for second in (1, 2, 3)] == [4, 4, 4]


@pytest.mark.parametrize("concurrency", [1, 3, 5])
def test_memory_is_bounded(concurrency):
    """A source that is read once is never ahead of what arrived by more than the parts that may be held."""

    async def play():
        limits = TransferLimits(threshold=250, part_size=PART, concurrency=concurrency, together=8)
        scene = scene_of({"a": Step(after=0.5)}, transfers=limits)
        taken = arrived = most = 0

        async def source():
            nonlocal taken, most
            for at in range(0, 3_000, 10):
                taken += 10
                most = max(most, taken - arrived)
                yield pattern(3_000)[at : at + 10]

        def count(amount):
            nonlocal arrived
            arrived += amount

        await scene.upload_file("bucket", "key", source(), progress=count)
        assert scene.store.get("bucket", "key").data == pattern(3_000)
        assert most <= PART * (concurrency + 1)
        assert arrived == 3_000

    run(play())


@pytest.mark.parametrize("kind", ["sync", "async", "none"])
def test_progress_adds_up_to_the_size(kind):
    """Increments come one at a time, whoever listens, and add up to the object's size."""

    async def play():
        scene = scene_of({"a": Step(after=0.5)})
        told, inside = [], 0

        async def tell(amount):
            nonlocal inside
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.3)
            inside -= 1
            told.append(amount)

        listener = {"sync": told.append, "async": tell, "none": None}[kind]
        await scene.upload_file("bucket", "key", DATA, progress=listener)
        await scene.upload_file("bucket", "small", b"12345", progress=listener)
        await scene.upload_file("bucket", "empty", b"", progress=listener)
        if kind != "none":
            assert sum(told) == SIZE + 5
            assert min(told) > 0

    run(play())


@scenario
async def test_what_the_listener_raises_ends_the_upload():
    """An error of the progress function passes as it is; the upload is aborted."""
    scene = scene_of(ids="a")

    def fail(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await scene.upload_file("bucket", "key", DATA, progress=fail)
    assert left_open(scene) == scene.leaks() == {}
    assert scene.store.get("bucket", "key") is None


@scenario
async def test_a_part_that_fails_is_sent_again_at_the_same_node():
    """A reset of one part costs that part: the upload goes on, where it is known."""
    scene = scene_of({"a": [FINE, FINE, Step.reset(), FINE, Step.error(503)], "b": []}, own_uploads=True)
    told = []
    await scene.upload_file("bucket", "key", DATA, progress=told.append)
    assert scene.store.get("bucket", "key").data == DATA
    assert set(asked(scene, "UploadPart")) == {"a"}
    assert len(asked(scene, "UploadPart")) == 13
    assert sum(told) == SIZE


@scenario
async def test_a_part_with_bad_luck_goes_on_while_others_arrive():
    """As long as other parts arrive, a part may fail more often than an operation may: the node is alive."""
    data = pattern(400)
    script = [FINE, *[Step(after=0.1)] * 2, Step.reset(), *[FINE, Step.reset()] * 2]
    scene = scene_of({"a": script, "b": []}, own_uploads=True, attempts=2)
    await scene.put_object("bucket", "key", data)
    assert scene.store.get("bucket", "key").data == data
    assert asked(scene, "CreateMultipartUpload") == ["a"]


def dead_after(requests: int) -> list[Step]:
    return [FINE] * requests + [Step.refused()] * 100


@pytest.mark.parametrize("requests", [1, 2, 5, 9, 12])
def test_the_upload_begins_anew_elsewhere(requests):
    """A node that dies in the middle is left: the upload begins anew at the next one, and ends well."""

    async def play():
        scene = scene_of({"a": dead_after(requests), "b": [], "c": []}, own_uploads=True)
        told = []
        info = await scene.upload_file("bucket", "key", DATA, progress=told.append)
        assert scene.store.get("bucket", "key").data == DATA
        assert info.etag == scene.store.get("bucket", "key").etag
        assert asked(scene, "CreateMultipartUpload") == ["a", "b"]
        assert sum(told) == SIZE
        assert set(left_open(scene)) <= {"a"}
        assert len(scene.store.history("bucket", "key")) == 1
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_node_that_forgot_the_upload_is_left():
    """A node that does not know its upload any more (it was restarted, say) is left for another one."""
    scene = scene_of({"a": [FINE, FINE, Step.error(404, "NoSuchUpload")], "b": []}, own_uploads=True)
    await scene.put_object("bucket", "key", DATA)
    assert asked(scene, "CreateMultipartUpload") == ["a", "b"]
    assert left_open(scene) == {}


@scenario
async def test_a_node_that_leaves_the_table_is_left():
    """An upload whose node is not in the table any more begins anew at one that is."""
    scene = scene_of({"a": Step(after=0.5), "b": []}, own_uploads=True)
    task = asyncio.create_task(scene.put_object("bucket", "key", DATA))
    await asyncio.sleep(0.7)
    reports = [report for report in scene.endpoints.reports() if report.endpoint.id == "b"]
    scene.router.apply_discovery(reports, now=now())
    await task
    assert scene.store.get("bucket", "key").data == DATA
    assert asked(scene, "CreateMultipartUpload")[-1] == "b"


@scenario
async def test_the_number_of_starts_is_bounded():
    """An upload begins as often as an operation has attempts; then its last error is raised."""
    unknown = Step.error(404, "NoSuchUpload")
    scene = scene_of({name: [FINE, *[unknown] * 3] for name in "abcd"}, own_uploads=True)
    with pytest.raises(ObjectNotFoundError) as caught:
        await scene.put_object("bucket", "key", DATA)
    assert caught.value.code == "NoSuchUpload"
    assert asked(scene, "CreateMultipartUpload") == ["a", "b", "c"]
    assert left_open(scene) == scene.leaks() == {}


@scenario
async def test_where_nothing_can_be_begun_the_end_comes_soon():
    """A creation that fails everywhere is not repeated, and the error names what the dead node keeps."""
    scene = scene_of({"a": dead_after(2), "b": Step.refused(), "c": Step.refused()}, own_uploads=True)
    with pytest.raises(EndpointConnectError) as caught:
        await scene.put_object("bucket", "key", DATA)
    assert caught.value.operation == "CreateMultipartUpload"
    assert len(asked(scene, "CreateMultipartUpload")) == 1 + 3
    assert caught.value.orphans == (OpenUpload("a", "upload-1"),)


@pytest.mark.parametrize("source", ["generator", "async generator"])
def test_what_can_be_read_once_is_not_begun_anew(source):
    """Where the source is gone, the failure of its node is raised, with the reason, and the upload aborted."""

    async def play():
        script = [FINE, FINE, *[Step.error(500)] * 30]
        scene = scene_of({"a": script, "b": []}, own_uploads=True)
        scene["a"].then = FINE
        given = chunks() if source == "async generator" else (DATA[at : at + 9] for at in range(0, SIZE, 9))
        with pytest.raises(EndpointError, match="the source can be read only once") as caught:
            await scene.put_object("bucket", "key", given)
        assert asked(scene, "CreateMultipartUpload") == ["a"]
        assert scene.store.get("bucket", "key") is None
        # The script answers 500 to the aborts as well, at its node and elsewhere nobody knows the upload.
        assert caught.value.orphans == (OpenUpload("a", "upload-1"),)
        assert "upload-1" in str(caught.value)
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_without_retries_nothing_is_sent_twice():
    """`retry=False` makes one attempt of every request, and one start."""
    scene = scene_of({"a": [FINE, Step.reset()], "b": []})
    with pytest.raises(EndpointConnectError):
        await scene.put_object("bucket", "key", DATA, retry=False)
    assert asked(scene, "CreateMultipartUpload") == ["a"]
    assert left_open(scene) == {}


@scenario
async def test_a_pinned_upload_stays():
    """With `endpoint=` every request goes there, and nowhere else when it fails."""
    scene = scene_of({"a": [], "b": dead_after(3)}, own_uploads=True)
    with pytest.raises(EndpointConnectError) as caught:
        await scene.put_object("bucket", "key", DATA, endpoint="b")
    assert {request.endpoint for request in scene.endpoints.requests} == {"b"}
    assert caught.value.orphans == (OpenUpload("b", "upload-1"),)


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (Step.error(403), AccessDeniedError),
        (Step.error(501), ServiceError),
        (Step.error(413), EntityTooLargeError),
        (Step.error(404, "NoSuchBucket"), ObjectNotFoundError),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 5, 12])
def test_a_refusal_is_raised_and_the_upload_aborted(step, kind, place):
    """What the service refuses is raised at once, at whatever request; no upload is left open."""

    async def play():
        scene = scene_of({"a": [*[FINE] * place, step], "b": []})
        with pytest.raises(kind) as caught:
            await scene.put_object("bucket", "key", DATA)
        assert caught.value.orphans == ()
        assert set(asked(scene, "CreateMultipartUpload")) == {"a"}
        assert left_open(scene) == scene.leaks() == {}
        assert scene.store.get("bucket", "key") is None

    run(play())


@pytest.mark.parametrize("at", [0.25, 0.75, 1.25, 1.75, 2.25, 2.75])
@pytest.mark.parametrize("source", ["bytes", "async"])
def test_cancellation_leaves_no_upload(at, source):
    """Cancelled at any moment, in creation, parts or completion, an upload is aborted before the end."""

    async def play():
        scene = scene_of({"a": Step(after=0.5), "b": Step(after=0.5)}, own_uploads=True)
        given = DATA if source == "bytes" else chunks()
        task = asyncio.create_task(scene.put_object("bucket", "key", given))
        await asyncio.sleep(at)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asked(scene, "AbortMultipartUpload") == ["a"]
        assert left_open(scene) == scene.leaks() == {}
        assert scene.monitor.failed == 0
        assert not any(row.opened for row in scene.router.snapshot(now=now()).endpoints)

    run(play())


@scenario
async def test_a_second_cancellation_does_not_stop_the_abort():
    """Whoever is impatient and cancels twice gets the cancellation once, after the abort."""
    scene = scene_of({"a": Step(after=0.5)})
    task = asyncio.create_task(scene.put_object("bucket", "key", DATA))
    await asyncio.sleep(0.8)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.1)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left_open(scene) == scene.leaks() == {}


@scenario
async def test_cancelled_while_the_creation_is_silent():
    """A creation that is never answered ends with its caller, within seconds, and leaves nothing running."""
    scene = scene_of({"a": Step.silent()}, first_byte=100.0, total=1_000.0)
    task = asyncio.create_task(scene.put_object("bucket", "key", DATA))
    await asyncio.sleep(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert now() < 10.0
    assert scene.leaks() == {}


@scenario
async def test_cancelled_in_a_creation_that_fails():
    """A creation that fails after its caller has gone is nobody's upload."""
    scene = scene_of({"a": Step.error(403, after=1.0)})
    task = asyncio.create_task(scene.put_object("bucket", "key", DATA))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(scene) == ["CreateMultipartUpload"]
    assert scene.leaks() == {}


@scenario
async def test_a_cancellation_names_what_it_leaves():
    """A cancelled upload at a dead node cannot be aborted: a note names it, with its node."""
    scene = scene_of({"a": [FINE, *[Step.silent()] * 50]}, own_uploads=True, ids="ab")
    task = asyncio.create_task(scene.put_object("bucket", "key", DATA))
    await asyncio.sleep(1.0)
    started = now()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert now() - started <= 15.0
    (note,) = caught.value.__notes__
    assert "upload-1" in note
    assert "'a'" in note
    assert left_open(scene) == {"a": ["upload-1"]}


@scenario
async def test_an_upload_that_others_know_is_aborted_there():
    """Where UploadIds are known to every node, another one aborts what a dead one cannot."""
    scene = scene_of({"a": dead_after(4), "b": []})
    await scene.put_object("bucket", "key", DATA)
    assert left_open(scene) == {}
    assert asked(scene, "AbortMultipartUpload")[-1] == "b"


@scenario
async def test_an_abort_that_is_refused_is_an_orphan():
    """A key that may write but not abort leaves an upload, which is named."""
    scene = scene_of({"a": [FINE] * 4})
    scene["a"].then = Step.error(403)
    with pytest.raises(AccessDeniedError) as caught:
        await scene.put_object("bucket", "key", DATA)
    assert caught.value.orphans == (OpenUpload("a", "upload-1"),)


@pytest.mark.parametrize("failure", [ZeroDivisionError(), ConfigurationError("no"), KeyError("x")])
def test_what_the_source_raises_is_raised(failure):
    """An error of the caller's iterable passes as it is, and the upload is aborted."""

    async def play():
        scene = scene_of({"a": Step(after=0.1)})
        with pytest.raises(type(failure)):
            await scene.put_object("bucket", "key", chunks(then=failure))
        assert asked(scene, "AbortMultipartUpload") == ["a"]
        assert left_open(scene) == scene.leaks() == {}

    run(play())


@scenario
async def test_a_deadline_ends_the_upload():
    """`timeout` is for all of it; when it is over, the upload is aborted none the less."""
    scene = scene_of({"a": Step(after=1.0)})
    with pytest.raises(DeadlineExceededError):
        await scene.put_object("bucket", "key", DATA, timeout=2.5)
    assert now() == pytest.approx(2.5 + 1.0)
    assert left_open(scene) == scene.leaks() == {}


@pytest.mark.parametrize("timeout", [None, math.inf])
def test_without_a_timeout_an_upload_takes_its_time(timeout):
    """What goes in parts takes as long as there is progress, whatever whole objects may take."""

    async def play():
        scene = scene_of({"a": Step(after=4.0)}, total=6.0)
        await scene.put_object("bucket", "key", DATA, timeout=timeout)
        assert now() > 20.0

    run(play())


# --- the end -----------------------------------------------------------------------------------------------


def at_the_end(*steps: Step) -> list[Step]:
    """Creation and eleven parts go well; then this."""
    return [FINE] * 12 + list(steps)


@scenario
async def test_a_lost_answer_to_the_completion_is_looked_after():
    """A completion whose answer was lost is a success, if the object is made of our parts."""
    scene = scene_of({"a": at_the_end(Step.lost()), "b": []}, own_uploads=True)
    info = await scene.put_object("bucket", "key", DATA)
    assert names(scene)[-3:] == ["CompleteMultipartUpload", "CompleteMultipartUpload", "HeadObject"]
    assert (info.etag, info.size) == (scene.store.get("bucket", "key").etag, SIZE)
    assert len(scene.store.history("bucket", "key")) == 1
    assert left_open(scene) == {}


@scenario
async def test_a_node_that_dies_with_the_answer_is_looked_after_elsewhere():
    """A node that completes and dies has written the object: another node shows it."""
    scene = scene_of({"a": at_the_end(Step.lost(), *[Step.refused()] * 50), "b": []})
    await scene.put_object("bucket", "key", DATA)
    assert asked(scene, "HeadObject")[-1] == "b"
    assert len(scene.store.history("bucket", "key")) == 1


@scenario
async def test_another_object_of_that_name_is_not_ours():
    """What somebody else wrote under the name is no proof: the upload begins anew."""
    scene = scene_of({"a": at_the_end(*[Step.refused()] * 50), "b": []}, own_uploads=True)
    scene.store.put("bucket", "key", pattern(SIZE, seed=1))
    await scene.put_object("bucket", "key", DATA)
    assert scene.store.get("bucket", "key").data == DATA
    assert asked(scene, "CreateMultipartUpload") == ["a", "b"]


@scenario
async def test_an_unknown_end_is_told_where_nothing_can_be_repeated():
    """A source that is gone, a completion without an answer and no object: the failure is raised."""
    scene = scene_of({"a": at_the_end(*[Step.refused()] * 50), "b": []}, own_uploads=True)
    with pytest.raises(EndpointConnectError, match="only once") as caught:
        await scene.put_object("bucket", "key", chunks())
    assert caught.value.operation == "CompleteMultipartUpload"
    assert caught.value.orphans == (OpenUpload("a", "upload-1"),)


@pytest.mark.parametrize("step", [Step.error(200, "SlowDown"), Step.error(503)])
def test_an_error_inside_a_200_is_no_success(step):
    """SlowDown in the answer to a completion is throttling; either way it is asked again, and ends well."""

    async def play():
        scene = scene_of({"a": at_the_end(step), "b": []}, own_uploads=True)
        await scene.put_object("bucket", "key", DATA)
        assert scene.store.get("bucket", "key").data == DATA
        assert asked(scene, "CompleteMultipartUpload") == ["a", "a"]
        assert scene.at("a").throttled == (step.code == "SlowDown")

    run(play())


@scenario
async def test_an_answer_that_names_no_object_is_looked_after():
    """A proxy's page with status 200 is no completion; the object is, if it is there."""
    scene = scene_of({"a": at_the_end(Step(fields={"ETag": None})), "b": []})
    info = await scene.put_object("bucket", "key", DATA)
    assert info.etag == scene.store.get("bucket", "key").etag
    scene = scene_of({"a": at_the_end(Step(fields={"ETag": None})), "b": []})
    scene["a"].script.extend([Step.error(403)])
    with pytest.raises(IntegrityError, match="names no object"):
        await scene.put_object("bucket", "key", chunks())


@scenario
async def test_an_answer_that_names_no_upload_is_broken():
    """A creation without an UploadId is an error of its own, as a part without an ETag is."""
    scene = scene_of({"a": [Step(fields={"UploadId": None})]})
    with pytest.raises(IntegrityError, match="names no upload"):
        await scene.put_object("bucket", "key", chunks())
    scene = scene_of({"a": [FINE, Step(fields={"ETag": None})]})
    with pytest.raises(IntegrityError, match="no ETag"):
        await scene.put_object("bucket", "key", chunks())
    assert left_open(scene) == {}


@scenario
async def test_conditions_belong_to_the_completion():
    """A condition is asked when the object comes to be; meeting one's own lost success is a success."""
    scene = scene_of({"a": at_the_end(Step.lost(), Step.error(412)), "b": []})
    written = await scene.put_object("bucket", "key", DATA, if_none_match="*", content_type="text/plain")
    assert written.etag == scene.store.get("bucket", "key").etag
    by_name = {request.operation: request.parameters for request in scene.endpoints.requests}
    assert by_name["CompleteMultipartUpload"]["IfNoneMatch"] == "*"
    assert "IfNoneMatch" not in by_name["CreateMultipartUpload"]
    assert by_name["CreateMultipartUpload"]["ContentType"] == "text/plain"
    assert (await scene.head_object("bucket", "key")).metadata == written.metadata == {}


@scenario
async def test_a_condition_that_does_not_hold_refuses_a_large_object():
    """Over another object nothing is written and nothing stays open, be it at the first node or the next."""
    for conditions in ({"if_none_match": "*"}, {"if_match": '"other"'}):
        scene = scene_of({"a": [], "b": []})
        scene.store.put("bucket", "key", b"other")
        with pytest.raises(PreconditionFailedError):
            await scene.upload_file("bucket", "key", DATA, **conditions)
        assert scene.store.get("bucket", "key").data == b"other"
        assert left_open(scene) == {}


@scenario
async def test_somebody_else_s_same_bytes_are_no_success():
    """A conditional upload that comes second has failed, even if the winner wrote the same parts."""
    scene = scene_of({"a": [], "b": []})
    await scene.put_object("bucket", "key", DATA)
    with pytest.raises(PreconditionFailedError):
        await scene.put_object("bucket", "key", DATA, if_none_match="*")
    assert len(scene.store.history("bucket", "key")) == 1
    assert left_open(scene) == {}


@scenario
async def test_a_lost_conditional_completion_is_met_again_by_the_next_upload():
    """The upload that begins anew meets the object of the first one, and knows it for its own."""
    scene = scene_of({"a": at_the_end(Step.lost(), *[Step.refused()] * 50), "b": []}, own_uploads=True)
    written = await scene.put_object("bucket", "key", DATA, if_none_match="*")
    assert written.etag == scene.store.get("bucket", "key").etag
    assert len(scene.store.history("bucket", "key")) == 1


@scenario
async def test_what_is_stored_beside_the_bytes_goes_with_large_objects():
    """Headers, tags and metadata of an upload in parts are those of the object, as with a small one."""
    options = {
        "content_type": "text/csv",
        "metadata": {"colour": "red"},
        "cache_control": "no-store",
        "storage_class": "STANDARD_IA",
        "tagging": {"team": "a b"},
        "headers": StorageHeaders(content_language="de"),
    }
    scene = scene_of()
    large = await scene.upload_file("bucket", "large", DATA, **options)
    small = await scene.put_object("bucket", "small", b"data", **options)
    assert large == replace(small, key="large", size=len(DATA), etag=large.etag)
    one, other = scene.store.get("bucket", "large"), scene.store.get("bucket", "small")
    assert (one.headers, one.tags, one.metadata) == (other.headers, other.tags, other.metadata)
    assert one.tags == {"team": "a b"}


@scenario
async def test_etags_that_are_not_md5_prove_nothing():
    """Where parts have ETags of another kind, an object cannot be recognised, and the upload begins anew."""
    script = [FINE, *[Step(fields={"ETag": '"opaque"'})] * 11, *[Step.refused()] * 50]
    scene = scene_of({"a": script, "b": []}, own_uploads=True)
    await scene.put_object("bucket", "key", DATA)
    assert asked(scene, "CreateMultipartUpload") == ["a", "b"]
    assert asked(scene, "HeadObject") == []


@scenario
async def test_a_large_completion_may_take_longer():
    """A store that puts a large object together may take longer than a first byte does elsewhere."""
    size = 96 * 1_024 * 1_024
    limits = TransferLimits(threshold=size // 4, part_size=size // 2, concurrency=2, together=2)
    scene = scene_of({"a": [FINE, FINE, FINE, Step(after=7.5)]}, transfers=limits)
    await scene.put_object("bucket", "key", bytes(size))
    assert names(scene).count("CompleteMultipartUpload") == 1


# --- limits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"part_size": 5 * 1_024 * 1_024 - 1}, "5 MiB"),
        ({"part_size": 100_000_000}, "below 100,000,000"),
        ({"part_size": 1e7}, "part_size=10000000.0"),
        ({"part_size": True}, "part_size=True"),
        ({"concurrency": 0}, "1 or more"),
        ({"concurrency": 1.5}, "concurrency=1.5"),
    ],
)
def test_limits_that_cannot_work_are_refused(given, why):
    """Parts that stores or gateways refuse are refused before anything is sent."""

    async def play():
        scene = scene_of(ids="a")
        for work in (
            lambda: scene.upload_file("bucket", "key", DATA, **given),
            lambda: scene.download_file("bucket", "key", "path", **given),
        ):
            with pytest.raises(ConfigurationError, match=why):
                await work()
        assert scene.asked == []

    run(play())


def test_no_object_has_more_parts_than_stores_take():
    """Parts grow with an object of known size; one that would need too large ones is refused."""
    limits = TransferLimits(threshold=2**25, part_size=2**23, concurrency=4, together=32)
    for size in (None, 2**25 + 1, 2**23 * 10_000):
        assert limits.part_size_for(size) == 2**23
    assert limits.part_size_for(2**23 * 10_000 + 1) == 2**23 + 1
    assert limits.part_size_for(10_000 * 99_999_999) == 99_999_999
    with pytest.raises(EntityTooLargeError, match="10,000 parts"):
        limits.part_size_for(10_000 * 99_999_999 + 1)


@scenario
async def test_a_source_without_end_is_refused_in_time():
    """An iterable of unknown length that has more than 10,000 parts is an error with the remedy, and aborted."""
    limits = TransferLimits(threshold=2, part_size=1, concurrency=50, together=50)
    scene = scene_of(ids="a", transfers=limits)
    with pytest.raises(EntityTooLargeError, match="raise part_size"):
        await scene.put_object("bucket", "key", chunks(pattern(10_001), 1_000))
    assert left_open(scene) == {}


@scenario
async def test_an_upload_outlives_the_drain_it_runs_in():
    """A client that is closed with patience lets an upload end, though it consists of many requests."""
    scene = scene_of({"a": Step(after=0.5)})
    task = asyncio.create_task(scene.put_object("bucket", "key", DATA))
    await asyncio.sleep(0.6)
    await scene.runner.close(drain=60.0)
    assert (await task).size == SIZE


@scenario
async def test_settled_as_what_they_were():
    """Parts count as successes of their node, and an aborted upload blames nobody."""
    scene = scene_of({"a": Step(after=0.5)})
    task = asyncio.create_task(scene.put_object("bucket", "key", DATA))
    await asyncio.sleep(1.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    outcomes = {outcome for _, outcome in scene.router.settled}
    assert SUCCESS in outcomes
    assert not any(outcome.is_fault for outcome in outcomes)


def test_orphans_survive_pickling():
    """The uploads that an error names cross processes with it."""
    import pickle  # noqa: PLC0415

    error = OperationError("no", operation="UploadPart")
    error.orphans = (OpenUpload("a", "x"),)
    again = pickle.loads(pickle.dumps(error))
    assert again.orphans == error.orphans
    assert str(again) == "UploadPart: no (not aborted: OpenUpload(endpoint='a', upload_id='x'))"
    assert SMALL.whole == 250
