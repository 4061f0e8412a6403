"""What a demo proves: a table for people, a document for programs, and one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from flashback_async.cli.wording import causes_text, counted, seconds_text, size_text

if TYPE_CHECKING:
    from flashback_async.cli.demo.race import Result


def table_of(ours: Result, guide: Result) -> Table:
    """Both runs side by side; 80 columns are enough."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for result in (ours, guide):
        table.add_column(result.name, no_wrap=True, overflow="ellipsis")
    for name, *cells in zip(_NAMES, _cells(ours), _cells(guide), strict=True):
        table.add_row(name, *cells)
    return table


_NAMES = (
    "objects copied, in + out",
    "requests failed",
    "trees compared byte by byte",
    "time",
    "objects per second",
    "throughput",
    "half of the requests within",
    "99 % of the requests within",
    "failovers per cause",
    "downloads resumed elsewhere",
)


def _cells(result: Result) -> tuple[Text, ...]:
    complete, differing = result.objects == result.wanted, len(result.differing)
    trees = f"{counted(differing, 'file')} differ" if differing else "equal"
    return (
        Text(f"{result.objects:,} of {result.wanted:,}", style=_style(good=complete)),
        Text(f"{result.failed:,}", style=_style(good=not result.failed)),
        Text(trees, style=_style(good=not differing)),
        Text(seconds_text(result.seconds)),
        Text(f"{result.objects / result.seconds:,.0f}"),
        Text(f"{size_text(result.moved / result.seconds)}/s"),
        Text(seconds_text(result.percentile(0.50))),
        Text(seconds_text(result.percentile(0.99))),
        Text(causes_text(result.failovers)),
        Text(f"{result.resumed:,}"),
    )


def _style(*, good: bool) -> str:
    return "green" if good else "red"


EXPLANATION = (
    "The guide's algorithm: the fastest node that is published as online, kept for 60 s and\n"
    "forgotten when a request fails; no retry. Its client is aioboto3 with the same settings."
)


def sentence_of(ours: Result) -> Text:
    """The outcome in words."""
    objects = ours.wanted // 2
    if ours.is_perfect:
        return Text(
            f"{counted(objects, 'object')} went in and came back identical, and no request failed.",
            style="bold green",
        )
    kinds = causes_text(ours.errors)
    return Text(
        f"This must not happen: {counted(ours.failed, 'request')} failed ({kinds}), "
        f"{counted(len(ours.differing), 'file')} differ.",
        style="bold red",
    )


def document_of(ours: Result, guide: Result, **context: object) -> dict[str, object]:
    """Both runs as JSON; times are seconds."""
    return {**context, "ok": ours.is_perfect, "flashback": _as_json(ours), "guide": _as_json(guide)}


def _as_json(result: Result) -> dict[str, object]:
    return {
        "requests": result.wanted,
        "succeeded": result.objects,
        "failed": result.failed,
        "errors": result.errors,
        "bytes": result.moved,
        "seconds": round(result.seconds, 3),
        "objects_per_second": round(result.objects / result.seconds, 1),
        "bytes_per_second": round(result.moved / result.seconds),
        "p50": _rounded(result.percentile(0.50)),
        "p99": _rounded(result.percentile(0.99)),
        "failovers": result.failovers,
        "resumed": result.resumed,
        "trees_equal": not result.differing,
        "files_differing": len(result.differing),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
