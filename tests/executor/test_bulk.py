"""Many objects at once: order, bounds, errors, early ends, and what the requests are."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing, suppress

import pytest
from virtual_time import run, scenario

from flashback_async.errors import (
    AccessDeniedError,
    ClientClosedError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointConnectError,
    EndpointServerError,
    IntegrityError,
    ObjectNotFoundError,
    PreconditionFailedError,
    ThrottledError,
)
from flashback_async.models import BulkResult, ObjectVersion
from flashback_async.objects.limits import TransferLimits
from flashback_async.testing import Dialect, MemoryEndpoints, Step

from .scenes import KIB, THROTTLED, Scene, now, pattern

KEYS = [f"key-{number:02}" for number in range(20)]


def filled(scene, keys=KEYS, size=10):
    for key in keys:
        scene.store.put("bucket", key, key.encode().ljust(size))
    return scene


class Gauge:
    """The most of something that there ever was."""

    def __init__(self, measure):
        self.most = 0
        self._measure = measure

    async def __aenter__(self):
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self):
        while True:
            self.most = max(self.most, self._measure())
            await asyncio.sleep(0.01)


def every_verb(scene, keys=KEYS, **options):
    """Each verb for many objects over the same keys; deletions come last."""
    return {
        "get": scene.get_objects("bucket", keys, **options),
        "head": scene.head_objects("bucket", keys, **options),
        "put": scene.put_objects("bucket", ((key, b"data") for key in keys), **options),
        "copy": scene.copy_objects("bucket", "key-", "copy-", **options),
        "delete": scene.delete_objects("bucket", keys, **options),
    }


async def note_keys(seen, results):
    """Note each key as it comes, so that those before an error are known."""
    async for result in results:
        seen.append(result.key)


VERBS = ("get", "head", "put", "copy", "delete")
by_verb = pytest.mark.parametrize("verb", VERBS)
by_verb_with_input = pytest.mark.parametrize("verb", ["get", "head", "put", "delete"])


# --- what comes ------------------------------------------------------------------------------------------


@by_verb
@pytest.mark.parametrize("ordered", [True, False])
def test_every_key_has_its_result(verb, ordered):
    """Each key of the input comes back once with its value, in the order of the input if that was asked for."""

    async def play():
        scene = filled(Scene(ids="a"))
        results = [result async for result in every_verb(scene, ordered=ordered)[verb]]
        assert [result.error for result in results] == [None] * len(KEYS)
        assert sorted(result.key for result in results) == KEYS
        if ordered:
            assert [result.key for result in results] == KEYS
        values = {
            "get": lambda result: result.value.body == result.key.encode().ljust(10),
            "head": lambda result: result.value.size == 10,
            "put": lambda result: scene.store.get("bucket", result.key).data == b"data",
            "copy": lambda result: (
                scene.store.get("bucket", result.value.key).data == result.key.encode().ljust(10)
                and result.value.key == result.key.replace("key-", "copy-")
                and result.value.etag == scene.store.get("bucket", result.key).etag
                and result.value.size == 10
            ),
            "delete": lambda result: scene.store.get("bucket", result.value.key) is None,
        }
        assert all(values[verb](result) for result in results)
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize("ordered", [True, False])
def test_order_is_kept_or_not(ordered):
    """A slow first object holds the others back only where the order is to be kept."""

    async def play():
        scene = filled(Scene({"a": [Step(after=2.0)]}))
        results = [
            (result.key, now()) async for result in scene.get_objects("bucket", KEYS[:4], ordered=ordered)
        ]
        expected = [(key, 2.0) for key in KEYS[:4]]
        assert results == (expected if ordered else [(key, 0.0) for key in KEYS[1:4]] + [(KEYS[0], 2.0)])

    run(play())


@by_verb_with_input
def test_async_input_and_generators_are_taken_lazily(verb):
    """Only as much of an endless input is taken as is worked on, and nothing before the first result is wanted."""

    async def play():
        scene = Scene(ids="a")
        taken = 0

        async def endless():
            nonlocal taken
            while True:
                taken += 1
                scene.store.put("bucket", f"key-{taken}", b"")
                yield (f"key-{taken}", b"") if verb == "put" else f"key-{taken}"

        call = {
            "get": scene.get_objects,
            "head": scene.head_objects,
            "put": scene.put_objects,
            "delete": scene.delete_objects,
        }[verb]
        results = call("bucket", endless(), concurrency=2)
        await asyncio.sleep(1.0)
        assert taken == 0
        for _ in range(10):
            await anext(results)
        await results.aclose()
        # A thousand keys make a deletion; the others take one key more than they have handed out and work on.
        assert taken <= (3_001 if verb == "delete" else 13)
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_listing_can_be_the_input():
    """What a listing yields is read, and deleted, as it comes."""
    scene = filled(Scene(ids="a"))
    listing = scene.list_objects("bucket", page_size=7)
    assert {result.key async for result in scene.get_objects("bucket", listing)} == set(KEYS)
    listing = scene.list_objects("bucket", page_size=7)
    assert {result.key async for result in scene.delete_objects("bucket", listing)} == set(KEYS)
    assert scene.store.keys("bucket") == []


@scenario
async def test_a_slow_input_holds_nothing_back():
    """Results come while the input has nothing new."""
    scene = filled(Scene(ids="a"))

    async def slow():
        for key in KEYS[:3]:
            yield key
            await asyncio.sleep(10.0)

    results = [(result.key, now()) async for result in scene.get_objects("bucket", slow())]
    assert results == [(KEYS[0], 0.0), (KEYS[1], 10.0), (KEYS[2], 20.0)]


# --- bounds ----------------------------------------------------------------------------------------------


@by_verb
@pytest.mark.parametrize("ordered", [True, False])
def test_requests_are_bounded(verb, ordered):
    """There are never more than `concurrency` requests at the same time, and as many as that where it helps."""

    async def play():
        scene = filled(Scene({"a": Step(after=1.0)}))
        async with Gauge(lambda: scene.endpoints.leases) as gauge:
            results = every_verb(scene, concurrency=4, ordered=ordered)[verb]
            assert len([result async for result in results]) == len(KEYS)
        assert gauge.most == (1 if verb == "delete" else 4)

    run(play())


@scenario
async def test_results_that_wait_for_the_consumer_count():
    """A consumer that takes its time finds at most `concurrency` results, and the memory does not fill up."""
    scene = filled(Scene(ids="a"))
    results = scene.get_objects("bucket", KEYS, concurrency=4)
    for taken in range(1, 11):
        await anext(results)
        await asyncio.sleep(10.0)
        assert len(scene.asked) <= taken + 4
    await results.aclose()


def held_by(scene):
    """Bytes of the bodies that are being read."""
    return sum(len(body._data) for name in "ab" for body in scene[name].bodies if body._offset)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("known", [True, False], ids=["listed", "keys"])
def test_bytes_of_bodies_are_bounded(ordered, known):
    """Bodies are only read while they fit, whether their sizes are known beforehand or come with the headers."""

    async def play():
        scene = filled(Scene({"a": Step(pace=1.0), "b": Step(pace=1.0)}), size=100 * KIB)
        keys = scene.list_objects("bucket") if known else KEYS
        async with Gauge(lambda: held_by(scene)) as gauge:
            results = scene.get_objects("bucket", keys, max_bytes=350 * KIB, ordered=ordered)
            assert len([result async for result in results]) == len(KEYS)
        assert 200 * KIB <= gauge.most <= 350 * KIB
        if known:
            assert max(at for _, at in scene.asked) > 5.0, "nothing is asked for before there is room"
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize("ordered", [True, False])
def test_one_that_is_too_large_comes_alone(ordered):
    """An object above the bound is read when nothing else is in hand, and blocks nobody for ever."""

    async def play():
        scene = filled(Scene(ids="a"), KEYS[:6], size=10)
        scene.store.put("bucket", KEYS[2], pattern(5_000))
        results = scene.get_objects("bucket", KEYS[:6], max_bytes=25, ordered=ordered)
        assert sorted([len(result.value.body) async for result in results]) == [10] * 5 + [5_000]

    run(play())


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("concurrency", [2, 4, 20])
def test_large_objects_come_through_among_others(concurrency, known, ordered):
    """With less room, connections and places than large objects, each is written and read whole, in parts.

    But streams that wait for room, when they could hold every connection, leave none to read in pieces.
    """

    async def play():
        limits = TransferLimits(threshold=250, part_size=100, concurrency=3, together=4)
        paced = {"a": Step(pace=0.01, piece=50)}
        scene = Scene(paced, transfers=limits, connections=8, max_in_flight=20, pool=1.0)
        objects = {key: pattern(1_050, place) for place, key in enumerate(KEYS)}
        options = {"concurrency": concurrency, "max_bytes": 1_500, "ordered": ordered}
        written = [result.key async for result in scene.put_objects("bucket", objects.items(), **options)]
        assert sorted(written) == KEYS
        assert [request.operation for request in scene.endpoints.requests].count("UploadPart") == 11 * len(
            KEYS
        )
        keys = [info async for info in scene.list_objects("bucket")] if known else KEYS
        read = {
            result.key: result.value.body async for result in scene.get_objects("bucket", keys, **options)
        }
        assert read == objects
        assert any(asked is not None for _, asked in scene.ranges) is (concurrency <= limits.together)
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_waiting_for_room_costs_no_deadline():
    """A consumer may take as long as it likes: the objects that wait for it do not run out of time."""
    scene = filled(Scene(ids="a"), size=100)
    taken = 0
    async for result in scene.get_objects("bucket", KEYS[:6], max_bytes=100, timeout=5.0):
        assert len(result.value.body) == 100
        taken += 1
        await asyncio.sleep(60.0)
    assert taken == 6


@pytest.mark.parametrize("ordered", [True, False])
def test_bytes_of_uploads_are_bounded(ordered, tmp_path):
    """Uploads start only while they fit, from memory and from files alike, and one more of the input is taken."""
    path = tmp_path / "file"
    path.write_bytes(bytes(100))

    async def play():
        scene = Scene({"a": Step(after=1.0)})
        taken = 0

        def objects():
            nonlocal taken
            for key in KEYS:
                taken += 1
                yield key, (path if taken % 2 else bytes(100))

        results = scene.put_objects("bucket", objects(), max_bytes=300, ordered=ordered)
        async with Gauge(lambda: scene.endpoints.leases) as gauge:
            await anext(results)
            assert taken <= 3 + 1 + 3
            assert len([result async for result in results]) == len(KEYS) - 1
        assert gauge.most == 3

    run(play())


# --- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["get", "head"])
def test_an_error_ends_everything(verb):
    """With on_error="raise" the first failure is raised, what runs is cancelled, and nothing is left."""

    async def play():
        scene = filled(Scene({"a": Step(after=1.0)}))
        scene.store.delete("bucket", KEYS[5])
        scene["a"].script.extend([Step(after=9.0)] * 2)
        seen = []
        with pytest.raises(ObjectNotFoundError) as caught:
            await note_keys(seen, every_verb(scene, concurrency=4)[verb])
        assert caught.value.key == KEYS[5]
        assert scene.leaks() == {}
        assert len(scene.asked) < len(KEYS)

    run(play())


@scenario
async def test_in_order_an_error_comes_at_its_place():
    """Where the order is kept, what comes before a failure is handed out before it is raised."""
    scene = filled(Scene({"a": [Step(after=2.0)]}))
    scene.store.delete("bucket", KEYS[2])
    seen = []
    with pytest.raises(ObjectNotFoundError):
        await note_keys(seen, scene.get_objects("bucket", KEYS, ordered=True))
    assert seen == KEYS[:2]
    assert scene.leaks() == {}


@pytest.mark.parametrize("ordered", [True, False])
def test_errors_can_be_results(ordered):
    """With on_error="yield" a failure is its key's result, and all others come."""

    async def play():
        scene = filled(Scene(ids="a"))
        scene.store.delete("bucket", KEYS[3])
        keys = [*KEYS, "", None, 5]
        results = [
            each async for each in scene.get_objects("bucket", keys, ordered=ordered, on_error="yield")
        ]
        failed = {result.key: type(result.error) for result in results if result.error is not None}
        assert failed == {
            KEYS[3]: ObjectNotFoundError,
            **dict.fromkeys(("", "None", "5"), ConfigurationError),
        }
        assert len(results) == len(keys)
        for result in results:
            if result.error is not None:
                with pytest.raises(type(result.error)):
                    _ = result.value
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_writes_that_fail_are_told_by_key():
    """A put that is refused is that key's error; a pair that is none ends everything."""
    scene = filled(Scene(ids="a"), KEYS[:2])
    objects = [(KEYS[0], b"new"), ("fresh", b"new"), ("missing", "/no/such/file")]
    results = scene.put_objects("bucket", objects, if_none_match="*", on_error="yield", ordered=True)
    found = [result async for result in results]
    assert [type(result.error) for result in found] == [
        PreconditionFailedError,
        type(None),
        ConfigurationError,
    ]
    with pytest.raises(ConfigurationError, match="no pair"):
        async for _ in scene.put_objects("bucket", ["key"]):
            pass


@by_verb_with_input
@pytest.mark.parametrize("on_error", ["raise", "yield"])
def test_a_failing_input_is_raised_at_its_end(verb, on_error):
    """What was begun before the input failed is finished and handed out; then its error is raised as it is."""

    async def play():
        scene = filled(Scene({"a": Step(after=1.0)}))

        def failing():
            for key in KEYS[:3]:
                yield (key, b"") if verb == "put" else key
            raise LookupError("the input is broken")

        call = {
            "get": scene.get_objects,
            "head": scene.head_objects,
            "put": scene.put_objects,
            "delete": scene.delete_objects,
        }[verb]
        seen = []
        with pytest.raises(LookupError, match="the input is broken"):
            await note_keys(seen, call("bucket", failing(), on_error=on_error, ordered=True))
        assert seen == KEYS[:3]
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_listing_that_fails_ends_a_copy():
    """Copies need the listing: its error is raised, whatever `on_error` says."""
    scene = filled(Scene({"a": Step.error(403)}))
    with pytest.raises(AccessDeniedError):
        async for _ in scene.copy_objects("bucket", "key-", "copy-", on_error="yield"):
            pass


@scenario
async def test_a_closed_client_is_no_result():
    """When the client closes, everything ends with ClientClosedError, not with a failure for each key."""
    endpoints = MemoryEndpoints.of("a")
    endpoints["a"].then = Step(after=1.0)
    fb = endpoints.client()
    await fb.start()

    async def close():
        await asyncio.sleep(1.5)
        await fb.aclose()

    closing = asyncio.create_task(close())
    with pytest.raises(ClientClosedError):
        async for _ in fb.put_objects(
            "bucket", ((key, b"") for key in KEYS), concurrency=2, on_error="yield"
        ):
            pass
    await closing
    with pytest.raises(ClientClosedError):
        fb.get_objects("bucket", KEYS)
    assert endpoints.leases == 0


# --- early ends ------------------------------------------------------------------------------------------


@by_verb
@pytest.mark.parametrize("ordered", [True, False])
def test_an_early_end_leaves_nothing(verb, ordered):
    """Leaving the loop frees every task, lease and permit, and closes the input."""

    async def play():
        scene = filled(Scene({"a": Step(after=1.0, pace=1.0)}))
        closed = False

        async def keys():
            nonlocal closed
            try:
                for key in KEYS:
                    yield (key, b"data") if verb == "put" else key
            finally:
                closed = True

        verbs = {
            "get": lambda: scene.get_objects("bucket", keys(), ordered=ordered),
            "head": lambda: scene.head_objects("bucket", keys(), ordered=ordered),
            "put": lambda: scene.put_objects("bucket", keys(), ordered=ordered),
            "copy": lambda: scene.copy_objects("bucket", "key-", "copy-", ordered=ordered),
            "delete": lambda: scene.delete_objects("bucket", keys(), ordered=ordered),
        }
        async with aclosing(verbs[verb]()) as results:
            async for _ in results:
                break
        assert scene.leaks() == {}
        assert closed or verb == "copy"
        async for _ in verbs[verb]():
            break
        gc.collect()
        for _ in range(20):
            await asyncio.sleep(0)
        assert scene.leaks() == {}

    run(play())


@by_verb
@pytest.mark.parametrize("moment", [0.0, 0.5, 1.5, 2.5])
def test_a_cancellation_leaves_nothing(verb, moment):
    """Whenever the consumer is cancelled, nothing is left and no endpoint is blamed."""

    async def play():
        scene = filled(Scene({"a": Step(after=1.0, pace=1.0)}))

        async def consume():
            async for _ in every_verb(scene, concurrency=3)[verb]:
                await asyncio.sleep(0.1)

        consumer = asyncio.create_task(consume())
        await asyncio.sleep(moment)
        if not consumer.done():
            consumer.cancel()
            with suppress(asyncio.CancelledError):
                await consumer
        gc.collect()
        for _ in range(20):
            await asyncio.sleep(0)
        assert scene.leaks() == {}
        assert scene.at("a").failures == 0

    run(play())


@scenario
async def test_an_error_of_the_consumer_leaves_nothing():
    """What the body of the loop raises goes through, and everything ends."""
    scene = filled(Scene({"a": Step(after=1.0)}))
    with pytest.raises(KeyError):
        async with aclosing(scene.get_objects("bucket", KEYS)) as results:
            async for _ in results:
                raise KeyError
    assert scene.leaks() == {}


# --- arguments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"concurrency": 0}, "concurrency=0"),
        ({"concurrency": "4"}, "concurrency='4'"),
        ({"on_error": "ignore"}, "on_error='ignore'"),
    ],
)
def test_options_are_checked_at_once(options, why):
    """What cannot work is refused by the call itself, not by the first result."""

    async def play():
        scene = Scene(ids="a")
        for call in (
            lambda: scene.get_objects("bucket", KEYS, **options),
            lambda: scene.head_objects("bucket", KEYS, **options),
            lambda: scene.put_objects("bucket", [], **options),
            lambda: scene.copy_objects("bucket", "a/", "b/", **options),
            lambda: scene.delete_objects("bucket", KEYS, **options),
        ):
            with pytest.raises(ConfigurationError, match=why):
                call()

    run(play())


@scenario
async def test_other_arguments_are_checked_at_once():
    """Buckets, bytes, prefixes and headers that cannot work are refused by the call itself."""
    scene = Scene(ids="a")
    for call, why in (
        (lambda: scene.get_objects("a b", KEYS), "is not a bucket name"),
        (lambda: scene.get_objects("bucket", KEYS, max_bytes=0), "max_bytes=0"),
        (lambda: scene.put_objects("bucket", [], max_bytes=1.5), "max_bytes=1.5"),
        (lambda: scene.get_objects("bucket", "key"), "keys='key' is a single str; give a list"),
        (lambda: scene.head_objects("bucket", b"key"), "keys=b'key' is a single bytes; give a list"),
        (lambda: scene.delete_objects("bucket", "key"), "keys='key' is a single str; give a list"),
        (lambda: scene.delete_objects("bucket", None), "keys=None cannot be iterated over; give"),
        (lambda: scene.put_objects("bucket", "key"), "objects='key' is a single str; give a list"),
        (lambda: scene.put_objects("bucket", [], content_type=""), "content_type"),
        (lambda: scene.put_objects("bucket", [], if_none_match="x"), "give"),
        (lambda: scene.copy_objects("bucket", 5, "b/"), "prefix=5"),
        (lambda: scene.copy_objects("bucket", "a/", None), "to_prefix=None"),
        (lambda: scene.copy_objects("bucket", "a/", "a/b/"), "would be copied again"),
        (lambda: scene.copy_objects("bucket", "", "b/", to_bucket="bucket"), "would be copied again"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            call()
    assert scene.asked == []


@scenario
async def test_a_prefix_is_copied_to_another_bucket():
    """To another bucket everything can be copied, under the same keys."""
    scene = filled(Scene(ids="a"), KEYS[:3])
    scene.store.put("other", "x", b"")
    results = scene.copy_objects("bucket", "", "", to_bucket="other", ordered=True)
    assert [(result.value.bucket, result.value.key) async for result in results] == [
        ("other", key) for key in KEYS[:3]
    ]


# --- deletions -------------------------------------------------------------------------------------------


def deletions(scene):
    """The keys of each DeleteObjects."""
    return [
        [row["Key"] for row in request.parameters["Delete"]["Objects"]]
        for request in scene.endpoints.requests
        if request.operation == "DeleteObjects"
    ]


@pytest.mark.parametrize(
    ("count", "batches"), [(0, []), (1, [1]), (1_000, [1_000]), (2_001, [1_000, 1_000, 1])]
)
def test_a_thousand_keys_make_a_request(count, batches):
    """Keys are deleted a thousand with each request; the last one has the rest."""

    async def play():
        scene = Scene(ids="a")
        keys = [f"{number:05}" for number in range(count)]
        results = [result async for result in scene.delete_objects("bucket", iter(keys), ordered=True)]
        assert [result.key for result in results] == keys
        assert [len(batch) for batch in deletions(scene)] == batches

    run(play())


@scenario
async def test_a_deletion_tells_what_became_of_each_key():
    """Keys that are refused are errors of their kind, keys that are not there count as deleted."""
    errors = {"a": "AccessDenied", "b": "InternalError", "c": "SomethingElse"}
    scene = Scene({"x": []}, dialect=Dialect(key_errors=errors), attempts=1)
    keys = ["a", "b", "c", "d", ""]
    results = [
        result async for result in scene.delete_objects("bucket", keys, on_error="yield", ordered=True)
    ]
    assert [result.key for result in results] == keys
    assert [type(result.error).__name__ for result in results] == [
        "AccessDeniedError",
        "EndpointServerError",
        "ServiceError",
        "NoneType",
        "ConfigurationError",
    ]
    assert [result.error.key for result in results[:3]] == ["a", "b", "c"]
    seen = []
    with pytest.raises(AccessDeniedError):
        await note_keys(seen, scene.delete_objects("bucket", ["d", "a", "e"], ordered=True))
    assert seen == ["d"]
    assert scene.leaks() == {}


@scenario
async def test_throttled_keys_are_asked_for_again():
    """Keys that the store throttles are sent again, and only they; the endpoint is asked less from then on."""
    slow = Dialect(key_errors={"b": "SlowDown", "c": "InternalError"})
    scene = Scene({"x": [Step(dialect=slow)], "y": []})
    results = [result async for result in scene.delete_objects("bucket", ["a", "b", "c"], ordered=True)]
    assert [(result.key, result.error) for result in results] == [("a", None), ("b", None), ("c", None)]
    assert deletions(scene) == [["a", "b", "c"], ["b", "c"]]
    assert scene.monitor.retries == 1
    assert scene.at("x").throttled == 1
    assert scene.leaks() == {}


@scenario
async def test_keys_that_stay_throttled_are_errors():
    """When the attempts are used up, the keys that are left keep their own error, the others stay deleted."""
    scene = Scene({"x": []}, dialect=Dialect(key_errors={"b": "SlowDown"}))
    results = [
        result async for result in scene.delete_objects("bucket", ["a", "b"], on_error="yield", ordered=True)
    ]
    assert results[0].error is None
    assert isinstance(results[1].error, ThrottledError)
    assert (results[1].error.operation, results[1].error.key) == ("DeleteObjects", "b")
    assert len(deletions(scene)) == 3
    once = [result async for result in scene.delete_objects("bucket", ["b"], on_error="yield", retry=False)]
    assert isinstance(once[0].error, ThrottledError)
    assert len(deletions(scene)) == 4


@scenario
async def test_a_request_that_fails_is_every_keys_error():
    """A deletion that no endpoint carries out is raised, or told for each of its keys."""
    scene = Scene({"x": Step.error(500), "y": Step.error(500), "z": Step.error(500)})
    with pytest.raises(EndpointServerError):
        async for _ in scene.delete_objects("bucket", ["a", "b"]):
            pass
    results = [result async for result in scene.delete_objects("bucket", ["a", "b"], on_error="yield")]
    assert [type(result.error) for result in results] == [EndpointServerError] * 2


@scenario
async def test_a_failure_after_a_part_was_deleted_is_the_rests():
    """What the first answer says of its keys stays, when the repetition for the others fails."""
    slow = Dialect(key_errors={"b": "SlowDown"})
    scene = Scene({"x": [Step(dialect=slow)], "y": Step.silent()})
    scene["x"].then = Step.silent()
    results = scene.delete_objects("bucket", ["a", "b"], on_error="yield", ordered=True, timeout=3.0)
    a, b = [result async for result in results]
    assert a.error is None
    assert isinstance(b.error, DeadlineExceededError)
    assert scene.leaks() == {}


@scenario
async def test_a_key_that_the_answer_leaves_out_is_an_error():
    """An answer that does not say what became of a key does not pass for a deletion."""
    scene = Scene({"x": Step(fields={"Deleted": [{"Key": "a"}, {}]})}, attempts=1)
    results = [
        result async for result in scene.delete_objects("bucket", ["a", "b"], on_error="yield", ordered=True)
    ]
    assert [type(result.error) for result in results] == [type(None), IntegrityError]


@scenario
async def test_keys_that_xml_cannot_carry_are_deleted_alone():
    """A key with a control character spoils no batch: it is deleted with a request of its own."""
    scene = filled(Scene(ids="a"), ["a", "b\x01", "c"])
    results = [result async for result in scene.delete_objects("bucket", ["a", "b\x01", "c"], ordered=True)]
    assert [result.key for result in results] == ["a", "b\x01", "c"]
    assert scene.store.keys("bucket") == []
    assert deletions(scene) == [["a", "c"]]
    scene["a"].then = Step.error(403)
    refused = [result async for result in scene.delete_objects("bucket", ["b\x01"], on_error="yield")]
    assert [type(result.error) for result in refused] == [AccessDeniedError]


@scenario
async def test_the_same_key_twice_is_asked_for_once():
    """Duplicates share a place in the request, and each has a result."""
    scene = filled(Scene(ids="a"), ["a"])
    results = [result.key async for result in scene.delete_objects("bucket", ["a", "a"], ordered=True)]
    assert results == ["a", "a"]
    assert deletions(scene) == [["a"]]


@scenario
async def test_versions_are_deleted_for_good():
    """Versions and marks as they are listed go for good; a key alone only gets a mark."""
    scene = Scene(ids="a", versioned=("kept",))
    first = scene.store.put("kept", "key", b"one")
    scene.store.put("kept", "key", b"two")
    [marked] = [result.value async for result in scene.delete_objects("kept", ["key"])]
    assert marked.version_id is None
    assert marked.delete_marker == scene.store.versions("kept", "key")[0].version_id
    [gone] = [
        result.value
        async for result in scene.delete_objects(
            "kept", [ObjectVersion("kept", "key", first.version_id, is_latest=False)]
        )
    ]
    assert (gone.version_id, gone.delete_marker) == (first.version_id, None)
    assert len(scene.store.versions("kept", "key")) == 2
    async for _ in scene.delete_objects("kept", scene.list_object_versions("kept")):
        pass
    assert scene.store.versions("kept", "key") == ()


def test_a_result_is_a_value_or_an_error():
    """`value` is what came of it, or raises the error that `error` tells."""
    good: BulkResult[int] = BulkResult("key", 5)
    assert (good.value, good.error) == (5, None)
    bad: BulkResult[int] = BulkResult("key", EndpointConnectError("no"))
    assert isinstance(bad.error, EndpointConnectError)
    with pytest.raises(EndpointConnectError):
        _ = bad.value


@scenario
async def test_throttling_of_a_part_reaches_the_router():
    """A part that was throttled counts as throttling of the endpoint, not as its fault."""
    scene = Scene({"x": []}, dialect=Dialect(key_errors={"b": "SlowDown"}), attempts=1)
    [result] = [each async for each in scene.delete_objects("bucket", ["b"], on_error="yield")]
    assert result.error is not None
    assert (scene.at("x").throttled, scene.at("x").failures) == (1, 0)
    assert scene.router.settled == [("x", THROTTLED)]
    assert scene.at("x").rate_limit is not None
