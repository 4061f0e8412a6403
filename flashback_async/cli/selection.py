"""Which objects a copy is about: one, or a tree, local or remote. Trees are walked as they are needed."""

from __future__ import annotations

import asyncio
import os
import stat
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from flashback_async.cli import copying
from flashback_async.cli.address import Remote, local_name
from flashback_async.cli.exits import CommandError, ExitCode
from flashback_async.errors import ConfigurationError
from flashback_async.objects.names import checked_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from flashback_async import FlashbackClient
    from flashback_async.cli.workers import Job

# Files looked at per trip into a thread.
_BATCH = 256


class Skipped:
    """Counts what was passed over, by reason: not errors, but not copied either."""

    def __init__(self) -> None:
        self.reasons: dict[str, int] = {}

    def add(self, reason: str) -> None:
        """One more."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


async def upload_tree(
    client: FlashbackClient, source: Path, target: Remote, skipped: Skipped
) -> AsyncIterator[Job]:
    """Every regular file below `source`, to the same relative key below `target`."""
    files = _files_below(source, skipped)
    folder = target.folder
    while batch := await asyncio.to_thread(lambda: list(islice(files, _BATCH))):
        for path, size in batch:
            if isinstance(size, OSError):
                yield copying.refused(str(path), size)
                continue
            where = folder.joined(path.relative_to(source).as_posix())
            try:
                checked_key(where.key)
            except ConfigurationError as error:
                yield copying.refused(str(path), error)
                continue
            yield copying.upload(client, path, where, size)


async def download_tree(
    client: FlashbackClient, source: Remote, target: Path, skipped: Skipped
) -> AsyncIterator[Job]:
    """Every object below `source`, to the same relative path below `target`."""
    async for relative, size in _objects_below(client, source, skipped):
        name = f"{source.folder.joined(relative)} -> {target}/{relative}"
        try:
            path = target / local_name(relative)
        except CommandError as error:
            yield copying.refused(name, error)
        else:
            yield copying.download(client, source.folder.joined(relative), path, size)


async def copy_tree(
    client: FlashbackClient, source: Remote, target: Remote, skipped: Skipped
) -> AsyncIterator[Job]:
    """Every object below `source`, to the same relative key below `target`."""
    async for relative, size in _objects_below(client, source, skipped):
        where = target.folder.joined(relative)
        yield copying.copy_within(client, source.folder.joined(relative), where, size)


async def _objects_below(
    client: FlashbackClient, source: Remote, skipped: Skipped
) -> AsyncIterator[tuple[str, int]]:
    """Relative key and size of every object; what stands for a folder is none.

    Raises:
        CommandError: there is nothing at all, most likely a slip of the pen.
    """
    folder, is_empty = source.folder, True
    async for info in client.list_objects(folder.bucket, folder.key):
        is_empty = False
        relative = info.key.removeprefix(folder.key)
        if info.size == 0 and (not relative or relative.endswith("/")):
            skipped.add("folder marker")
        else:
            yield relative, info.size
    if is_empty:
        raise CommandError(
            f"there are no objects below {folder}; a single object is copied without -r", ExitCode.SOME_FAILED
        )


def _files_below(source: Path, skipped: Skipped) -> Iterator[tuple[Path, int | OSError]]:
    """Regular files with their sizes, sorted per directory; an error instead of a size where one occurs.

    Links to files count as files; links to directories are not followed, for they may lead in circles.
    """
    errors: list[OSError] = []
    for directory, folders, names in os.walk(source, onerror=errors.append):
        folders.sort()
        here = Path(directory)
        for folder in folders:
            if (here / folder).is_symlink():
                skipped.add("link to a directory")
        for name in sorted(names):
            path = here / name
            try:
                found = path.stat()
            except OSError as error:
                yield path, error
                continue
            if stat.S_ISREG(found.st_mode):
                yield path, found.st_size
            else:
                # Reading a pipe or a device would not end.
                skipped.add("not a regular file")
        yield from _unreadable(errors)
    yield from _unreadable(errors)


def _unreadable(errors: list[OSError]) -> Iterator[tuple[Path, OSError]]:
    while errors:
        problem = errors.pop()
        yield Path(problem.filename), problem
