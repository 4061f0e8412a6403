"""Membership: old catalog + news -> new catalog. Pure; the router swaps the result in whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flashback_async.routing.endpoint import EndpointReport


class Change(NamedTuple):
    """What a discovery changes. `joined` holds endpoints that start anew, also after a change of URL."""

    reports: Mapping[str, EndpointReport]
    joined: tuple[EndpointReport, ...]
    left: tuple[EndpointReport, ...]


def updated(known: Mapping[str, EndpointReport], news: Iterable[EndpointReport]) -> Change:
    """Compare what is known with every endpoint known now.

    A missing endpoint leaves. One that comes back under another URL is somebody else: it leaves and joins.
    If an id occurs twice, the first row counts.
    """
    reports: dict[str, EndpointReport] = {}
    for report in news:
        reports.setdefault(report.endpoint.id, report)
    moved = {
        key for key in reports.keys() & known.keys() if reports[key].endpoint.url != known[key].endpoint.url
    }
    return Change(
        reports=reports,
        joined=tuple(report for key, report in reports.items() if key not in known or key in moved),
        left=tuple(report for key, report in known.items() if key not in reports or key in moved),
    )
