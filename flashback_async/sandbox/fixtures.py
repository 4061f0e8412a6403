"""pytest fixtures: `pytest_plugins = ["flashback_async.sandbox.fixtures"]` in the top-level conftest.

Clusters are started once per session (and per set of options), healed and emptied for every test. They are
driven from threads of their own, so they serve tests of any event loop, or of none.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from flashback_async.sandbox.cluster import LocalFlashback

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

__all__ = ["flashback_cluster", "flashback_cluster_factory", "flashback_environment"]


@pytest.fixture(scope="session")
def flashback_cluster_factory() -> Iterator[Callable[..., LocalFlashback]]:
    """A function from `LocalFlashback`'s keywords to a running cluster, healed and empty.

    Calls with the same keywords share one cluster for the whole session; all of them end with it.
    """
    clusters: dict[str, LocalFlashback] = {}

    def cluster_of(**options: Any) -> LocalFlashback:
        key = repr(sorted(options.items()))
        if key not in clusters:
            cluster = LocalFlashback(**options)
            _run(cluster.start())
            clusters[key] = cluster
        _run(_as_new(clusters[key]))
        return clusters[key]

    yield cluster_of
    for cluster in clusters.values():
        _run(cluster.aclose())


@pytest.fixture
def flashback_cluster(flashback_cluster_factory: Callable[..., LocalFlashback]) -> LocalFlashback:
    """Four nodes on moto, healthy, with one empty bucket `demo`."""
    return flashback_cluster_factory(nodes=4)


@pytest.fixture
def flashback_environment(
    flashback_cluster: LocalFlashback, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The `FB_*` variables of `flashback_cluster`, set for this test: `FlashbackClient()` finds them."""
    variables = flashback_cluster.environment()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


async def _as_new(cluster: LocalFlashback) -> None:
    await cluster.heal()
    await cluster.clear()


def _run(work: Coroutine[Any, Any, None]) -> None:
    # In a thread: the calling one may have a loop that runs, or one that asyncio.run would replace.
    with ThreadPoolExecutor(max_workers=1) as executor:
        executor.submit(asyncio.run, work).result()
