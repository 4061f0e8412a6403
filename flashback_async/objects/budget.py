"""A budget of bytes that many tasks share. Synchronous decisions; only `Share.granted` waits."""

from __future__ import annotations

import asyncio
from collections import deque


class Share:
    """What one item takes of a budget, from its place in the order on."""

    __slots__ = ("_budget", "_future", "place", "size")

    def __init__(self, budget: ByteBudget, place: int) -> None:
        self.place = place
        self.size = 0
        self._budget = budget
        self._future: asyncio.Future[None] | None = None

    @property
    def has_asked(self) -> bool:
        """Whether its size was told."""
        return self._future is not None

    @property
    def is_granted(self) -> bool:
        """Whether it counts now."""
        return self._future is not None and self._future.done()

    async def take(self, size: int) -> None:
        """Wait until there is room for `size` bytes; what was granted already is only corrected."""
        if self._future is None:
            self.ask(size)
        elif self.is_granted:
            self._budget.correct(self, size)
        await self.granted()

    def ask(self, size: int) -> None:
        """Join the queue, or be let in at once."""
        self.size = size
        self._future = asyncio.get_running_loop().create_future()
        self._budget.queue(self)

    async def granted(self) -> None:
        """Wait until what was asked for is granted; at once where nothing was."""
        if self._future is not None:
            await self._future

    def let_in(self) -> None:
        """The budget's word: it counts from now on."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def end(self) -> None:
        """Give it back, whether it was granted or not. Idempotent."""
        self._budget.leave(self)


class ByteBudget:
    """Lets shares in as long as their bytes fit. One that alone is too large is let in alone.

    Args:
        limit: bytes.
        ordered: let shares in by their places: nobody before those with lower places have been let in or have
            left. Otherwise by the order in which they ask. Without it, results that are handed out in order
            could wait for room that later ones hold.
    """

    def __init__(self, limit: int, *, ordered: bool) -> None:
        self.held = 0
        self._limit = limit
        self._ordered = ordered
        self._places = 0
        self._undecided: set[int] = set()
        self._waiting: deque[Share] = deque()
        self._inside: set[Share] = set()

    @property
    def is_full(self) -> bool:
        """Whether what is held and waited for already fills it. Only an end of a share changes that to no."""
        return self.held + sum(share.size for share in self._waiting) >= self._limit

    def share(self) -> Share:
        """A share at the next place, of no bytes yet."""
        self._places += 1
        self._undecided.add(self._places)
        return Share(self, self._places)

    def queue(self, share: Share) -> None:
        """`share` asks for its bytes."""
        self._waiting.append(share)
        if self._ordered:
            self._waiting = deque(sorted(self._waiting, key=lambda waiting: waiting.place))
        self._let_in()

    def correct(self, share: Share, size: int) -> None:
        """A share that was let in turned out to have another size."""
        self.held += size - share.size
        share.size = size

    def leave(self, share: Share) -> None:
        """`share` needs nothing any more."""
        self._undecided.discard(share.place)
        if share in self._inside:
            self._inside.discard(share)
            self.held -= share.size
        elif share in self._waiting:
            self._waiting.remove(share)
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            share = self._waiting[0]
            if self._ordered and any(place < share.place for place in self._undecided):
                return
            if self._inside and self.held + share.size > self._limit:
                return
            self._waiting.popleft()
            self._undecided.discard(share.place)
            self._inside.add(share)
            self.held += share.size
            share.let_in()
