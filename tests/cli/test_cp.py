"""`flashback cp`, in every direction."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from flashback_async.sandbox import Behaviour, WritesDisabled

from . import processes
from .conftest import files_below

TREE = {"a.txt": b"alpha", "deep/er/b.bin": bytes(300_000), "deep/empty": b"", "ünï cöde/x y.txt": b"u"}


@pytest.fixture
def tree(tmp_path):
    """A directory with a few files."""
    for name, data in TREE.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "tree"


def test_a_file_becomes_an_object_and_a_file_again(flashback, store, tmp_path):
    """One file goes in under a key of one's choice and comes back with the same bytes."""
    (tmp_path / "f").write_bytes(b"hello")
    assert flashback("cp", tmp_path / "f", "fb://demo/some/key").code == 0
    assert store.get("some/key") == b"hello"
    assert flashback("cp", "fb://demo/some/key", tmp_path / "new" / "g").code == 0
    assert (tmp_path / "new" / "g").read_bytes() == b"hello"


@pytest.mark.parametrize(
    ("target", "key"), [("fb://demo", "f.txt"), ("s3://demo/", "f.txt"), ("fb://demo/into/", "into/f.txt")]
)
def test_a_target_that_is_a_folder_keeps_the_name(flashback, store, tmp_path, target, key):
    """A bucket or a key with a slash at its end is a folder: the file keeps its name in it."""
    (tmp_path / "f.txt").write_bytes(b"x")
    assert flashback("cp", tmp_path / "f.txt", target).code == 0
    assert store.keys() == [key]


def test_a_local_directory_as_target_keeps_the_name(flashback, store, tmp_path):
    """An object copied to a directory, or to a path with a slash at its end, keeps its name."""
    store.put({"deep/f.txt": b"x"})
    assert flashback("cp", "fb://demo/deep/f.txt", tmp_path).code == 0
    assert flashback("cp", "fb://demo/deep/f.txt", f"{tmp_path}/made/").code == 0
    assert files_below(tmp_path) == {"f.txt": b"x", "made/f.txt": b"x"}


def test_trees_keep_their_shape_in_both_directions(flashback, store, tree, tmp_path):
    """What lies below a directory lies below a prefix afterwards, and comes back byte by byte."""
    done = flashback("cp", "-r", tree, "fb://demo/there", "--json")
    assert (done.code, done.rows[0]["objects"], done.rows[0]["bytes"]) == (0, 4, 300_006)
    assert store.keys() == sorted(f"there/{name}" for name in TREE)
    store.put({"thereafter": b"not below"})
    done = flashback("cp", "-r", "fb://demo/there", tmp_path / "back")
    assert (done.code, done.rows[0]["objects"]) == (0, 4)
    assert files_below(tmp_path / "back") == TREE


def test_a_whole_bucket_comes_out(flashback, store, tmp_path):
    """A bucket without a key means everything in it; markers of folders are no files."""
    store.put({"a": b"1", "b/": b"", "b/c": b"2"})
    done = flashback("cp", "-r", "fb://demo", tmp_path / "all")
    assert done.code == 0
    assert done.rows[0]["skipped"] == {"folder marker": 1}
    assert files_below(tmp_path / "all") == {"a": b"1", "b/c": b"2"}


def test_objects_are_copied_within_the_store(flashback, store):
    """Object to object, one or a tree, without a byte coming here."""
    store.put({"from/a": b"1", "from/b/c": b"2"})
    assert flashback("cp", "fb://demo/from/a", "fb://demo/copy").code == 0
    assert flashback("cp", "-r", "fb://demo/from", "fb://demo/to").code == 0
    assert store.keys() == ["copy", "from/a", "from/b/c", "to/a", "to/b/c"]
    assert store.get("to/b/c") == b"2"


def test_standard_streams_are_objects_too(process, store, cluster):
    """- is stdin as a source and stdout as a target; nothing else is written to stdout."""
    data = os.urandom(9_000_000)
    done = process("cp", "-", "fb://demo/piped", input=data)
    assert (done.code, store.get("piped") == data) == (0, True)
    done = process("cp", "fb://demo/piped", "-")
    assert (done.code, done.out == data) == (0, True)
    assert done.err[0].startswith("1 object, 8.6 MiB in ")


def test_a_failed_object_is_named_and_the_others_are_copied(flashback, store, tmp_path):
    """Keys that would leave the target directory are refused one by one; exit code 1 says so."""
    store.put({"t/good": b"1", "t/../../evil": b"2", "t//etc/passwd": b"3", "t/also/good": b"4"})
    done = flashback("cp", "-r", "fb://demo/t", tmp_path / "in" / "here")
    assert done.code == 1
    assert (done.rows[0]["objects"], done.rows[0]["failed"]) == (2, 2)
    assert files_below(tmp_path) == {"in/here/good": b"1", "in/here/also/good": b"4"}
    lines = done.err.splitlines()
    assert [line.startswith("flashback: failed: fb://demo/t/") for line in lines] == [True, True]
    assert "would leave the target directory" in lines[0]
    assert "'../../evil'" in done.err


def test_one_object_cannot_leave_its_directory_either(flashback, store, tmp_path):
    """A key like `a/..` names no file in a directory."""
    store.put({"a/..": b"x"})
    done = flashback("cp", "fb://demo/a/..", f"{tmp_path}/d/")
    assert (done.code, files_below(tmp_path)) == (252, {})


def test_what_is_in_the_way_fails_alone(flashback, store, tmp_path):
    """A file where a directory is needed fails that object, with both names, and no other."""
    store.put({"t/a": b"1", "t/a/b": b"2", "t/c": b"3"})
    done = flashback("cp", "-r", "fb://demo/t", tmp_path, "--concurrency", "1")
    assert done.code == 1
    assert files_below(tmp_path) == {"a": b"1", "c": b"3"}
    assert str(tmp_path / "a") in done.err


def test_only_regular_files_are_read(flashback, store, tmp_path):
    """A pipe would never end and a linked directory may be a circle: both are skipped, a dead link fails."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "f").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "dir" / "f")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    done = flashback("cp", "-r", tmp_path, "fb://demo")
    assert done.code == 1
    assert done.rows[0]["skipped"] == {"link to a directory": 1, "not a regular file": 1}
    assert "dead: No such file or directory" in done.err
    assert store.keys() == ["dir/f", "linked"]


def test_names_that_cannot_be_keys_fail_alone(flashback, store, tmp_path):
    """A file name that is not Unicode is named in a printable way; the others are copied."""
    (tmp_path / "good").write_bytes(b"x")
    with open(os.fsencode(tmp_path) + b"/bad\xff", "wb") as file:  # bytes
        file.write(b"y")
    done = flashback("cp", "-r", tmp_path, "fb://demo")
    assert (done.code, store.keys()) == (1, ["good"])
    assert "bad\\udcff" in done.err


def test_a_download_that_fails_leaves_the_old_file(flashback, store, on_all_nodes, tmp_path):
    """When every node breaks the body off, the file that was there stays as it was, and nothing beside it."""
    store.put({"big": os.urandom(500_000)})
    (tmp_path / "f").write_bytes(b"old")
    on_all_nodes(Behaviour(truncate_after=0))
    done = flashback("cp", "fb://demo/big", tmp_path / "f")
    assert (done.code, files_below(tmp_path)) == (254, {"f": b"old"})
    assert done.err.startswith("flashback: error: GetObject demo/big: ")
    assert len(done.err.splitlines()) == 1


def test_trees_survive_broken_nodes(flashback, cluster, on_cluster, tree, tmp_path):
    """With one node dead and one answering 503 nothing fails, and the summary tells the failovers."""
    on_cluster(cluster.nodes[0].kill())
    on_cluster(cluster.nodes[1].set(Behaviour(status=503)))
    for number in range(40):
        (tree / f"more{number}").write_bytes(b"x")
    done = flashback("cp", "-r", tree, "fb://demo/t")
    assert (done.code, done.rows[0]["objects"], done.rows[0]["failed"]) == (0, 44, 0)
    assert sum(done.rows[0]["failovers"].values()) > 0
    assert flashback("cp", "-r", "fb://demo/t", tmp_path / "back").code == 0
    assert files_below(tmp_path / "back") == files_below(tree)


def test_a_bucket_that_is_not_there_is_said_once(flashback, cluster, tree):
    """What would fail every object alike ends the copy at once, in one line."""
    done = flashback("cp", "-r", tree, "fb://nobucket/t")
    assert done.code == 254
    assert len(done.err.splitlines()) == 1
    assert "nobucket" in done.err
    assert "check the name of the bucket" in done.err


def test_writes_that_are_switched_off_fail_object_by_object(flashback, on_all_nodes, tree):
    """A quota that stops writes is told for each object, and the code is 1."""
    on_all_nodes(Behaviour(writes_disabled=WritesDisabled()))
    done = flashback("cp", "-r", tree, "fb://demo/t")
    assert (done.code, done.rows[0]["failed"]) == (1, 4)


def test_nothing_below_a_prefix_is_an_error(flashback, cluster, tmp_path):
    """A prefix with a typing error does not look like success."""
    done = flashback("cp", "-r", "fb://demo/nothing", tmp_path / "x")
    assert done.code == 1
    assert done.err == (
        "flashback: error: there are no objects below fb://demo/nothing/; "
        "a single object is copied without -r\n"
    )


def test_an_empty_directory_is_no_error(flashback, cluster, tmp_path):
    """There is nothing to copy, and that went well."""
    (tmp_path / "empty").mkdir()
    done = flashback("cp", "-r", tmp_path / "empty", "fb://demo")
    assert (done.code, done.rows[0]["objects"]) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing.txt", "fb://demo/k"), "there is no file 'missing.txt'"),
        ((".", "fb://demo/k"), "'.' is a directory; copy what is in it with -r"),
        (("/dev/null", "fb://demo/k"), "'/dev/null' is not a regular file"),
        (("a", "b"), "are both local"),
        (("-", "-"), "- stands for one object"),
        (("-", "f"), "- stands for one object"),
        (("-r", "-", "fb://demo/k"), "- stands for one object"),
        (("-r", "fb://demo/k", "-"), "- stands for one object"),
        (("-", "fb://demo/k/"), "stdin has no name"),
        (("fb://demo", "f"), "its key is empty"),
        (("fb://demo/k/", "f"), "names a folder"),
        (("fb://demo", "-"), "its key is empty"),
        (("gs://demo/k", "f"), "neither local nor ours"),
        (("fb://demo/k", "fb://demo/k"), "copied onto itself"),
        (("-r", "fb://demo/k", "fb://demo/k/l"), "would be part of itself"),
        (("-r", "fb://demo/k", "/dev/null"), "give a directory for a tree"),
        (("fb://demo/k", "f", "--endpoint", "ftp://x"), "--endpoint: 'ftp://x' has the scheme 'ftp'"),
        (("fb://demo/k", "f", "--ca-file", "no.pem"), "--ca-file: 'no.pem' is not a file"),
    ],
)
def test_what_cannot_be_copied_is_said_before_anything_starts(flashback, arguments, says):
    """Wrong arguments need no credentials to be found: one line with the value and the remedy, code 252."""
    done = flashback("cp", *arguments)
    assert (done.code, len(done.err.splitlines())) == (252, 1)
    assert says in done.err


def test_a_terminal_gets_a_bar_and_a_sentence(terminal, cluster, tree):
    """While it runs there is a bar that ends at all objects; what remains is one line."""
    with terminal("cp", "-r", tree, "fb://demo/t") as shown:
        lines = shown.lines()
        assert shown.process.returncode == 0
    assert "━" in shown.seen
    assert re.search(r"4 objects, 293 KiB in \S+ m?s \(.*/s\); failovers: none; failed: 0$", lines[-1])


def test_quiet_on_a_terminal_is_silence(terminal, store, tmp_path):
    """With -q neither bar nor sentence is written."""
    store.put({"a": b"1"})
    with terminal("cp", "-q", "fb://demo/a", tmp_path / "a") as shown:
        assert shown.read() == ""
        assert shown.process.returncode == 0


def test_an_interrupted_download_leaves_no_trace(store, on_all_nodes, tmp_path):
    """Ctrl-C in the middle of a file ends with 130, and the half of it that was there is gone."""
    store.put({"big": bytes(8_000_000)})
    on_all_nodes(Behaviour(bandwidth=2_000_000))
    with processes.started("cp", "fb://demo/big", tmp_path / "f") as process:
        deadline = time.monotonic() + 20
        while not files_below(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert files_below(tmp_path)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (130, b"", b"")
    assert files_below(tmp_path) == {}


def test_waiting_for_stdin_can_be_interrupted(cluster):
    """A writer that pauses does not keep the command from ending; SIGTERM has a code of its own."""
    with processes.started("-v", "cp", "-", "fb://demo/k") as process:
        while b"joined" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 143
