"""Endpoints for clients of one's own: picked, lent, and told about, on the real client."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from virtual_time import scenario

from flashback_async.errors import (
    ClientClosedError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointConnectError,
    EndpointTimeoutError,
    PoolTimeoutError,
    ThrottledError,
)
from flashback_async.routing import Outcome, Router
from flashback_async.testing import MemoryEndpoints

from .scenes import READ, WRITE, now


def client(*ids: str, **settings):
    return MemoryEndpoints.of(*ids).client(router=Router(random=lambda: 0.5), **settings)


def view(fb, name):
    return next(node for node in fb.nodes() if node.id == name)


@scenario
async def test_picking_takes_nothing():
    """`pick_endpoint` names the best endpoint and changes nothing, for reads and writes."""
    async with client("a", "b") as fb:
        fb.report_success("a", first_byte=0.2)
        fb.report_success("b", first_byte=0.01)
        for kind in (READ, WRITE):
            assert (await fb.pick_endpoint("bucket", kind=kind)).id in {"a", "b"}
        assert (await fb.pick_endpoint("bucket")).id == "b"
        assert (await fb.bucket("bucket").pick_endpoint()).id == "b"
        assert all(node.in_flight == node.streaming == 0 for node in fb.nodes())
        with pytest.raises(ConfigurationError, match="bucket name"):
            await fb.pick_endpoint("not a bucket")


@scenario
async def test_a_lent_endpoint_is_an_attempt():
    """Inside the block the permit is held; the end of the block settles it; what was tried is left out."""
    async with client("a", "b") as fb:
        async with fb.lease_endpoint("bucket") as lease:
            name = lease.endpoint.id
            assert view(fb, name).in_flight == 1
            async with fb.lease_endpoint(tried=[lease.endpoint]) as other:
                assert other.endpoint.id != name
            async with fb.bucket("bucket").lease_endpoint(tried=[name]) as other:
                assert other.endpoint.id != name
        assert all(node.in_flight == 0 for node in fb.nodes())
        assert view(fb, name).requests == 1


@scenario
async def test_a_lent_endpoint_is_waited_for_as_long_as_told():
    """At the rate limit the wait is the pool's patience, or what the caller says."""
    async with client("a", pool_timeout=0.5) as fb:
        async with fb.lease_endpoint() as lease:
            lease.outcome = Outcome.THROTTLED
        with pytest.raises(ThrottledError):
            await fb.lease_endpoint().__aenter__()
        assert now() == 0.0
        async with fb.lease_endpoint(timeout=10):
            assert 0.5 < now() < 10.0


FOREIGN = [
    (None, True),
    (TimeoutError(), True),
    (ConnectionResetError(), True),
    (ReadTimeoutError(endpoint_url="https://a"), True),
    (aiohttp.ServerDisconnectedError(), True),
    (EndpointConnectError("x"), True),
    (EndpointTimeoutError("x"), True),
    (ClientError({"Error": {"Code": "503"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "GetObject"), True),
    (
        ClientError(
            {"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "GetObject"
        ),
        False,
    ),
    (PoolTimeoutError("x"), False),
    (DeadlineExceededError("x"), False),
    (KeyError("x"), False),
    (asyncio.CancelledError(), False),
]


@pytest.mark.parametrize(("error", "blamed"), FOREIGN, ids=repr)
def test_failures_are_classified(error, blamed):
    """What a caller reports counts as what it is: a fault, or nothing against the endpoint."""

    @scenario
    async def play():
        async with client("a", "b") as fb:
            for _ in range(5):
                fb.report_failure("a", error)
            assert view(fb, "a").breaker == ("open" if blamed else "closed")
            assert view(fb, "b").breaker == "closed"

    play()


@scenario
async def test_reports_take_endpoints_and_ids():
    """An endpoint may be named by its id or given as it was picked; an unknown one is ignored."""
    async with client("a") as fb:
        fb.report_success(await fb.pick_endpoint(), first_byte=0.25)
        assert view(fb, "a").latency == pytest.approx(0.25)
        fb.report_failure(await fb.pick_endpoint())
        fb.report_failure("unknown")
        fb.report_success("unknown")


@scenario
async def test_a_client_that_does_not_run_lends_nothing():
    """Before the start and after the end every one of these verbs says that the client does not run."""
    fb = client("a")
    with pytest.raises(ClientClosedError):
        await fb.pick_endpoint()
    async with fb:
        pass
    for call in (fb.lease_endpoint, lambda: fb.report_failure("a"), lambda: fb.report_success("a")):
        with pytest.raises(ClientClosedError):
            call()
