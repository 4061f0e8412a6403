"""The fast lane: what carries no XML goes over connections of our own, everything else through aioboto3.

Requests, signatures and answers are those of boto (`s3_wire`, `sigv4`, `s3_answers`), for a fraction of what
boto takes to work them out; the connections are those of `http1`. What a plan does not cover, and what boto
would refuse in its own words, is handed to the aioboto3 client underneath.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from flashback_async.errors import ConfigurationError
from flashback_async.transport.payload_hash import payload_hash
from flashback_async.transport.s3_call import Progress, S3Answer
from flashback_async.transport.s3_client import S3Client
from flashback_async.transport.s3_errors import from_client_error
from flashback_async.transport.s3_http import REDIRECTS, redirected
from flashback_async.transport.s3_place import Place
from flashback_async.transport.s3_session import USER_AGENT
from flashback_async.transport.s3_wire import WirePlan
from flashback_async.transport.sigv4 import UNSIGNED_PAYLOAD, Signer
from flashback_async.transport.upload import UploadReader

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from aiobotocore.client import AioBaseClient

    from flashback_async.config import Credentials, FlashbackSettings
    from flashback_async.routing import Endpoint
    from flashback_async.transport.http1.answer import Answer
    from flashback_async.transport.http1.connections import Connections
    from flashback_async.transport.operation import Operation

# Bytes of an answer that is read whole: next to nothing, or an error. Error pages have a few kilobytes; of a
# longer one the status is enough.
_MOST: Final = 1_024 * 1_024
_REFUSED: Final = 300
_AGENT: Final = (("user-agent", USER_AGENT),)


class FastLane:
    """What the fast clients of one pool share: plans, and the connections of every origin.

    Args:
        settings: the client's.
        tls: whom to trust.
        clock: seconds of the running loop.
        wall_clock: seconds since 1970, to date signatures.

    Raises:
        ConfigurationError: httptools is not installed.
    """

    def __init__(
        self,
        settings: FlashbackSettings,
        *,
        tls: ssl.SSLContext | None,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            from flashback_async.transport.http1.connections import Connections  # noqa: PLC0415  # an extra
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "lane='fast' needs httptools; install flashback-async[fast], or use lane='aioboto3'"
            ) from error
        self.settings = settings
        self.wall_clock = wall_clock
        self._make = Connections
        self._tls = tls
        self._clock = clock
        self._origins: dict[tuple[str, str], Connections] = {}
        self._plans: dict[str, WirePlan | None] = {}

    def plan(self, name: str, client: AioBaseClient) -> WirePlan | None:
        """How an operation looks on the wire; None: only boto knows."""
        if name not in self._plans:
            model = client.meta.service_model.operation_model(name)
            self._plans[name] = WirePlan.of(model, client.exceptions.from_code)
        return self._plans[name]

    def connections(self, scheme: str, host: str) -> Connections:
        """Those to one origin; `host` as in the header."""
        found = self._origins.get((scheme, host))
        if found is None:
            parts = urlsplit(f"{scheme}://{host}")
            is_safe = scheme == "https"
            found = self._origins[scheme, host] = self._make(
                parts.hostname or host,
                parts.port or (443 if is_safe else 80),
                tls=self._tls if is_safe else None,
                connect_timeout=self.settings.connect_timeout,
                clock=self._clock,
            )
        return found

    def client(
        self, made: S3Client, endpoint: Endpoint, credentials: Credentials, *, sign_payload: bool
    ) -> FastClient:
        """The fast client on top of an aioboto3 one."""
        return FastClient(made, self, endpoint, credentials, sign_payload=sign_payload)

    def close(self) -> None:
        """Close every connection."""
        for connections in self._origins.values():
            connections.close()


class FastClient(S3Client):
    """One endpoint's client in the fast lane."""

    def __init__(
        self,
        made: S3Client,
        lane: FastLane,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        sign_payload: bool,
    ) -> None:
        super().__init__(made.boto, made.http)
        self._lane = lane
        self._scheme = urlsplit(endpoint.url).scheme
        self._place = Place(endpoint.url, addressing=lane.settings.addressing)
        self._signer = Signer(credentials, lane.settings.region)
        self._sign_payload = sign_payload
        # Of the host that was asked last: with buckets in the path there is only one.
        self._origin: tuple[str, Connections] | None = None

    async def __call__(self, operation: Operation, *, progress: Progress) -> S3Answer:
        """Send `operation` once; see `S3Call`."""
        lane = self._lane
        plan = lane.plan(operation.name, self.boto)
        request = None
        if plan is not None and plan.answer.streams_body is operation.streamed:
            request = plan.request(operation, self._place)
        if plan is None or request is None:
            return await super().__call__(operation, progress=progress)
        body = None if operation.upload is None else operation.upload.reader(progress)
        try:
            # Small bodies leave in one piece, and readers tell of their progress by themselves.
            if isinstance(body, UploadReader):
                digest = await body.sha256() if self._sign_payload else UNSIGNED_PAYLOAD
            else:
                digest = payload_hash(body, signed=self._sign_payload)
            head = request.signed_head(self._signer, payload_hash=digest, now=lane.wall_clock(), also=_AGENT)
            answer = await self._connections(request.host).send(
                head, body, expects_body=request.method != "HEAD"
            )
        finally:
            if isinstance(body, UploadReader):
                body.close()
        try:
            if answer.status < _REFUSED and (operation.streamed or answer.is_empty):
                fields = plan.answer.fields(answer.status, answer.headers)
                return S3Answer(fields, answer.status, answer if operation.streamed else None)
            return await self._read(plan, answer)
        except ClientError as error:
            answer.close()
            raise from_client_error(error, operation.kind, now=datetime.now(UTC)) from error
        except BaseException:
            answer.close()
            raise

    def _connections(self, host: str) -> Connections:
        origin = self._origin
        if origin is None or origin[0] != host:
            origin = self._origin = (host, self._lane.connections(self._scheme, host))
        return origin[1]

    async def _read(self, plan: WirePlan, answer: Answer) -> S3Answer:
        """An answer that is read whole.

        Raises:
            ClientError: it is a refusal.
            EndpointServerError: it is a redirect, or not S3's.
        """
        status = answer.status
        if status >= _REFUSED:
            if status in REDIRECTS:
                raise redirected(status, answer.headers.get("location"))
            raise plan.answer.error(status, answer.headers, await _beginning(answer))
        body = await answer.read_all(_MOST)
        return S3Answer(plan.answer.fields(status, answer.headers, body), status)


async def _beginning(answer: Answer) -> bytes:
    """The body of a refusal, or as much of it as anybody needs; then the connection is closed."""
    pieces: list[bytes] = []
    size = 0
    while size < _MOST and (piece := await answer.read()):
        pieces.append(piece)
        size += len(piece)
    if size >= _MOST:
        answer.close()
    return b"".join(pieces)
