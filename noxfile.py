"""Everything that is checked, and nothing that only one person can run.

`nox` runs lint, types and tests; `nox --list` tells the rest. A session uses the environment that nox runs in
where that has the `dev` extra, so that nothing is installed twice, and makes one of its own elsewhere.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
IS_DEVELOPMENT = all(importlib.util.find_spec(name) for name in ("mypy", "pytest_asyncio", "moto"))
HERE = "none" if IS_DEVELOPMENT else None
# Two processes: half of the tests wait for servers while the others compute. More would disturb their timers.
SPREAD = ("-n", "2", "--dist", "loadfile")

nox.options.sessions = ["lint", "types", "tests"]
nox.options.error_on_missing_interpreters = False


def ready(session: nox.Session) -> str:
    """Install what a session needs, unless it is here already; the Python to run."""
    if session.virtualenv.venv_backend == "none":
        return sys.executable
    session.install("-e", ".[dev]")
    return "python"


@nox.session(venv_backend=HERE)
def lint(session: nox.Session) -> None:
    """Style and form."""
    python = ready(session)
    session.run(python, "-m", "ruff", "check", ".")
    session.run(python, "-m", "ruff", "format", "--check", ".")


@nox.session(venv_backend=HERE)
def types(session: nox.Session) -> None:
    """The package, the examples, and what the public interface promises to type checkers."""
    python = ready(session)
    session.run(python, "-m", "mypy")
    session.run(python, "-m", "mypy", "examples", "tests/typing/api.py")


@nox.session(venv_backend=HERE)
def tests(session: nox.Session) -> None:
    """All tests but the long ones, with coverage: 95 % overall, every branch of routing."""
    python = ready(session)
    session.run(python, "-m", "coverage", "erase")
    session.run(python, "-m", "coverage", "run", "-m", "pytest", *SPREAD, *session.posargs)
    session.run(python, "-m", "coverage", "combine", "--quiet")
    session.run(python, "-m", "coverage", "report", "--fail-under=95")
    routing = "flashback_async/routing/*"
    session.run(python, "-m", "coverage", "report", f"--include={routing}", "--fail-under=100")


@nox.session(python=PYTHONS)
def full(session: nox.Session) -> None:
    """All tests, the long ones too, on every supported Python that is found."""
    session.run(ready(session), "-m", "pytest", "-m", "full or not full", *session.posargs)


@nox.session
def newest(session: nox.Session) -> None:
    """The tests with the newest aiobotocore, which aioboto3 has not allowed yet."""
    python = ready(session)
    session.install("--upgrade", "aiobotocore[boto3]")
    session.run(python, "-m", "pytest", *session.posargs)


@nox.session(reuse_venv=True)
def bench(session: nox.Session) -> None:
    """Every benchmark, or one with options: `nox -s bench -- routing_simulation --seeds 1 2`.

    `nox -s bench -- '*' --quick` is shorter, and judges the simulation alone. In an environment of its own,
    with the clients that this package is compared to. Where nginx is missing, the benchmarks that need it say
    what to install.
    """
    session.install("-e", ".[bench]")
    python = "python"
    name, *options = session.posargs or ["*"]
    missed = []
    for script in sorted(Path("benchmarks").glob(f"{name}.py")):
        try:
            session.run(python, str(script), *options)
        except CommandFailed:
            # One that misses its bound does not keep the others from their figures.
            missed.append(script.stem)
    if missed:
        session.error(f"failed, or missed a bound: {', '.join(missed)}")


@nox.session
def package(session: nox.Session) -> None:
    """Build the distributions, and look at the wheel as its user gets it: no extras, no checkout."""
    session.install("build", "twine")
    out = Path(session.create_tmp()).resolve()
    session.run("python", "-m", "build", "--outdir", str(out))
    built = sorted(map(str, out.glob("flashback_async-*")))
    session.run("python", "-m", "twine", "check", "--strict", *built)
    (wheel,) = (name for name in built if name.endswith(".whl"))
    session.run("python", "-m", "venv", "--clear", str(out / "venv"))
    python = str(out / "venv/bin/python")
    session.run(python, "-m", "pip", "install", "--quiet", wheel, external=True)
    root = Path.cwd()
    with session.chdir(out):
        session.run(python, "-I", str(root / "tests/packaging/installed.py"), str(root), external=True)
