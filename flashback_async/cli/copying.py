"""Copying one object, in each of the directions there are. Every function returns a job; nothing begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.cli.streams import read_stdin, write_stdout
from flashback_async.cli.workers import Job

if TYPE_CHECKING:
    from pathlib import Path

    from flashback_async import FlashbackClient
    from flashback_async.cli.address import Remote
    from flashback_async.cli.workers import Advance


def upload(client: FlashbackClient, source: Path, target: Remote, size: int | None = None) -> Job:
    """A local file to an object. It is read as it is sent, and in parts if it is large."""

    async def work(advance: Advance) -> None:
        await client.upload_file(target.bucket, target.key, source, progress=advance)

    return Job(f"{source} -> {target}", work, size)


def download(client: FlashbackClient, source: Remote, target: Path, size: int | None = None) -> Job:
    """An object to a local file, which appears whole or not at all, and is read in pieces if it is large."""

    async def work(advance: Advance) -> None:
        await client.download_file(source.bucket, source.key, target, progress=advance, resume=False)

    return Job(f"{source} -> {target}", work, size)


def copy_within(client: FlashbackClient, source: Remote, target: Remote, size: int | None = None) -> Job:
    """An object to another one. The store does it; no byte comes here."""

    async def work(advance: Advance) -> None:
        stored = await client.copy_object(source.bucket, source.key, target.key, to_bucket=target.bucket)
        advance(stored.size)

    return Job(f"{source} -> {target}", work, size)


def upload_stdin(client: FlashbackClient, target: Remote) -> Job:
    """Standard input to an object. A put needs the length first, so all of it is read before."""

    async def work(advance: Advance) -> None:
        with await read_stdin() as source:
            stored = await client.put_object(target.bucket, target.key, source)
        advance(stored.size)

    return Job(f"- -> {target}", work)


def download_stdout(client: FlashbackClient, source: Remote) -> Job:
    """An object to standard output."""

    async def work(advance: Advance) -> None:
        async with client.stream_object(source.bucket, source.key) as body:
            async for chunk in body:
                await write_stdout(chunk)
                advance(len(chunk))

    return Job(f"{source} -> -", work)


def refused(name: str, error: Exception) -> Job:
    """What was found but cannot be copied. It fails in its turn, beside the others."""

    async def work(_: Advance) -> None:
        raise error

    return Job(name, work)
