"""A control plane inside the loop: tables that tests change, failures that they inject, calls they count."""

from __future__ import annotations

import asyncio

from flashback_async.transport.control_plane import Bucket, BucketNode, BucketStatus, Node, NodeMinute, Rows


class ScriptedControlPlane:
    """Answers like `ControlPlane`, from plain dictionaries in the wire's spelling.

    Attributes:
        nodes, private, minutes, buckets: rows of the four tables.
        statuses: bucket id -> rows.
        failures: method name -> error to raise.
        dropped: method name -> rows that were malformed.
        silent: names of methods that never answer.
        delay: seconds that every answer takes.
        calls: (method, arguments), in order.
    """

    def __init__(self, *nodes):
        self.nodes = list(nodes)
        self.private = []
        self.minutes = []
        self.buckets = []
        self.statuses = {}
        self.failures = {}
        self.dropped = {}
        self.silent = set()
        self.delay = 0.0
        self.calls = []

    def asked(self, method):
        return [arguments for name, *arguments in self.calls if name == method]

    async def list_nodes(self):
        return await self._answer(Node, self.nodes, "list_nodes")

    async def organization_nodes(self, org_id):
        rows = await self._answer(Node, self.private, "organization_nodes", org_id)
        return Rows((row.model_copy(update={"org_id": org_id}) for row in rows), dropped=rows.dropped)

    async def node_minute_stats(self, bucket_ids=()):
        return await self._answer(NodeMinute, self.minutes, "node_minute_stats", *bucket_ids)

    async def bucket_status(self, bucket_id):
        rows = await self._answer(BucketNode, self.statuses.get(bucket_id, []), "bucket_status", bucket_id)
        return BucketStatus(bucket_id=bucket_id, nodes=rows, dropped=rows.dropped)

    async def list_buckets(self):
        return await self._answer(Bucket, self.buckets, "list_buckets")

    async def _answer(self, kind, rows, method, *arguments):
        self.calls.append((method, *arguments))
        await asyncio.sleep(1e9 if method in self.silent else self.delay)
        if method in self.failures:
            raise self.failures[method]
        return Rows((kind.model_validate(row) for row in rows), dropped=self.dropped.get(method, 0))


def node(number, **fields):
    """A row of `GET /node`."""
    return {"url": f"*-n{number}.flashback.tech", "ip": f"203.0.113.{number}", "status": "ONLINE", **fields}


def minute(number, latency_ms, bucket_id="id-b", **fields):
    """A row of `GET /stats/nodes/minute`."""
    return {
        "nodeId": f"203.0.113.{number}",
        "bucketId": bucket_id,
        "nodeStatus": "ONLINE",
        "latency_ms": latency_ms,
        **fields,
    }
