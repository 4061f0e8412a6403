"""Errors end in one line and a code: each in a process of its own, as a shell sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flashback_async.sandbox import Variant

from . import processes


def complaint(done, code):
    """The one line of a command that failed, without its head."""
    assert done.code == code
    assert done.out == b""
    assert len(done.err) == 1, done.err
    head, _, text = done.err[0].partition(": error: ")
    assert head == "flashback"
    return text


def test_nothing_configured(process):
    """Without any setting the command names the variables to set."""
    assert "set FB_KEY_ID and FB_KEY_SECRET" in complaint(process("ls", "demo"), 253)


def test_half_a_key(process, cluster, monkeypatch):
    """A key without its secret is a configuration error."""
    monkeypatch.delenv("FB_KEY_SECRET")
    assert "key_secret" in complaint(process("ls", "demo"), 253)


def test_no_token(process, cluster, monkeypatch):
    """A missing control-plane token names what to set."""
    monkeypatch.delenv("FB_JWT")
    assert "FB_REFRESH_TOKEN or FB_JWT" in complaint(process("nodes"), 253)


@pytest.mark.parametrize("token", ["rubbish", "a.b.c"])
def test_an_unreadable_token(process, cluster, token):
    """A token that the control plane does not know is its refusal, and the remedy a fresh one."""
    assert "FB_JWT" in complaint(process("nodes", FB_JWT=token), 254)


def test_a_token_with_blanks(process, cluster):
    """A token that was copied badly is said to be, without showing it."""
    text = complaint(process("nodes", FB_JWT="se cret\n "), 253)
    assert "FB_JWT" in text
    assert "se cret" not in text


def test_a_secret_that_is_wrong(process, flashback_cluster_factory):
    """A refused signature names the variables of the key; the secret is not shown."""
    cluster = flashback_cluster_factory(nodes=1, latency=0.0, store="rclone")
    variables = {**cluster.environment(), "FB_KEY_SECRET": "wrong-secret-0123456789"}
    text = complaint(process("cat", "demo/x", **variables), 254)
    assert "FB_KEY_SECRET" in text
    assert "wrong-secret" not in text


def test_a_control_plane_that_is_not_there(process, cluster):
    """A dead control plane is named by its URL."""
    text = complaint(process("nodes", FB_BASE_URL="http://127.0.0.1:9", FB_DISCOVERY_TIMEOUT="2"), 254)
    assert "http://127.0.0.1:9" in text


@pytest.mark.parametrize(
    "variant", [Variant(garbage="text"), Variant(success_false=True), Variant(empty_nodes=True)]
)
def test_a_control_plane_that_answers_garbage(process, cluster, on_cluster, variant):
    """What is no list of nodes is told in a line with what to check."""
    on_cluster(cluster.control_plane.set(variant))
    text = complaint(process("ls", "demo", FB_DISCOVERY_TIMEOUT="3"), 254)
    assert "FB_BASE_URL" in text or "GET /node" in text


def test_an_unknown_bucket(process, cluster):
    """A bucket that is not there is named."""
    assert complaint(process("ls", "nobucket"), 254) == (
        "ListObjectsV2 nobucket: 404 NoSuchBucket: The specified bucket does not exist; "
        "check the name of the bucket"
    )


@pytest.mark.parametrize("command", ["cat", "stat"])
def test_a_missing_object(process, cluster, command):
    """An object that is not there is named, with a way to find the right one."""
    text = complaint(process(command, "demo/none"), 254)
    assert "demo/none" in text
    assert "flashback ls fb://demo" in text


@pytest.mark.parametrize("command", [("cat", "fb://demo/"), ("stat", "demo"), ("rm", "demo")])
def test_an_empty_key(process, command):
    """A bucket where an object is meant: the key is empty."""
    assert "the key is empty" in complaint(process(*command), 252)


def test_a_missing_file(process):
    """A local file that is not there is named."""
    assert complaint(process("cp", "no-such-file", "fb://demo/k"), 252) == (
        "there is no file 'no-such-file'; check the path"
    )


def test_a_setting_that_cannot_be(process):
    """A variable is named with its value and what is expected."""
    text = complaint(process("nodes", FB_ATTEMPTS="many", FB_KEY_ID="a", FB_KEY_SECRET="b"), 253)
    assert "FB_ATTEMPTS='many'" in text


def test_a_certificate_file_that_is_none(process, tmp_path):
    """--ca-file with something else in it is told before anything is asked."""
    (tmp_path / "no.pem").write_text("rubbish")
    done = process("nodes", "--ca-file", tmp_path / "no.pem", FB_KEY_ID="a", FB_KEY_SECRET="b", FB_JWT="c")
    assert "no.pem" in complaint(done, 253)


@pytest.mark.parametrize(
    "arguments",
    [("--unknown",), ("ls",), ("nonsense",), ("cp", "a"), ("cp", "a", "b", "--concurrency", "0"), ()],
)
def test_a_wrong_command_line_is_the_parsers_business(process, arguments):
    """Unknown options, missing arguments and values out of range end with 2 and the usage."""
    done = process(*arguments)
    assert done.code == 2
    assert any("Usage" in line for line in [*done.err, *done.out.decode().splitlines()])


def test_debug_shows_where_it_happened(process):
    """--debug puts the traceback before the line."""
    done = process("--debug", "nodes")
    assert done.code == 253
    assert done.err[0] == "Traceback (most recent call last):"
    assert done.err[-1].startswith("flashback: error: no S3 credentials")


def test_verbose_logs_to_stderr(process, cluster):
    """-v tells what happens to the nodes, and stdout stays clean."""
    done = process("-v", "ls", "demo")
    assert (done.code, done.out) == (0, b"")
    assert any("joined at http://127.0.0.2:" in line for line in done.err)
    secrets = (cluster.key_secret, cluster.token)
    assert not any(secret in line for line in process("-vv", "ls", "demo").err for secret in secrets)


def test_the_reader_of_a_pipe_may_leave(cluster, store):
    """`| head` ends the command quietly, with the code of a broken pipe."""
    store.put({f"{number:03}{'k' * 900}": b"" for number in range(100)} | {"big": bytes(5_000_000)})
    for arguments in (("ls", "demo"), ("cat", "demo/big"), ("cp", "fb://demo/big", "-")):
        with processes.started(*arguments) as process:
            process.stdout.read(10)
            process.stdout.close()
            errors = process.stderr.read()
            assert (process.wait(timeout=20), errors) == (141, b"")


def test_the_version_is_the_packages(process):
    """--version names the command and the version."""
    from flashback_async import __version__  # noqa: PLC0415  # only here

    assert process("--version").out.decode() == f"flashback {__version__}\n"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_the_way_to_it_is_shown(missing):
    """Where typer or rich is not installed, one line says how to get them, and the code is 253."""
    script = f"import sys; sys.modules[{missing!r}] = None; from flashback_async.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (253, "")
    assert done.stderr == "flashback: error: the command needs an extra: pip install 'flashback-async[cli]'\n"


@pytest.mark.parametrize("command", ["demo", "sandbox"])
def test_without_the_sandbox_its_commands_show_the_way(command):
    """Where moto is not installed, `demo` and `sandbox` say how to get it; the rest works without."""
    script = (
        f"import sys; sys.modules['moto'] = None; sys.argv = ['flashback', {command!r}]; "
        "from flashback_async.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (253, "")
    assert done.stderr == (
        "flashback: error: this needs a local Flashback, which is an extra: "
        "pip install 'flashback-async[sandbox]'\n"
    )


@pytest.mark.parametrize(
    "command",
    [(), *((name,) for name in ("demo", "nodes", "watch", "ls", "cp", "cat", "stat", "rm", "sandbox"))],
)
def test_help_is_there(flashback, command):
    """Every command explains itself, with -h as well as --help."""
    shown = flashback(*command, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert "Usage" in shown.out
    assert flashback(*command, "-h").out == shown.out
