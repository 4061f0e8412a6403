"""A FastAPI service over Flashback: uploads, and downloads that survive the death of a node.

Set FB_KEY_ID, FB_KEY_SECRET and FB_REFRESH_TOKEN, `pip install flashback-async "fastapi>=0.118" uvicorn`, run
`uvicorn fastapi_app:app`, then `curl -T cat.jpg localhost:8000/bucket/cat.jpg` and get the same URL.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from flashback_async import FlashbackClient, ObjectNotFoundError, ObjectStream


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, FlashbackClient]]:
    async with FlashbackClient() as client:  # one client for the whole life of the process
        yield {"flashback": client}


def flashback(request: Request) -> FlashbackClient:
    client: FlashbackClient = request.state.flashback
    return client


app = FastAPI(lifespan=lifespan)
Flashback = Annotated[FlashbackClient, Depends(flashback)]


async def opened(bucket: str, key: str, client: Flashback) -> AsyncIterator[ObjectStream]:
    async with client.stream_object(bucket, key) as body:
        yield body  # FastAPI comes back here when the response ends, also when the browser went away


@app.get("/{bucket}/{key:path}")
async def download(body: Annotated[ObjectStream, Depends(opened)]) -> StreamingResponse:
    headers = {"Content-Length": str(body.length)}
    headers["Content-Type"] = body.info.content_type or "application/octet-stream"
    if body.info.etag is not None:
        headers["ETag"] = body.info.etag
    return StreamingResponse(body, headers=headers)


@app.put("/{bucket}/{key:path}", status_code=201)
async def upload(bucket: str, key: str, request: Request, client: Flashback) -> dict[str, str | int | None]:
    with TemporaryFile() as file:  # unlike the request, it can be sent again if the first node fails
        async for chunk in request.stream():
            file.write(chunk)
        file.seek(0)
        info = await client.put_object(bucket, key, file, content_type=request.headers.get("content-type"))
    return {"etag": info.etag, "size": info.size}


@app.exception_handler(ObjectNotFoundError)
async def not_found(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=404)
