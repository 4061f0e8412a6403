"""The in-memory endpoints keep the promises of the seam, so that tests on them mean something."""

from __future__ import annotations

import pytest

from flashback_async.testing import Dialect, MemoryEndpoints

from .seam import CONNECTIONS, SeamContract


class TestMemoryEndpoints(SeamContract):
    """S3's own dialect."""

    dialect = Dialect()

    @pytest.fixture
    def endpoints(self):
        endpoints = MemoryEndpoints.of("a")
        endpoints["a"].dialect = self.dialect
        yield endpoints
        assert (endpoints.leases, endpoints.open_bodies) == (0, 0)

    @pytest.fixture
    def leases(self, endpoints):
        return endpoints.pool(connections=CONNECTIONS)

    @pytest.fixture
    def endpoint(self, endpoints):
        return endpoints["a"].endpoint

    @pytest.fixture
    def bucket(self):
        return "bucket"


class TestMemoryEndpointsLikeRclone(TestMemoryEndpoints):
    """A gateway that answers ranges with 200 and ignores If-Match."""

    dialect = Dialect(partial_status=200, if_match=False)
    partial_status = 200
    honours_if_match = False
