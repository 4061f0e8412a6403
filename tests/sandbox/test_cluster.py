"""Whole clusters, in processes of their own: start, use, steer, kill, heal, and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import aiohttp
import pytest

from flashback_async.config import FlashbackSettings
from flashback_async.sandbox import (
    Behaviour,
    LocalFlashback,
    NodeSpec,
    RateLimit,
    SandboxError,
    Variant,
    admin,
)
from flashback_async.sandbox.handles import ServerStats
from flashback_async.sandbox.ports import ReservedPort
from flashback_async.sandbox.resources import Resources

from .servers import connection, get


async def status(url, **options):
    """The status of one GET on a connection of its own."""
    async with aiohttp.ClientSession() as session, session.get(url, **options) as answer:
        await answer.read()
        return answer.status


async def ask(cluster, path):
    """What the control plane answers to the cluster's user."""
    headers = {"Authorization": f"Bearer {cluster.token}"}
    url = cluster.control_plane.url + path
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
        return await answer.json()


def processes(cluster):
    """The ids of all processes of a cluster."""
    return [child.pid for child in cluster._resources._children]


def running(pids):
    """Which of these processes still run."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_everything_serves_when_start_returns(flashback_cluster):
    """Every node answers on its own address, knows its distance, and is known to the control plane."""
    cluster = flashback_cluster
    assert [node.id for node in cluster.nodes] == ["node-1", "node-2", "node-3", "node-4"]
    assert len({node.ip for node in cluster.nodes}) == 4
    for node in cluster.nodes:
        started = time.monotonic()
        assert await status(f"{node.url}/health") == 200
        assert node.latency <= time.monotonic() - started < node.latency + 5
        assert await status(f"http://localhost:{node.port}/health") == 200
    rows = (await ask(cluster, "/node?nodeServices=1"))["data"]
    assert [(row["ip"], row["url"], row["region"]) for row in rows] == [
        (node.ip, node.url, node.region) for node in cluster.nodes
    ]
    assert cluster.node("node-2") is cluster.nodes[1]
    with pytest.raises(SandboxError, match="there is no node 'x', only node-1"):
        cluster.node("x")
    assert await status(cluster.store_url) == 200
    assert repr(cluster.nodes[0]).endswith("alive>")


async def test_a_client_finds_the_cluster_in_the_environment(flashback_cluster, flashback_environment):
    """The `FB_*` variables and `settings` give a client the same cluster; overrides win."""
    cluster = flashback_cluster
    assert flashback_environment == cluster.environment()
    for settings in (FlashbackSettings(), cluster.settings()):
        assert settings.base_url == cluster.control_plane.url
        assert settings.credentials().key_id == cluster.key_id
        assert settings.credentials().key_secret == cluster.key_secret
        assert settings.jwt.get_secret_value() == cluster.token
        assert settings.ca_file is None
    assert cluster.settings(attempts=7).attempts == 7


async def test_a_killed_node_refuses_and_comes_back_on_its_port(flashback_cluster):
    """After SIGKILL the port refuses; after the restart it serves as it last behaved, counters at zero."""
    node = flashback_cluster.nodes[0]
    await node.set(Behaviour(status=507))
    assert await status(f"{node.url}/demo/key") == 507
    await node.kill()
    assert not node.alive
    with pytest.raises(aiohttp.ClientConnectorError):
        await status(f"{node.url}/health")
    with pytest.raises(SandboxError, match=r"node-1 does not answer .* restart it first"):
        await node.stats()
    url = node.url
    await node.restart()
    assert node.url == url
    assert await status(f"{url}/demo/key") == 507
    assert (await node.stats()).by_outcome == {"status": 1}
    await node.kill()
    await node.kill()
    await node.set(Behaviour(status=508))
    await node.restart()
    assert await status(f"{url}/demo/key") == 508
    await node.heal()
    assert await status(f"{url}/health") == 200


async def test_refusing_keeps_the_port(flashback_cluster):
    """A node that refuses connections serves again on the same port."""
    node = flashback_cluster.nodes[1]
    await node.set(Behaviour(refuse=True))
    with pytest.raises(aiohttp.ClientConnectorError):
        await status(f"{node.url}/health")
    assert node.alive
    await node.heal()
    assert await status(f"{node.url}/health") == 200


async def test_the_control_plane_keeps_what_it_knows(flashback_cluster):
    """Figures, variants and tokens outlive a restart; what is published meanwhile is known afterwards."""
    cluster, control = flashback_cluster, flashback_cluster.control_plane
    first, second = cluster.nodes[:2]
    await first.publish(latency=0.5, status="OFFLINE")
    await second.publish(latency=None)
    await control.set(Variant(include_ids=True))
    await control.inject(nodes=[{"url": "x"}], stats=[{"nodeId": "y"}])
    await control.kill()
    await second.publish(latency=0.25, bucket="demo")
    await control.restart()
    rows = (await ask(cluster, "/node"))["data"]
    assert (rows[0]["status"], rows[0]["id"], rows[-1]) == ("OFFLINE", first.uuid, {"url": "x"})
    stats = (await ask(cluster, "/stats/nodes/minute"))["data"]
    assert [(row["nodeId"], row.get("latency_ms")) for row in stats[:2]] == [(first.ip, 0), (second.ip, 250)]
    await second.publish(status="DISCONNECTED", bucket="demo")
    stats = (await ask(cluster, "/stats/nodes/minute"))["data"]
    assert (stats[1]["nodeStatus"], stats[-1]) == ("DISCONNECTED", {"nodeId": "y"})


async def test_healing_brings_everything_back(flashback_cluster):
    """Whatever was done to them, servers behave, publish and count as at the start."""
    cluster = flashback_cluster
    await cluster.nodes[0].kill()
    await cluster.nodes[1].set(Behaviour(black_hole=True))
    await cluster.nodes[2].publish(status="OFFLINE", latency=9)
    await cluster.control_plane.set(Behaviour(status=500))
    await cluster.control_plane.set(Variant(envelope=False))
    await cluster.control_plane.revoke_tokens()
    await cluster.heal()
    assert [await status(f"{node.url}/health") for node in cluster.nodes] == [200] * 4
    rows = (await ask(cluster, "/node"))["data"]
    assert [row["latencyMs"] for row in rows] == [2, 8, 25, 60]
    assert await cluster.control_plane.requests() == {"/node": 1}
    await cluster.control_plane.kill()
    await cluster.heal()
    assert cluster.control_plane.alive


async def test_requests_are_counted_by_server_and_time(flashback_cluster):
    """The share of traffic of each node in a window can be measured; probes are no traffic."""
    cluster = flashback_cluster
    started = time.monotonic()
    for index, node in enumerate(cluster.nodes):
        for _ in range(index):
            await status(f"{node.url}/demo/key")
        await status(f"{node.url}/health")
    ended = time.monotonic()
    assert [await node.requests_since(started) for node in cluster.nodes] == [0, 1, 2, 3]
    assert [await node.requests_since(started, ended) for node in cluster.nodes] == [0, 1, 2, 3]
    assert await cluster.nodes[3].requests_since(ended) == 0
    stats = await cluster.nodes[3].stats()
    assert isinstance(stats, ServerStats)
    assert (stats.requests, stats.health, stats.by_method) == (3, 1, {"GET": 3})
    await cluster.nodes[3].reset_stats()
    assert (await cluster.nodes[3].stats()).requests == 0
    assert await status(f"{cluster.control_plane.url}/health") == 200
    assert await cluster.control_plane.requests() == {"/health": 1}


async def test_buckets_can_be_added_and_everything_cleared(flashback_cluster):
    """A new bucket exists in the store and under its UUID; clearing leaves the first buckets, empty."""
    cluster = flashback_cluster
    uuid = await cluster.create_bucket("later")
    assert await cluster.create_bucket("later") == uuid
    assert cluster.bucket_ids["later"] == uuid
    assert [row["bucket"] for row in (await ask(cluster, "/bucket"))["buckets"]] == ["demo", "later"]
    await cluster.clear()
    assert list(cluster.bucket_ids) == ["demo"]
    with pytest.raises(SandboxError, match=r"'create_bucket' failed: .*'x'"):
        await cluster.create_bucket("x")


def test_handles_work_in_any_loop(flashback_cluster):
    """A cluster started in one loop is steered from others, also in other threads."""
    node = flashback_cluster.nodes[0]

    async def steer():
        await node.kill()
        await node.restart()
        await node.set(Behaviour(status=418))
        assert await status(f"{node.url}/demo") == 418

    asyncio.run(steer())
    thread = threading.Thread(target=asyncio.run, args=(steer(),))
    thread.start()
    thread.join()
    assert node.alive


async def test_nodes_are_as_specified():
    """Names, distances, figures and first behaviour come from the specs; healing returns to them."""
    limited = Behaviour(rate_limit=RateLimit(rate=0.001, burst=0))
    specs = [
        NodeSpec(id="near", region="r1", provider="gcp", published_latency=0.3, behaviour=limited),
        NodeSpec(latency=0.01, status="OFFLINE", private=True),
    ]
    extra = {"extra_nodes": [{"url": "x"}], "variant": Variant(include_ids=True)}
    async with LocalFlashback(specs, buckets=["one", "two"], **extra) as cluster:
        assert [node.id for node in cluster.nodes] == ["near", "node-2"]
        near = cluster.nodes[0]
        for _ in range(2):
            assert [await status(f"{near.url}/x") for _ in range(2)] == [404, 429]
            await near.set(Behaviour())
            assert await status(f"{near.url}/x") == 404
            await near.heal()
        row, injected = (await ask(cluster, "/node"))["data"]
        assert (row["latencyMs"], row["region"], row["id"], injected) == (300, "r1", near.uuid, {"url": "x"})
        private = (await ask(cluster, f"/organization/{cluster.org_id}/nodes"))["data"]
        assert [row["ip"] for row in private] == [cluster.nodes[1].ip]
        assert list(cluster.bucket_ids) == ["one", "two"]


async def test_tls_is_served_by_everyone(flashback_cluster_factory):
    """Nodes and control plane have a certificate for their address and localhost, from the cluster's CA."""
    cluster = flashback_cluster_factory(nodes=2, tls=True)
    context = ssl.create_default_context(cafile=cluster.ca_file)
    for url in (
        f"{cluster.nodes[1].url}/health",
        f"https://localhost:{cluster.nodes[0].port}/health",
        f"{cluster.control_plane.url}/health",
    ):
        assert url.startswith("https://")
        assert await status(url, ssl=context) == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await status(url)
    assert cluster.environment()["FB_CA_FILE"] == cluster.ca_file
    assert str(cluster.settings().ca_file) == cluster.ca_file


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Behaviour(reset=True), ConnectionResetError),
        (Behaviour(truncate_after=3), b'{"s'),
        (Behaviour(reset_after=3), ConnectionResetError),
        (Behaviour(stall_after=3), TimeoutError),
        (Behaviour(black_hole=True), TimeoutError),
    ],
)
async def test_faults_strike_through_tls(flashback_cluster_factory, behaviour, expected):
    """Faults look the same to a client of https."""
    cluster = flashback_cluster_factory(nodes=2, tls=True)
    context = ssl.create_default_context(cafile=cluster.ca_file)
    node = cluster.nodes[0]
    await node.set(behaviour)
    async with connection(node.port, node.ip, context) as (reader, writer):
        writer.write(get("/health"))
        if isinstance(expected, bytes):
            assert (await reader.read()).endswith(b"\r\n\r\n" + expected)
        else:
            with pytest.raises(expected):
                async with asyncio.timeout(0.2 if expected is TimeoutError else 5):
                    await reader.read()


async def test_closing_leaves_nothing():
    """After the block no process, port or file of the cluster is left; closing again is harmless."""
    cluster = LocalFlashback(1)
    async with cluster:
        pids, directory, port = processes(cluster), cluster._resources.directory, cluster.nodes[0].port
        assert len(running(pids)) == 3
        assert directory.exists()
        # A client that hangs does not hold up the end.
        await cluster.nodes[0].set(Behaviour(black_hole=True))
        async with connection(port) as (_, writer):
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await cluster.nodes[0].stats()
    assert running(pids) == []
    assert not directory.exists()
    free = ReservedPort("127.0.0.1", cluster.nodes[0].ip)
    free.close()
    await cluster.aclose()
    with pytest.raises(SandboxError, match="starts once"):
        await cluster.start()


async def test_cancelled_closing_leaves_nothing():
    """A cancelled `aclose` ends at once, and everything with it."""
    cluster = LocalFlashback(1)
    await cluster.start()
    pids = processes(cluster)
    os.kill(pids[0], signal.SIGSTOP)  # this one will not end by itself
    closing = asyncio.ensure_future(cluster.aclose())
    await asyncio.sleep(0.05)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert running(pids) == []


async def test_a_process_that_does_not_end_is_killed(monkeypatch):
    """Closing waits a moment for processes and kills those that stay."""
    monkeypatch.setattr("flashback_async.sandbox.resources._GRACE", 0.1)
    async with LocalFlashback(1) as cluster:
        pids = processes(cluster)
        os.kill(pids[0], signal.SIGSTOP)
    assert running(pids) == []


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3])
async def test_cancelled_start_leaves_nothing(delay):
    """Whenever a start is cancelled, its processes and files are gone afterwards."""
    cluster = LocalFlashback(2)
    starting = asyncio.ensure_future(cluster.start())
    await asyncio.sleep(delay)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    if cluster._resources is not None:
        assert running([pid for pid in processes(cluster) if pid]) == []
        assert not cluster._resources.directory.exists()


async def test_a_failing_process_shows_its_log(monkeypatch):
    """When a process does not start, the error names it and shows what it said; the others are gone."""

    async def wrong(_):
        return {"program": "/nowhere/rclone"}

    monkeypatch.setattr("flashback_async.sandbox.cluster.store_config_of", wrong)
    cluster = LocalFlashback(1, store="rclone")
    with pytest.raises(SandboxError, match=r"(?s)store ended at its start; its log says:.*/nowhere/rclone"):
        await cluster.start()
    assert running(processes(cluster)) == []
    assert not cluster._resources.directory.exists()


async def test_a_process_that_is_never_ready_is_an_error(monkeypatch, tmp_path):
    """A process that hangs at its start is killed and named."""
    monkeypatch.setattr("flashback_async.sandbox.child._START_TIMEOUT", 0.001)
    resources = Resources()
    try:
        resources.child("slow", "gateway", {"admin_token": "x"})
        with pytest.raises(SandboxError, match="slow was not ready in time"):
            await resources.start()
    finally:
        resources.discard()


async def test_a_cluster_that_was_not_started_says_so():
    """Everything that needs a running cluster names the remedy; closing does nothing."""
    cluster = LocalFlashback(1)
    for use in (lambda: cluster.nodes, lambda: cluster.control_plane, cluster.environment):
        with pytest.raises(SandboxError, match="was not started"):
            use()
    await cluster.aclose()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_their_parent(end):
    """When the parent dies abruptly, its processes notice and end by themselves."""
    script = """
import asyncio, json, time
from flashback_async.sandbox import LocalFlashback
async def main():
    cluster = LocalFlashback(1, store="rclone")
    await cluster.start()
    print(json.dumps([child.pid for child in cluster._resources._children]), flush=True)
    print(cluster._resources.directory, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        pids = json.loads(parent.stdout.readline())
        directory = Path(parent.stdout.readline().strip())
        groups = [pid for pid in _all_processes() if _group_of(pid) in pids]
        assert len(groups) == 4  # rclone included
        parent.send_signal(end)
        parent.wait(10)
        deadline = time.monotonic() + 10
        while running(groups):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    _remove(directory)


def _all_processes():
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _group_of(pid):
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None  # Ended since it was listed; other tests start and end processes, too.


def _remove(directory):
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    directory.rmdir()


async def test_the_admin_channel_wants_its_token(flashback_cluster):
    """Without the cluster's token nothing is done; unknown calls are refused."""
    child = flashback_cluster.nodes[0]._child
    with pytest.raises(SandboxError, match="wrong admin token"):
        await admin.call(child._admin_port, "stats", {}, token="guess")
    with pytest.raises(SandboxError, match="'fly' failed: KeyError"):
        await child.call("fly")
    with pytest.raises(SandboxError, match=r"'behave' failed: .*latency=-1"):
        await child.call("behave", behaviour={"latency": -1})


async def test_the_admin_channel_in_this_loop():
    """A call's value comes back, its error as text, and a caller that leaves harms nobody."""

    async def double(number):
        return number * 2

    server, port = await admin.serve({"double": double}, token="t")
    async with server:
        assert await admin.call(port, "double", {"number": 4}, token="t") == 8
        with pytest.raises(SandboxError, match="'double' failed: TypeError"):
            await admin.call(port, "double", {"number": None}, token="t")
        async with connection(port) as (_, writer):
            writer.write(b"half a li")
            await writer.drain()
        assert await admin.call(port, "double", {"number": "a"}, token="t") == "aa"


async def test_a_call_to_a_process_that_dies_is_an_error():
    """A process that ends before it has answered is no silent success."""

    async def hang_up(reader, writer):
        await reader.readline()
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        with pytest.raises(ConnectionResetError, match="ended during 'stats'"):
            await admin.call(server.sockets[0].getsockname()[1], "stats", {}, token="x")


def test_ports_that_cannot_be_had_are_an_error():
    """An address of another machine is refused with the reason."""
    with pytest.raises(SandboxError, match=r"no port is free on all of 127\.0\.0\.1, 192\.0\.2\.1"):
        ReservedPort("127.0.0.1", "192.0.2.1")
