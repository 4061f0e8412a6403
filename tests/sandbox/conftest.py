"""The sandbox's own fixtures, as a user's tests have them."""

from __future__ import annotations

from flashback_async.sandbox.fixtures import (
    flashback_cluster,
    flashback_cluster_factory,
    flashback_environment,
)

__all__ = ["flashback_cluster", "flashback_cluster_factory", "flashback_environment"]
