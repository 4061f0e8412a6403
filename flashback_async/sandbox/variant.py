"""The shapes in which the control plane speaks, where its documentation contradicts itself."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

from flashback_async.sandbox.errors import require


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to speak; `Variant()` is the newest documented one.

    Attributes:
        envelope: lists come as `{success, data, total}`; False: as bare arrays.
        latency_key: spelling in the statistics and in a bucket's status.
        bucket_key: spelling in the statistics; the older name of a bucket is a unit.
        node_id: what `nodeId` holds in the statistics.
        url_form: how a node's `url` is written. `wildcard` (`*-us-east-1-aws.localhost:PORT`) and `gcs`
            use a name that only some resolvers know (systemd-resolved, macOS); nodes listen there too.
        status_case: `ONLINE`, `Online` or `online`.
        numbers_as_strings: every number is a JSON string.
        include_ids: rows of `/node` carry an `id`.
        node_latency: rows of `/node` carry a `latencyMs`.
        node_services: rows of `/node` carry `nodeServices`.
        require_node_services: `/node` without the parameter `nodeServices` is refused with 400.
        offline_latency: the latency reported for what is not online.
        age: seconds by which every `lastUpdated` lies in the past.
        empty_nodes: node lists and statistics are empty.
        success_false: data is refused with status 200 and `{"success": false}`.
        garbage: `text`: a body that is no JSON; `rows`: broken rows among the good ones; `huge`: a valid
            answer of more than 32 MiB.
        repo_disabled: the repository is disabled and its quota used up.
        expires_in_ms: `expiresAt` counts milliseconds instead of seconds.
    """

    envelope: bool = True
    latency_key: Literal["latency_ms", "latencyMs"] = "latency_ms"
    bucket_key: Literal["bucketId", "unitId"] = "bucketId"
    node_id: Literal["ip", "uuid", "host", "url"] = "ip"
    url_form: Literal["url", "slash", "bare", "wildcard", "gcs"] = "url"
    status_case: Literal["upper", "title", "lower"] = "upper"
    numbers_as_strings: bool = False
    include_ids: bool = False
    node_latency: bool = True
    node_services: bool = True
    require_node_services: bool = False
    offline_latency: Literal["zero", "null", "kept"] = "zero"
    age: float = 0.0
    empty_nodes: bool = False
    success_false: bool = False
    garbage: Literal["none", "text", "rows", "huge"] = "none"
    repo_disabled: bool = False
    expires_in_ms: bool = False

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            choices = get_args(hints[field.name])
            value = getattr(self, field.name)
            require(
                not choices or value in choices,
                f"{field.name}={value!r}: give one of {', '.join(map(repr, choices))}",
            )
