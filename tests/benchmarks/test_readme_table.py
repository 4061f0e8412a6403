"""README's table of benchmarks is made by a script from a stored result."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks/measuring/readme.py"
STORED = Path(__file__).with_name("peers.json")


def rewritten(readme, text):
    readme.write_text(text)
    command = [sys.executable, str(SCRIPT), "--json", str(STORED), "--readme", str(readme)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_table_replaces_what_stood_between_the_markers(tmp_path):
    """The table holds ratios beside the absolute figures of the client they relate to, and nothing else moves."""
    readme = tmp_path / "README.md"
    done = rewritten(readme, "before\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\nafter\n")
    assert done.returncode == 0, done.stderr
    text = readme.read_text()
    assert text.startswith("before\n<!-- benchmarks -->\n\n| client | GET 4 KiB | PUT 8 MiB |\n")
    assert text.endswith("\n<!-- /benchmarks -->\nafter\n")
    assert "| aioboto3, our knobs | 1,100 us (812/s) | - |\n" in text
    assert "| opendal | 0.09 (10.0) | 0.12 (3.8) * |\n" in text
    assert "old" not in text


def test_a_second_run_changes_nothing(tmp_path):
    """Running the script again on the same result leaves the same file."""
    readme = tmp_path / "README.md"
    rewritten(readme, "<!-- benchmarks -->\n<!-- /benchmarks -->\n")
    once = readme.read_text()
    rewritten(readme, once)
    assert readme.read_text() == once


def test_a_readme_without_markers_is_refused(tmp_path):
    """Where a marker is missing, the script says so and leaves the file as it was."""
    readme = tmp_path / "README.md"
    done = rewritten(readme, "no markers\n")
    assert done.returncode != 0
    assert "<!-- benchmarks -->" in done.stderr
    assert readme.read_text() == "no markers\n"


def test_readme_holds_what_the_stored_result_says():
    """README.md shows the figures of the result that is stored beside the benchmarks, and no others."""
    stored = ROOT / "benchmarks/results/peers.json"
    names = {row["name"] for row in json.loads(stored.read_text())["rows"]}
    command = [sys.executable, str(SCRIPT), "--print"]
    table = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    text = (ROOT / "README.md").read_text()
    shown = re.search(r"<!-- benchmarks -->\n\n(.*)\n<!-- /benchmarks -->", text, flags=re.DOTALL)
    assert shown
    assert shown[1].strip() == table.strip()
    assert all(f"| {name} |" in table for name in names)
