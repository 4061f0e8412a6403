"""The real pool and clients keep the promises of the seam, against two stores, plain and over TLS."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from contract.seam import CONNECTIONS, SeamContract

from flashback_async.routing import Endpoint
from flashback_async.transport.s3_pool import S3Pool

BOTH_LANES = True


class Real(SeamContract):
    """aioboto3's clients through one node of a cluster."""

    store: str
    tls = False

    @pytest.fixture
    def cluster(self, flashback_cluster_factory):
        distance = {} if self.tls else {"latency": 0.02}
        return flashback_cluster_factory(
            nodes=2 if self.tls else 4, store=self.store, tls=self.tls, **distance
        )

    @pytest.fixture
    def endpoint(self, cluster):
        node = cluster.nodes[0]
        return Endpoint(id=node.ip, url=node.url)

    @pytest.fixture
    async def leases(self, cluster, endpoint):
        settings = cluster.settings(max_connections=CONNECTIONS)
        tls = ssl.create_default_context(cafile=settings.ca_file) if self.tls else None
        pool = S3Pool(settings, tls=tls, clock=asyncio.get_running_loop().time)
        await pool.open()
        pool.track([endpoint])
        await pool.ready()
        yield pool
        assert pool.leases == 0
        await pool.close()

    @pytest.fixture
    def tells_every_slice(self, lane):
        return lane != "fast"

    @pytest.fixture
    def bucket(self):
        return "demo"


class TestMoto(Real):
    """S3's own dialect, as moto speaks it."""

    store = "moto"
    knows_what_is_gone = False


class TestRclone(Real):
    """A real server that verifies signatures, and answers ranges with 200."""

    store = "rclone"
    partial_status = 200
    honours_if_match = False
    slashes_are_plain = False


@pytest.mark.full
class TestRcloneOverTls(TestRclone):
    """The same with unsigned payloads."""

    tls = True
