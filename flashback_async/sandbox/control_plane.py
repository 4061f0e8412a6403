"""The process of the control plane: a `Front`, with the same faults as a gateway's, before the `Api`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flashback_async.sandbox import worker
from flashback_async.sandbox.api import Api
from flashback_async.sandbox.registry import Registry
from flashback_async.sandbox.service import FrontService
from flashback_async.sandbox.tokens import TokenMint

if TYPE_CHECKING:
    from flashback_async.sandbox.admin import Call


class ControlPlaneService(FrontService):
    """The control plane as a worker's service."""

    def __init__(self, api: Api, config: dict[str, Any]) -> None:
        super().__init__(api, config)
        self._api = api

    @property
    def calls(self) -> dict[str, Call]:
        """What the admin channel offers."""
        return {
            **super().calls,
            "describe": self.describe,
            "revoke_tokens": self.revoke_tokens,
            "restore_tokens": self.restore_tokens,
        }

    async def describe(self, registry: dict[str, Any]) -> None:
        """Know this from now on, unless something newer is known already."""
        new = Registry.from_json(registry)
        if new.version > self._api.registry.version:
            self._api.registry = new

    async def revoke_tokens(self) -> None:
        """Refuse every access token issued so far."""
        self._api.mint.revoke()

    async def restore_tokens(self) -> None:
        """Accept the first tokens again."""
        self._api.mint.restore()


async def start(config: dict[str, Any]) -> ControlPlaneService:
    """Start the control plane: `FrontService`'s configuration, and `registry`, `mint`, `user`."""
    api = Api(Registry.from_json(config["registry"]), TokenMint(**config["mint"]), config["user"])
    service = ControlPlaneService(api, config)
    await service.behave(config["behaviour"])
    return service


if __name__ == "__main__":
    worker.run(start)
