"""Presigned URLs: where they lead, what they take, and what is refused."""

from __future__ import annotations

import logging

import pytest
from virtual_time import run, scenario

from flashback_async.errors import ClientClosedError, ConfigurationError, NoEndpointAvailableError
from flashback_async.testing import MemoryEndpoints

from .scenes import Scene


@scenario
async def test_a_url_leads_to_the_best_endpoint_or_the_one_named():
    """Without a name the endpoint that is best now gets it; with one that one, by id or as an Endpoint."""
    scene = Scene(ids="ab")
    best = await scene.generate_presigned_url("bucket", "a key", expires=60)
    assert best == "https://a/bucket/a%20key?operation=GetObject&expires=60"
    for endpoint in ("b", scene["b"].endpoint):
        url = await scene.generate_presigned_url("bucket", "a key", endpoint=endpoint)
        assert url == "https://b/bucket/a%20key?operation=GetObject&expires=3600"
    with pytest.raises(NoEndpointAvailableError, match="'c' is not in the table; known ones: a, b"):
        await scene.generate_presigned_url("bucket", "key", endpoint="c")


@scenario
async def test_a_url_takes_nothing():
    """No request, no lease, no permit, no place in flight: also when every connection is busy."""
    scene = Scene(ids="a", connections=1, max_in_flight=1)
    scene.store.put("bucket", "key", b"data")
    async with scene.stream_object("bucket", "key"):
        await scene.generate_presigned_url("bucket", "key")
        assert len(scene.asked) == 1
    assert (scene.monitor.operations, scene.router.settled) == (1, scene.router.settled[:1])
    assert scene.wanted[-1] == "bucket"


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("get_object", {"version_id": "v1"}, "operation=GetObject&expires=3600&VersionId=v1"),
        (
            "get_object",
            {"response_content_type": "text/csv", "response_content_disposition": "attachment"},
            "operation=GetObject&expires=3600&ResponseContentDisposition=attachment&ResponseContentType=text%2Fcsv",
        ),
        ("head_object", {}, "operation=HeadObject&expires=3600"),
        (
            "put_object",
            {"content_type": "text/csv"},
            "operation=PutObject&expires=3600&ContentType=text%2Fcsv",
        ),
        ("delete_object", {"version_id": "v1"}, "operation=DeleteObject&expires=3600&VersionId=v1"),
    ],
)
def test_methods_have_their_options(method, options, expected):
    """Each method signs for its operation, with the options that belong to it."""

    async def play():
        scene = Scene(ids="a")
        url = await scene.generate_presigned_url("bucket", "key", method=method, **options)
        assert url == f"https://a/bucket/key?{expected}"

    run(play())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"expires": 0}, "expires=0"),
        ({"expires": 7 * 24 * 3_600 + 1}, "7 days"),
        ({"expires": 1.5}, "whole seconds"),
        ({"expires": True}, "expires=True"),
        ({"method": "list_objects"}, "is none of get_object"),
        ({"method": None}, "method=None"),
        ({"method": "put_object", "version_id": "v1"}, "says nothing to put_object"),
        ({"content_type": "text/plain"}, "says nothing to get_object"),
        ({"version_id": ""}, "version_id=''"),
        ({"endpoint": 5}, "neither an Endpoint nor the id of one"),
        ({"key": ""}, "key=''"),
        ({"bucket": "a b"}, "is not a bucket name"),
    ],
)
def test_arguments_are_checked(options, why):
    """What cannot be signed, or would be signed for nothing, is refused."""

    async def play():
        given = {"bucket": "bucket", "key": "key", **options}
        with pytest.raises(ConfigurationError, match=why):
            await Scene(ids="a").generate_presigned_url(**given)

    run(play())


@pytest.mark.parametrize("expires", [1, 7 * 24 * 3_600])
def test_a_second_and_seven_days_are_fine(expires):
    """The bounds themselves are allowed."""

    async def play():
        url = await Scene(ids="a").generate_presigned_url("bucket", "key", expires=expires)
        assert url.endswith(f"expires={expires}")

    run(play())


@scenario
async def test_a_closed_client_signs_nothing(caplog):
    """A client that does not run makes no URL, and one that does logs none."""
    caplog.set_level(logging.DEBUG)
    endpoints = MemoryEndpoints.of("a")
    async with endpoints.client() as fb:
        url = await fb.generate_presigned_url("bucket", "key")
        assert await fb.bucket("bucket").generate_presigned_url("key") == url
    assert url not in caplog.text
    with pytest.raises(ClientClosedError):
        await fb.generate_presigned_url("bucket", "key")
    pool = endpoints.pool()
    await pool.close()
    with pytest.raises(ClientClosedError):
        await pool.presign(endpoints["a"].endpoint, None, expires=1)
