"""What the nodes say of the buckets in use: the statistics by minute, else the status of single buckets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, TypeVar

from flashback_async.errors import DiscoveryError
from flashback_async.transport.bucket_directory import BucketDirectory, BucketLister

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from flashback_async.transport.control_plane import BucketNode, BucketStatus, NodeMinute, Rows
    from flashback_async.transport.node_table import Figure

T = TypeVar("T")

KEPT = 60.0
"""Seconds that the last figures stand in for an answer that failed: as long as a table counts as fresh."""

STATUS_CALLS = 8
"""Buckets per discovery that are asked about one by one."""

STATUS_REST = 60.0
"""Seconds before a bucket is asked about again after its status fitted no node either."""


class FigureSource(BucketLister, Protocol):
    """The part of the control plane that knows figures."""

    async def node_minute_stats(self, bucket_ids: Iterable[str] = ()) -> Rows[NodeMinute]:
        """What every node last said of these buckets."""

    async def bucket_status(self, bucket_id: str) -> BucketStatus:
        """What every node says of one bucket."""


@dataclass(slots=True)
class Figures:
    """The figures of one discovery.

    Attributes:
        rows: S3 bucket name -> what nodes say of it.
        ids: S3 bucket name -> UUID, for the names that have one.
        dropped: rows that were malformed.
        missing: what could not be had, and why; one sentence each.
        is_answered: whether the control plane answers at all, so that asking on makes sense.
    """

    rows: dict[str, tuple[Figure, ...]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    dropped: int = 0
    missing: list[str] = field(default_factory=list)
    is_answered: bool = True


class BucketFigures:
    """Reads figures; failures cost figures, never the discovery.

    Args:
        control_plane: asked for them.
        given: S3 name -> UUID, from the settings.
        patience: seconds for each of three questions: ids, statistics, status of single buckets. Together
            they must stay below the time for a discovery.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        control_plane: FigureSource,
        given: Mapping[str, str],
        *,
        patience: float,
        clock: Callable[[], float],
    ) -> None:
        self._control_plane = control_plane
        self._patience = patience
        self._clock = clock
        self._directory = BucketDirectory(control_plane, given, clock=clock)
        self._last: dict[str, tuple[Figure, ...]] = {}
        self._last_at = float("-inf")
        self._ask_after: dict[str, float] = {}
        self._told: dict[str, tuple[float, tuple[BucketNode, ...]]] = {}

    async def latest(self, buckets: Collection[str]) -> Figures:
        """One row per node and bucket, from `GET /stats/nodes/minute`; the last ones where that fails.

        Args:
            buckets: S3 names of the buckets in use; for none nobody is asked.
        """
        figures = Figures()
        try:
            await self._in_time(self._directory.learn(buckets))
        except DiscoveryError as error:
            figures.missing.append(f"ids of buckets ({error})")
        figures.ids = self._directory.known(buckets)
        figures.rows = dict.fromkeys(figures.ids, ())
        if figures.ids:
            await self._add_minutes(figures)
        return figures

    async def add_status(self, figures: Figures, silent: Collection[str]) -> set[str]:
        """Add `GET /bucket/{id}/status` for buckets without a row that fits a node; which ones got rows.

        With many of them, those asked about longest ago come first, and answers serve for a minute.

        Args:
            figures: of this discovery; changed in place.
            silent: S3 names of the buckets.
        """
        if not figures.is_answered:
            return set()
        now = self._clock()
        due = (name for name in silent if self._ask_after.get(name, now) <= now)
        asked = sorted(due, key=lambda name: (self._ask_after.get(name, float("-inf")), name))[:STATUS_CALLS]
        answers = await asyncio.gather(*(self._status(figures.ids[name]) for name in asked))
        now = self._clock()
        for name, answer in zip(asked, answers, strict=True):
            self._ask_after[name] = now
            if isinstance(answer, DiscoveryError):
                figures.missing.append(f"status of bucket {name} ({answer})")
                self._ask_after[name] = now + STATUS_REST
            else:
                figures.dropped += answer.dropped
                self._told[name] = (now, answer.nodes)
        filled = {name for name in silent if name in self._told and now - self._told[name][0] < KEPT}
        for name in filled:
            figures.rows[name] += self._told[name][1]
        return filled

    def rest(self, buckets: Iterable[str]) -> None:
        """Do not ask for the status of these for a minute: what came, if anything, fitted no node."""
        until = self._clock() + STATUS_REST
        for name in buckets:
            self._ask_after[name] = until
            self._told.pop(name, None)

    async def _add_minutes(self, figures: Figures) -> None:
        # The guide calls a bucket by its S3 name where the reference has its id: rows may do so as well.
        names = {bucket_id: name for name, bucket_id in figures.ids.items()}
        names |= {name: name for name in figures.ids}
        try:
            minutes = await self._in_time(self._control_plane.node_minute_stats(figures.ids.values()))
        except DiscoveryError as error:
            figures.missing.append(f"statistics of nodes ({error})")
            figures.is_answered = error.status is not None and error.status < HTTPStatus.TOO_MANY_REQUESTS
            if self._clock() - self._last_at < KEPT:
                figures.rows |= {name: self._last[name] for name in figures.ids if name in self._last}
            return
        rows: dict[str, list[Figure]] = {name: [] for name in figures.ids}
        for row in minutes:
            if row.bucket_id in names:
                rows[names[row.bucket_id]].append(row)
        figures.rows = {name: tuple(found) for name, found in rows.items()}
        figures.dropped += minutes.dropped
        self._last, self._last_at = figures.rows, self._clock()

    async def _status(self, bucket_id: str) -> BucketStatus | DiscoveryError:
        try:
            return await self._in_time(self._control_plane.bucket_status(bucket_id))
        except DiscoveryError as error:
            return error

    async def _in_time(self, question: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._patience):
                return await question
        except TimeoutError as error:
            raise DiscoveryError(f"no answer within {self._patience:.3g} s") from error


__all__ = ["BucketFigures", "FigureSource", "Figures"]
