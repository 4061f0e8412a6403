"""A local Flashback in processes of its own: control plane, S3 gateways with injectable faults, store.

    async with LocalFlashback(nodes=4) as cluster:
        await cluster.nodes[0].set(Behaviour(status=503))

Needs the extra `sandbox` (`pip install 'flashback-async[sandbox]'`) and Linux.
"""

from __future__ import annotations

from flashback_async.sandbox.behaviour import Behaviour, RateLimit, WritesDisabled
from flashback_async.sandbox.cluster import LocalFlashback
from flashback_async.sandbox.errors import SandboxConfigurationError, SandboxError
from flashback_async.sandbox.handles import ControlPlane, Node, ServerStats
from flashback_async.sandbox.nodes import NodeSpec
from flashback_async.sandbox.variant import Variant

__all__ = [
    "Behaviour",
    "ControlPlane",
    "LocalFlashback",
    "Node",
    "NodeSpec",
    "RateLimit",
    "SandboxConfigurationError",
    "SandboxError",
    "ServerStats",
    "Variant",
    "WritesDisabled",
]
