"""`flashback ls`, `cat`, `stat` and `rm`."""

from __future__ import annotations

import pytest


def test_ls_writes_a_json_line_per_object(flashback, store):
    """Where no terminal is, a listing is made for programs: bucket, key, size, ETag and time."""
    store.put({"a/1": b"x", "a/2": b"xy", "b": b""})
    done = flashback("ls", "fb://demo/a/")
    assert (done.code, done.err) == (0, "")
    assert [(row["bucket"], row["key"], row["size"]) for row in done.rows] == [
        ("demo", "a/1", 1),
        ("demo", "a/2", 2),
    ]
    assert done.rows[0]["etag"].startswith('"')
    assert done.rows[0]["last_modified"].endswith("+00:00")


@pytest.mark.parametrize("path", ["demo", "demo/", "fb://demo", "s3://demo/"])
def test_ls_takes_a_bucket_in_every_spelling(flashback, store, path):
    """A bare name and both schemes mean the same bucket."""
    store.put({"a": b"x", "b": b"y"})
    assert [row["key"] for row in flashback("ls", path).rows] == ["a", "b"]


def test_ls_on_a_terminal_is_for_people(terminal, store):
    """Time, size in words and key per line, then a sum; control characters in keys are made visible."""
    store.put({"big": bytes(1_500_000), "ev\x1b[31mil": b"x"})
    with terminal("ls", "demo") as shown:
        lines = shown.lines()
    assert lines[0].endswith("    1.4 MiB  big")
    assert lines[1].endswith("        1 B  ev\\x1b[31mil")
    assert lines[2] == "2 objects, 1.4 MiB"


def test_ls_of_nothing_says_so(terminal, cluster):
    """An empty listing is no error; a person is told that it is empty."""
    with terminal("ls", "demo/none") as shown:
        assert shown.read() == "no objects under fb://demo/none\r\n"
        assert shown.process.returncode == 0


def test_cat_writes_the_bytes_and_nothing_else(process, store):
    """Several objects follow each other, byte by byte."""
    store.put({"a": bytes(range(256)) * 4_000, "b": b"\x00end"})
    done = process("cat", "fb://demo/a", "demo/b")
    assert (done.code, done.err) == (0, [])
    assert done.out == bytes(range(256)) * 4_000 + b"\x00end"


def test_stat_tells_what_the_store_knows(flashback, store):
    """One JSON line per object, with its type."""
    store.put({"a": b"12345", "b": b""})
    done = flashback("stat", "demo/a", "fb://demo/b")
    assert [(row["key"], row["size"]) for row in done.rows] == [("a", 5), ("b", 0)]
    assert "content_type" in done.rows[0]


def test_stat_tells_the_checksum(process, flashback, store):
    """An object that was written with a checksum shows it, and no other does."""
    store.put({"plain": b"x"})
    assert process("cp", "-", "fb://demo/checked", input=b"12345", FB_CHECKSUM="md5").code == 0
    checked, plain = flashback("stat", "demo/checked", "demo/plain").rows
    assert checked["checksum"] == "md5:827ccb0eea8a706c4c34a16891f84e7b"
    assert "checksum" not in plain


def test_stat_on_a_terminal_is_a_table(terminal, store):
    """Names and values in two columns."""
    store.put({"a": b"12345"})
    with terminal("stat", "demo/a") as shown:
        rows = [line.rstrip() for line in shown.lines()]
    assert rows[:3] == ["bucket         demo", "key            a", "size           5 bytes (5 B)"]


def test_colours_can_be_switched_off(terminal, store):
    """NO_COLOR is respected: no colour on a terminal."""
    with terminal("nodes", NO_COLOR="1") as plain, terminal("nodes") as coloured:
        assert "\x1b[32mpreferred" not in plain.read()
        assert "\x1b[32mpreferred" in coloured.read()


def test_rm_deletes_what_it_names(flashback, store):
    """Objects go, others stay, and one that is not there counts as deleted."""
    store.put({"a": b"", "b": b"", "c": b""})
    done = flashback("rm", "demo/a", "fb://demo/b", "demo/none")
    assert (done.code, done.rows) == (0, [{"deleted": 3, "failed": 0}])
    assert store.keys() == ["c"]


def test_rm_r_deletes_a_folder_and_never_its_neighbour(flashback, store):
    """`data` with -r means `data/...`: neither `database` nor the object `data`."""
    store.put({"data/1": b"", "data/x/2": b"", "database": b"", "data": b""})
    assert flashback("rm", "-r", "fb://demo/data").rows == [{"deleted": 2, "failed": 0}]
    assert store.keys() == ["data", "database"]


def test_rm_dry_run_only_talks(flashback, store):
    """--dry-run lists what would go."""
    store.put({"data/1": b"", "data/2": b""})
    done = flashback("rm", "-r", "--dry-run", "demo/data")
    assert (done.code, done.out) == (0, "fb://demo/data/1\nfb://demo/data/2\n")
    assert store.keys() == ["data/1", "data/2"]


def test_rm_without_r_wants_an_object(flashback, cluster):
    """A bucket is not deleted by accident."""
    done = flashback("rm", "demo")
    assert done.code == 252
    assert "the key is empty" in done.err
