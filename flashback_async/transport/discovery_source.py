"""Where discovery gets its endpoints: from the control plane, or from a list that somebody wrote."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from flashback_async.endpoint_url import checked_url
from flashback_async.errors import ConfigurationError, DiscoveryError
from flashback_async.routing.endpoint import Endpoint, EndpointReport
from flashback_async.transport.bucket_figures import BucketFigures, FigureSource
from flashback_async.transport.control_plane import Rows
from flashback_async.transport.node_table import join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flashback_async.config import FlashbackSettings
    from flashback_async.transport.bucket_figures import Figures
    from flashback_async.transport.control_plane import Node
    from flashback_async.transport.node_table import NodeTable
    from flashback_async.transport.trust import EndpointTrust


FIGURES_SHARE = 0.25
"""Part of the time for a discovery that each question about figures may take; there are three in a row."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """What a source found.

    Attributes:
        reports: one row per endpoint.
        unmatched_rows: rows of statistics that fit no node.
        dropped_rows: rows that were malformed or named an address that is not allowed.
        degraded: what is missing and why, empty when nothing is.
        age: seconds since all this was true; more than 0 where it was read from a shared table.
    """

    reports: tuple[EndpointReport, ...]
    unmatched_rows: int = 0
    dropped_rows: int = 0
    degraded: str = ""
    age: float = 0.0


class EndpointSource(Protocol):
    """Something that can be asked which endpoints there are."""

    @property
    def is_constant(self) -> bool:
        """Whether the answer never changes, so that asking once is enough."""

    async def discover(self, buckets: frozenset[str]) -> Discovered:
        """Every endpoint there is now, with figures for these S3 bucket names as far as they are known.

        Raises:
            DiscoveryError: no answer, or none with endpoints in it.
        """


class StaticSource:
    """Endpoints that somebody wrote down.

    Args:
        endpoints: URLs, or endpoints with ids of your own.

    Raises:
        ConfigurationError: none given, two that share an id or a host, or something that is no URL.
    """

    is_constant = True

    def __init__(self, endpoints: Iterable[Endpoint | str]) -> None:
        given = tuple(
            endpoint if isinstance(endpoint, Endpoint) else _endpoint(endpoint) for endpoint in endpoints
        )
        unique = {endpoint.id: endpoint for endpoint in given}
        if not unique:
            raise ConfigurationError("endpoints: give at least one, like https://s3.example.com")
        if len(set(unique.values())) != len(set(given)):
            raise ConfigurationError(f"endpoints: two of {', '.join(unique)} share an id or a host")
        self._reports = tuple(EndpointReport(endpoint=endpoint) for endpoint in unique.values())

    async def discover(self, buckets: frozenset[str]) -> Discovered:  # noqa: ARG002  # EndpointSource's signature
        """The list."""
        return Discovered(self._reports)


class NodeLister(FigureSource, Protocol):
    """The part of the control plane that discovery needs; `ControlPlane` is one."""

    async def list_nodes(self) -> Rows[Node]:
        """Every public node."""

    async def organization_nodes(self, org_id: str) -> Rows[Node]:
        """The private nodes of an organization."""


class ControlPlaneSource:
    """Asks the control plane: nodes, the organization's nodes, and figures of the buckets in use.

    The lists of nodes are essential: when one fails, so does the discovery, and the last table stays. The
    figures are not: without them the last ones serve for a minute, then latencies are unknown.

    Args:
        control_plane: whom to ask; stays the caller's to close.
        trust: which addresses may be used.
        settings: `org_id`, `bucket_ids`, `regions`, `exclude_nodes` and `discovery_timeout` are read.
        clock: monotonic seconds.
    """

    is_constant = False

    def __init__(
        self,
        control_plane: NodeLister,
        trust: EndpointTrust,
        settings: FlashbackSettings,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._control_plane = control_plane
        self._trust = trust
        self._org_id = settings.org_id
        self._regions = settings.regions
        self._exclude = settings.exclude_nodes
        self._figures = BucketFigures(
            control_plane,
            settings.bucket_ids,
            patience=settings.discovery_timeout * FIGURES_SHARE,
            clock=clock,
        )

    async def discover(self, buckets: frozenset[str]) -> Discovered:
        """One discovery: the lists and the figures are asked for side by side.

        Raises:
            DiscoveryError: no list of nodes, or none of the listed nodes may be used.
        """
        public, private, figures = await self._asked(buckets)
        nodes = (*public, *private)
        table = self._joined(nodes, figures)
        if filled := await self._figures.add_status(figures, table.silent_buckets):
            table = self._joined(nodes, figures)
            self._figures.rest(filled & table.silent_buckets)
        if not table.reports:
            raise DiscoveryError(_why_empty(len(nodes), table))
        return Discovered(
            table.reports,
            unmatched_rows=table.unmatched_rows,
            dropped_rows=public.dropped + private.dropped + figures.dropped + table.refused_rows,
            degraded="; ".join(figures.missing),
        )

    async def _asked(self, buckets: frozenset[str]) -> tuple[Rows[Node], Rows[Node], Figures]:
        try:
            async with asyncio.TaskGroup() as group:
                public = group.create_task(self._control_plane.list_nodes())
                private = group.create_task(self._private_nodes())
                figures = group.create_task(self._figures.latest(buckets))
            return public.result(), private.result(), figures.result()
        except BaseExceptionGroup as errors:
            first = errors.exceptions[0]  # it cancelled the others
        raise first

    async def _private_nodes(self) -> Rows[Node]:
        if self._org_id is None:
            return Rows()
        return await self._control_plane.organization_nodes(self._org_id)

    def _joined(self, nodes: Iterable[Node], figures: Figures) -> NodeTable:
        return join(
            nodes, figures.rows, admit=self._trust.admit, regions=self._regions, exclude=self._exclude
        )


def _why_empty(listed: int, table: NodeTable) -> str:
    if not listed:
        return "the control plane lists no node that serves storage; check FB_BASE_URL and FB_ORG_ID"
    reasons = ", ".join(f"{count} {reason}" for reason, count in table.skipped.items())
    return f"the control plane lists {listed} nodes and none may be used: {reasons}"


def _endpoint(url: str) -> Endpoint:
    checked = checked_url(url, what="endpoints")
    return Endpoint(id=urlsplit(checked).netloc, url=checked)


__all__ = ["ControlPlaneSource", "Discovered", "EndpointSource", "NodeLister", "StaticSource"]
