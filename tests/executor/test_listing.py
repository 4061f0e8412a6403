"""Listings with delimiters, starting points and versions, page by page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import run, scenario

from flashback_async.errors import ConfigurationError, IntegrityError, ObjectNotFoundError
from flashback_async.models import CommonPrefix, ObjectInfo
from flashback_async.testing import Step

from .scenes import Scene

TREE = ["a", "b/1", "b/2", "b/c/3", "ba", "d/4", "e"]


def filled(keys=TREE, **options):
    scene = Scene(ids="a", **options)
    for key in keys:
        scene.store.put("bucket", key, key.encode())
    return scene


async def shown(listing):
    """Keys as they are, common prefixes with a star."""
    return [row.key if isinstance(row, ObjectInfo) else f"{row.prefix}*" async for row in listing]


@pytest.mark.parametrize("page_size", [1, 2, 3, 1_000])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, TREE),
        ({"delimiter": "/"}, ["a", "b/*", "ba", "d/*", "e"]),
        ({"prefix": "b/", "delimiter": "/"}, ["b/1", "b/2", "b/c/*"]),
        ({"prefix": "b", "delimiter": "/"}, ["b/*", "ba"]),
        ({"prefix": "nothing", "delimiter": "/"}, []),
        ({"start_after": "b/2"}, TREE[3:]),
        ({"start_after": "b/2x"}, TREE[3:]),
        ({"start_after": "z"}, []),
        ({"delimiter": "/", "start_after": "ba"}, ["d/*", "e"]),
    ],
)
def test_one_level_of_a_tree(arguments, expected, page_size):
    """Objects and common prefixes come once and in the order of the keys, however small the pages are."""

    async def play():
        scene = filled()
        assert await shown(scene.list_objects("bucket", page_size=page_size, **arguments)) == expected
        assert len(scene.asked) == max(1, -(-len(expected) // page_size))
        assert scene.leaks() == {}

    run(play())


@given(keys=st.sets(st.text("ab/", min_size=1, max_size=6), max_size=20), page_size=st.integers(1, 5))
def test_any_tree_is_summed_up(keys, page_size):
    """With a delimiter, each key is either listed or behind exactly one of the common prefixes."""

    async def play():
        scene = filled(keys)
        rows = [row async for row in scene.list_objects("bucket", delimiter="/", page_size=page_size)]
        listed = [row.key for row in rows if isinstance(row, ObjectInfo)]
        common = [row.prefix for row in rows if isinstance(row, CommonPrefix)]
        assert sorted(listed) == sorted(key for key in keys if "/" not in key)
        assert sorted(common) == sorted({key.partition("/")[0] + "/" for key in keys if "/" in key})

    run(play())


@scenario
async def test_a_starting_point_is_said_once():
    """Where to start is part of the first request; further ones go on where a page ended."""
    scene = filled()
    await shown(scene.list_objects("bucket", start_after="a", page_size=3))
    first, second = [set(request.parameters) for request in scene.endpoints.requests]
    assert first == {"Prefix", "MaxKeys", "StartAfter"}
    assert second == {"Prefix", "MaxKeys", "ContinuationToken"}


@scenario
async def test_rows_tell_where_they_belong():
    """Objects and prefixes name their bucket."""
    scene = filled()
    rows = [row async for row in scene.list_objects("bucket", delimiter="/")]
    assert {row.bucket for row in rows} == {"bucket"}
    assert rows[1] == CommonPrefix("bucket", "b/")
    assert rows[0].size == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"delimiter": ""}, "delimiter=''"),
        ({"delimiter": 5}, "delimiter=5"),
        ({"start_after": ""}, "start_after=''"),
        ({"start_after": 5}, "start_after=5"),
        ({"page_size": True}, "page_size=True"),
    ],
)
def test_arguments_are_checked(arguments, why):
    """What cannot work is refused before anything is sent."""

    async def play():
        scene = Scene(ids="a")
        with pytest.raises(ConfigurationError, match=why):
            await anext(scene.list_objects("bucket", **arguments))
        for wrong in ({"prefix": 5}, {"page_size": 0}):
            with pytest.raises(ConfigurationError, match=next(iter(wrong))):
                await anext(scene.list_object_versions("bucket", **wrong))
        assert scene.asked == []

    run(play())


@pytest.mark.parametrize("page_size", [1, 2, 3, 1_000])
def test_versions_come_by_key_and_newest_first(page_size):
    """Every version and every mark of a deletion comes once, the latest of a key first."""

    async def play():
        scene = Scene(ids="a", versioned=("kept",))
        for key, data in (("a", b"1"), ("b", b"22"), ("a", b"333"), ("b/c", b"")):
            scene.store.put("kept", key, data)
        scene.store.delete("kept", "b")
        rows = [row async for row in scene.list_object_versions("kept", page_size=page_size)]
        assert [(row.key, row.size, row.is_latest, row.is_delete_marker) for row in rows] == [
            ("a", 3, True, False),
            ("a", 1, False, False),
            ("b", 0, True, True),
            ("b", 2, False, False),
            ("b/c", 0, True, False),
        ]
        assert len({row.version_id for row in rows}) == 5
        assert all(row.last_modified is not None for row in rows)
        assert [row.key async for row in scene.list_object_versions("kept", "b/")] == ["b/c"]

    run(play())


@scenario
async def test_without_versions_there_is_one_of_each():
    """Where a bucket keeps no versions, each object has the one called null."""
    scene = filled()
    rows = [row async for row in scene.list_object_versions("bucket")]
    assert [(row.key, row.version_id, row.is_latest) for row in rows] == [(key, "null", True) for key in TREE]
    with pytest.raises(ObjectNotFoundError):
        await anext(scene.list_object_versions("no-bucket"))


@pytest.mark.parametrize(
    "fields", [{"NextKeyMarker": None}, {"NextKeyMarker": "a", "NextVersionIdMarker": "1"}]
)
def test_versions_that_lead_nowhere_are_an_error(fields):
    """A page of versions that says that it goes on, but not where or in a circle, is no endless loop."""

    async def play():
        scene = Scene({"a": Step(fields={"IsTruncated": True, **fields})})
        scene.store.put("bucket", "key", b"")
        with pytest.raises(IntegrityError, match="goes on, but not where"):
            async for _ in scene.list_object_versions("bucket"):
                pass
        assert len(scene.asked) <= 2

    run(play())


@scenario
async def test_a_page_that_is_no_listing_of_versions_is_an_error():
    """What a proxy answers with status 200 does not pass for a bucket without versions."""
    names = ("Name", "Prefix", "MaxKeys", "IsTruncated", "Versions")
    scene = Scene({"a": Step(fields=dict.fromkeys(names))})
    with pytest.raises(IntegrityError, match="not a listing"):
        await anext(scene.list_object_versions("bucket"))
