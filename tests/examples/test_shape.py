"""What holds for every example, whatever it does."""

from __future__ import annotations

import ast

import pytest

from .conftest import EXAMPLES

SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def test_there_are_examples():
    """The folder holds the five examples that are documented."""
    assert [path.stem for path in SCRIPTS] == [
        "aiohttp_app",
        "bring_your_own_client",
        "data_loader",
        "fastapi_app",
        "ingest_worker",
    ]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_is_short_and_says_how_to_run_it(path):
    """An example has less than 60 lines, and its docstring tells the command and the variables it needs."""
    text = path.read_text()
    told = ast.get_docstring(ast.parse(text)) or ""
    assert len(text.splitlines()) < 60
    assert f"`python {path.name}" in told or f"`uvicorn {path.stem}:app`" in told
    assert all(name in told for name in ("FB_KEY_ID", "FB_KEY_SECRET", "FB_REFRESH_TOKEN"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_imports_only_public_names(path):
    """An example shows the public interface: every name comes from `flashback_async` itself."""
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert {node.module for node in imports if node.module.startswith("flashback")} == {"flashback_async"}
