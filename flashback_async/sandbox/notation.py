"""How the control plane writes single values: the spellings that a `Variant` chooses between."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flashback_async.sandbox.registry import Figure, PublishedNode
    from flashback_async.sandbox.variant import Variant


def timestamp(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def status(variant: Variant, figure: Figure) -> str:
    """A status in the variant's case."""
    match variant.status_case:
        case "upper":
            return figure.status.upper()
        case "title":
            return figure.status.title()
        case "lower":
            return figure.status.lower()


def latency(variant: Variant, figure: Figure) -> float | None:
    """Milliseconds, whole ones as integers."""
    if figure.status != "ONLINE" and variant.offline_latency != "kept":
        return 0 if variant.offline_latency == "zero" else None
    if figure.latency is None:
        return None
    milliseconds = round(figure.latency * 1000, 3)
    return int(milliseconds) if milliseconds.is_integer() else milliseconds


def url(variant: Variant, node: PublishedNode) -> str:
    """A node's url."""
    match variant.url_form:
        case "url":
            return f"{node.scheme}://{node.host}"
        case "slash":
            return f"{node.scheme}://{node.host}/"
        case "bare":
            return node.host
        case "wildcard":
            return f"*-{_label(node)}"
        case "gcs":
            return f"{node.scheme}://gcs-{_label(node)}"


def host(variant: Variant, node: PublishedNode) -> str:
    """A node's host; a pattern where its url is written with a name."""
    return f"*-{_label(node)}" if variant.url_form in ("wildcard", "gcs") else node.host


def node_id(variant: Variant, node: PublishedNode) -> str:
    """What the statistics call a node."""
    match variant.node_id:
        case "ip":
            return node.ip
        case "uuid":
            return node.uuid
        case "host":
            return host(variant, node)
        case "url":
            return url(variant, node)


def numbers(variant: Variant, value: Any) -> Any:
    """JSON data with its numbers as they are, or all of them as strings."""
    if not variant.numbers_as_strings or isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return {key: numbers(variant, one) for key, one in value.items()}
    if isinstance(value, list):
        return [numbers(variant, one) for one in value]
    return str(value) if isinstance(value, int | float) else value


def _label(node: PublishedNode) -> str:
    return f"{node.region}-{node.provider}.localhost:{node.port}"
