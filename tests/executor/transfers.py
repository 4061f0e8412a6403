"""Scenes for large objects in small: parts of a hundred bytes, and whatever counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.objects.limits import TransferLimits

from .scenes import Scene

if TYPE_CHECKING:
    from pathlib import Path

PART = 100
SMALL = TransferLimits(threshold=250, part_size=PART, concurrency=3, together=8)


def scene_of(scripts=None, **options) -> Scene:
    """A scene whose objects move in parts from 251 bytes on, three at a time."""
    options.setdefault("transfers", SMALL)
    return Scene(scripts, **options)


def names(scene: Scene) -> list[str]:
    """The operations that were asked for, in order."""
    return [request.operation for request in scene.endpoints.requests]


def asked(scene: Scene, operation: str) -> list[str]:
    """Who was asked for an operation, in order."""
    return [request.endpoint for request in scene.endpoints.requests if request.operation == operation]


def left_open(scene: Scene) -> dict[str, list[str]]:
    """Uploads that are open at each endpoint."""
    every = {row.endpoint.id: row.uploads.ids() for row in scene.endpoints}
    return {name: ids for name, ids in every.items() if ids}


def files_in(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, hidden ones included."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
