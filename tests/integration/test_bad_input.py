"""What cannot work is refused with a typed error that names the value and the remedy, and no secret."""

from __future__ import annotations

import io
import logging
import os
import pickle

import pytest

from flashback_async import (
    ConfigurationError,
    DiscoveryError,
    FlashbackClient,
    FlashbackSettings,
    NoEndpointAvailableError,
    ObjectNotFoundError,
)
from flashback_async.sandbox import Behaviour, Variant

from .scripted import KEY_ID, KEY_SECRET, scripted, settings_for

BOTH_LANES = True

TOKEN = "an-access-token-nobody-may-see"
KEYS = {"key_id": KEY_ID, "key_secret": KEY_SECRET}


def told(error):
    """Everything that an error shows to a reader, its causes included."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), str(pickle.loads(pickle.dumps(error)) if texts == [] else "")]
        error = error.__cause__ or error.__context__
    return " ".join(texts)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"jwt": TOKEN}, "FB_KEY_ID and FB_KEY_SECRET"),
        ({"key_id": KEY_ID, "jwt": TOKEN}, "key_secret"),
        ({"key_secret": KEY_SECRET, "jwt": TOKEN}, "key_id"),
        ({**KEYS, "base_url": "http://backend.example.com"}, "unencrypted; use https"),
        ({**KEYS, "base_url": "ftp://backend.example.com"}, "'ftp'"),
        ({**KEYS, "base_url": "https://user:pass-word@backend.example.com"}, "user name or password"),
        ({**KEYS, "base_url": "https://backend.example.com/api"}, "path"),
        ({**KEYS, "endpoints": "https://s3.example.com:99999"}, "99999"),
        ({**KEYS, "endpoints": "http://s3.example.com"}, "unencrypted; use https"),
        ({**KEYS, "endpoints": "https://s3 .example.com"}, "not a URL"),
        ({**KEYS, "first_byte_timeout": 0}, "first_byte_timeout=0"),
        ({**KEYS, "stall_timeout": float("nan")}, "stall_timeout=nan"),
        ({**KEYS, "attempts": "many"}, "attempts='many'"),
        ({**KEYS, "max_connections": -1}, "max_connections=-1"),
        ({**KEYS, "addressing": "dns"}, "addressing='dns'"),
        ({**KEYS, "lane": "middle"}, "lane='middle'"),
        ({**KEYS, "ca_file": "/no/such/authority.pem"}, "/no/such/authority.pem"),
        ({**KEYS, "colour": "blue"}, "colour is not a setting"),
        ({**KEYS, "jwt": "two words "}, "jwt"),
        ({**KEYS, "key_secret": " blank "}, "key_secret"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_settings_that_cannot_work(settings, said):
    """A wrong setting is named with its value and what to write instead."""
    with pytest.raises(ConfigurationError) as caught:
        FlashbackClient(FlashbackSettings(**settings))
    text = told(caught.value)
    assert said in str(caught.value)
    assert isinstance(caught.value, ValueError)
    for secret in (KEY_SECRET, TOKEN, "pass-word", "two words ", " blank "):
        assert secret not in text


def test_a_wrong_variable_is_named(monkeypatch):
    """A setting that came from the environment is named as its variable."""
    monkeypatch.setenv("FB_KEY_ID", KEY_ID)
    monkeypatch.setenv("FB_KEY_SECRET", KEY_SECRET)
    monkeypatch.setenv("FB_FIRST_BYTE_TIMEOUT", "soon")
    with pytest.raises(ConfigurationError, match="FB_FIRST_BYTE_TIMEOUT='soon'"):
        FlashbackClient()


@pytest.mark.parametrize("settings", [{"key_id": KEY_ID}, "https://s3.example.com", 7])
def test_settings_of_a_wrong_type(settings):
    """Anything but FlashbackSettings is refused with its type and the remedy."""
    with pytest.raises(ConfigurationError, match=rf"{type(settings).__name__}.*FlashbackSettings"):
        FlashbackClient(settings)


@pytest.mark.parametrize(
    "jwt",
    ["", "with blank inside", "line\nbreak", "ünïcode", "x" * 20_000],
    ids=["empty", "blank", "break", "ü", "long"],
)
async def test_an_unreadable_token(jwt):
    """A token that cannot be sent is refused with the name of its setting, not with its text."""
    with pytest.raises(ConfigurationError, match=r"(?i)token|jwt") as caught:
        async with FlashbackClient(FlashbackSettings(**KEYS, jwt=jwt, base_url="https://127.0.0.1:9")):
            pass
    assert not jwt or jwt not in told(caught.value)


async def test_no_token_at_all():
    """A control plane without any token is a ConfigurationError that names the variables."""
    with pytest.raises(ConfigurationError, match=r"FB_REFRESH_TOKEN.*FB_JWT.*FB_ENDPOINTS"):
        async with FlashbackClient(FlashbackSettings(**KEYS)):
            pass


@pytest.fixture
async def fb(running):
    """A client of a server that answers everything."""
    async with scripted() as server, running(settings_for(server)) as client:
        yield client
        assert server.seen == []


CALLS = {
    "empty key": (lambda fb: fb.get_object("bucket", ""), "key=''"),
    "key of a wrong type": (lambda fb: fb.put_object("bucket", 7, b""), "key=7 is a int"),
    "key too long": (lambda fb: fb.head_object("bucket", "k" * 1_025), "1025 bytes"),
    "key that is no Unicode": (lambda fb: fb.delete_object("bucket", "\ud800"), "Unicode"),
    "empty bucket": (lambda fb: fb.get_object("", "key"), "bucket=''"),
    "bucket with a slash": (lambda fb: fb.get_object("a/b", "key"), "bucket='a/b'"),
    "bucket of a wrong type": (lambda fb: fb.get_object(None, "key"), "bucket=None"),
    "missing file": (lambda fb: fb.put_object("bucket", "key", "/no/such/file"), "/no/such/file"),
    "a directory": (lambda fb: fb.put_object("bucket", "key", os.getcwd()), "directory"),
    "data of a wrong type": (lambda fb: fb.put_object("bucket", "key", {"a": 1}), "is a dict"),
    "a text file": (lambda fb: fb.put_object("bucket", "key", io.StringIO("text")), "binary mode"),
    "metadata of a wrong type": (
        lambda fb: fb.put_object("bucket", "key", b"", metadata={"a": 1}),
        "'a': 1 must be text",
    ),
    "negative timeout": (lambda fb: fb.get_object("bucket", "key", timeout=-1), "timeout=-1"),
    "timeout of a wrong type": (lambda fb: fb.get_object("bucket", "key", timeout="1"), "timeout='1'"),
    "empty range": (lambda fb: fb.get_object("bucket", "key", range=(5, 5)), r"range=(5, 5)"),
    "backward range": (lambda fb: fb.get_object("bucket", "key", range=(5, 2)), r"range=(5, 2)"),
    "range of a wrong type": (lambda fb: fb.get_object("bucket", "key", range="0-5"), "range='0-5'"),
    "endpoint of a wrong type": (lambda fb: fb.get_object("bucket", "key", endpoint=3), "endpoint=3"),
    "page size": (lambda fb: anext(fb.list_objects("bucket", page_size=0)), "page_size=0"),
    "prefix of a wrong type": (lambda fb: anext(fb.list_objects("bucket", 3)), "prefix=3"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_arguments_that_cannot_work(fb, name):
    """A wrong argument is named with its value, before anything is sent."""
    call, said = CALLS[name]
    with pytest.raises(ConfigurationError) as caught:
        await call(fb)
    assert said in str(caught.value)
    assert all(node.requests == 0 for node in fb.nodes())


async def test_a_pinned_endpoint_that_does_not_exist(fb):
    """Pinning a call to an unknown endpoint names it, and those that there are."""
    with pytest.raises(NoEndpointAvailableError, match="no-such-node") as caught:
        await fb.get_object("bucket", "key", endpoint="no-such-node")
    assert caught.value.is_retry_safe


async def test_an_unknown_bucket(moto_cluster, running):
    """A bucket that does not exist is named, with the store's code."""
    async with running(moto_cluster.settings()) as client:
        with pytest.raises(ObjectNotFoundError, match="unknown-bucket.*NoSuchBucket"):
            await client.put_object("unknown-bucket", "key", b"data")


async def test_nodes_outside_the_allowed_domains(moto_cluster, running, caplog):
    """Nodes elsewhere are never asked: they are counted, and named once with the remedy."""
    await moto_cluster.control_plane.inject(
        nodes=[
            {"ip": "203.0.113.9", "region": "r", "status": "ONLINE", "url": url, "nodeServices": 1}
            for url in ("https://evil.example.net", "http://203.0.113.9:80", "https://x@s3.flashback.tech")
        ]
    )
    with caplog.at_level(logging.WARNING):
        async with running(moto_cluster.settings()) as client:
            assert {node.id for node in client.nodes()} == {node.ip for node in moto_cluster.nodes}
            assert client.stats().dropped_rows == 3
            await client.refresh()
    warnings = [row.getMessage() for row in caplog.records if "evil.example.net" in row.getMessage()]
    assert len(warnings) == 1
    assert "FB_ALLOWED_DOMAINS" in warnings[0]


async def test_only_nodes_that_are_not_allowed(moto_cluster):
    """A control plane whose every node lies elsewhere is an error that says so."""
    elsewhere = {"ip": "203.0.113.9", "region": "r", "status": "ONLINE", "url": "https://evil.example.net"}
    control_plane = moto_cluster.control_plane
    await control_plane.update(control_plane.registry.changed(nodes=()))
    await control_plane.inject(nodes=[elsewhere])
    with pytest.raises(DiscoveryError, match="1 nodes and none may be used"):
        async with FlashbackClient(moto_cluster.settings()):
            pass


@pytest.mark.parametrize(
    "variant",
    [
        Variant(garbage="text"),
        Variant(garbage="huge"),
        Variant(success_false=True),
        Variant(empty_nodes=True),
    ],
    ids=["no JSON", "32 MiB", "success: false", "no nodes"],
)
async def test_a_control_plane_that_answers_garbage(moto_cluster, running, variant):
    """Garbage is a DiscoveryError at the start, and later on leaves the table as it is."""
    await moto_cluster.control_plane.set(variant)
    with pytest.raises(DiscoveryError) as caught:
        async with FlashbackClient(moto_cluster.settings()):
            pass
    assert moto_cluster.token not in told(caught.value)
    assert moto_cluster.key_secret not in told(caught.value)
    await moto_cluster.control_plane.set(Variant())
    async with running(moto_cluster.settings()) as client:
        await moto_cluster.control_plane.set(variant)
        with pytest.raises(DiscoveryError):
            await client.refresh()
        assert len(client.nodes()) == 4
        await client.put_object("demo", "key", b"data")


async def test_broken_rows_cost_only_themselves(moto_cluster, running):
    """Broken rows among good ones are dropped and counted; the good ones serve."""
    await moto_cluster.control_plane.set(Variant(garbage="rows"))
    async with running(moto_cluster.settings()) as client:
        assert len(client.nodes()) == 4
        assert client.stats().dropped_rows > 0
        await client.put_object("demo", "key", b"data")


async def test_no_secret_in_any_log(moto_cluster, running, caplog):
    """At level DEBUG, through failures of every kind, no log line of ours contains a secret or a signature."""
    with caplog.at_level(logging.DEBUG, logger="flashback_async"):
        async with running(moto_cluster.settings(first_byte_timeout=0.3, attempts=2)) as client:
            await client.put_object("demo", "key", b"data")
            for fault in (Behaviour(status=503), Behaviour(black_hole=True), Behaviour(reset=True)):
                for node in moto_cluster.nodes:
                    await node.set(fault)
                for _ in range(3):
                    with pytest.raises(Exception) as caught:  # noqa: PT011  # any of several
                        await client.get_object("demo", "key")
                    assert moto_cluster.key_secret not in told(caught.value)
                    assert "Signature" not in told(caught.value)
            await moto_cluster.control_plane.set(Behaviour(status=500))
            with pytest.raises(DiscoveryError):
                await client.refresh()
    lines = [
        f"{row.getMessage()} {row.exc_text}" for row in caplog.records if row.name.startswith("flashback")
    ]
    assert lines
    for secret in (moto_cluster.key_secret, moto_cluster.token, "Signature="):
        assert secret not in "\n".join(lines)
