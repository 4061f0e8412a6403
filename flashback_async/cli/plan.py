"""What `cp SOURCE TARGET` means: checked before anything starts, carried out by a client later."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from flashback_async.cli import copying, selection
from flashback_async.cli.address import Remote, local_name, location
from flashback_async.cli.exits import bad_argument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from flashback_async import FlashbackClient
    from flashback_async.cli.selection import Skipped
    from flashback_async.cli.workers import Job

    Plan = Callable[[FlashbackClient], Job | AsyncIterator[Job]]
    """What a client makes of it: one job, or as many as a tree has objects."""


def plan_of(source: str, target: str, *, recursive: bool, skipped: Skipped) -> Plan:
    """Understand the two paths. Looks at the local file system; blocks for that long only.

    Args:
        source: as given.
        target: as given.
        recursive: copy a tree.
        skipped: counts what a tree has that is not copied.

    Raises:
        CommandError: they cannot be copied like that; the message says how they can.
    """
    match location(source), location(target):
        case Path() as path, Remote() as place:
            return _upload(path, place, recursive=recursive, skipped=skipped)
        case Remote() as place, Path() as path:
            into = target.endswith("/")
            return _download(place, path, into=into, recursive=recursive, skipped=skipped)
        case Remote() as place, Remote() as other:
            return _copy(place, other, recursive=recursive, skipped=skipped)
        case None, Remote() as place if not recursive:
            if place.is_folder:
                raise bad_argument(f"{target!r}: stdin has no name; write fb://bucket/key with a key")
            return lambda client: copying.upload_stdin(client, place)
        case Remote() as place, None if not recursive:
            _require_object(place)
            return lambda client: copying.download_stdout(client, place)
        case (None, _) | (_, None):
            raise bad_argument(f"{source!r} to {target!r}: - stands for one object; the other path is remote")
    raise bad_argument(f"{source!r} and {target!r} are both local; one of them must be like fb://bucket/key")


def _upload(source: Path, target: Remote, *, recursive: bool, skipped: Skipped) -> Plan:
    if source.is_dir():
        if not recursive:
            raise bad_argument(f"{str(source)!r} is a directory; copy what is in it with -r")
        return lambda client: selection.upload_tree(client, source, target, skipped)
    if not source.exists():
        raise bad_argument(f"there is no file {str(source)!r}; check the path")
    if not source.is_file():
        raise bad_argument(f"{str(source)!r} is not a regular file; pipe it in, with - as the source")
    place = target.joined(source.name) if target.is_folder else target
    return lambda client: copying.upload(client, source, place, source.stat().st_size)


def _download(source: Remote, target: Path, *, into: bool, recursive: bool, skipped: Skipped) -> Plan:
    if recursive:
        if target.exists() and not target.is_dir():
            raise bad_argument(f"{str(target)!r} is a file; give a directory for a tree")
        return lambda client: selection.download_tree(client, source, target, skipped)
    _require_object(source)
    path = target / local_name(PurePosixPath(source.key).name) if into or target.is_dir() else target
    return lambda client: copying.download(client, source, path)


def _copy(source: Remote, target: Remote, *, recursive: bool, skipped: Skipped) -> Plan:
    if recursive:
        if target.bucket == source.bucket and target.folder.key.startswith(source.folder.key):
            raise bad_argument(f"{target} lies within {source}: the copy would be part of itself")
        return lambda client: selection.copy_tree(client, source, target, skipped)
    _require_object(source)
    place = target.joined(PurePosixPath(source.key).name) if target.is_folder else target
    if place == source:
        raise bad_argument(f"{source} would be copied onto itself; give another target")
    return lambda client: copying.copy_within(client, source, place)


def _require_object(place: Remote) -> None:
    if not place.key:
        raise bad_argument(f"{place} is a bucket, its key is empty; add a key, or copy all of it with -r")
    if place.is_folder:
        raise bad_argument(f"{place} names a folder; add the object's name, or copy all of it with -r")
