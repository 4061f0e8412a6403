"""An aiohttp service over Flashback: uploads, and downloads that survive the death of a node.

Set FB_KEY_ID, FB_KEY_SECRET and FB_REFRESH_TOKEN, run `python aiohttp_app.py`, get localhost:8080/bucket/key.
"""

from collections.abc import AsyncIterator
from tempfile import TemporaryFile

from aiohttp import web

from flashback_async import FlashbackClient, ObjectNotFoundError

FLASHBACK = web.AppKey("FLASHBACK", FlashbackClient)


async def flashback(app: web.Application) -> AsyncIterator[None]:
    async with FlashbackClient() as client:  # one client for the whole life of the process
        app[FLASHBACK] = client
        yield


async def download(request: web.Request) -> web.StreamResponse:
    bucket, key = request.match_info["bucket"], request.match_info["key"]
    try:
        async with request.app[FLASHBACK].stream_object(bucket, key) as body:  # left however this ends
            headers = {"Content-Length": str(body.length)}
            headers["Content-Type"] = body.info.content_type or "application/octet-stream"
            if body.info.etag is not None:
                headers["ETag"] = body.info.etag
            response = web.StreamResponse(headers=headers)
            await response.prepare(request)
            async for chunk in body:
                await response.write(chunk)
            return response
    except ObjectNotFoundError as error:
        raise web.HTTPNotFound(text=str(error)) from error


async def upload(request: web.Request) -> web.Response:
    bucket, key = request.match_info["bucket"], request.match_info["key"]
    with TemporaryFile() as file:  # unlike the request, it can be sent again if the first node fails
        async for chunk in request.content.iter_any():
            file.write(chunk)
        file.seek(0)
        kind = request.headers.get("Content-Type")
        info = await request.app[FLASHBACK].put_object(bucket, key, file, content_type=kind)
    return web.json_response({"etag": info.etag, "size": info.size}, status=201)


def make_app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(flashback)
    app.router.add_get("/{bucket}/{key:.+}", download, allow_head=False)
    app.router.add_put("/{bucket}/{key:.+}", upload)
    return app


if __name__ == "__main__":
    web.run_app(make_app())
