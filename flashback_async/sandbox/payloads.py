"""Answers of the control plane as data: pure functions of a `Registry` and a time.

Field names and shapes follow the documentation and the official client; where these contradict each
other, the registry's `Variant` chooses.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from flashback_async.sandbox import notation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from flashback_async.sandbox.registry import Figure, PublishedNode, Registry

VERSION: Final = "1.2.3"
"""The version that every node reports."""

_WORKSPACE: Final = "workspace-sandbox"

_QUOTA: Final = 10_737_418_240
"""Bytes that the subscription allows to store."""

_BROKEN_ROWS: Final[tuple[Any, ...]] = (
    None,
    42,
    "node",
    [],
    {},
    {"url": None, "status": "ONLINE"},
    {"url": 17, "ip": {}, "status": ["ONLINE"], "nodeServices": "many"},
    {"url": "ftp://user:secret@127.0.0.1:99999/x", "ip": "", "region": None, "status": "ONLINE"},
    {"nodeId": None, "bucketId": 3, "nodeStatus": "ONLINE", "latency_ms": "fast"},
)


def nodes(registry: Registry, services: int, now: float) -> Any:
    """`GET /node`: the public nodes that offer any of `services` (0: all)."""
    rows = [
        _node(registry, node, now)
        for node in registry.nodes
        if not node.private and (services == 0 or node.services & services)
    ]
    return _listing(registry, [*rows, *registry.extra_nodes], total=True)


def organization_nodes(registry: Registry, now: float) -> Any:
    """`GET /organization/{id}/nodes`: the private nodes; an online one is called `active` here."""
    rows = []
    for node in registry.nodes:
        if node.private:
            row = _node(registry, node, now)
            row |= {"id": node.uuid, "id_org": registry.org_id, "lastUpdated": notation.timestamp(now)}
            if node.figure.status == "ONLINE":
                row["status"] = "active"
            rows.append(row)
    return _listing(registry, rows, total=True)


def minute_stats(registry: Registry, bucket_ids: Collection[str] | None, now: float) -> Any:
    """`GET /stats/nodes/minute`: every node's latest figure for these buckets (None: for all)."""
    variant = registry.variant
    rows = [
        {
            "nodeId": notation.node_id(variant, node),
            variant.bucket_key: bucket_id,
            "nodeStatus": notation.status(variant, figure),
            "lastUpdated": notation.timestamp(now - variant.age),
            variant.latency_key: notation.latency(variant, figure),
        }
        for node, bucket_id, figure in _figures(registry, bucket_ids)
        if figure.latency is not None
    ]
    return _listing(registry, [*rows, *registry.extra_stats])


def daily_stats(
    registry: Registry, bucket_ids: Collection[str] | None, start: datetime, end: datetime
) -> Any:
    """`GET /stats/nodes/daily`: one row per day from `start` to `end` inclusive, node and bucket."""
    variant = registry.variant
    rows = [
        {
            "nodeId": notation.node_id(variant, node),
            variant.bucket_key: bucket_id,
            "day": int((start + timedelta(days=offset)).timestamp()),
            "online": 99.5,
            variant.latency_key: notation.latency(variant, figure),
            "endpoint": notation.host(variant, node),
            "region": node.region,
            "storageType": "S3",
            "provider": node.provider.upper(),
            "status": notation.status(variant, figure),
            "version": VERSION,
        }
        for offset in range((end - start).days + 1)
        for node, bucket_id, figure in _figures(registry, bucket_ids)
    ]
    return _listing(registry, rows)


def bucket_status(registry: Registry, bucket: str, now: float) -> Any:
    """`GET /bucket/{id}/status`: keyed by the nodes' ip; without a `success` field."""
    variant = registry.variant
    bucket_id = registry.bucket_id(bucket)
    rows = [
        {
            "ip": node.ip,
            "region": node.region,
            "version": VERSION,
            "status": notation.status(variant, figure),
            variant.latency_key: notation.latency(variant, figure),
            "lastUpdated": notation.timestamp(now - variant.age),
        }
        for node, _, figure in _figures(registry, {bucket_id})
        if figure.latency is not None and not variant.empty_nodes
    ]
    return notation.numbers(variant, {"bucketId": bucket_id, "nodeStatus": rows})


def bucket_stats(registry: Registry, bucket: str, now: float) -> Any:
    """`POST /bucket/{id}/stats`: the one documented place that pairs ip with host."""
    variant = registry.variant
    rows = [
        {
            "ip": node.ip,
            "host": notation.host(variant, node),
            "perc_uptime": 99.5,
            "avg_latency_ms": notation.latency(variant, figure),
            "version": VERSION,
            "node_status": notation.status(variant, figure),
            "last_updated": notation.timestamp(now - variant.age),
            "last_latency_ms": notation.latency(variant, figure),
        }
        for node, _, figure in _figures(registry, {registry.bucket_id(bucket)})
    ]
    return notation.numbers(variant, {"success": True, "nodeStats": rows})


def buckets(registry: Registry, now: float) -> Any:
    """`GET /bucket`: S3 name (`bucket`) and UUID (`id`) of every bucket."""
    rows = [
        {
            "id": registry.bucket_id(name),
            "name": f"Sandbox {name}",
            "bucket": name,
            "storageType": "S3",
            "key": registry.key_id,
            "secret": {},
            "endpoint": "https://s3.amazonaws.com",
            "region": "us-east-1",
            "status": "ONLINE",
            "lastStatusAt": notation.timestamp(now),
            "createdAt": notation.timestamp(now),
            "workspaceId": _WORKSPACE,
        }
        for name in registry.buckets
    ]
    return notation.numbers(registry.variant, {"success": True, "buckets": rows})


def repositories(registry: Registry, now: float) -> Any:
    """`GET /repo`: one mirrored repository with every bucket and one key."""
    repository = {
        "id": registry.repository_id,
        "name": "Sandbox",
        "storageType": "S3",
        "mode": "MIRROR",
        "workspaceId": _WORKSPACE,
        "disabled": registry.variant.repo_disabled,
        "createdAt": notation.timestamp(now),
        "buckets": [
            {"folder": name, "master": index == 0, "bucketId": registry.bucket_id(name)}
            for index, name in enumerate(registry.buckets)
        ],
        "apiKeys": [
            {
                "id": registry.key_uuid,
                "name": "sandbox",
                "accessType": "WRITE",
                "key": registry.key_id,
                "createdAt": notation.timestamp(now),
            }
        ],
    }
    return notation.numbers(registry.variant, {"success": True, "repos": [repository]})


def quota(registry: Registry) -> Any:
    """`GET /user/quota`: half used, or used up when the repository is disabled."""
    percentage = 100 if registry.variant.repo_disabled else 50
    storage = {
        "capability": {
            "id": "cap_001",
            "code": "STORAGE_TOTAL_BYTES",
            "description": "Total storage available in bytes",
            "type": "STORAGE",
            "periodType": "ALL_TIME",
        },
        "usage": {"current": _QUOTA * percentage // 100, "max": _QUOTA, "percentage": percentage},
    }
    subscription = {"id": "sub_123", "name": "Sandbox", "description": "Sandbox subscription"}
    return notation.numbers(
        registry.variant, {"success": True, "subscription": subscription, "quotaUsage": [storage]}
    )


def _figures(
    registry: Registry, bucket_ids: Collection[str] | None
) -> Iterator[tuple[PublishedNode, str, Figure]]:
    for node in registry.nodes:
        for name in registry.buckets:
            bucket_id = registry.bucket_id(name)
            if bucket_ids is None or bucket_id in bucket_ids:
                yield node, bucket_id, node.reported(name)


def _node(registry: Registry, node: PublishedNode, now: float) -> dict[str, Any]:
    variant = registry.variant
    row: dict[str, Any] = {
        "ip": node.ip,
        "region": node.region,
        "version": VERSION,
        "status": notation.status(variant, node.figure),
        "lastUpdated": notation.timestamp(now - variant.age),
        "url": notation.url(variant, node),
    }
    if variant.node_services:
        row["nodeServices"] = node.services
    if variant.node_latency and node.figure.latency is not None:
        row["latencyMs"] = notation.latency(variant, node.figure)
    if variant.include_ids:
        row["id"] = node.uuid
    return row


def _listing(registry: Registry, rows: list[Any], *, total: bool = False) -> Any:
    variant = registry.variant
    if variant.empty_nodes:
        rows = []
    if variant.garbage == "rows":
        rows = [*_BROKEN_ROWS, *rows]
    if not variant.envelope:
        return notation.numbers(variant, rows)
    envelope: dict[str, Any] = {"success": True, "data": rows}
    if total:
        envelope["total"] = len(rows)
    return notation.numbers(variant, envelope)
