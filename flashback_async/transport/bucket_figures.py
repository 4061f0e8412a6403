"""What the nodes say of the buckets in use: the statistics by minute, else the status of single buckets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from flashback_async.errors import DiscoveryError
from flashback_async.transport.bucket_directory import BucketDirectory, BucketLister

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from flashback_async.transport.control_plane import BucketStatus, NodeMinute, Rows
    from flashback_async.transport.node_table import Figure

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
        clock: monotonic seconds.
    """

    def __init__(
        self, control_plane: FigureSource, given: Mapping[str, str], *, clock: Callable[[], float]
    ) -> None:
        self._control_plane = control_plane
        self._clock = clock
        self._directory = BucketDirectory(control_plane, given, clock=clock)
        self._last: dict[str, tuple[Figure, ...]] = {}
        self._last_at = float("-inf")
        self._resting: dict[str, float] = {}

    async def latest(self, buckets: Collection[str]) -> Figures:
        """One row per node and bucket, from `GET /stats/nodes/minute`; the last ones where that fails.

        Args:
            buckets: S3 names of the buckets in use; for none nobody is asked.
        """
        figures = Figures()
        try:
            await self._directory.learn(buckets)
        except DiscoveryError as error:
            figures.missing.append(f"ids of buckets ({error})")
        figures.ids = self._directory.known(buckets)
        figures.rows = dict.fromkeys(figures.ids, ())
        if figures.ids:
            await self._add_minutes(figures)
        return figures

    async def add_status(self, figures: Figures, silent: Collection[str]) -> bool:
        """Add `GET /bucket/{id}/status` for buckets without a row that fits a node; whether rows came.

        Args:
            figures: of this discovery; changed in place.
            silent: S3 names of the buckets.
        """
        now = self._clock()
        due = sorted(name for name in silent if now >= self._resting.get(name, now))[:STATUS_CALLS]
        if not due or not figures.is_answered:
            return False
        answers = await asyncio.gather(*(self._status(figures.ids[name]) for name in due))
        for name, answer in zip(due, answers, strict=True):
            if isinstance(answer, DiscoveryError):
                figures.missing.append(f"status of bucket {name} ({answer})")
                self.rest((name,))
            else:
                figures.rows[name] += answer.nodes
                figures.dropped += answer.dropped
        return any(not isinstance(answer, DiscoveryError) for answer in answers)

    def rest(self, buckets: Iterable[str]) -> None:
        """Do not ask for the status of these for a minute: what came fitted no node."""
        until = self._clock() + STATUS_REST
        self._resting |= dict.fromkeys(buckets, until)

    async def _add_minutes(self, figures: Figures) -> None:
        # The guide calls a bucket by its S3 name where the reference has its id: rows may do so as well.
        names = {bucket_id: name for name, bucket_id in figures.ids.items()}
        names |= {name: name for name in figures.ids}
        try:
            minutes = await self._control_plane.node_minute_stats(figures.ids.values())
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
            return await self._control_plane.bucket_status(bucket_id)
        except DiscoveryError as error:
            return error


__all__ = ["BucketFigures", "FigureSource", "Figures"]
