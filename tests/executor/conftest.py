"""A genuine client to put in front of scenes, and a check that no scene keeps anything."""

from __future__ import annotations

import pytest

from flashback_async.config import FlashbackSettings
from flashback_async.errors import NoEndpointAvailableError
from flashback_async.objects.routed_calls import RoutedCalls
from flashback_async.routing import Endpoint
from flashback_async.testing import MemoryEndpoints
from flashback_async.transport.s3_client import S3ClientFactory
from flashback_async.transport.s3_facade import S3Facade
from flashback_async.transport.s3_http import HttpSession

from .scenes import Scene


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """After every test: no scene or endpoint in memory has a permit, lease, body or place that is held.

    Tasks are the affair of the loop with virtual time, which ends no test that leaves one.
    """
    scenes = _all_of(Scene, monkeypatch)
    memories = _all_of(MemoryEndpoints, monkeypatch)
    yield
    assert [scene.held() for scene in scenes if scene.held()] == []
    assert [memory for memory in memories if memory.leases or memory.open_bodies] == []


def _all_of(kind, monkeypatch):
    """A list that every new one is added to."""
    made = []
    build = kind.__init__

    def watched(self, *arguments, **options):
        build(self, *arguments, **options)
        made.append(self)

    monkeypatch.setattr(kind, "__init__", watched)
    return made


@pytest.fixture(scope="module")
def factory():
    settings = FlashbackSettings(endpoints=("https://a",), key_id="id", key_secret="secret")
    return S3ClientFactory(settings, HttpSession(connect_timeout=1, tls=None)), settings


@pytest.fixture
def genuine(factory):
    """A client that is not taken over yet."""
    made, settings = factory
    client = made.make(Endpoint(id="a", url="https://a"), settings.credentials(), sign_payload=False)
    return client.boto


@pytest.fixture
def s3_of(genuine):
    """A function from a scene to its `client.s3`."""

    async def sign(_bucket, _kind, *, pin):
        raise NoEndpointAvailableError(f"nobody signs for {pin}")

    return lambda scene: S3Facade(genuine, RoutedCalls(scene.runner, lambda: None), sign).client
