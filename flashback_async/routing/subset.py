"""Which endpoints a client uses where there are many: the nearest ones, and some that are its own choice.

From 20 endpoints on, each client works with twelve: six that are nearest to it, and six that are drawn by
rendezvous hash with a seed of this client. So every endpoint it uses is known well, far ones are in reserve,
and a thousand clients do not all crowd the same ones (gRPC A68, stratified so that near nodes stay in).
"""

from __future__ import annotations

from hashlib import blake2b
from heapq import nlargest, nsmallest
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashback_async.routing.endpoint import OperationKind
    from flashback_async.routing.policy import RoutingPolicy
    from flashback_async.routing.record import EndpointRecord


def subset(
    eligible: Sequence[EndpointRecord],
    bucket: str | None,
    kind: OperationKind,
    *,
    seed: int,
    now: float,
    policy: RoutingPolicy,
) -> list[EndpointRecord]:
    """The endpoints to use for that bucket and kind, in the order of `eligible`.

    Whose breaker is open is replaced until it admits again; where most are open (panic), nobody is.
    """
    able = [record for record in eligible if record.breaker.admits(now)]
    if len(able) < policy.panic_share * len(eligible):
        able = list(eligible)

    def weight(record: EndpointRecord) -> int:
        if record.weight is None:
            record.weight = _weight(record.report.endpoint.id, seed)
        return record.weight

    def distance(record: EndpointRecord) -> tuple[float, int]:
        floor = record.expected(bucket, kind, now).floor
        # Where nothing is known, clients shall not all begin with the same endpoints.
        return (inf if floor is None else floor, -weight(record))

    chosen = {id(record) for record in nsmallest(policy.subset_near, able, key=distance)}
    others = [record for record in able if id(record) not in chosen]
    chosen.update(id(record) for record in nlargest(policy.subset_drawn, others, key=weight))
    return [record for record in eligible if id(record) in chosen]


def _weight(endpoint_id: str, seed: int) -> int:
    """Rendezvous hash: a client with that seed ranks the endpoints by it, whoever else comes and goes."""
    digest = blake2b(f"{seed}:{endpoint_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
