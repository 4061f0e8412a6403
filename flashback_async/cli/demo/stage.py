"""The course of a demo: a cluster, a tree, two runs, a verdict."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from flashback_async import FlashbackClient
from flashback_async.cli.cluster import Store, local_flashback
from flashback_async.cli.console import messages, results, write_json
from flashback_async.cli.demo import ours, s3_guide
from flashback_async.cli.demo.contestant import BUCKET
from flashback_async.cli.demo.picture import Picture
from flashback_async.cli.demo.race import CONCURRENCY, Progress, Result, run_race
from flashback_async.cli.demo.screen import Screen
from flashback_async.cli.demo.script import NODES, Script
from flashback_async.cli.demo.tree import source_tree
from flashback_async.cli.demo.verdict import EXPLANATION, document_of, sentence_of, table_of
from flashback_async.cli.exits import ExitCode
from flashback_async.cli.wording import counted, seconds_text, size_text

if TYPE_CHECKING:
    from rich.console import Console

    from flashback_async.cli.demo.contestant import Contestant
    from flashback_async.cli.demo.tree import SourceFile
    from flashback_async.sandbox import LocalFlashback


async def show(objects: int, seed: int, store: Store, *, as_json: bool) -> ExitCode:
    """Run the demo; see the command. The result goes to stdout, all else to stderr."""
    console, clock = messages(), asyncio.get_running_loop().time
    begun = clock()
    with tempfile.TemporaryDirectory(prefix="flashback-demo-") as name:
        scratch = Path(name)
        files = await asyncio.to_thread(source_tree, objects, scratch=scratch / "source", seed=seed)
        _introduce(console, files)
        async with local_flashback(NODES, store=store, buckets=[BUCKET], seed=seed) as cluster:
            console.print(
                f"A local Flashback runs: {len(NODES)} nodes, a control plane, and {store} as the store."
            )
            stage = _Stage(console, cluster, files, scratch)
            first = await stage.with_this_package()
            await cluster.heal()
            await cluster.clear()
            second = await stage.with_the_guide()
    seconds = clock() - begun
    if as_json:
        write_json(
            document_of(
                first, second, objects=objects, seed=seed, store=store, total_seconds=round(seconds, 3)
            )
        )
    else:
        results().print(table_of(first, second), sentence_of(first), EXPLANATION, sep="\n")
        console.print(
            f"The demo took {seconds_text(seconds)}. Go on with: flashback sandbox --help", style="dim"
        )
    return ExitCode.OK if first.is_perfect else ExitCode.SOME_FAILED


def _introduce(console: Console, files: list[SourceFile]) -> None:
    regions = len({node.region for node in NODES})
    console.print(
        f"{counted(len(files), 'file')} of Python's standard library and generated ones, "
        f"{size_text(sum(file.size for file in files))},\n"
        f"go through {len(NODES)} S3 gateways in {regions} simulated regions and come back, "
        f"{CONCURRENCY} at a time,\nwhile nodes slow down, die, lie, and the control plane goes away."
    )


class _Stage:
    """Where the runs take place, one after the other."""

    def __init__(
        self, console: Console, cluster: LocalFlashback, files: list[SourceFile], scratch: Path
    ) -> None:
        self._console = console
        self._cluster = cluster
        self._files = files
        self._scratch = scratch

    async def with_this_package(self) -> Result:
        """The run that must be perfect."""
        async with FlashbackClient(self._cluster.settings()) as client:
            return await self._run(f"1. {ours.NAME}", ours.NAME, ours.Ours(client))

    async def with_the_guide(self) -> Result:
        """The run that shows what for."""
        bucket_id = self._cluster.bucket_ids[BUCKET]
        async with s3_guide.Guide(self._cluster.settings(), bucket_id) as guide:
            return await self._run(f"2. {s3_guide.NAME}", s3_guide.NAME, guide)

    async def _run(self, title: str, name: str, contestant: Contestant) -> Result:
        result = Result(name, wanted=2 * len(self._files))
        script = Script(self._cluster)
        progress = Progress(result, script, len(self._files))
        target = self._scratch / name.replace(" ", "-")
        picture = Picture(
            title, cluster=self._cluster, contestant=contestant, progress=progress, script=script
        )
        screen = Screen(self._console, picture, self._cluster)
        self._console.print(f"\n[bold]{title}[/bold]")
        async with screen:
            await run_race(contestant, progress, script, self._files, target, on_event=screen.event)
        self._console.print(
            f"{result.objects:,} of {result.wanted:,} requests succeeded in {seconds_text(result.seconds)}"
        )
        return result
