"""The join of what the control plane tells in several places into one row per endpoint. Pure functions.

Which name of a node the statistics use is not documented: its id, its address, its host, or a pattern of
hosts. So every node is indexed under all of its names, and a name that two nodes share identifies none.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from flashback_async.routing.endpoint import Endpoint, EndpointReport, EndpointStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from flashback_async.transport.control_plane import Node

_VOCABULARY = {
    "ONLINE": EndpointStatus.ONLINE,
    "OFFLINE": EndpointStatus.OFFLINE,
    "DISCONNECTED": EndpointStatus.DISCONNECTED,
    "ERROR": EndpointStatus.DISCONNECTED,  # its name until June 2025
}
_REFUSED = "with addresses that FB_ALLOWED_DOMAINS does not allow"
_REGISTERED = frozenset({"ACTIVE", "RUNNING"})
_API = re.compile(r"^(?:s3|gcs|blob|\*)-(?=.*\.)")
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://")
_PORT = re.compile(r":\d+$")
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Figure(Protocol):
    """What one node says of one bucket, from whichever table."""

    @property
    def node_id(self) -> str:
        """Some name of the node."""

    @property
    def status(self) -> str:
        """In capitals, empty where not told."""

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds from the node to the bucket, None while unknown."""

    @property
    def last_updated(self) -> datetime | None:
        """When the node said so."""


@dataclass(frozen=True, slots=True)
class NodeTable:
    """One discovery, joined.

    Attributes:
        reports: one per usable endpoint, ordered by id.
        skipped: reason -> listed nodes that are not used for it.
        refused_rows: nodes among them whose address must not be used.
        unmatched_rows: rows of figures that name no node, or more than one.
        silent_buckets: buckets that were asked about and that no row with a known node mentions.
    """

    reports: tuple[EndpointReport, ...]
    skipped: Mapping[str, int]
    refused_rows: int
    unmatched_rows: int
    silent_buckets: frozenset[str]


@dataclass(slots=True, eq=False)
class _Machine:
    """All rows that lead to one URL (or to one refused address), so one endpoint."""

    url: str | None
    rows: list[Node] = field(default_factory=list)
    figures: dict[str, list[Figure]] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc if self.url else ""

    @property
    def id(self) -> str:
        return min((row.id for row in self.rows if row.id), default="")

    @property
    def ip(self) -> str:
        return min((row.ip for row in self.rows if row.ip), default="")

    @property
    def region(self) -> str:
        return min((row.region for row in self.rows if row.region), default="")

    @property
    def is_private(self) -> bool:
        return any(row.org_id for row in self.rows)

    def names(self) -> Iterator[tuple[str, str]]:
        """(kind of name, name) for every name that a row of statistics may use."""
        for row in self.rows:
            if row.id:
                yield "id", node_key(row.id)
            if row.ip:
                yield "ip", node_key(row.ip)
        for address in (*(row.url for row in self.rows), self.host):
            if address:
                yield "host", node_key(address)
                yield "host", _PORT.sub("", node_key(address))

    def chief(self) -> Node:
        """The row that knows best: one that reports a status of operation, and the latest of those."""

        def rank(row: Node) -> tuple[bool, bool, bool, datetime, bool, float]:
            status = endpoint_status(row.status, private=bool(row.org_id))
            return (
                status is not EndpointStatus.UNKNOWN,
                row.status in _VOCABULARY,  # an organization's list says "active" of all that registered
                not row.org_id,
                row.last_updated if row.last_updated and not row.org_id else _LONG_AGO,  # and "now"
                status is EndpointStatus.ONLINE,
                -row.latency_ms if row.latency_ms is not None else float("-inf"),
            )

        return max(self.rows, key=rank)


def join(
    nodes: Iterable[Node],
    figures: Mapping[str, Iterable[Figure]],
    *,
    admit: Callable[[str], str | None],
    regions: Collection[str] = (),
    exclude: Collection[str] = (),
) -> NodeTable:
    """Make one report per usable endpoint.

    Args:
        nodes: rows of every list of nodes; the same node may be in several.
        figures: S3 bucket name -> what nodes say of it.
        admit: listed address -> URL to use, None for one that must not be used.
        regions: regions to keep; empty keeps all.
        exclude: ids, addresses and hosts of nodes to leave out.
    """
    machines = _grouped(nodes, admit)
    unmatched, silent = _attach(machines, figures)
    kept_regions = {region.casefold() for region in regions}
    excluded = {node_key(name) for name in exclude}
    usable: list[_Machine] = []
    skipped: Counter[str] = Counter()
    for machine in machines:
        if machine.url is None:
            skipped[_REFUSED] += len(machine.rows)
        elif kept_regions and machine.region.casefold() not in kept_regions:
            skipped["outside FB_REGIONS"] += len(machine.rows)
        elif any(name in excluded for _, name in machine.names()):
            skipped["named in FB_EXCLUDE_NODES"] += len(machine.rows)
        else:
            usable.append(machine)
    reports = (_report(name, machine) for name, machine in _named(usable))
    return NodeTable(
        reports=tuple(sorted(reports, key=lambda report: report.endpoint.id)),
        skipped=dict(skipped),
        refused_rows=skipped[_REFUSED],
        unmatched_rows=unmatched,
        silent_buckets=silent,
    )


def node_key(text: str) -> str:
    """A name of a node without what differs between its spellings: case, scheme, path, and which API."""
    bare = _SCHEME.sub("", text.strip().casefold()).partition("/")[0]
    return _API.sub("*-", bare)


def endpoint_status(text: str, *, private: bool) -> EndpointStatus:
    """What a status means. `active` and `running` say "registered": only private nodes are judged by that."""
    if private and text.upper() in _REGISTERED:
        return EndpointStatus.ONLINE
    return _VOCABULARY.get(text.upper(), EndpointStatus.UNKNOWN)


def _grouped(nodes: Iterable[Node], admit: Callable[[str], str | None]) -> list[_Machine]:
    machines: dict[str, _Machine] = {}
    for node in nodes:
        url = admit(node.url)
        key = url if url is not None else node_key(node.url)
        machines.setdefault(key, _Machine(url)).rows.append(node)
    return list(machines.values())


def _attach(machines: list[_Machine], figures: Mapping[str, Iterable[Figure]]) -> tuple[int, frozenset[str]]:
    """Give every figure to the machine that it names; the rows left over, and the buckets without any."""
    index: dict[tuple[str, str], set[int]] = {}
    for at, machine in enumerate(machines):
        for name in machine.names():
            index.setdefault(name, set()).add(at)
    unmatched = 0
    silent: set[str] = set()
    for bucket, rows in figures.items():
        heard = False
        for row in rows:
            owner = _owner(row, index, machines)
            if owner is None:
                unmatched += 1
                continue
            heard = True
            owner.figures.setdefault(bucket, []).append(row)
        if not heard:
            silent.add(bucket)
    return unmatched, frozenset(silent)


def _owner(
    row: Figure, index: Mapping[tuple[str, str], set[int]], machines: list[_Machine]
) -> _Machine | None:
    """The one machine that a row names; of several, the only usable one."""
    key = node_key(row.node_id)
    for kind in ("id", "ip", "host"):
        found = [machines[at] for at in index.get((kind, key), ())]
        usable = [machine for machine in found if machine.url is not None]
        for group in (found, usable):
            if len(group) == 1:
                return group[0]
    return None


def _named(machines: list[_Machine]) -> Iterator[tuple[str, _Machine]]:
    """A name for each that no other one has a claim to, whatever the order of the list."""
    candidates = [
        [name for name in (machine.id, machine.ip, machine.host, machine.url or "") if name]
        for machine in machines
    ]
    claims = Counter(name for names in candidates for name in set(names))
    for machine, names in zip(machines, candidates, strict=True):
        # The URL is the last resort: the machines were grouped by it.
        yield next((name for name in names if claims[name] == 1), names[-1]), machine


def _report(name: str, machine: _Machine) -> EndpointReport:
    chief = machine.chief()
    latency: dict[str | None, float] = {}
    offline: set[str] = set()
    if chief.latency_ms is not None:
        latency[None] = chief.latency_ms / 1000.0
    for bucket, rows in machine.figures.items():
        latest = max(rows, key=_freshness)
        status = endpoint_status(latest.status, private=machine.is_private)
        if latest.status and status is not EndpointStatus.ONLINE:
            offline.add(bucket)
        if latest.latency_ms is not None:
            latency[bucket] = latest.latency_ms / 1000.0
    return EndpointReport(
        endpoint=Endpoint(id=name, url=machine.url or "", region=machine.region),
        status=endpoint_status(chief.status, private=bool(chief.org_id)),
        reported_latency=latency,
        offline_buckets=frozenset(offline),
    )


def _freshness(row: Figure) -> tuple[datetime, bool, bool, float]:
    """Later beats earlier, and between equals the good news; the order of the list never decides.

    A wrong "online" costs one attempt, a wrong "offline" hides a good node.
    """
    latency = row.latency_ms
    return (
        row.last_updated or _LONG_AGO,
        row.status == "ONLINE",
        latency is not None,
        -latency if latency is not None else 0.0,
    )


__all__ = ["Figure", "NodeTable", "endpoint_status", "join", "node_key"]
