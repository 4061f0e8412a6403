"""The control plane: which nodes there are, and what they say of the buckets.

Every call is one bounded conversation: a deadline for all of it, three tries with jittered back-off, a new
token at most once, no redirect, answers limited in size and rows. What comes back is read row by row.
"""

from __future__ import annotations

import asyncio
import re
import time
from random import Random
from typing import TYPE_CHECKING

from pydantic import SecretStr

from flashback_async.config import FlashbackSettings, reveal
from flashback_async.errors import ConfigurationError, DiscoveryError
from flashback_async.transport.auth import RenewedToken, token_source
from flashback_async.transport.control_plane_models import (
    IDENTIFIER,
    STORAGE,
    Bucket,
    BucketNode,
    BucketStatus,
    Node,
    NodeMinute,
    Rows,
    parsed_rows,
)
from flashback_async.transport.conversation import Conversation
from flashback_async.transport.json_channel import JsonChannel

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from flashback_async.config import RotationCallback, TokenProvider
    from flashback_async.transport.auth import TokenSource

DEFAULT_URL: str = FlashbackSettings.model_fields["base_url"].default

IDS_PER_REQUEST = 50
"""Bucket ids joined into one parameter: 1.9 kB of URL, well below the 8 kB that proxies accept."""

_random = Random()  # noqa: S311  # spreads retries, guards nothing


class ControlPlane:
    """Client of Flashback's control plane.

    ```python
    async with ControlPlane(token=jwt) as control_plane:
        nodes = await control_plane.list_nodes()
    ```

    It opens connections with its first call, belongs to the event loop of that call, and is done after
    `aclose()`. Every method raises DiscoveryError (with `.status` and `.retry_after`) when the control plane
    gives no usable answer within `timeout`, and ConfigurationError for arguments that cannot work.
    Cancelling a call ends it at once; a token renewal that others wait for goes on.

    Args:
        base_url: scheme, host and port; https, or http on loopback.
        token: an access token, an async function that returns one, or a `TokenSource` (which stays yours to
            close). With `refresh_token` it may only be a string: the token to start with.
        refresh_token: renews the access token; it changes with every use.
        on_rotate: async function that persists every new refresh token.
        timeout: seconds for one request, with its tries, its pauses and a token renewal.
        ca_file: PEM file of certificate authorities to trust instead of the system's.
        ssl_context: wins over `ca_file`.
        clock: monotonic seconds.
        wall_clock: seconds since 1970, for expiries and dates.
        random: returns floats in [0, 1), for jitter.
        sleep: waits for seconds.

    Raises:
        ConfigurationError: no token, two kinds of token, or a value that cannot work.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        token: str | SecretStr | TokenProvider | TokenSource | None = None,
        refresh_token: str | SecretStr | None = None,
        on_rotate: RotationCallback | None = None,
        timeout: float = 10.0,
        ca_file: Path | str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        random: Callable[[], float] = _random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not timeout > 0.0:
            raise ConfigurationError(f"timeout: {timeout!r} is no positive number of seconds")
        self._channel = JsonChannel(base_url, ca_file=ca_file, ssl_context=ssl_context, wall_clock=wall_clock)
        self._tokens = token_source(
            self._channel,
            token=reveal(token) if isinstance(token, SecretStr) else token,
            refresh_token=reveal(refresh_token) if refresh_token is not None else None,
            on_rotate=on_rotate,
            clock=clock,
            wall_clock=wall_clock,
            random=random,
        )
        self._owns_tokens = self._tokens is not token
        self._conversation = Conversation(
            self._channel, self._tokens, timeout=timeout, clock=clock, random=random, sleep=sleep
        )

    @classmethod
    def from_settings(
        cls,
        settings: FlashbackSettings,
        *,
        refresh_token: str | None = None,
        on_rotate: RotationCallback | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _random.random,
        ssl_context: ssl.SSLContext | None = None,
    ) -> ControlPlane:
        """The control plane that `settings` describe. A `token_provider` wins over the tokens.

        Args:
            settings: base URL, tokens, `ca_file`, and `discovery_timeout` for every request.
            refresh_token: what has become of the settings' refresh token; it is spent by its first use.
            on_rotate: instead of the settings' callback.
            clock: monotonic seconds.
            random: returns floats in [0, 1), for jitter.
            ssl_context: wins over `ca_file`.

        Raises:
            ConfigurationError: the settings hold no token.
        """
        provider = settings.token_provider
        return cls(
            settings.base_url,
            token=provider or settings.jwt,
            refresh_token=None if provider is not None else refresh_token or settings.refresh_token,
            on_rotate=on_rotate or settings.on_rotate,
            timeout=settings.discovery_timeout,
            ca_file=settings.ca_file,
            ssl_context=ssl_context,
            clock=clock,
            random=random,
        )

    @property
    def base_url(self) -> str:
        """Scheme, host and port."""
        return self._channel.base_url

    async def list_nodes(self) -> Rows[Node]:
        """Every public node that serves storage, whatever its status: `GET /node`."""
        # The parameter is new: an older control plane ignores it and lists every kind of node.
        payload = await self._conversation.get(
            "/node", {"nodeServices": str(STORAGE)}, hint="check FB_BASE_URL"
        )
        nodes = parsed_rows(Node, _listed(payload, "GET /node", "data", "nodes"))
        return Rows((node for node in nodes if node.serves_storage), dropped=nodes.dropped)

    async def organization_nodes(self, org_id: str) -> Rows[Node]:
        """The private nodes of an organization that serve storage: `GET /organization/{orgId}/nodes`."""
        path = f"/organization/{checked_id(org_id, 'org_id')}/nodes"
        payload = await self._conversation.get(
            path, hint="check FB_ORG_ID, and that the token's user is a member"
        )
        nodes = parsed_rows(Node, _listed(payload, f"GET {path}", "data", "nodes"))
        named = (node if node.org_id else node.model_copy(update={"org_id": org_id}) for node in nodes)
        return Rows((node for node in named if node.serves_storage), dropped=nodes.dropped)

    async def node_minute_stats(self, bucket_ids: Iterable[str] = ()) -> Rows[NodeMinute]:
        """What every node last said of these buckets: `GET /stats/nodes/minute`.

        Args:
            bucket_ids: Flashback UUIDs (not S3 names); none asks for every bucket the user may see. More than
                50 are asked for in several requests.
        """
        path = "/stats/nodes/minute"
        if isinstance(bucket_ids, str):
            raise ConfigurationError("bucket_ids: give a list of ids, not one string")
        ids = list(dict.fromkeys(checked_id(bucket_id, "bucket_ids") for bucket_id in bucket_ids))
        batches = [ids[at : at + IDS_PER_REQUEST] for at in range(0, len(ids), IDS_PER_REQUEST)]
        rows: list[NodeMinute] = []
        dropped = 0
        for batch in batches or [[]]:
            query = {"bucketId": ",".join(batch)} if batch else None
            payload = await self._conversation.get(path, query, hint="latencies stay unknown without it")
            part = parsed_rows(NodeMinute, _listed(payload, f"GET {path}", "data"))
            rows += part
            dropped += part.dropped
        return Rows(rows, dropped=dropped)

    async def bucket_status(self, bucket_id: str) -> BucketStatus:
        """What every node says of one bucket: `GET /bucket/{id}/status`, which names nodes by address.

        Args:
            bucket_id: Flashback UUID, not the S3 name.
        """
        path = f"/bucket/{checked_id(bucket_id, 'bucket_id')}/status"
        payload = await self._conversation.get(path, hint="check the id in FB_BUCKET_IDS")
        rows = parsed_rows(BucketNode, _listed(payload, f"GET {path}", "nodeStatus", "data"))
        return BucketStatus(bucket_id=bucket_id, nodes=rows, dropped=rows.dropped)

    async def list_buckets(self) -> Rows[Bucket]:
        """Every bucket the user may see: `GET /bucket`."""
        payload = await self._conversation.get("/bucket", hint="set FB_BUCKET_IDS to do without it")
        return parsed_rows(Bucket, _listed(payload, "GET /bucket", "buckets", "data"))

    async def aclose(self) -> None:
        """Close the connections. Idempotent. A token renewal under way gets up to 5 s to end."""
        if self._owns_tokens and isinstance(self._tokens, RenewedToken):
            await self._tokens.aclose()
        await self._channel.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<ControlPlane {self.base_url}>"


def _listed(payload: object, request: str, *names: str) -> list[object]:
    """The rows in an answer: bare, or in an envelope under one of `names`, or one envelope deeper."""
    found = payload
    if isinstance(found, dict):
        found = next((found[name] for name in names if name in found), found)
    if isinstance(found, dict):
        found = next((found[name] for name in names if name in found), found)
    if found is None:
        return []
    if not isinstance(found, list):
        raise DiscoveryError(
            f"{request} answered no list under {' or '.join(names)}; check FB_BASE_URL", status=200
        )
    return found


def checked_id(text: str, what: str) -> str:
    """`text`, if it can be one segment of a path and one item of a comma-joined list.

    Raises:
        ConfigurationError: it cannot.
    """
    if not isinstance(text, str) or not re.fullmatch(IDENTIFIER, text):
        raise ConfigurationError(f"{what}: {text!r} is no id; copy the UUID that the platform shows")
    return text


__all__ = ["Bucket", "BucketNode", "BucketStatus", "ControlPlane", "Node", "NodeMinute", "Rows", "checked_id"]
