"""README.md promises nothing that is not there: its code runs, its names exist, CI runs its commands."""

from __future__ import annotations

import ast
import asyncio
import builtins
import importlib
import importlib.util
import inspect
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import flashback_async
from flashback_async import Bucket, FlashbackClient, FlashbackSettings
from flashback_async.sandbox.fixtures import flashback_cluster_factory  # noqa: F401  # a fixture

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
INLINE = re.findall(r"`([^`\n]+)`", PROSE)

# Settings that are functions cannot be variables.
FUNCTIONS = {"credentials_provider", "token_provider", "on_rotate"}
# What README calls a client and its bucket in its code.
BOUND = {"fb": FlashbackClient, "client": FlashbackClient, "bucket": Bucket}


def command(marker):
    """The lines of the first code block after a marker."""
    found = re.search(rf"^<!-- {marker} -->\n```\w*\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no code block right after <!-- {marker} -->"
    return found[1].splitlines()


def compiled(code):
    return compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def not_installed(code):
    """Modules that a block imports, of packages that are not here."""
    tree = ast.parse(code)
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return [name for name in names if importlib.util.find_spec(name.partition(".")[0]) is None]


@pytest.mark.parametrize("code", PYTHON, ids=range(1, len(PYTHON) + 1))
def test_python_runs(code, flashback_cluster_factory, monkeypatch, tmp_path):  # noqa: F811
    """Every block of Python runs as it stands, with the variables of a local Flashback set."""
    cluster = flashback_cluster_factory(nodes=2, latency=0.0)
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    program = compiled(code)
    if missing := not_installed(code):
        pytest.skip(f"needs {', '.join(missing)}")

    async def run():
        async with asyncio.timeout(30):
            await eval(program, {"__name__": "readme"})

    if program.co_flags & inspect.CO_COROUTINE:
        asyncio.run(run())
    else:
        exec(program, {"__name__": "readme"})


@pytest.mark.parametrize("marker", ["tests", "demo"])
def test_commands_are_one_line(marker):
    """Tests and demo are one line each, which a shell understands, and which need nothing but Python."""
    (line,) = command(marker)
    assert line.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert shlex.split(line)
    subprocess.run(["bash", "-n", "-c", line], check=True)


def test_commands_install_extras_that_exist():
    """README installs every extra of the package, and no other."""
    extras = set(re.findall(r"^(\w+) = \[", optional_dependencies(), flags=re.MULTILINE))
    named = re.findall(r"(?:\.|flashback-async)\[([\w,]+)\]", README)
    assert {name for names in named for name in names.split(",")} == extras
    listed = re.findall(r"^pip install '?flashback-async(?:\[(\w+)\])?'? ", README, flags=re.MULTILINE)
    assert len(listed) == len(set(listed)), "each is told once"


@pytest.mark.parametrize(("line", "status"), [("echo '== 3 passed in 0.10s =='", 0), ("false", 1)])
def test_ci_runs_the_command_of_the_readme(tmp_path, line, status):
    """CI runs what README says, shows pytest's closing line last, and passes a failure on."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / "README.md").write_text(f"<!-- tests -->\n```sh\n{line} && pwd\n```\n\n```sh\nexit 3\n```\n")
    done = subprocess.run(
        [tmp_path / ".ci" / "run"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == status
    output = done.stdout.splitlines()
    assert output[0] == f"+ {line} && pwd"
    if status == 0:
        assert output[1:] == ["== 3 passed in 0.10s ==", str(tmp_path), "== 3 passed in 0.10s =="]


@pytest.mark.parametrize("text", ["", "<!-- tests -->\n```sh\ntrue\ntrue\n```\n"], ids=["none", "two lines"])
def test_ci_refuses_a_readme_without_one_command(tmp_path, text):
    """CI fails where README has no test command, or more than one line of it."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / "README.md").write_text(text)
    done = subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "<!-- tests -->" in done.stderr


def variables(text):
    return {name.removeprefix("FB_").lower() for name in re.findall(r"\bFB_[A-Z_]*[A-Z]\b", text)}


def test_every_variable_exists():
    """Every `FB_*` variable that README names is a setting, and every setting is in its table."""
    settings = set(FlashbackSettings.model_fields)
    assert variables(README) <= settings
    table = "\n".join(line for line in README.splitlines() if line.startswith("| `FB_"))
    assert variables(table) == settings - FUNCTIONS


def defaults():
    """Pairs of a setting and what README says is its default, where it says so one by one."""
    for line in README.splitlines():
        if line.startswith("| `FB_"):
            names, told = (cell.strip() for cell in line.split("|")[1:3])
            names = [name.lower() for name in re.findall(r"`FB_(\w+)`", names)]
            values = [value.strip(" `") for value in told.split(",")]
            if len(names) == len(values):
                yield from zip(names, values, strict=True)


def test_defaults_are_told_as_they_are():
    """A number, a switch or a choice in the table of settings is the default of the code."""
    told = dict(defaults())
    shown = {
        name: f"{field.default:g}" if isinstance(field.default, float) else str(field.default).lower()
        for name, field in FlashbackSettings.model_fields.items()
        if isinstance(field.default, int | float)
    }
    assert shown == {name: told.get(name) for name in shown}
    for name in ("addressing", "region", "payload_signing"):
        assert told[name] == FlashbackSettings.model_fields[name].default


def test_every_public_name_exists():
    """Every class and error that README names, and every member of a client, is there."""
    words = {word for span in INLINE for word in re.findall(r"(?<![\w.'\"/-])[A-Z][a-z]\w+\b(?!-)", span)}
    words |= {name for code in PYTHON for name in imported_names(code)}
    sandbox = importlib.import_module("flashback_async.sandbox").__all__
    assert words - {*flashback_async.__all__, *sandbox, *dir(builtins)} == set()


def imported_names(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("flashback_async"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
            if node.module == "flashback_async":
                yield from (alias.name for alias in node.names)


def test_every_verb_exists():
    """Every function in the table of verbs is a method of the client, with the arguments that are shown."""
    table = README.partition("## The verbs")[2].partition("###")[0]
    rows = re.findall(r"^\| (`\w+.*?`) \|", table, flags=re.MULTILINE)
    spans = [span for row in rows for span in re.findall(r"`([^`]+)`", row)]
    assert len(spans) > 10
    for span in spans:
        call = ast.parse(span, mode="eval").body
        name, arguments = (call.func.id, call) if isinstance(call, ast.Call) else (call.id, None)
        method = getattr(FlashbackClient, name)
        if arguments is not None:
            keywords = {keyword.arg for keyword in arguments.keywords}
            positional = [argument.id for argument in arguments.args]
            parameters = list(inspect.signature(method).parameters)[1:]
            assert parameters[: len(positional)] == positional, span
            assert keywords <= set(parameters), span


def test_every_attribute_exists():
    """Every attribute of a client or a bucket in README's code is there."""
    nodes = [node for code in PYTHON for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)]
    for node in nodes:
        if isinstance(node.value, ast.Name) and node.value.id in BOUND:
            assert hasattr(BOUND[node.value.id], node.attr), ast.unparse(node)


def test_every_file_exists():
    """Every path and every link to a file of this repository leads somewhere."""
    paths = {span for span in INLINE if re.fullmatch(r"[\w./-]+\.(py|md|toml)", span)}
    paths |= {link for link in re.findall(r"\]\(([^)#:]+)\)", PROSE) if "://" not in link}
    assert paths
    assert [path for path in sorted(paths) if not resolved(path)] == []


def resolved(path):
    return any((base / path).exists() for base in (ROOT, ROOT / "flashback_async"))


def optional_dependencies():
    text = (ROOT / "pyproject.toml").read_text()
    return text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
