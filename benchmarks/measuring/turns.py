"""Several contestants in one process on one loop, in short turns: a slow moment meets them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from measuring.load import apply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from measuring.face import Contestant
    from measuring.load import Load


async def in_turns(
    contestants: Sequence[Contestant], url: str, load: Load, *, rounds: int
) -> list[list[dict[str, Any]]]:
    """What each of them took in each round, after one turn that does not count; see `apply`."""
    for contestant in contestants:
        contestant.load()
        await contestant.open([url])
        await apply(contestant, load._replace(seconds=min(load.seconds, 0.5)))
    found: list[list[dict[str, Any]]] = [[] for _ in contestants]
    for number in range(rounds):
        # Who goes first changes: a machine that slows down favours nobody.
        for turn in range(len(contestants)):
            index = (number + turn) % len(contestants)
            found[index].append(await apply(contestants[index], load))
    for contestant in contestants:
        await contestant.close()
    return found
