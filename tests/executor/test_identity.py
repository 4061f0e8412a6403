"""What the answers of several nodes have to agree on to be of one object, by default and where that is weakened."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import product

import pytest
from virtual_time import run, scenario

from flashback_async.errors import ObjectChangedError
from flashback_async.objects.answer_stream import AnswerStream
from flashback_async.objects.identity import STRICT, Identity, IdentityRule
from flashback_async.routing import OperationKind
from flashback_async.testing import Dialect, MemoryEndpoints, MemoryStore, ScriptedEndpoint, Step
from flashback_async.transport.operation import Operation

from .scenes import Scene, pattern
from .transfers import SMALL, files_in

SIZE = 1_050
DATA = pattern(SIZE)
OTHER_ETAG, OTHER_TIME, BOTH = (True, False), (False, True), (True, True)
IGNORES = Dialect(if_match=False)
# What each setting takes for the same object: differences of (ETag, Last-Modified).
TAKEN = {
    "etag": set(),
    "etag_and_length": {OTHER_TIME},
    "last_modified": {OTHER_ETAG},
    "length": {OTHER_ETAG, OTHER_TIME, BOTH},
}
CASES = [
    pytest.param(setting, difference, id=f"{setting}-{'etag' * difference[0]}{'time' * difference[1]}")
    for setting, difference in product(TAKEN, [OTHER_ETAG, OTHER_TIME, BOTH])
]


def mirror(data: bytes, difference: tuple[bool, bool]) -> MemoryStore:
    """Another store with the same object, which it describes in its own way."""
    store = MemoryStore("bucket")
    has_other_etag, has_other_time = difference
    if has_other_time:
        store.put("bucket", "before", b"")
    store.put("bucket", "key", data, etag='"0x8DC"' if has_other_etag else '"one"')
    return store


def mixed(difference, scripts, *, data=DATA, **options) -> Scene:
    """Endpoint `a` in front of one store, all others in front of its mirror."""
    scene = Scene(scripts, transfers=SMALL, **options)
    scene.store.put("bucket", "key", DATA, etag='"one"')
    other = mirror(data, difference)
    for name in scripts:
        if name != "a":
            scene[name].store = other
    return scene


def if_match(scene: Scene) -> list[object]:
    return [request.parameters.get("IfMatch") for request in scene.endpoints.requests]


@pytest.mark.parametrize(("setting", "difference"), CASES)
def test_a_stream_goes_on_with_what_the_setting_takes_for_the_same(setting, difference):
    """A body goes on at a node whose answer agrees in what the setting compares, and nowhere else."""

    async def play():
        scene = mixed(difference, {"a": Step(cut=400), "b": Step()}, dialect=IGNORES, resume_identity=setting)
        async with scene.stream_object("bucket", "key") as body:
            if difference in TAKEN[setting]:
                assert await body.read() == DATA
            else:
                with pytest.raises(ObjectChangedError, match="after 400 bytes"):
                    await body.read()
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize("setting", ["last_modified", "length"])
def test_another_nodes_etag_is_not_asked_for(setting):
    """Where ETags do not count, no further request names one: a node that honours it would say 412."""

    async def play():
        scene = mixed(OTHER_ETAG, {"a": Step(cut=400), "b": Step()}, resume_identity=setting)
        async with scene.stream_object("bucket", "key", if_match='"one"') as body:
            assert await body.read() == DATA
        assert if_match(scene) == ['"one"', None]

    run(play())


@scenario
async def test_an_etag_that_counts_is_asked_for_whatever_else_does():
    """With `etag_and_length` the further requests still name the ETag."""
    scene = mixed(OTHER_TIME, {"a": Step(cut=400), "b": Step()}, resume_identity="etag_and_length")
    async with scene.stream_object("bucket", "key") as body:
        assert await body.read() == DATA
    assert if_match(scene) == [None, '"one"']


@pytest.mark.parametrize("setting", TAKEN)
@pytest.mark.parametrize("change", [b"", b"x"], ids=["shorter", "longer"])
def test_the_length_always_counts(setting, change):
    """No setting takes an object of another length for the same one."""

    async def play():
        data = DATA + change if change else DATA[:-1]
        scene = mixed(
            (False, False),
            {"a": Step(cut=400), "b": Step()},
            data=data,
            dialect=IGNORES,
            resume_identity=setting,
        )
        async with scene.stream_object("bucket", "key") as body:
            with pytest.raises(ObjectChangedError):
                await body.read()

    run(play())


@pytest.mark.parametrize(
    ("difference", "named"),
    [(OTHER_ETAG, "'last_modified'"), (OTHER_TIME, "'etag_and_length'"), (BOTH, None)],
    ids=["etag", "time", "both"],
)
def test_the_error_names_the_way_out(difference, named):
    """Where only the ETag or only the time differs, the error names the setting under which it would not count."""

    async def play():
        scene = mixed(difference, {"a": Step(cut=400), "b": Step()}, dialect=IGNORES)
        async with scene.stream_object("bucket", "key") as body:
            with pytest.raises(ObjectChangedError) as raised:
                await body.read()
        assert ("resume_identity" in str(raised.value)) is (named is not None)
        assert named is None or f"resume_identity={named}" in str(raised.value)

    run(play())


@pytest.mark.parametrize(("status", "is_named"), [(412, True), (404, False), (416, False)])
def test_a_refused_etag_names_the_way_out(status, is_named):
    """A node that refuses the ETag may only name the object differently; one that has none does not."""

    async def play():
        scene = mixed((False, False), {"a": Step(cut=400), "b": Step(status=status)})
        async with scene.stream_object("bucket", "key") as body:
            with pytest.raises(ObjectChangedError) as raised:
                await body.read()
        assert ("resume_identity='last_modified'" in str(raised.value)) is is_named

    run(play())


def test_no_way_out_is_named_where_the_length_is_unknown_or_the_rule_is_weak_already():
    """The way out is named where the length agrees for certain, and under the default only."""
    one, other = Identity('"a"', timedelta(1), 10), Identity('"b"', timedelta(1), 10)
    assert STRICT.way_out(one, other)
    assert not STRICT.way_out(one._replace(total=None), other._replace(total=None))
    assert not IdentityRule.of("etag_and_length").way_out(one, other)


# --- pieces, ranges, files, bodies of client.s3 ------------------------------------------------------------


@pytest.mark.parametrize(("setting", "difference"), CASES)
def test_pieces_follow_the_same_rule(setting, difference):
    """A large object is put together from nodes that agree in what the setting compares."""

    async def play():
        slow = Step(pace=0.1, piece=10)
        scene = mixed(difference, {"a": slow, "b": slow}, dialect=IGNORES, resume_identity=setting)
        if difference in TAKEN[setting]:
            assert (await scene.get_object("bucket", "key")).body == DATA
        else:
            with pytest.raises(ObjectChangedError):
                await scene.get_object("bucket", "key")
        assert {request.endpoint for request in scene.endpoints.requests} == {"a", "b"}
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize(
    ("setting", "dialect", "nodes"),
    [
        ("etag", Dialect(etag=False), 1),
        ("last_modified", Dialect(etag=False), 2),
        ("last_modified", Dialect(last_modified=False), 1),
        ("length", Dialect(etag=False, last_modified=False), 2),
    ],
    ids=["etag", "time", "no-time", "length"],
)
def test_what_counts_most_has_to_be_told(setting, dialect, nodes):
    """Several nodes read one object only where they tell what the setting compares first."""

    async def play():
        slow = Step(pace=0.1, piece=10)
        scene = Scene({"a": slow, "b": slow}, transfers=SMALL, dialect=dialect, resume_identity=setting)
        scene.store.put("bucket", "key", DATA)
        assert (await scene.get_object("bucket", "key")).body == DATA
        assert len({request.endpoint for request in scene.endpoints.requests}) == nodes

    run(play())


@pytest.mark.parametrize("setting", ["etag", "last_modified"])
def test_ranges_follow_the_same_rule(setting):
    """Ranges of one object come from nodes that agree in what the setting compares."""

    async def play():
        slow = Step(pace=0.1, piece=10)
        scene = mixed(OTHER_ETAG, {"a": slow, "b": slow}, resume_identity=setting)
        asked = scene.get_ranges("bucket", "key", [(0, 100), (500, 600), (900, 1_000)], coalesce=0)
        if setting == "etag":
            with pytest.raises(ObjectChangedError):
                await asked
        else:
            assert await asked == [DATA[:100], DATA[500:600], DATA[900:1_000]]

    run(play())


@pytest.mark.parametrize("first", ["etag", "last_modified"])
@pytest.mark.parametrize("then", ["etag", "last_modified"])
def test_a_download_goes_on_by_the_rule_of_now(first, then, tmp_path):
    """Pieces of an interrupted download are completed from a node that agrees in what is compared now."""

    async def play():
        slow = Step(pace=0.1, piece=10)
        scene = Scene({"a": slow}, transfers=SMALL, resume_identity=first)
        scene.store.put("bucket", "key", DATA, etag='"one"')
        download = asyncio.ensure_future(scene.download_file("bucket", "key", tmp_path / "f", concurrency=1))
        await asyncio.sleep(4.5)
        download.cancel()
        await asyncio.wait([download])
        other = Scene(ids="a", transfers=SMALL, resume_identity=then)
        other["a"].store = mirror(DATA, OTHER_ETAG)
        await other.download_file("bucket", "key", tmp_path / "f")
        assert files_in(tmp_path) == {"f": DATA}
        whole = other.ranges.count(("a", None))
        assert whole == (1 if then == "etag" else 0)

    run(play())


@scenario
async def test_pieces_that_can_no_longer_be_recognised_are_not_used(tmp_path):
    """A record without an ETag, made under a weaker rule, is nothing to go on from under the default."""
    nameless = Dialect(etag=False)
    scene = Scene(
        {"a": Step(pace=0.1, piece=10)}, transfers=SMALL, dialect=nameless, resume_identity="length"
    )
    scene.store.put("bucket", "key", DATA)
    download = asyncio.ensure_future(scene.download_file("bucket", "key", tmp_path / "f", concurrency=1))
    await asyncio.sleep(4.5)
    download.cancel()
    await asyncio.wait([download])
    assert len(files_in(tmp_path)) == 2
    strict = Scene(ids="a", transfers=SMALL, dialect=nameless)
    strict.store.put("bucket", "key", DATA)
    await strict.download_file("bucket", "key", tmp_path / "f")
    assert strict.ranges[0] == ("a", None)
    assert files_in(tmp_path) == {"f": DATA}


@pytest.mark.parametrize(("setting", "difference"), CASES)
def test_bodies_of_the_facade_follow_the_same_rule(setting, difference):
    """What `client.s3` hands out goes on at nodes that agree in what the setting compares."""

    async def play():
        scene = mixed(difference, {"a": Step(cut=400), "b": Step()}, dialect=IGNORES, resume_identity=setting)
        body = await opened(scene)
        if difference in TAKEN[setting]:
            assert await drained(body) == DATA
        else:
            with pytest.raises(ObjectChangedError) as raised:
                await drained(body)
            assert ("resume_identity" in str(raised.value)) is (setting == "etag" and difference != BOTH)
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_condition_of_the_facade_is_met_once():
    """The ETag that a caller of `client.s3` named is not asked of the node that has another one."""
    scene = mixed(OTHER_ETAG, {"a": Step(cut=400), "b": Step()}, resume_identity="last_modified")
    assert await drained(await opened(scene, IfMatch='"one"')) == DATA
    assert if_match(scene) == ['"one"', None]


@scenario
async def test_a_version_of_the_facade_is_that_of_its_first_answer():
    """A body of `client.s3` for which a version was named goes on with none that a node says is another one."""
    scene = Scene({"a": Step(cut=400), "b": Step(fields={"VersionId": "v9"})}, versioned=("bucket",))
    version = scene.store.put("bucket", "key", DATA)
    body = await opened(scene, VersionId=version.version_id)
    with pytest.raises(ObjectChangedError, match="v9"):
        await drained(body)
    assert scene.leaks() == {}


async def opened(scene, **parameters):
    operation = Operation("GetObject", OperationKind.READ, "bucket", "key", parameters, streamed=True)
    journey = scene.runner.journey(timeout=None, endpoint=None, retry=True, streamed=True)
    return await AnswerStream.opened(scene.runner, operation, journey, is_resumable=True)


async def drained(body) -> bytes:
    pieces = []
    while data := await body.read_some():
        pieces.append(data)
    return b"".join(pieces)


# --- the client --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", TAKEN)
def test_what_is_given_up_is_said_once(setting, caplog):
    """A client whose rule is weak says at its start what it gives up; the default has nothing to say."""

    async def play():
        store = MemoryStore("bucket")
        store.put("bucket", "key", DATA)
        endpoints = MemoryEndpoints(ScriptedEndpoint("a", store))
        async with endpoints.client(resume_identity=setting) as client:
            for _ in range(2):
                assert await client.object_exists("bucket", "key")

    run(play())
    said = [record.getMessage() for record in caplog.records if "resume_identity" in record.getMessage()]
    assert len(said) == (setting != "etag")
    assert all(repr(setting) in text and "is taken for" in text for text in said)
