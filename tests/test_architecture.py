"""The shape of the package: which way imports point, who may import what, and how large a module may be."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import flashback_async

ROOT = "flashback_async"
HOME = Path(flashback_async.__file__).parent
LINES = 320
"""Modules have up to about 300 lines; a few more are better than a bad cut."""


class Import(NamedTuple):
    """One import statement's target: a dotted name, the line, whether it is for type checkers only."""

    target: str
    line: int
    typing_only: bool


def module_name(path: Path, *, home: Path = HOME) -> str:
    parts = [ROOT, *path.relative_to(home).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path.read_text() for path in sorted(HOME.rglob("*.py"))}
IS_PACKAGE = {module_name(path) for path in HOME.rglob("__init__.py")}


def guards_types(node: ast.stmt) -> bool:
    """Whether this is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING"


def imports_of(name: str, sources: dict[str, str], packages: set[str]) -> list[Import]:
    """Every import of a module, in functions too; `from package import module` counts as that module."""
    found: list[Import] = []

    def add(node: ast.Import | ast.ImportFrom, *, typing_only: bool) -> None:
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            base = node.module or ""
            if node.level:
                package = name.split(".") if name in packages else name.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            full = [f"{base}.{alias.name}" for alias in node.names]
            targets = [each if each in sources else base for each in full]
        found.extend(Import(target, node.lineno, typing_only) for target in dict.fromkeys(targets))

    def walk(node: ast.AST, *, typing_only: bool) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            add(node, typing_only=typing_only)
        elif isinstance(node, ast.If) and guards_types(node):
            for child in node.body:
                walk(child, typing_only=True)
            for child in node.orelse:
                walk(child, typing_only=typing_only)
        else:
            for child in ast.iter_child_nodes(node):
                walk(child, typing_only=typing_only)

    walk(ast.parse(sources[name]), typing_only=False)
    return [each for each in found if each.target != "__future__"]


def part_of(name: str) -> str:
    """Which part of the package a module belongs to; `bucket` and `client` are one layer."""
    part = name.split(".")[1] if "." in name else "root"
    return "client" if part in {"client", "bucket"} else part


MAY_IMPORT = {
    "errors": set(),
    "config_sources": {"errors"},
    "endpoint_url": {"errors"},
    "config": {"config_sources", "endpoint_url", "errors"},
    "models": {"errors"},
    "routing": {"errors"},
    "transport": {"routing", "config", "endpoint_url", "models", "errors"},
    "objects": {"transport", "routing", "config", "models", "errors"},
    "client": {"objects", "transport", "routing", "config", "models", "errors"},
    "root": {"client", "objects", "transport", "routing", "config", "models", "errors"},
    "cli": {"root", "client", "objects", "config", "endpoint_url", "models", "errors", "routing", "sandbox"},
    "integrations": {"root", "client", "objects", "transport", "routing", "config", "models", "errors"},
    "testing": {"root", "client", "objects", "transport", "routing", "config", "models", "errors"},
    "sandbox": {"config", "errors"},
}
"""Each part may import itself and these: the arrows of the design, written out."""


def wrong_arrows(sources: dict[str, str], packages: set[str]) -> list[str]:
    wrong = []
    for name in sources:
        part = part_of(name)
        for target, line, _ in imports_of(name, sources, packages):
            if target.split(".")[0] != ROOT:
                continue
            aim = part_of(target)
            if aim != part and aim not in MAY_IMPORT[part]:
                wrong.append(f"{name}:{line} ({part}) imports {target} ({aim})")
    return wrong


def cycles(sources: dict[str, str], packages: set[str]) -> list[str]:
    """Cycles among modules that import each other when they run; imports for type checkers do not count."""
    graph = {
        name: sorted(
            {
                each.target
                for each in imports_of(name, sources, packages)
                if not each.typing_only and each.target in sources and each.target != name
            }
        )
        for name in sources
    }
    done: set[str] = set()
    found: list[str] = []

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            found.append(" -> ".join((*trail[trail.index(name) :], name)))
        elif name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    return found


def outside(name: str) -> list[Import]:
    """What a module imports from outside the package."""
    return [each for each in imports_of(name, SOURCES, IS_PACKAGE) if each.target.split(".")[0] != ROOT]


def users_of(*distributions: str) -> set[str]:
    return {
        name for name in SOURCES if any(each.target.split(".")[0] in distributions for each in outside(name))
    }


# --- the package -------------------------------------------------------------------------------------------


def test_imports_point_one_way():
    """cli, integrations -> client -> objects -> transport -> routing -> errors; nobody looks up."""
    assert wrong_arrows(SOURCES, IS_PACKAGE) == []


def test_every_part_has_its_arrows():
    """A new part of the package has a place in the order before it has a module."""
    assert {part_of(name) for name in SOURCES} <= MAY_IMPORT.keys()


def test_there_are_no_cycles():
    """No module imports itself by way of others."""
    assert cycles(SOURCES, IS_PACKAGE) == []


@pytest.mark.parametrize("name", SOURCES)
def test_modules_are_short(name):
    """A module fits a reader's head: about 300 lines."""
    assert len(SOURCES[name].splitlines()) <= LINES


def test_modules_are_named_after_what_they_hold():
    """Nothing is called utils, helpers or common: those names say where something is, not what."""
    vague = {"util", "utils", "helper", "helpers", "common", "misc", "tools"}
    assert [name for name in SOURCES if vague & set(name.replace("_", ".").split("."))] == []


@pytest.mark.parametrize("name", SOURCES)
def test_every_module_says_what_it_is(name):
    """A module begins with a docstring."""
    assert ast.get_docstring(ast.parse(SOURCES[name]))


def test_boto_stays_behind_its_seam():
    """Only modules named `s3_*` and the sandbox import boto, everybody else sees a Protocol."""
    users = users_of("boto3", "botocore", "aiobotocore", "aioboto3", "s3transfer")
    assert [
        name
        for name in users
        if not name.startswith(f"{ROOT}.sandbox") and not name.rpartition(".")[2].startswith("s3_")
    ] == []
    assert f"{ROOT}.transport.s3_client" in users, "the check sees what it looks for"


def test_pydantic_stays_at_the_edges():
    """Validation is for what comes from outside: the settings and the control plane's answers."""
    users = users_of("pydantic", "pydantic_core", "pydantic_settings")
    assert [
        name for name in users if not name.startswith((f"{ROOT}.config", f"{ROOT}.transport.control_plane"))
    ] == []
    assert f"{ROOT}.config" in users, "the check sees what it looks for"


@pytest.mark.parametrize(
    ("extra", "home"),
    [
        ("typer", "cli"),
        ("rich", "cli"),
        ("google_crc32c", "objects"),
        ("moto", "sandbox"),
        ("trustme", "sandbox"),
    ],
)
def test_extras_are_imported_where_they_belong(extra, home):
    """What only an extra installs, only that part of the package imports."""
    assert {part_of(name) for name in users_of(extra)} == {home}


def test_the_fast_lane_alone_parses_http_by_itself():
    """httptools, of the extra `fast`, is imported by transport/http1 and by nobody else."""
    users = users_of("httptools")
    assert users
    assert [name for name in users if not name.startswith(f"{ROOT}.transport.http1.")] == []


# --- the pure core -----------------------------------------------------------------------------------------

ROUTING = [name for name in SOURCES if part_of(name) == "routing"]
IMPURE = {
    "asyncio",
    "concurrent",
    "contextvars",
    "datetime",
    "http",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "queue",
    "random",
    "secrets",
    "select",
    "selectors",
    "sched",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "time",
    "urllib",
    "uuid",
    "warnings",
}
"""Modules of the standard library that bring a clock, chance, I/O, logging or an event loop."""


@pytest.mark.parametrize("name", ROUTING)
def test_the_core_imports_pure_things_only(name):
    """routing/ has no clock, chance, I/O, logging or event loop; of threading it takes the lock alone."""
    for target, line, _ in outside(name):
        top = target.split(".")[0]
        assert top in sys.stdlib_module_names, f"{name}:{line} imports {target}"
        assert top not in IMPURE, f"{name}:{line} imports {target}"
    for node in ast.walk(ast.parse(SOURCES[name])):
        if isinstance(node, ast.ImportFrom) and node.module == "threading":
            assert [alias.name for alias in node.names] == ["Lock"], f"{name}:{node.lineno}"
        if isinstance(node, ast.Import):
            assert "threading" not in {alias.name for alias in node.names}, f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", ROUTING)
def test_the_core_never_waits_and_never_talks(name):
    """routing/ is synchronous, and neither prints, opens nor runs anything."""
    for node in ast.walk(ast.parse(SOURCES[name])):
        waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
        assert not isinstance(node, waits), f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = node.func.id
            assert called not in {"open", "print", "input", "exec", "eval", "__import__"}, (
                f"{name}:{node.lineno}"
            )


# --- what an import costs ----------------------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after `statement`."""
    program = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    # Measuring coverage loads modules of its own into every process below it.
    environment = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=HOME.parent,
        env=environment,
    )
    return set(done.stdout.split())


BOTO = {"boto3", "botocore", "aiobotocore", "aioboto3", "s3transfer"}
EXTRAS = {
    "typer",
    "rich",
    "moto",
    "trustme",
    "httptools",
    "fastapi",
    "uvicorn",
    "flask",
    "pytest",
    "hypothesis",
}
EVERY_NAME = f"import {ROOT}\nfor name in {ROOT}.__all__: getattr({ROOT}, name)"


@pytest.mark.parametrize("statement", [f"import {ROOT}", EVERY_NAME], ids=["import", "every name"])
def test_importing_the_package_loads_neither_boto_nor_extras(statement):
    """Boto waits until a client starts, extras until used; sandbox, cli and testing stay out."""
    modules = loaded_by(statement)
    assert ROOT in modules
    assert {name.split(".")[0] for name in modules} & (BOTO | EXTRAS) == set()
    parts = {part_of(name) for name in modules if name.split(".")[0] == ROOT}
    assert parts & {"sandbox", "cli", "testing", "integrations"} == set()


def test_importing_the_core_loads_no_event_loop():
    """The routing core runs without asyncio, aiohttp and pydantic."""
    modules = loaded_by(f"import {ROOT}.routing")
    assert modules & {"asyncio", "aiohttp", "pydantic", "anyio", "logging", "random", *BOTO, *EXTRAS} == set()


# --- the checks themselves ---------------------------------------------------------------------------------


def arrows_of(**modules: str) -> list[str]:
    sources = {f"{ROOT}.{name.replace('__', '.')}": text for name, text in modules.items()}
    return wrong_arrows({ROOT: "", f"{ROOT}.routing": "", **sources}, {ROOT, f"{ROOT}.routing"})


@pytest.mark.parametrize(
    ("module", "text", "is_wrong"),
    [
        ("routing__router", "from flashback_async.errors import FlashbackError", False),
        ("routing__router", "from flashback_async.routing import picker", False),
        ("routing__router", "from . import picker", False),
        ("routing__router", "from .. import client", True),
        ("routing__router", "from ..transport import executor", True),
        ("routing__router", "import flashback_async.models", True),
        ("errors", "from flashback_async.models import ObjectInfo", True),
        ("transport__probe", "from flashback_async.routing import Router", False),
        ("transport__probe", "def later():\n    from flashback_async.client import FlashbackClient", True),
        ("transport__probe", "if TYPE_CHECKING:\n    from flashback_async.objects.verbs import Verbs", True),
        ("transport__probe", "if typing.TYPE_CHECKING:\n    import flashback_async.bucket", True),
        ("objects__verbs", "from flashback_async.bucket import Bucket", True),
        ("client", "from flashback_async.bucket import Bucket", False),
        ("client", "from flashback_async import cli", True),
        ("client", "import flashback_async.sandbox.cluster", True),
        ("cli__cp", "from flashback_async import FlashbackClient", False),
        ("cli__cp", "from flashback_async.transport.executor import Executor", True),
        ("sandbox__cluster", "from flashback_async.config import FlashbackSettings", False),
        ("sandbox__cluster", "from flashback_async.routing import Router", True),
        ("sandbox__cluster", "from flashback_async import FlashbackClient", True),
    ],
)
def test_a_wrong_arrow_is_found(module, text, is_wrong):
    """The check sees relative, lazy and typing-only imports, and lets the right ones pass."""
    extra = {"cli": "", "client": "", "bucket": ""}
    assert bool(arrows_of(**{**extra, module: text})) is is_wrong


@pytest.mark.parametrize(
    ("a", "b", "is_cycle"),
    [
        ("import flashback_async.b", "import flashback_async.a", True),
        ("import flashback_async.b", "def later():\n    import flashback_async.a", True),
        ("import flashback_async.b", "if TYPE_CHECKING:\n    import flashback_async.a", False),
        (
            "import flashback_async.b",
            "if TYPE_CHECKING:\n    pass\nelse:\n    import flashback_async.a",
            True,
        ),
        ("import flashback_async.b", "import os", False),
        ("import flashback_async.a", "", False),
    ],
)
def test_a_cycle_is_found(a, b, is_cycle):
    """The check finds cycles, lazy imports included, and leaves out what is for type checkers only."""
    assert bool(cycles({ROOT: "", f"{ROOT}.a": a, f"{ROOT}.b": b}, {ROOT})) is is_cycle
