"""A `Front` as the service of a worker process, steered through the admin channel."""

from __future__ import annotations

import ssl
from random import Random
from typing import TYPE_CHECKING, Any

from flashback_async.sandbox.behaviour import Behaviour
from flashback_async.sandbox.faults import Faults
from flashback_async.sandbox.front import Front

if TYPE_CHECKING:
    from flashback_async.sandbox.admin import Call
    from flashback_async.sandbox.message import Backend


class FrontService:
    """A front whose admin calls set the behaviour and read the counters.

    Args:
        backend: what serves.
        config: `hosts`, `port`, `tls` ([certificate, key] paths or None), `behaviour`, `distance` (seconds),
            `seed`.
    """

    def __init__(self, backend: Backend, config: dict[str, Any]) -> None:
        tls = None
        if config["tls"]:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(*config["tls"])
        self.front = Front(backend, hosts=config["hosts"], port=config["port"], tls=tls)
        self._backend = backend
        self._distance = config["distance"]
        self._random = Random(config["seed"])  # noqa: S311 - faults are to be repeatable

    @property
    def calls(self) -> dict[str, Call]:
        """What the admin channel offers."""
        return {
            "behave": self.behave,
            "stats": self.stats,
            "count": self.count,
            "reset_stats": self.reset_stats,
        }

    async def behave(self, behaviour: dict[str, Any]) -> None:
        """Take on a behaviour, given as JSON data."""
        faults = Faults(Behaviour.from_json(behaviour), distance=self._distance, random=self._random)
        await self.front.behave(faults)

    async def stats(self) -> dict[str, Any]:
        """All counters."""
        return self.front.meter.to_json()

    async def count(self, since: float, until: float | None) -> int:
        """Requests that arrived in an interval of the monotonic clock."""
        return self.front.meter.count(since, until)

    async def reset_stats(self) -> None:
        """Start counting anew."""
        self.front.meter.reset()

    async def aclose(self) -> None:
        """Close the port and every connection."""
        await self.front.aclose()
        self._backend.close()
