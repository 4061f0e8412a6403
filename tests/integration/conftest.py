"""Running clusters, clients that are watched, and a check that nothing is left behind by any test."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from flashback_async import FlashbackClient
from flashback_async.sandbox.fixtures import flashback_cluster_factory  # noqa: F401  # a fixture
from flashback_async.transport.s3_pool import S3Pool

from .watching import RecordingRouter, open_connections, settled

DISTANCE = 0.02


def pytest_generate_tests(metafunc):
    """Every promise is kept on both lanes; `nox -s full` runs all tests on both, every run those of the modules
    that say `BOTH_LANES = True`: whatever is peculiar to a lane shows there. `LANES_OF_TESTS` names the lanes of
    a module that tests no other.
    """
    fast = (
        "fast"
        if getattr(metafunc.module, "BOTH_LANES", False)
        else pytest.param("fast", marks=pytest.mark.full)
    )
    lanes = getattr(metafunc.module, "LANES_OF_TESTS", ("aioboto3", fast))
    metafunc.parametrize("lane", lanes, indirect=True)


@pytest.fixture(autouse=True)
def lane(request, hermetic_environment, monkeypatch):
    """How objects move in this test, unless it has settings of its own."""
    monkeypatch.setenv("FB_LANE", request.param)
    return request.param


@pytest.fixture
def figures(request):
    """A function that puts a line of figures under the test's name into the summary."""
    return lambda text: request.node.user_properties.append(("figures", f"{request.node.name}: {text}"))


@pytest.fixture(params=["moto", "rclone"])
def cluster(request, flashback_cluster_factory):  # noqa: F811
    """Four equally near nodes, on each of the stores in turn; healthy and empty."""
    return flashback_cluster_factory(nodes=4, latency=DISTANCE, store=request.param)


@pytest.fixture
def moto_cluster(flashback_cluster_factory):  # noqa: F811
    """Four equally near nodes on moto, healthy and empty."""
    return flashback_cluster_factory(nodes=4, latency=DISTANCE, store="moto")


@pytest.fixture
def rclone_cluster(flashback_cluster_factory):  # noqa: F811
    """Four equally near nodes on rclone, which verifies signatures; healthy and empty."""
    return flashback_cluster_factory(nodes=4, latency=DISTANCE, store="rclone")


@pytest.fixture
def spread(flashback_cluster_factory):  # noqa: F811
    """Four nodes on moto at different distances, 2 to 60 ms; healthy and empty."""
    return flashback_cluster_factory(nodes=4, store="moto")


@pytest.fixture
def tls_cluster(flashback_cluster_factory):  # noqa: F811
    """Two nodes that speak https, on rclone; healthy and empty."""
    return flashback_cluster_factory(nodes=2, latency=0.0, store="rclone", tls=True)


@pytest.fixture
def watched(monkeypatch):
    """The router of every client that started in this test, to be looked at when it is over."""
    routers = []
    start = FlashbackClient.start

    async def watched_start(self):
        if self.router not in routers:
            routers.append(self.router)
        await start(self)

    monkeypatch.setattr(FlashbackClient, "start", watched_start)
    return routers


@pytest.fixture
def pools(monkeypatch):
    """Every pool of this test, to be looked at when it is over."""
    made = []
    build = S3Pool.__init__

    def watched_build(self, *arguments, **options):
        build(self, *arguments, **options)
        made.append(self)

    monkeypatch.setattr(S3Pool, "__init__", watched_build)
    return made


@pytest.fixture(autouse=True)
async def nothing_left(watched, pools):
    """After every test: no attempt in flight, no body being read, no lease, no task, no connection, no thread
    of a client.
    """
    before = asyncio.all_tasks()
    connections = open_connections()
    yield
    assert [pool.leases for pool in pools if pool.leases] == []
    assert await settled(lambda: [task for task in asyncio.all_tasks() if task not in before]) == []
    now = asyncio.get_running_loop().time()
    for router in watched:
        snapshot = router.snapshot(now=now)
        assert (snapshot.in_flight, snapshot.streaming) == (0, 0)
        assert all(row.in_flight == row.streaming == 0 for row in snapshot.endpoints)
    assert await settled(client_threads) == []
    assert await settled(lambda: sorted(open_connections() - connections)) == []


def client_threads():
    """Names of the threads that clients started."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("flashback")]


@pytest.fixture
def running():
    """`async with running(settings) as fb`: a client with a recording router, which must end at rest."""

    @asynccontextmanager
    async def run(settings, **options):
        router = options.pop("router", None) or RecordingRouter.seeded(1)
        async with FlashbackClient(settings, router=router, **options) as client:
            yield client
            stats = client.stats()
            assert (stats.leases, stats.in_flight) == (0, 0)

    return run
