"""Looks at an installed wheel, without extras: `python installed.py <checkout>`, from another folder."""

from __future__ import annotations

import asyncio
import importlib
import sys
from importlib import metadata, resources
from pathlib import Path

# What may need an extra, and so is not imported here.
EXTRAS = ("cli", "sandbox", "transport/http1")

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
    path = Path(name)
    parts = path.with_suffix("").parts
    if path.suffix == ".py" and not any(path.is_relative_to(extra) for extra in EXTRAS):
        importlib.import_module(".".join(("flashback_async", *parts)).removesuffix(".__init__"))

public = importlib.import_module("flashback_async")
for name in public.__all__:
    assert getattr(public, name) is not None


async def refusal(**settings: str) -> str:
    """What a client says at its start."""
    given = public.FlashbackSettings(
        key_id="a", key_secret="b", endpoints="http://127.0.0.1:9", probes=False, **settings
    )
    try:
        async with public.FlashbackClient(given):
            return ""
    except public.ConfigurationError as error:
        return str(error)


# Settings that need an extra say which one, and the others work without.
assert asyncio.run(refusal()) == ""
assert "flashback-async[fast]" in asyncio.run(refusal(lane="fast"))
assert "flashback-async[crc32c]" in asyncio.run(refusal(checksum="crc32c"))

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
