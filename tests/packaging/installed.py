"""Looks at an installed wheel, without extras: `python installed.py <checkout>`, from another folder."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata, resources
from pathlib import Path

# What may need an extra, and so is not imported here.
EXTRAS = ("cli", "sandbox")

source = Path(sys.argv[1]) / "flashback_async"
expected = {str(path.relative_to(source)) for path in source.rglob("*.py")}
expected |= {"py.typed"}
package = resources.files("flashback_async")
with resources.as_file(package) as folder:
    assert source.resolve() != folder.resolve(), "the checkout was imported instead of the wheel"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    found = {name for name in found if "__pycache__" not in name}
assert expected <= found, f"missing in the wheel: {sorted(expected - found)}"
unexpected = {name for name in found - expected if name.endswith(".py")}
assert not unexpected, f"not in the checkout: {sorted(unexpected)}"

for name in sorted(expected):
    parts = Path(name).with_suffix("").parts
    if name.endswith(".py") and parts[0] not in EXTRAS:
        importlib.import_module(".".join(("flashback_async", *parts)).removesuffix(".__init__"))

public = importlib.import_module("flashback_async")
for name in public.__all__:
    assert getattr(public, name) is not None

told = metadata.metadata("flashback-async")
assert told["Version"] == public.__version__
assert told["Requires-Python"] == ">=3.11"
assert told["License-Expression"] == "MIT"
(command,) = metadata.entry_points(group="console_scripts", name="flashback")
module, _, function = command.value.partition(":")
assert f"{module.removeprefix('flashback_async.').replace('.', '/')}/__init__.py" in found
sys.stdout.write(
    f"{told['Name']} {told['Version']}: {len(found)} files, {len(public.__all__)} public names\n"
)
