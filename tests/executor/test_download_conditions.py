"""Downloads of one version, and of what its caller does not have yet; what interrupted ones go on from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from virtual_time import run, scenario

from flashback_async.errors import (
    ConfigurationError,
    NotModifiedError,
    PreconditionFailedError,
    ServiceError,
)
from flashback_async.testing import Dialect, Step

from .scenes import Scene, pattern
from .transfers import files_in, names, scene_of

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = pattern(1_050, 1), pattern(1_050, 2)
SLOW = Step(pace=0.1, piece=10)
DEAF = Dialect(conditions=False)


def with_versions(scripts=None, **options) -> tuple[Scene, str, str]:
    """A bucket that keeps versions, and the ids of two versions of one object."""
    scene = scene_of(scripts, versioned=("bucket",), **options)
    old, new = (scene.store.put("bucket", "key", data).version_id for data in (OLD, NEW))
    return scene, old, new


async def interrupt(scene: Scene, path: Path, **options) -> None:
    """Begin a download and leave it in the middle."""
    download = asyncio.ensure_future(scene.download_file("bucket", "key", path, concurrency=1, **options))
    await asyncio.sleep(4.5)
    download.cancel()
    await asyncio.wait([download])
    assert len(files_in(path.parent)) == 2


@scenario
async def test_a_version_is_read_in_pieces(tmp_path):
    """Every piece of a large version is asked for by its id."""
    scene, old, _ = with_versions(dict.fromkeys("ab", SLOW))
    info = await scene.download_file("bucket", "key", tmp_path / "f", version_id=old)
    assert (info.version_id, files_in(tmp_path)) == (old, {"f": OLD})
    assert len(scene.endpoints.requests) > 1
    assert {request.parameters["VersionId"] for request in scene.endpoints.requests} == {old}


@pytest.mark.parametrize("first", ["old", "new", None])
@pytest.mark.parametrize("then", ["old", "new", None])
def test_pieces_of_one_version_are_not_those_of_another(first, then, tmp_path):
    """A download goes on from pieces of the version that is asked for now, and from no others, with the same bytes or not."""

    async def play():
        scene, old, new = with_versions({"a": SLOW})
        ids = {"old": old, "new": new, None: None}
        await interrupt(scene, tmp_path / "f", version_id=ids[first])
        before = len(scene.ranges)
        await scene.download_file("bucket", "key", tmp_path / "f", version_id=ids[then])
        assert files_in(tmp_path) == {"f": OLD if then == "old" else NEW}
        goes_on = scene.ranges[before][1] is not None
        assert goes_on is (first == then)

    run(play())


@pytest.mark.parametrize("dialect", [None, DEAF], ids=["honours", "ignores"])
@pytest.mark.parametrize(
    ("condition", "error"),
    [("if_match", PreconditionFailedError), ("if_none_match", NotModifiedError)],
)
def test_conditions_keep_what_is_there(dialect, condition, error, tmp_path):
    """What a condition rules out leaves the file as it was, also at a gateway that ignores conditions."""

    async def play():
        (tmp_path / "f").write_bytes(b"before")
        scene, old, new = with_versions(ids="a", dialect=dialect)
        etag = scene.store.get("bucket", "key", old if condition == "if_match" else new).etag
        with pytest.raises(error):
            await scene.download_file("bucket", "key", tmp_path / "f", **{condition: etag})
        assert files_in(tmp_path) == {"f": b"before"}
        other = scene.store.get("bucket", "key", new if condition == "if_match" else old).etag
        await scene.download_file("bucket", "key", tmp_path / "f", **{condition: other})
        assert files_in(tmp_path) == {"f": NEW}
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize("condition", ["if_match", "if_none_match"])
def test_an_earlier_try_does_not_pass_a_condition_by(condition, tmp_path):
    """Pieces of an object that the condition rules out are not completed: the first answer decides."""

    async def play():
        scene, _, new = with_versions({"a": SLOW})
        await interrupt(scene, tmp_path / "f")
        etag = scene.store.get("bucket", "key", new).etag if condition == "if_none_match" else '"other"'
        with pytest.raises(ServiceError) as raised:
            await scene.download_file("bucket", "key", tmp_path / "f", **{condition: etag})
        assert raised.value.status in {304, 412}
        assert files_in(tmp_path) == {}

    run(play())


@scenario
async def test_a_condition_that_holds_goes_on(tmp_path):
    """Pieces of the object that `if_match` names are used."""
    scene, _, new = with_versions({"a": SLOW})
    await interrupt(scene, tmp_path / "f")
    before = len(scene.ranges)
    await scene.download_file(
        "bucket", "key", tmp_path / "f", if_match=scene.store.get("bucket", "key", new).etag
    )
    assert files_in(tmp_path) == {"f": NEW}
    assert scene.ranges[before][1] is not None


@pytest.mark.parametrize("setting", ["etag", "length"])
def test_a_node_that_ignores_versions_is_not_gone_on_with(setting):
    """A body goes on with the version that was asked for, whatever else counts; another one of its length is refused."""

    async def play():
        scene, old, new = with_versions({"a": Step(cut=400), "b": Step()}, resume_identity=setting)
        scene["b"].then = Step(fields={"VersionId": new})
        async with scene.stream_object("bucket", "key", version_id=old) as body:
            with pytest.raises(ServiceError, match="asked for version"):
                await body.read()
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_what_no_request_can_say_is_refused_at_once(tmp_path):
    """A condition that is none is an error of the caller's, before anything is asked."""
    scene, _, _ = with_versions(ids="a")
    with pytest.raises(ConfigurationError, match="version_id"):
        await scene.download_file("bucket", "key", tmp_path / "f", version_id="")
    assert names(scene) == []


@pytest.mark.parametrize("line", ['"version_id": 7', '"version_id": ["v1"]'])
def test_a_record_of_no_version_is_not_used(line, tmp_path):
    """A record whose version cannot be understood is nothing to go on from."""

    async def play():
        scene, _, _ = with_versions({"a": SLOW})
        await interrupt(scene, tmp_path / "f")
        (record,) = tmp_path.glob("*.parts")
        record.write_text(record.read_text().replace('"version_id": null', line))
        before = len(scene.ranges)
        await scene.download_file("bucket", "key", tmp_path / "f")
        assert scene.ranges[before][1] is None
        assert files_in(tmp_path) == {"f": NEW}

    run(play())


@scenario
async def test_a_deletion_names_the_object_that_it_is_about():
    """`delete_object` passes its condition on to the store, which decides."""
    scene = scene_of(ids="a")
    await scene.delete_object("bucket", "key", if_match='"etag"')
    assert scene.endpoints.requests[0].parameters == {"IfMatch": '"etag"'}
    with pytest.raises(ConfigurationError, match="if_match"):
        await scene.delete_object("bucket", "key", if_match="")
