"""The fast lane equals the aioboto3 lane: the same values, bodies and errors for the same operations."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from contextlib import asynccontextmanager
from random import Random

import pytest

from flashback_async import ConfigurationError, FlashbackClient, FlashbackError

from .both_lanes import BUCKETS, HARD_KEYS, KEYS, LANES, Side, Step, Steps, differences, unlike
from .scripted import HOST, KEY_SECRET, authority, listening, scripted, settings_for
from .workload import KIB

# Each test runs clients of both lanes.
LANES_OF_TESTS = ("fast",)
MIB = 1_024 * KIB
# rclone answers 500 now and then where several write at once.
WORKERS = {"moto": 6, "rclone": 1, "https": 1}


@pytest.fixture(params=["moto", "rclone", "https"])
def store(request):
    """The stores, and one of them behind TLS."""
    return request.param


@pytest.fixture
async def sides(store, flashback_cluster_factory, running):
    """A client of each lane on one store, with a bucket of its own."""
    kind, tls = ("rclone", True) if store == "https" else (store, False)
    cluster = flashback_cluster_factory(nodes=1, latency=0.0, store=kind, tls=tls)
    for bucket in BUCKETS.values():
        await cluster.create_bucket(bucket)
    parts = {"multipart_threshold": 5 * MIB, "part_size": 5 * MIB}
    settings = [cluster.settings(lane=lane, attempts=1, **parts) for lane in LANES]
    async with running(settings[0]) as one, running(settings[1]) as other:
        yield [Side("aioboto3", one), Side("fast", other)]


async def compared(sides, store, seed, operations):
    """What the lanes do not agree on, in so many random operations."""
    workers = WORKERS[store]
    keys = KEYS + (HARD_KEYS if store == "moto" else [])
    found = await asyncio.gather(
        *(
            differences(
                sides,
                Steps(Random(seed * 1_000 + worker), keys[worker::workers], is_exact=store == "moto"),
                operations // workers,
            )
            for worker in range(workers)
        )
    )
    return [f"seed {seed}, worker {worker}, {text}" for worker, texts in enumerate(found) for text in texts]


async def test_random_operations_come_to_the_same(sides, store):
    """A thousand random operations return and raise the same on both lanes, to the last field and byte."""
    found = await compared(sides, store, 1, 1_200 if store != "https" else 400)
    assert not found, "\n".join(found[:20])
    # Refusals of all kinds were among them; rclone knows fewer.
    kinds = {200, 204, 206, 304, 404, 412, 416} if store == "moto" else {200, 204, 304, 404, 416}
    assert kinds <= sides[0].statuses.keys()
    assert sides[0].statuses == sides[1].statuses


@pytest.mark.full
@pytest.mark.parametrize("seed", range(2, 8))
async def test_thousands_of_random_operations_come_to_the_same(sides, store, seed):
    """The same for as many more as a long run has time for."""
    found = await compared(sides, store, seed, 2_400)
    assert not found, "\n".join(found[:20])


async def test_large_objects_come_to_the_same(sides):
    """What goes in parts, what does so just not, and what is read of them, is the same on both lanes."""
    noise = Random(3).randbytes(12 * MIB)
    steps = []
    for size in (5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 12 * MIB):
        key = f"of {size} bytes"
        steps += [
            Step("fb", "put_object", {"key": key, "data": noise[:size], "metadata": {"a": "b"}}),
            Step("fb", "head_object", {"key": key}),
            Step("fb", "get_object", {"key": key}),
            Step("fb", "stream_object", {"key": key, "range": (size - 100, None)}),
            Step("s3", "get_object", {"Key": key, "Range": f"bytes=1000-{size - 7}"}),
            Step("s3", "put_object", {"Key": key, "Body": noise[-size:]}),
            Step("s3", "get_object", {"Key": key}),
        ]
    for step in steps:
        one, other = await asyncio.gather(*(side.take(step) for side in sides))
        assert (one[0], unlike(one, other)) == ("value", []), step


async def test_a_wrong_secret_comes_to_the_same(flashback_cluster_factory, running):
    """A store that verifies signatures refuses a wrong secret on both lanes in the same words."""
    cluster = flashback_cluster_factory(nodes=1, latency=0.0, store="rclone")
    found = []
    for lane in LANES:
        async with running(cluster.settings(lane=lane, key_secret="another", attempts=1)) as fb:
            side = Side(lane, fb)
            found.append([
                await side.take(step)
                for step in (
                    Step("fb", "get_object", {"key": "key"}),
                    Step("fb", "put_object", {"key": "key", "data": b"data"}),
                    Step("fb", "put_object", {"key": "key", "data": bytes(MIB)}),
                    Step("fb", "head_object", {"key": "key"}),
                    Step("s3", "get_object", {"Key": "key"}),
                    Step("s3", "delete_object", {"Key": "key"}),
                )
            ])  # fmt: skip
            assert sum(side.statuses.values()) == side.statuses[403]
    assert unlike(*found) == []


# --- endpoints that fail -------------------------------------------------------------------------------------


@asynccontextmanager
async def saying(data, *, then="wait"):
    """The URL of a server that says this to whatever comes, and then waits until the client has closed."""

    async def serve(reader, writer):
        await reader.read(64 * KIB)
        writer.write(data)
        await writer.drain()
        if then == "wait":
            await reader.read()

    async with listening(serve) as url:
        yield url


async def errors(running, url, call, **settings):
    """What both lanes raise."""
    found = []
    for lane in LANES:
        async with running(settings_for(url, lane=lane, attempts=1, **settings)) as fb:
            with pytest.raises(FlashbackError) as caught:
                await call(fb)
        assert KEY_SECRET not in str(caught.value)
        found.append(caught.value)
    return found


def traits(error):
    """What a caller can act on."""
    names = (
        "is_retry_safe",
        "is_endpoint_fault",
        "is_throttling",
        "retry_after",
        "code",
        "status",
        "operation",
    )
    return (type(error), *(getattr(error, name, None) for name in names))


def words(error):
    """What it says, but for how long it took."""
    return re.sub(r"\d+\.\d+ s", "some time", str(error))


CALLS = {
    "get": lambda fb: fb.get_object("bucket", "key"),
    "put": lambda fb: fb.put_object("bucket", "key", b"data"),
    "large put": lambda fb: fb.put_object("bucket", "key", bytes(MIB)),
    "delete": lambda fb: fb.delete_object("bucket", "key"),
}
OK = b"HTTP/1.1 200 OK\r\n"
NO_ANSWERS = {
    "HTTP/2": bytes.fromhex("00001204000000000000030000008000040001000000050000ffffff"),
    "HTTP/2 in letters": b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a TLS alert": bytes.fromhex("15030100020246"),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no status": b"HTTP/1.1 fine\r\n\r\n",
    "no colon": OK + b"Content-Length 3\r\n\r\n",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n",
    "an endless head": OK + b"X-Long: " + b"x" * 100_000,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("said", NO_ANSWERS)
async def test_what_is_no_answer_is_the_endpoints_fault(running, said, call):
    """Whatever an endpoint speaks instead of HTTP/1.1, both lanes raise the same connect error."""
    async with saying(NO_ANSWERS[said]) as url:
        one, other = await errors(running, url, CALLS[call])
    assert traits(one) == traits(other)
    assert type(other).__name__ == "EndpointConnectError"
    assert other.is_endpoint_fault


def answer(status, body=b"", **headers):
    told = {"Content-Length": len(body), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


PAGE = b"<html><body><h1>Oh no</h1></body></html>"
REFUSALS = {
    "a proxy's 502": answer("502 Bad Gateway", PAGE, Content_Type="text/html"),
    "a proxy's 404": answer("404 Not Found", PAGE, Content_Type="text/html"),
    "a bare 503": answer("503 Busy", Retry_After="7"),
    "a 429": answer("429 Slow", b"slow down", Retry_After="2"),
    "a 408": answer("408 Late"),
    "a redirect": answer("307 Elsewhere", Location="https://elsewhere.example.com/bucket/key?token=1"),
    "a redirect to nowhere": answer("301 Elsewhere", PAGE),
    "a choice": answer("300 Several", PAGE),
    "a teapot": answer("418 Teapot", b"<Error><Code>Teapot</Code><Message>short and stout</Message></Error>"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("said", REFUSALS)
async def test_refusals_of_any_form_come_to_the_same(running, said, call):
    """Pages of proxies, redirects and bare statuses are the same error on both lanes, in the same words."""
    async with saying(REFUSALS[said]) as url:
        one, other = await errors(running, url, CALLS[call])
    assert traits(one) == traits(other)
    assert words(one) == words(other)
    assert "token" not in str(other)


@pytest.mark.parametrize("header", ["Last-Modified: yesterday", "x-amz-mp-parts-count: some"])
async def test_a_header_that_makes_no_sense_is_the_endpoints_fault(running, header):
    """A date or a number that is none, in an answer, is no mistake of the caller's on either lane."""
    async with saying(OK + f'Content-Length: 4\r\nETag: "a"\r\n{header}\r\n\r\ndata'.encode()) as url:
        one, other = await errors(running, url, CALLS["get"])
    assert traits(one) == traits(other)
    assert words(one) == words(other)
    assert other.is_endpoint_fault
    assert "not S3's" in str(other)


@pytest.mark.parametrize("size", [MIB - 1, MIB, 3 * MIB])
async def test_a_refusal_of_any_length_is_one(running, size):
    """A 404 with megabytes of text is "not found" on both lanes, and not a fault of the endpoint."""
    async with saying(answer("404 Not Found", b"<" + b"x" * (size - 1))) as url:
        one, other = await errors(running, url, CALLS["get"])
    assert traits(one) == traits(other)
    assert type(other).__name__ == "ObjectNotFoundError"


async def test_connections_that_fail_are_told_in_the_same_words(running, tmp_path):
    """Refused, cut, mistaken for TLS, for plain HTTP or for somebody else: same error, same words."""
    context, ca_file = authority(tmp_path)
    with socket.socket() as free:
        free.bind((HOST, 0))
        nobody = f"http://{HOST}:{free.getsockname()[1]}"
    async with (
        saying(PAGE, then="close") as plain,
        saying(b"", then="close") as mute,
        scripted(tls=context) as safe,
    ):
        cases = {
            "nobody listens": (nobody, "refused"),
            "it hangs up": (mute, "closed without an answer"),
            "TLS to a plain port": (plain.replace("http:", "https:"), "SSL"),
            "plain HTTP to a TLS port": (safe.url.replace("https:", "http:"), "closed without an answer"),
            "an unknown authority": (safe.url, "certificate verify failed"),
            "another name": (safe.url.replace(HOST, "localhost"), "Hostname mismatch"),
            "no such name": ("https://no-such-host.invalid", "no-such-host.invalid:443"),
        }
        for name, (url, said) in cases.items():
            trusted = {"ca_file": ca_file} if name == "another name" else {}
            for call in ("get", "put"):
                one, other = await errors(running, url, CALLS[call], **trusted)
                assert traits(one) == traits(other), name
                assert words(one) == words(other), name
                assert said in str(other), name
    assert safe.seen == []


async def test_the_fast_lane_needs_its_extra(monkeypatch):
    """Without httptools the fast lane says what to install, and the other one works."""
    monkeypatch.setitem(sys.modules, "httptools", None)
    for name in [name for name in sys.modules if name.startswith("flashback_async.transport.http1")]:
        monkeypatch.delitem(sys.modules, name)
    async with scripted() as server:
        with pytest.raises(ConfigurationError, match=r"httptools; install flashback-async\[fast\]"):
            async with FlashbackClient(settings_for(server, lane="fast")):
                pass
        async with FlashbackClient(settings_for(server, lane="aioboto3")) as fb:
            await fb.put_object("bucket", "key", b"data")
