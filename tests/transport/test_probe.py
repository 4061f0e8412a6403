"""Round trips to idle endpoints: what is measured, when, and how little it costs."""

from __future__ import annotations

import asyncio
import re
import ssl

import aiohttp
import pytest
import trustme
import virtual_time
from aiohttp import web
from aioresponses import CallbackResult, aioresponses

from flashback_async.routing import Endpoint, EndpointReport, Router
from flashback_async.transport.probe import CONCURRENCY, Prober

from .local_server import serving

ANY = re.compile(r"https://.*")


def _endpoint(name="a"):
    return Endpoint(id=name, url=f"https://{name}.flashback.tech")


class Table:
    """Stands in for the router."""

    def __init__(self):
        self.recorded = []

    def record_probe(self, endpoint_id, rtt, *, now):
        self.recorded.append((endpoint_id, rtt if rtt is None else round(rtt, 6), round(now, 6)))

    def rtts(self):
        return [rtt for _, rtt, _ in self.recorded]


class Nodes:
    """Answers /health after the next scripted delay (the last one for ever); an exception is raised."""

    def __init__(self, *delays, status=200):
        self.delays = list(delays)
        self.status = status
        self.asked = []
        self.now = self.most = 0

    async def answer(self, url, **request):
        assert url.path == "/health"
        assert request["allow_redirects"] is False
        assert "Authorization" not in (request.get("headers") or {})
        self.asked.append((url.host.partition(".")[0], round(asyncio.get_running_loop().time(), 3)))
        delay = self.delays.pop(0) if len(self.delays) > 1 else self.delays[0]
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if isinstance(delay, Exception):
                raise delay
            await asyncio.sleep(delay)
        finally:
            self.now -= 1
        return CallbackResult(status=self.status)


def _scene(nodes, idle, *, random=0.0, table=None):
    """A prober whose idle endpoints are whatever `idle()` says; use as a context manager."""
    return _Scene(nodes, idle, random, table if table is not None else Table())


class _Scene:
    def __init__(self, nodes, idle, random, table):
        self.mocked = aioresponses()
        self.nodes = nodes
        self.table = table
        self.prober = Prober(table, idle, clock=asyncio.get_running_loop().time, random=lambda: random)

    async def __aenter__(self):
        self.mocked.start()
        self.mocked.get(ANY, callback=self.nodes.answer, repeat=True)
        return self.prober, self.table

    async def __aexit__(self, *_):
        await self.prober.aclose()
        self.mocked.stop()


class TestRounds:
    """When probes are sent. Virtual time."""

    @virtual_time.scenario
    async def test_the_first_round_is_at_once_and_then_every_ten_seconds(self):
        """Every idle endpoint is probed right after the start, and at most every 10 s from then on."""
        nodes = Nodes(0.02)
        async with _scene(nodes, lambda: [_endpoint("a"), _endpoint("b")]) as (prober, table):
            prober.start()
            prober.start()
            await asyncio.sleep(25.0)
        assert nodes.asked == [
            ("a", 0.0), ("b", 0.0), ("a", 10.03), ("b", 10.03), ("a", 20.06), ("b", 20.06),
        ]  # fmt: skip
        assert table.recorded[:2] == [("a", 0.02, 0.02), ("b", 0.02, 0.02)]

    @virtual_time.scenario
    async def test_rounds_are_stretched_by_a_tenth(self):
        """Processes started together drift apart, and nobody is asked more often than every 10 s."""
        nodes = Nodes(0.0)
        async with _scene(nodes, lambda: [_endpoint()], random=0.999) as (prober, _):
            prober.start()
            await asyncio.sleep(12.0)
        assert [at for _, at in nodes.asked] == [0.0, 11.009]

    @virtual_time.scenario
    async def test_only_idle_endpoints_are_probed(self):
        """Who is idle is asked anew for every round."""
        idle = [_endpoint("a")]
        nodes = Nodes(0.0)
        async with _scene(nodes, lambda: idle) as (prober, _):
            prober.start()
            await asyncio.sleep(5.0)
            idle[:] = [_endpoint("b")]
            await asyncio.sleep(10.0)
        assert [name for name, _ in nodes.asked] == ["a", "b"]

    @virtual_time.scenario
    async def test_waking_probes_newcomers_only(self):
        """A new endpoint does not wait for the next round; the others are not asked sooner for it."""
        idle = [_endpoint("a")]
        nodes = Nodes(0.0)
        async with _scene(nodes, lambda: idle) as (prober, _):
            prober.wake()
            prober.start()
            await asyncio.sleep(4.0)
            idle.append(_endpoint("b"))
            prober.wake()
            await asyncio.sleep(5.0)
            assert nodes.asked == [("a", 0.0), ("b", 4.0)]
            await asyncio.sleep(6.0)
            assert nodes.asked[2:] == [("a", 14.01), ("b", 14.01)]

    @virtual_time.scenario
    async def test_few_probes_at_once(self):
        """However many endpoints there are, eight are probed at a time."""
        nodes = Nodes(0.1)
        endpoints = [_endpoint(f"n{number}") for number in range(3 * CONCURRENCY)]
        async with _scene(nodes, lambda: endpoints) as (prober, table):
            await prober.probe(endpoints)
        assert nodes.most == CONCURRENCY
        assert len(table.recorded) == len(endpoints)
        assert asyncio.get_running_loop().time() == 0.3
        assert set(table.rtts()) == {0.1}

    @virtual_time.scenario
    async def test_the_least_of_ten_counts(self):
        """Noise only adds time: the minimum of the last ten probes is the figure."""
        delays = [0.05, 0.04, *[0.06] * 9, 0.06, 0.07]
        nodes = Nodes(*delays)
        async with _scene(nodes, list) as (prober, table):
            for _ in delays:
                await prober.probe([_endpoint()])
                await asyncio.sleep(10.0)
        assert table.rtts() == [0.05, *[0.04] * 10, 0.06, 0.06]

    @virtual_time.scenario
    async def test_a_failure_is_none_and_forgets(self):
        """No answer within 5 s, no connection: None, and what was measured before does not come back."""
        nodes = Nodes(0.01, 60.0, 0.03, aiohttp.ClientConnectionError(), OSError(), 0.05)
        async with _scene(nodes, list) as (prober, table):
            for _ in range(6):
                await prober.probe([_endpoint()])
                await asyncio.sleep(10.0)
        assert table.rtts() == [0.01, None, 0.03, None, None, 0.05]
        assert table.recorded[1][2] - table.recorded[0][2] == pytest.approx(15.0)

    @pytest.mark.parametrize("status", [204, 302, 401, 403, 404, 429, 500, 503])
    def test_any_answer_is_alive(self, status):
        """A node that answers anything at all has a round trip."""

        async def scenario():
            async with _scene(Nodes(0.02, status=status), list) as (prober, table):
                await prober.probe([_endpoint()])
            return table.rtts()

        assert virtual_time.run(scenario()) == [0.02]

    @virtual_time.scenario
    async def test_history_follows_the_url_and_ends(self):
        """A node that moved starts anew; what was measured long ago does not count."""
        nodes = Nodes(0.01, 0.05, 0.06)
        async with _scene(nodes, list) as (prober, table):
            await prober.probe([_endpoint()])
            await prober.probe([Endpoint(id="a", url="https://elsewhere.flashback.tech")])
            await asyncio.sleep(100.0)
            await prober.probe([])
            await prober.probe([_endpoint()])
        assert table.rtts() == [0.01, 0.05, 0.06]

    @virtual_time.scenario
    async def test_a_crash_is_survived(self, caplog):
        """A bug in what says who is idle, or in the router, is logged, and probing goes on."""
        calls = []

        def idle():
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("bug")
            return [_endpoint()]

        nodes = Nodes(0.0)
        async with _scene(nodes, idle) as (prober, table):
            prober.start()
            await asyncio.sleep(40.0)
        assert len(table.recorded) >= 3
        assert [record.getMessage() for record in caplog.records] == [
            "flashback: probes crashed and will be restarted"
        ]

    @virtual_time.scenario
    async def test_closing_ends_probes_under_way(self):
        """Nothing is left running or open; closing twice is fine, and so is closing what never started."""
        nodes = Nodes(3.0)
        async with _scene(nodes, lambda: [_endpoint()]) as (prober, table):
            await prober.aclose()
            prober.start()
            await asyncio.sleep(1.0)
            await asyncio.gather(prober.aclose(), prober.aclose())
            prober.wake()
            assert asyncio.all_tasks() == {asyncio.current_task()}
        assert (nodes.now, table.recorded) == (0, [])


class Clock:
    """Stands still unless a server says how long something took: exact figures over real sockets."""

    now = 0.0

    def __call__(self):
        return self.now


class TestMeasurement:
    """What is measured. Real sockets, a clock of our own."""

    @staticmethod
    async def _probe(base_url, *, clock=None, rounds=1, ssl_context=None):
        clock = clock or Clock()
        table = Table()
        prober = Prober(table, list, clock=clock, random=lambda: 0.0, ssl_context=ssl_context)
        for _ in range(rounds):
            await prober.probe([Endpoint(id="a", url=base_url)])
            clock.now += 10.0
        await prober.aclose()
        return table.rtts()

    async def test_the_second_request_on_a_new_connection_is_timed(self):
        """The first answer on a new connection does not count; later probes find it warm, and ask once."""
        clock = Clock()
        connections = []

        async def handler(request):
            connections.append(request.transport.get_extra_info("peername"))
            assert request.path == "/health"
            clock.now += 3.0 if len(connections) == 1 else 0.02
            return web.Response(body=b"ok")

        async with serving(handler) as base_url:
            rtts = await self._probe(base_url, clock=clock, rounds=3)
        assert (len(connections), len(set(connections))) == (4, 1)
        assert rtts == [0.02, 0.02, 0.02]

    async def test_handshakes_are_not_part_of_the_figure(self):
        """Also where the node closes every connection: the time counts from when it is there."""
        clock = Clock()
        authority = trustme.CA()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(server)
        ours = ssl.create_default_context()
        authority.configure_trust(ours)
        handshakes = []

        def shake_hands(*_):
            handshakes.append(1)
            clock.now += 3.0

        server.sni_callback = shake_hands

        async def handler(request):
            clock.now += 0.05
            return web.Response(headers={"Connection": "close"})

        async with serving(handler, ssl_context=server) as base_url:
            rtts = await self._probe(base_url, clock=clock, ssl_context=ours)
        assert (len(handshakes), rtts) == (2, [0.05])

    async def test_untrusted_certificates_are_no_answer(self):
        """A node that cannot prove who it is gets no figure."""
        authority = trustme.CA()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(server)

        async def handler(request):
            return web.Response()

        async with serving(handler, ssl_context=server) as base_url:
            assert await self._probe(base_url) == [None]

    async def test_redirects_are_an_answer_and_not_followed(self):
        """The answer counts, the place it points to is not visited."""
        paths = []

        async def handler(request):
            paths.append(request.path)
            return web.Response(status=302, headers={"Location": "/elsewhere"})

        async with serving(handler) as base_url:
            (rtt,) = await self._probe(base_url)
        assert rtt is not None
        assert set(paths) == {"/health"}

    async def test_a_large_body_is_not_read(self):
        """The figure is taken at the headers, and an endless body costs its beginning only."""

        async def handler(request):
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(1000):
                await response.write(bytes(65536))
            return response

        async with serving(handler) as base_url:
            (rtt,) = await self._probe(base_url)
        assert rtt is not None

    async def test_nobody_there_is_no_answer(self):
        """A refused connection has no round trip."""
        assert await self._probe("http://127.0.0.1:9") == [None]


@virtual_time.scenario
async def test_the_router_takes_the_figures():
    """A probe of a real router's endpoint shows up in its snapshot; one that left is no problem."""
    router = Router(random=lambda: 0.5)
    router.apply_discovery([EndpointReport(_endpoint("a"))], now=0.0)
    async with _scene(Nodes(0.02), list, table=router) as (prober, _):
        await prober.probe([_endpoint("a"), _endpoint("left")])
    (row,) = router.snapshot(now=1.0).endpoints
    assert row.probe_rtt == pytest.approx(0.02)
