"""What paths on the command line mean."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from flashback_async.cli.address import Remote, local_name, location, remote, remote_object
from flashback_async.cli.exits import CommandError, ExitCode


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("demo", "demo", ""),
        ("demo/", "demo", ""),
        ("demo/a/b", "demo", "a/b"),
        ("demo/a/", "demo", "a/"),
        ("fb://demo/a", "demo", "a"),
        ("s3://demo", "demo", ""),
        ("S3://demo//a", "demo", "/a"),
        ("fb://demo/fb://x", "demo", "fb://x"),
    ],
)
def test_remote_paths(text, bucket, key):
    """A remote path has an optional scheme, a bucket, and a key that may hold anything."""
    assert remote(text) == Remote(bucket, key)


@pytest.mark.parametrize(
    "text", ["", "/", "fb://", "fb:///key", "http://demo/key", "a b/key", "demo/" + "k" * 1025]
)
def test_what_names_no_bucket_is_refused_with_its_text(text):
    """A path that cannot be one is an argument error that quotes it and shows how to write it."""
    with pytest.raises(CommandError, match="fb://bucket/key") as refused:
        remote(text)
    assert refused.value.code is ExitCode.BAD_ARGUMENT
    assert repr(text)[:30] in str(refused.value)


def test_an_object_needs_a_key():
    """Where one object is meant, a bucket alone is refused: its key is empty."""
    assert remote_object("demo/a") == Remote("demo", "a")
    with pytest.raises(CommandError, match="the key is empty"):
        remote_object("fb://demo/")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("-", None),
        ("fb://demo/a", Remote("demo", "a")),
        ("demo/a", Path("demo/a")),
        ("./-", Path("./-")),
        ("/tmp/a:b", Path("/tmp/a:b")),
    ],
)
def test_only_a_scheme_makes_a_path_remote_for_cp(text, found):
    """`cp` takes a path without a scheme for a local one, and - for a standard stream."""
    assert location(text) == found


@pytest.mark.parametrize("text", ["", "gs://demo/a", "a\0b"])
def test_what_is_neither_local_nor_remote_is_refused(text):
    """Another scheme is not taken for a directory with a colon."""
    with pytest.raises(CommandError):
        location(text)


def test_folders_end_with_a_slash():
    """`data` as a folder is `data/`, never `database`; a bucket is a folder already."""
    assert Remote("demo", "data").folder == Remote("demo", "data/")
    assert Remote("demo", "data/").folder == Remote("demo", "data/")
    assert Remote("demo").folder == Remote("demo")
    assert str(Remote("demo", "data/").joined("x")) == "fb://demo/data/x"


@pytest.mark.parametrize("key", ["a", "a/b.txt", ".hidden", "a/..b/c", "a b/ü"])
def test_harmless_keys_become_relative_paths(key):
    """A key keeps its shape as a path."""
    assert local_name(key) == PurePosixPath(key)


@pytest.mark.parametrize(
    "key", ["..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "a/", "", "a\0b", "."]
)
def test_keys_that_would_leave_the_directory_are_refused(key):
    """No key can name a file outside the target directory, or something that is no file."""
    with pytest.raises(CommandError, match="is refused") as refused:
        local_name(key)
    assert repr(key) in str(refused.value)
