"""A real directory tree to copy, Python's standard library and generated files, and its comparison."""

from __future__ import annotations

import os
import random
import stat
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_LEFT_OUT: Final = frozenset({"__pycache__", "dist-packages", "idlelib", "site-packages", "test", "tests"})

_SIZE_LIMIT: Final = 256 * 1024
"""Bytes: small to medium, so that the demo moves many objects rather than many bytes."""

_GENERATED: Final = (200, 40_000)
"""Bytes of a generated file, at least and at most; the standard library's median is 10 kB."""

_COMPARED: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the tree.

    Attributes:
        name: relative path, with slashes; also the object's key.
        path: where it lies.
        size: bytes.
    """

    name: str
    path: Path
    size: int


def source_tree(count: int, *, scratch: Path, seed: int) -> list[SourceFile]:
    """`count` regular files in a fixed order: of the standard library, then generated ones. Blocks.

    Args:
        count: files wanted.
        scratch: an empty directory for generated files.
        seed: of their contents, and of the choice where the library has more than enough.
    """
    chance = random.Random(seed)  # noqa: S311  # makes files, guards nothing
    found = sorted(_library(), key=lambda file: file.name)
    if len(found) > count:
        found = sorted(chance.sample(found, count), key=lambda file: file.name)
    generated = [_generated(number, scratch, chance) for number in range(count - len(found))]
    # Mixed, so that every stretch of the copy moves files of all sizes.
    files = [*found, *generated]
    chance.shuffle(files)
    return files


def differences(files: list[SourceFile], copy: Path) -> list[str]:
    """Names of what is missing, different or too much below `copy`. Blocks."""
    names = {file.name for file in files}
    extra = [
        path.relative_to(copy).as_posix()
        for path in copy.rglob("*")
        if path.is_file() and path.relative_to(copy).as_posix() not in names
    ]
    return [*(file.name for file in files if not _equal(file.path, copy / file.name)), *extra]


def _library() -> Iterator[SourceFile]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for directory, folders, names in os.walk(root):
        folders[:] = sorted(folder for folder in folders if folder not in _LEFT_OUT)
        for name in names:
            path = Path(directory, name)
            relative = path.relative_to(root).as_posix()
            found = path.lstat()
            readable = stat.S_ISREG(found.st_mode) and os.access(path, os.R_OK)
            if readable and found.st_size <= _SIZE_LIMIT and relative.isascii():
                yield SourceFile(f"stdlib/{relative}", path, found.st_size)


def _generated(number: int, scratch: Path, chance: random.Random) -> SourceFile:
    name = f"generated/{number // 100:02}/{number:04}.bin"
    path = scratch / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = chance.randbytes(chance.randint(*_GENERATED))
    path.write_bytes(data)
    return SourceFile(name, path, len(data))


def _equal(first: Path, second: Path) -> bool:
    """Whether both are files with the same bytes; nothing is taken from a cache, as `filecmp` would."""
    if not second.is_file() or first.stat().st_size != second.stat().st_size:
        return False
    with first.open("rb") as one, second.open("rb") as two:
        while piece := one.read(_COMPARED):
            if piece != two.read(_COMPARED):
                return False
        return not two.read(1)
