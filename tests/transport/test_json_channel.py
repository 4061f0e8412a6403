"""One exchange with a host that may be slow, broken or hostile. Real sockets."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import zlib

import pytest
import trustme
from aiohttp import web

from flashback_async.errors import ClientClosedError, ConfigurationError, DiscoveryError
from flashback_async.transport.json_channel import MAX_ANSWER, JsonChannel, UnansweredError

from .local_server import serving


async def _exchange(handler, *, timeout=30.0, **request):
    async with serving(handler) as base_url:
        channel = JsonChannel(base_url)
        try:
            return await channel.exchange("GET", "/thing", timeout=timeout, **request)
        finally:
            await channel.aclose()


def _answering(body, status=200, **headers):
    async def handler(request):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=names)

    return handler


async def test_request_carries_what_it_should():
    """Path, query, bearer and body arrive as given."""
    seen = {}

    async def handler(request):
        seen.update(
            line=f"{request.method} {request.raw_path}",
            auth=request.headers.get("Authorization"),
            accept=request.headers["Accept"],
            body=await request.json(),
        )
        return web.json_response({"ok": 1})

    answer = await _exchange(handler, query={"a": "1,2"}, bearer="tok", body={"k": "v"})
    assert answer.payload == {"ok": 1}
    assert seen == {
        "line": "GET /thing?a=1,2",
        "auth": "Bearer tok",
        "accept": "application/json",
        "body": {"k": "v"},
    }


async def test_redirects_are_not_followed():
    """The token never goes where a redirect points; the answer says where that was."""
    visited = []

    async def elsewhere(request):
        visited.append(request.path)
        return web.json_response([])

    async with serving(elsewhere) as other:
        answer = await _exchange(_answering(b"", 302, Location=f"{other}/node"), bearer="tok")
    assert (answer.status, answer.location, visited) == (302, "127.0.0.1", [])


async def test_cookies_are_not_kept():
    """What one answer sets, no later request carries."""
    seen = []

    async def handler(request):
        seen.append(request.headers.get("Cookie"))
        return web.json_response([], headers={"Set-Cookie": "session=1"})

    async with serving(handler) as base_url:
        channel = JsonChannel(base_url)
        for _ in range(2):
            await channel.exchange("GET", "/", timeout=30.0)
        await channel.aclose()
    assert seen == [None, None]


async def test_gzip_is_read():
    """A compressed answer is read like any other, whatever the content type."""
    body = gzip.compress(b'{"data": [1, 2]}', mtime=0)
    answer = await _exchange(_answering(body, Content_Encoding="gzip", Content_Type="text/plain"))
    assert answer.payload == {"data": [1, 2]}


async def test_an_answer_of_the_limit_is_read_and_one_byte_more_is_not():
    """The limit is exact, compressed or not."""
    fits = b"[" + b" " * (MAX_ANSWER - 2) + b"]"
    for encode, headers in ((bytes, {}), (gzip.compress, {"Content_Encoding": "gzip"})):
        assert (await _exchange(_answering(encode(fits), **headers))).payload == []
        with pytest.raises(DiscoveryError, match=r"more than 8 MiB.*FB_BASE_URL"):
            await _exchange(_answering(encode(fits + b" "), **headers))


async def test_an_endless_answer_is_given_up():
    """Without a length, the bytes are counted while they come, and the connection is dropped."""
    sent = 0

    async def handler(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)
            sent += 65536

    with pytest.raises(DiscoveryError, match="more than 8 MiB"):
        await _exchange(handler)
    assert sent < 3 * MAX_ANSWER


async def test_a_gzip_bomb_is_given_up():
    """Few bytes that inflate to many are inflated to the limit only."""
    inflated = 1 << 28
    bomb = zlib.compressobj(6, wbits=31)
    chunk = bytes(1 << 24)
    body = b"".join(bomb.compress(chunk) for _ in range(inflated >> 24)) + bomb.flush()
    assert len(body) < MAX_ANSWER
    with pytest.raises(DiscoveryError, match="more than 8 MiB"):
        await _exchange(_answering(body, Content_Encoding="gzip"))


@pytest.mark.parametrize(
    ("body", "headers", "error", "message"),
    [
        (b"no gzip at all", {"Content_Encoding": "gzip"}, UnansweredError, "damaged gzip"),
        (
            gzip.compress(b"[1]", mtime=0)[:-3],
            {"Content_Encoding": "x-gzip"},
            UnansweredError,
            "ends too soon",
        ),
        (b"", {"Content_Encoding": "br"}, DiscoveryError, "encoding 'br' that nobody asked for"),
    ],
)
async def test_odd_encodings_are_typed(body, headers, error, message):
    """Damaged or unknown encodings raise what they are."""
    with pytest.raises(error, match=message):
        await _exchange(_answering(body, **headers))


async def test_silence_ends_in_time():
    """A server that never answers, or never ends its answer, costs the timeout and no more."""

    async def silent(request):
        await asyncio.sleep(30)

    async def trickling(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    for handler in (silent, trickling):
        with pytest.raises(UnansweredError, match=r"in time \(0\.1 s\); check the network"):
            await _exchange(handler, timeout=0.1)


async def test_lost_connections_are_typed():
    """Refused, reset and cut off: all are worth another try, all name the control plane."""

    async def reset(request):
        request.transport.abort()

    async def cut(request):
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"[")
        request.transport.abort()

    for handler in (reset, cut):
        with pytest.raises(UnansweredError, match=r"GET /thing: no whole answer from http://127\.0\.0\.1:"):
            await _exchange(handler)
    async with serving(reset) as gone:
        pass
    channel = JsonChannel(gone)
    with pytest.raises(UnansweredError, match="no whole answer"):
        await channel.exchange("GET", "/", timeout=30.0)
    await channel.aclose()


async def test_only_trusted_certificates_are_spoken_to(tmp_path):
    """An unknown authority is refused with the setting that helps; from a file or a context it is trusted."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    ours = ssl.create_default_context(cafile=str(ca_file))
    requests = []

    async def handler(request):
        requests.append(request.path)
        return web.json_response([1])

    async with serving(handler, ssl_context=server) as base_url:
        for options in ({"ca_file": ca_file}, {"ssl_context": ours}):
            channel = JsonChannel(base_url, **options)
            assert (await channel.exchange("GET", "/trusted", timeout=30.0)).payload == [1]
            await channel.aclose()
        stranger = JsonChannel(base_url)
        with pytest.raises(
            DiscoveryError, match=r"certificate of https://.* is not trusted.*FB_CA_FILE"
        ) as caught:
            await stranger.exchange("GET", "/secret", timeout=30.0, bearer="tok")
        await stranger.aclose()
    assert not isinstance(caught.value, UnansweredError)
    assert requests == ["/trusted", "/trusted"]


async def test_cancellation_is_not_swallowed():
    """A cancelled exchange ends at once, as cancelled."""

    async def silent(request):
        await asyncio.sleep(30)

    task = asyncio.create_task(_exchange(silent))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_closed_is_closed():
    """After closing, and from another loop, the error says what to do."""
    channel = JsonChannel("http://127.0.0.1:9")
    with pytest.raises(UnansweredError):
        await channel.exchange("GET", "/", timeout=30.0)

    def elsewhere():
        with pytest.raises(ClientClosedError, match="one per loop"):
            asyncio.run(channel.exchange("GET", "/", timeout=30.0))

    await asyncio.to_thread(elsewhere)
    await channel.aclose()
    await channel.aclose()
    with pytest.raises(ClientClosedError, match="make a new one"):
        await channel.exchange("GET", "/", timeout=30.0)


def test_arguments_that_cannot_work_are_refused(tmp_path):
    """A URL that would send tokens in the clear, and files without certificates, are named."""
    with pytest.raises(ConfigurationError, match="base_url"):
        JsonChannel("http://backend.flashback.tech")
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    for ca_file in (junk, tmp_path / "nothing.pem"):
        with pytest.raises(ConfigurationError, match=r"ca_file.*holds no certificates"):
            JsonChannel("https://backend.flashback.tech", ca_file=ca_file)
