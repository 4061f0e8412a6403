"""Names to ids, asked for once."""

from __future__ import annotations

import asyncio
import logging

import pytest
import virtual_time

from flashback_async.errors import ConfigurationError, DiscoveryError
from flashback_async.transport.bucket_directory import BucketDirectory

from .scripted_control_plane import ScriptedControlPlane


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def _directory(*buckets, given=()):
    control_plane = ScriptedControlPlane()
    control_plane.buckets = [{"id": bucket_id, "bucket": name} for name, bucket_id in buckets]
    clock = Clock()
    return BucketDirectory(control_plane, dict(given), clock=clock), control_plane, clock


@virtual_time.scenario
async def test_given_ids_are_never_asked_for():
    """The settings know best."""
    directory, control_plane, _ = _directory(("b", "wrong"), given={"b": "mine"})
    await directory.learn({"b"})
    assert directory.known({"b"}) == {"b": "mine"}
    assert control_plane.calls == []
    control_plane.buckets.append({"id": "other", "bucket": "c"})
    await directory.learn({"b", "c"})
    assert directory.known({"b", "c"}) == {"b": "mine", "c": "other"}


@virtual_time.scenario
async def test_one_question_answers_for_an_hour():
    """Every name in use is learned from one answer, and believed for an hour."""
    directory, control_plane, clock = _directory(("a", "id-a"), ("b", "id-b"), ("c", "id-c"))
    assert directory.known({"a"}) == {}
    for clock.now in (0.0, 10.0, 3599.9):
        await directory.learn({"a", "b"})
        assert directory.known({"a", "b"}) == {"a": "id-a", "b": "id-b"}
    assert len(control_plane.calls) == 1
    control_plane.buckets[0]["id"] = "id-a2"
    clock.now = 3600.0
    await directory.learn({"a", "b"})
    assert directory.known({"a"}) == {"a": "id-a2"}
    assert len(control_plane.calls) == 2


@virtual_time.scenario
async def test_a_new_name_is_asked_for_at_once():
    """Another bucket in use does not wait for the hour to end."""
    directory, control_plane, _ = _directory(("a", "id-a"), ("b", "id-b"))
    await directory.learn({"a"})
    await directory.learn({"a", "b"})
    assert directory.known({"a", "b"}) == {"a": "id-a", "b": "id-b"}
    assert len(control_plane.calls) == 2


@pytest.mark.parametrize(
    ("buckets", "message"),
    [((), "knows no buckets called 'b'"), ((("b", "1"), ("b", "2")), "knows 2 buckets called 'b'")],
)
def test_unknown_and_ambiguous_names_are_rarely_asked_for(buckets, message, caplog):
    """Once, then every five minutes; said once, with the setting that helps."""
    caplog.set_level(logging.INFO)

    async def scenario():
        directory, control_plane, clock = _directory(*buckets)
        for clock.now in (0.0, 10.0, 299.9, 300.0, 599.9):
            await directory.learn({"b"})
            assert directory.known({"b"}) == {}
            assert len(caplog.records) == 1
        assert len(control_plane.calls) == 2

    virtual_time.run(scenario())
    (record,) = caplog.records
    assert message in record.getMessage()
    assert "FB_BUCKET_IDS" in record.getMessage()


@virtual_time.scenario
async def test_a_failed_question_rests():
    """After a failure nobody is asked for 30 s (or as long as the control plane wishes); old ids stay."""
    directory, control_plane, clock = _directory(("a", "id-a"), ("b", "id-b"))
    await directory.learn({"a"})
    for retry_after, rest in ((None, 30.0), (100.0, 100.0)):
        control_plane.failures["list_buckets"] = DiscoveryError("no", retry_after=retry_after)
        with pytest.raises(DiscoveryError, match="no"):
            await directory.learn({"a", "b"})
        asked = len(control_plane.calls)
        clock.now += rest - 0.1
        await directory.learn({"a", "b"})
        assert len(control_plane.calls) == asked
        assert directory.known({"a", "b"}) == {"a": "id-a"}
        clock.now += 0.1
    control_plane.failures.clear()
    await directory.learn({"a", "b"})
    assert directory.known({"a", "b"}) == {"a": "id-a", "b": "id-b"}


@virtual_time.scenario
async def test_an_answer_that_never_comes_rests_as_well():
    """Whoever gave up waiting does not ask again with the next discovery."""
    directory, control_plane, clock = _directory(("b", "id-b"))
    control_plane.silent.add("list_buckets")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(directory.learn({"b"}), 1.0)
    control_plane.silent.clear()
    for clock.now, asked in ((29.9, 1), (30.0, 2)):
        await directory.learn({"b"})
        assert len(control_plane.calls) == asked


def test_given_ids_must_be_ids():
    """A wrong setting is named before anybody is asked."""
    with pytest.raises(ConfigurationError, match=r"bucket_ids: '\.\./x' is no id"):
        _directory(given={"b": "../x"})
