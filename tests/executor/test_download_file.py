"""Reading large objects: in pieces of one version, over several nodes, into memory and into files."""

from __future__ import annotations

import asyncio
import json
import os
from random import Random
from typing import TYPE_CHECKING

import pytest
from virtual_time import run, scenario

from flashback_async.errors import (
    ConfigurationError,
    DeadlineExceededError,
    EndpointConnectError,
    IntegrityError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from flashback_async.objects.limits import TransferLimits
from flashback_async.testing import Break, Dialect, Step

from .scenes import Scene, now, pattern
from .transfers import PART, files_in, names, scene_of

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 1_050
DATA = pattern(SIZE)
SLOW = Step(pace=0.1, piece=10)


def with_object(scripts=None, data=DATA, **options) -> Scene:
    scene = scene_of(scripts, **options)
    scene.store.put("bucket", "key", data)
    return scene


# --- into memory -------------------------------------------------------------------------------------------


@scenario
async def test_a_large_object_is_read_in_pieces_over_several_nodes():
    """The first answer is read from the front, others from the back; together they are the object."""
    scene = with_object({name: Step(pace=0.1, piece=10) for name in "abc"})
    stored = await scene.get_object("bucket", "key")
    assert stored.body == DATA
    assert isinstance(stored.body, bytes)
    assert (stored.info.size, stored.info.etag) == (SIZE, scene.store.get("bucket", "key").etag)
    assert stored.attempts == 1
    assert len({request.endpoint for request in scene.endpoints.requests}) > 1
    assert scene.ranges[0][1] is None
    assert [asked for _, asked in scene.ranges[1:3]] == ["bytes=1000-1049", "bytes=900-999"]
    # A third of the time that one stream takes, and a little for who comes last.
    assert now() < 105 * 0.1 / 2
    assert scene.monitor.operations == 1
    assert scene.leaks() == {}


@scenario
async def test_a_stream_that_is_fast_enough_is_left_alone():
    """What brings pieces as fast as we can take them gets no others beside it, which would only cost."""
    scene = with_object(ids="abc")
    assert (await scene.get_object("bucket", "key")).body == DATA
    assert len(scene.ranges) == 1
    assert scene.leaks() == {}


@scenario
async def test_a_stream_that_slows_down_is_joined_then():
    """One that was fast, breaks, and goes on at a slow node gets help for the rest."""
    scene = with_object({"a": [Step(cut=510)], "b": SLOW, "c": SLOW}, random=lambda: 0.0)
    assert (await scene.get_object("bucket", "key")).body == DATA
    assert scene.ranges[:2] == [("a", None), ("b", "bytes=510-1049")]
    assert scene.ranges[2][1] == "bytes=1000-1049"
    assert now() < 54 * 0.1
    assert scene.leaks() == {}


@pytest.mark.parametrize("size", [0, 1, 250])
def test_a_small_object_is_one_request(size):
    """Up to the threshold nothing changes: one request, one answer."""

    async def play():
        scene = with_object(ids="abc", data=pattern(size))
        assert (await scene.get_object("bucket", "key")).body == pattern(size)
        assert scene.ranges == [("a", None)]

    run(play())


@pytest.mark.parametrize("given", [(0, 1_050), (7, 900), (300, None), (-600, None), (0, 5_000)])
def test_a_large_range_is_read_in_pieces_too(given):
    """A range above the threshold is read in pieces that lie inside it."""

    async def play():
        scene = with_object(dict.fromkeys("abc", SLOW))
        assert (await scene.get_object("bucket", "key", range=given)).body == DATA[slice(*given)]
        assert len(scene.ranges) > 1

    run(play())


@pytest.mark.parametrize(
    "dialect",
    [
        Dialect(partial_status=200, if_match=False),
        Dialect(ranges=False),
        Dialect(total=False),
        Dialect(content_range=False),
        Dialect(last_modified=False),
        Dialect(content_length=False),
    ],
)
def test_gateways_of_every_dialect_are_read_in_pieces(dialect):
    """Whatever a gateway says of ranges, the object is whole."""

    async def play():
        scene = with_object(dict.fromkeys("abc", SLOW), dialect=dialect)
        assert (await scene.get_object("bucket", "key")).body == DATA
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_without_an_etag_there_is_one_stream():
    """Where no ETag tells versions apart, a large object is read by one stream."""
    scene = with_object(ids="abc", dialect=Dialect(etag=False))
    assert (await scene.get_object("bucket", "key")).body == DATA
    assert scene.ranges == [("a", None)]


def test_pieces_survive_their_nodes():
    """Sixty random mixes of breaks, refusals and errors: the bytes are those of the object."""

    async def play(seed):
        chance = Random(seed)

        def step():
            kind = chance.randrange(6)
            if kind < 3:
                return Step.broken(chance.randrange(0, 120), chance.choice(list(Break)), piece=13)
            return [Step.refused(), Step.error(503), SLOW][kind - 3]

        scripts = {name: [step() for _ in range(chance.randrange(3))] for name in "abcd"}
        scene = with_object(scripts, attempts=8)
        stored = await scene.get_object("bucket", "key")
        assert stored.body == DATA, seed
        assert scene.leaks() == {}, seed

    for seed in range(60):
        run(play(seed))


@pytest.mark.parametrize("if_match", [True, False])
@pytest.mark.parametrize("what", ["replaced", "deleted", "longer"])
def test_versions_are_never_mixed(if_match, what):
    """An object that changes while its pieces are read is an error, whether nodes honour If-Match or not."""

    async def play():
        scene = with_object(dict.fromkeys("abc", SLOW), dialect=Dialect(if_match=if_match))
        task = asyncio.create_task(scene.get_object("bucket", "key"))
        await asyncio.sleep(0.55)
        if what == "deleted":
            scene.store.delete("bucket", "key")
        else:
            scene.store.put("bucket", "key", pattern(SIZE + 10 * (what == "longer"), seed=1))
        with pytest.raises(ObjectChangedError):
            await task
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_a_large_read_has_no_total_timeout_of_its_own():
    """What is read in pieces takes as long as there is progress; a timeout that is given holds."""
    scene = with_object({name: Step(pace=2.0, piece=10) for name in "abc"}, total=30.0)
    assert (await scene.get_object("bucket", "key")).body == DATA
    assert now() > 30.0
    started = now()
    with pytest.raises(DeadlineExceededError):
        await scene.get_object("bucket", "key", timeout=20.0)
    assert now() - started == pytest.approx(20.0)
    assert scene.leaks() == {}


@scenario
async def test_a_pinned_read_stays():
    """With `endpoint=` every piece comes from there."""
    scene = with_object(dict.fromkeys("abc", SLOW))
    stored = await scene.get_object("bucket", "key", endpoint="b")
    assert (stored.body, stored.endpoint) == (DATA, "b")
    assert {request.endpoint for request in scene.endpoints.requests} == {"b"}


@scenario
async def test_a_cancelled_read_leaves_nothing():
    """A read cancelled in the middle of its pieces holds nothing and blames nobody."""
    scene = with_object(dict.fromkeys("abc", SLOW))
    for moment in (0.05, 0.5, 1.5):
        task = asyncio.create_task(scene.get_object("bucket", "key"))
        await asyncio.sleep(moment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scene.leaks() == {}
    assert not any(row.opened or row.failures for row in scene.router.snapshot(now=now()).endpoints)


@scenario
async def test_a_read_outlives_the_drain_it_runs_in():
    """A client that is closed with patience lets a read end, though pieces of it begin afterwards."""
    scene = with_object(dict.fromkeys("abc", SLOW))
    task = asyncio.create_task(scene.get_object("bucket", "key"))
    await asyncio.sleep(0.3)
    await scene.runner.close(drain=60.0)
    assert (await task).body == DATA


@scenario
async def test_memory_for_a_large_body_is_made_in_steps():
    """A body larger than one step of memory is whole, at its seams too."""
    size = 9 * 1_024 * 1_024 + 3
    limits = TransferLimits(threshold=2**20, part_size=2**20, concurrency=4, together=8)
    scene = with_object(ids="abc", data=pattern(size), transfers=limits)
    assert (await scene.get_object("bucket", "key")).body == pattern(size)


@scenario
async def test_a_piece_that_is_not_all_there_is_broken():
    """A node that sends less of an unknown total than was asked for is not believed."""
    short = Step(fields={"ContentRange": "bytes 1000-1019/*", "ContentLength": 20})
    scene = with_object({"a": [SLOW, short], "b": short, "c": short}, dialect=Dialect(content_length=True))
    with pytest.raises((IntegrityError, ObjectChangedError, EndpointConnectError)):
        await scene.get_object("bucket", "key")
    assert scene.leaks() == {}


# --- into a file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 250, 251, 1_050, 1_100])
@pytest.mark.parametrize("fsync", [False, True])
def test_a_file_is_the_object(size, fsync, tmp_path):
    """The file has the object's bytes, nothing is left beside it, and progress adds up to its size."""

    async def play():
        scene = with_object(ids="abc", data=pattern(size))
        told = []
        info = await scene.download_file(
            "bucket", "key", tmp_path / "deep" / "down" / "file", progress=told.append, fsync=fsync
        )
        assert files_in(tmp_path) == {"deep/down/file": pattern(size)}
        assert (info.size, sum(told)) == (size, size)
        assert len(scene.ranges) == 1 or size > 250
        assert scene.leaks() == {}
        assert scene.monitor.operations == 1

    run(play())


@pytest.mark.parametrize("path", ["text", "path"])
def test_what_was_there_is_replaced_at_the_end(path, tmp_path):
    """Until the object is whole, the old file is untouched; a file that is open elsewhere stays as it was."""
    target = tmp_path / "file"
    target.write_bytes(b"old")

    async def play():
        scene = with_object(dict.fromkeys("abc", SLOW))
        task = asyncio.create_task(
            scene.download_file("bucket", "key", str(target) if path == "text" else target)
        )
        await asyncio.sleep(1.0)
        assert target.read_bytes() == b"old"
        with target.open("rb") as before:
            await task
            assert before.read() == b"old"
        assert files_in(tmp_path) == {"file": DATA}

    run(play())


@scenario
async def test_a_missing_object_leaves_no_trace(tmp_path):
    """What does not exist makes no file and no directory."""
    scene = scene_of(ids="a")
    with pytest.raises(ObjectNotFoundError):
        await scene.download_file("bucket", "key", tmp_path / "new" / "file")
    assert list(tmp_path.iterdir()) == []


@scenario
async def test_a_directory_is_refused_at_once(tmp_path):
    """A target that is a directory is told before anything is read; so is what is no path."""
    scene = with_object(ids="a")
    with pytest.raises(ConfigurationError, match="is a directory"):
        await scene.download_file("bucket", "key", tmp_path)
    with pytest.raises(ConfigurationError, match="give a path"):
        await scene.download_file("bucket", "key", 5)
    assert scene.asked == []


@scenario
async def test_what_the_disk_refuses_is_raised(tmp_path):
    """An error of the disk is Python's own, and nothing is left."""
    (tmp_path / "file").write_bytes(b"")
    scene = with_object(ids="a")
    with pytest.raises(OSError, match="file"):
        await scene.download_file("bucket", "key", tmp_path / "file" / "below")
    assert scene.leaks() == {}


@scenario
async def test_what_the_listener_raises_ends_the_download(tmp_path):
    """An error of the progress function passes as it is; nothing is under the final name."""

    def fail(_):
        raise ZeroDivisionError

    scene = with_object(ids="abc")
    with pytest.raises(ZeroDivisionError):
        await scene.download_file("bucket", "key", tmp_path / "file", progress=fail, resume=False)
    assert files_in(tmp_path) == {}
    assert scene.leaks() == {}


async def interrupted(scene: Scene, target, after: float = 1.6, **options) -> None:
    """Begin a download and cancel it after so many seconds."""
    task = asyncio.create_task(scene.download_file("bucket", "key", target, **options))
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not target.exists()
    assert scene.leaks() == {}


def slow_scene(**options) -> Scene:
    return with_object(dict.fromkeys("abc", SLOW), **options)


@pytest.mark.parametrize("after", [0.05, 0.55, 1.3, 2.4, 3.2])
@pytest.mark.parametrize("resume", [True, False])
def test_an_interrupted_download_leaves_nothing_under_the_name(after, resume, tmp_path):
    """Cancelled at any moment: no file of that name; complete pieces are kept if they may be of use."""

    async def play():
        await interrupted(slow_scene(), tmp_path / "file", after, resume=resume)
        left = files_in(tmp_path)
        assert len(left) == (2 if resume and after > 0.4 else 0)
        assert all(name.startswith(".flashback-") for name in left)

    run(play())


@scenario
async def test_a_download_goes_on_where_it_was_interrupted(tmp_path):
    """The next download asks for what is missing only, and its progress begins with what is there."""
    await interrupted(slow_scene(), tmp_path / "file")
    scene = slow_scene()
    told = []
    await scene.download_file("bucket", "key", tmp_path / "file", progress=told.append)
    assert files_in(tmp_path) == {"file": DATA}
    assert told[0] >= PART
    assert sum(told) == SIZE
    assert 0 < scene.monitor.bytes_read <= SIZE - told[0] + PART
    first = scene.endpoints.requests[0].parameters
    assert first["IfMatch"] == scene.store.get("bucket", "key").etag
    assert first["Range"].startswith("bytes=")


@scenario
async def test_a_download_interrupted_many_times_ends(tmp_path):
    """However often it is interrupted, what was complete is not read again."""
    rounds = 0
    while not (tmp_path / "file").exists() and rounds < 30:
        rounds += 1
        scene = slow_scene()
        try:
            async with asyncio.timeout(1.3):
                await scene.download_file("bucket", "key", tmp_path / "file")
        except TimeoutError:
            assert not (tmp_path / "file").exists()
        assert scene.leaks() == {}
    assert files_in(tmp_path) == {"file": DATA}
    assert 2 < rounds < 8


@scenario
async def test_a_failure_keeps_what_is_complete(tmp_path):
    """When the nodes fail for good, the complete pieces are there for the next time."""
    scene = with_object({"a": [Step.broken(430, piece=10)], "b": Step.refused(), "c": Step.refused()})
    scene["a"].then = Step.refused()
    with pytest.raises(EndpointConnectError):
        await scene.download_file("bucket", "key", tmp_path / "file")
    assert len(files_in(tmp_path)) in {0, 2}
    assert not (tmp_path / "file").exists()
    again = with_object(ids="abc")
    await again.download_file("bucket", "key", tmp_path / "file")
    assert files_in(tmp_path) == {"file": DATA}


@pytest.mark.parametrize("if_match", [True, False])
@pytest.mark.parametrize("size", [SIZE, 1_200, 400, 10])
def test_a_changed_object_begins_anew(if_match, size, tmp_path):
    """What was left of another version is of no use: everything is read again, and counted once."""

    async def play():
        await interrupted(slow_scene(), tmp_path / "file")
        scene = with_object(ids="abc", data=pattern(size, seed=1), dialect=Dialect(if_match=if_match))
        told = []
        await scene.download_file("bucket", "key", tmp_path / "file", progress=told.append)
        assert files_in(tmp_path) == {"file": pattern(size, seed=1)}
        assert sum(told) == size
        assert scene.leaks() == {}

    run(play())


@scenario
async def test_an_object_that_is_gone_takes_its_pieces_along(tmp_path):
    """What was left of an object that is deleted is removed with the error."""
    await interrupted(slow_scene(), tmp_path / "file")
    scene = scene_of(ids="abc")
    with pytest.raises(ObjectNotFoundError):
        await scene.download_file("bucket", "key", tmp_path / "file")
    assert files_in(tmp_path) == {}


@scenario
async def test_a_change_in_the_middle_is_an_error_and_keeps_nothing(tmp_path):
    """An object that changes while it is read is an error; pieces of the old version are not kept."""
    scene = slow_scene()
    task = asyncio.create_task(scene.download_file("bucket", "key", tmp_path / "file"))
    await asyncio.sleep(1.5)
    scene.store.put("bucket", "key", pattern(SIZE, seed=1))
    with pytest.raises(ObjectChangedError):
        await task
    assert files_in(tmp_path) == {}
    assert scene.leaks() == {}


@scenario
async def test_a_change_while_going_on_is_an_error_too(tmp_path):
    """An object that changes after its old pieces were found good is not read anew behind the caller's back."""
    await interrupted(slow_scene(), tmp_path / "file")
    scene = slow_scene()
    task = asyncio.create_task(scene.download_file("bucket", "key", tmp_path / "file"))
    await asyncio.sleep(0.5)
    scene.store.put("bucket", "key", pattern(SIZE, seed=1))
    with pytest.raises(ObjectChangedError):
        await task
    assert files_in(tmp_path) == {}


def data_file(directory: Path) -> Path:
    return next(directory.glob(".flashback-*.part"))


def record_file(directory: Path) -> Path:
    return next(directory.glob(".flashback-*.parts"))


def _flip(directory: Path) -> None:
    """Change a byte of every hundred."""
    data = bytearray(data_file(directory).read_bytes())
    data[50::PART] = bytes(byte ^ 1 for byte in data[50::PART])
    data_file(directory).write_bytes(data)


def _rewrite(directory: Path, change) -> None:
    head, *lines = record_file(directory).read_text().splitlines()
    record_file(directory).write_text("".join(f"{line}\n" for line in change(json.loads(head), lines)))


DAMAGE = {
    "flipped bytes": _flip,
    "shorter data": lambda directory: os.truncate(data_file(directory), 500),
    "no data": lambda directory: data_file(directory).unlink(),
    "no record": lambda directory: record_file(directory).unlink(),
    "empty record": lambda directory: record_file(directory).write_bytes(b""),
    "binary record": lambda directory: record_file(directory).write_bytes(b"\xff\x00\n\xfe"),
    "another format": lambda directory: _rewrite(directory, lambda head, rows: [json.dumps({**head, "flashback": 9}), *rows]),
    "another object": lambda directory: _rewrite(directory, lambda head, rows: [json.dumps({**head, "key": "x"}), *rows]),
    "no etag": lambda directory: _rewrite(directory, lambda head, rows: [json.dumps({**head, "etag": None}), *rows]),
    "a size in words": lambda directory: _rewrite(directory, lambda head, rows: [json.dumps({**head, "size": "9"}), *rows]),
    "a head only": lambda directory: _rewrite(directory, lambda head, rows: [json.dumps(head)]),
    "a list": lambda directory: record_file(directory).write_text("[]\n"),
    "overlaps": lambda directory: _rewrite(directory, lambda head, rows: [json.dumps(head), *rows, *rows]),
    "beyond the end": lambda directory: _rewrite(directory, lambda head, rows: [json.dumps(head), "[1000, 2000, 5]"]),
    "words": lambda directory: _rewrite(directory, lambda head, rows: [json.dumps(head), '["a", "b", "c"]']),
    "too few numbers": lambda directory: _rewrite(directory, lambda head, rows: [json.dumps(head), "[1, 2]"]),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_seen(damage, tmp_path):
    """Pieces that are damaged, lost or not understood are not used: the file is the object all the same."""

    async def play():
        await interrupted(slow_scene(), tmp_path / "file")
        DAMAGE[damage](tmp_path)
        scene = with_object(ids="abc")
        told = []
        await scene.download_file("bucket", "key", tmp_path / "file", progress=told.append)
        assert (tmp_path / "file").read_bytes() == DATA
        assert sum(told) == SIZE
        assert scene.monitor.bytes_read >= SIZE

    run(play())


@scenario
async def test_a_line_that_was_being_written_is_left_out(tmp_path):
    """A record that ends in the middle of a line is good up to there."""
    await interrupted(slow_scene(), tmp_path / "file", 2.4)
    text = record_file(tmp_path).read_text()
    record_file(tmp_path).write_text(text[:-5])
    scene = with_object(ids="abc")
    told = []
    await scene.download_file("bucket", "key", tmp_path / "file", progress=told.append)
    assert told[0] >= PART
    assert files_in(tmp_path) == {"file": DATA}


@scenario
async def test_what_follows_such_a_line_is_good_too(tmp_path):
    """A download that went on from a torn record and was interrupted again is gone on from once more."""
    await interrupted(slow_scene(), tmp_path / "file", 2.4)
    record_file(tmp_path).write_text(record_file(tmp_path).read_text() + "[500, 6")
    first, second = [], []
    await interrupted(slow_scene(), tmp_path / "file", 1.6, progress=first.append)
    await with_object(ids="abc").download_file("bucket", "key", tmp_path / "file", progress=second.append)
    assert second[0] > first[0] >= PART
    assert files_in(tmp_path) == {"file": DATA}


@scenario
async def test_pieces_that_are_all_there_are_checked_against_the_store(tmp_path):
    """A download that lacked only its last step asks whether the object is still the same, for one byte."""
    scene = with_object(ids="abc")

    async def late(amount):
        late.told += amount
        if late.told == SIZE:
            await asyncio.sleep(100.0)

    late.told = 0
    await interrupted(scene, tmp_path / "file", 50.0, progress=late)
    assert len(files_in(tmp_path)) == 2
    again = with_object(ids="abc")
    await again.download_file("bucket", "key", tmp_path / "file")
    assert again.ranges == [("a", "bytes=1049-")]
    assert files_in(tmp_path) == {"file": DATA}


@scenario
async def test_downloads_to_one_file_at_the_same_time(tmp_path):
    """Several downloads of different objects to one file: each is whole, the last one stays, nothing else."""
    scene = slow_scene()
    scene.store.put("bucket", "other", pattern(SIZE, seed=1))
    await asyncio.gather(
        scene.download_file("bucket", "key", tmp_path / "file"),
        scene.download_file("bucket", "other", tmp_path / "file"),
        scene.download_file("bucket", "key", tmp_path / "file"),
    )
    ((name, data),) = files_in(tmp_path).items()
    assert name == "file"
    assert data in {DATA, pattern(SIZE, seed=1)}


@scenario
async def test_who_comes_second_leaves_nothing(tmp_path):
    """Of two downloads to one file that are interrupted, only the first one's pieces can be found again."""
    scene = slow_scene()
    tasks = [asyncio.create_task(scene.download_file("bucket", "key", tmp_path / "file")) for _ in range(2)]
    await asyncio.sleep(2.5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(files_in(tmp_path)) == 2


@scenario
async def test_a_download_cancelled_at_once_leaves_no_lock(tmp_path):
    """Cancelled while the disk is looked at, a download lets go of what it found: the next one goes on."""
    await interrupted(slow_scene(), tmp_path / "file")
    task = asyncio.create_task(slow_scene().download_file("bucket", "key", tmp_path / "file"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    told = []
    await slow_scene().download_file("bucket", "key", tmp_path / "file", progress=told.append)
    assert told[0] >= PART
    assert files_in(tmp_path) == {"file": DATA}


@pytest.mark.parametrize("what", ["link", "hard link"])
def test_a_file_that_somebody_put_there_is_not_written_to(what, tmp_path):
    """A link under the well-known name leads nowhere: the file that it points to is untouched."""

    async def play():
        await interrupted(slow_scene(), tmp_path / "file")
        data, victim = data_file(tmp_path), tmp_path / "victim"
        data.unlink()
        victim.write_bytes(b"precious")
        if what == "link":
            data.symlink_to(victim)
        else:
            data.hardlink_to(victim)
        scene = with_object(ids="abc")
        await scene.download_file("bucket", "key", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == DATA
        assert victim.read_bytes() == b"precious"

    run(play())


@scenario
async def test_a_deadline_ends_the_download(tmp_path):
    """`timeout` is for all of it, pieces included."""
    scene = slow_scene()
    with pytest.raises(DeadlineExceededError):
        await scene.download_file("bucket", "key", tmp_path / "file", timeout=1.5)
    assert now() == pytest.approx(1.5)
    assert not (tmp_path / "file").exists()


@scenario
async def test_nothing_is_kept_of_what_cannot_be_recognised(tmp_path):
    """Without an ETag a version cannot be known again: an interruption leaves nothing."""
    await interrupted(slow_scene(dialect=Dialect(etag=False)), tmp_path / "file", 5.0)
    assert files_in(tmp_path) == {}


@scenario
async def test_one_piece_at_a_time_is_possible(tmp_path):
    """`concurrency=1` reads one stream from its start to its end."""
    scene = slow_scene()
    await scene.download_file("bucket", "key", tmp_path / "file", concurrency=1)
    assert names(scene) == ["GetObject"]
    assert files_in(tmp_path) == {"file": DATA}


@scenario
async def test_the_mode_follows_the_umask(tmp_path):
    """The file is as readable as any other that this user makes."""
    before = os.umask(0o027)
    try:
        await with_object(ids="a").download_file("bucket", "key", tmp_path / "file")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
