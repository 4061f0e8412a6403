"""The HTTP API of the control plane: routes, authentication, refusals. What it answers is in `payloads`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from flashback_async.sandbox import notation, payloads
from flashback_async.sandbox.answer import Answer, json_answer
from flashback_async.sandbox.message import AnswerReply, Reply, Request

if TYPE_CHECKING:
    from flashback_async.sandbox.registry import Registry
    from flashback_async.sandbox.tokens import TokenMint

_HUGE: Final = 33_554_432
"""Bytes of padding in a `huge` answer."""

_MAX_DAYS: Final = 366
"""Days that one request for daily figures may span."""


class _RefusedError(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, **body: Any) -> None:
        super().__init__(status)
        self.answer = json_answer({"success": False, **body}, status)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of the API: the id in its path if there is one, the rest as it came."""

    argument: str
    query: str
    body: bytes
    now: float

    def parameter(self, *names: str) -> str | None:
        """The first of these query parameters that is there."""
        given = parse_qs(self.query)
        return next((given[name][-1] for name in names if name in given), None)

    def bucket_ids(self) -> set[str] | None:
        """The buckets asked for, comma-joined; None: all."""
        text = self.parameter("bucketId", "unitId")
        return None if text is None else set(text.split(","))

    def date(self, name: str, default: float) -> datetime:
        """Midnight of a day given as ddmmyyyy, which as a number has lost its leading zero."""
        text = self.parameter(name)
        if text is None:
            return datetime.fromtimestamp(default, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        try:
            return datetime.strptime(text.zfill(8), "%d%m%Y").replace(tzinfo=UTC)
        except ValueError as error:
            raise _RefusedError(400, message="Dates are ddmmyyyy") from error

    def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object."""
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise _RefusedError(400, message="The body must be JSON") from error
        if not isinstance(value, dict):
            raise _RefusedError(400, message="The body must be a JSON object")
        return value


_Route = Callable[[_Call], Any]


class Api:
    """The backend of the control plane.

    Args:
        registry: what it knows; replaced as a whole.
        mint: issues and checks the tokens.
        user: `email` and `password` that may log in, and the `user` row that a login answers.
    """

    counts_paths = True

    def __init__(self, registry: Registry, mint: TokenMint, user: dict[str, Any]) -> None:
        self.registry = registry
        self.mint = mint
        self._user = user
        self._open: dict[tuple[str, str], _Route] = {
            ("GET", "health"): self._health,
            ("POST", "user/login"): self._login,
            ("POST", "user/refresh"): self._refresh,
        }
        self._routes: dict[tuple[str, str], _Route] = {
            ("GET", ""): self._root,
            ("GET", "bucket"): self._buckets,
            ("GET", "bucket/*/status"): self._bucket_status,
            ("GET", "node"): self._nodes,
            ("GET", "organization/*/nodes"): self._organization_nodes,
            ("GET", "repo"): self._repositories,
            ("GET", "stats/nodes/daily"): self._daily_stats,
            ("GET", "stats/nodes/minute"): self._minute_stats,
            ("GET", "user/quota"): self._quota,
            ("POST", "bucket/*/stats"): self._bucket_stats,
        }

    async def respond(self, request: Request) -> Reply:
        """Answer one request."""
        body = b""
        while piece := await request.upload.read():
            body += piece
        try:
            answer = self._answer(request, body)
        except _RefusedError as refusal:
            answer = refusal.answer
        return AnswerReply(answer, method=request.ask.method)

    def close(self) -> None:
        """Nothing is kept."""

    def _answer(self, request: Request, body: bytes) -> Answer:
        ask = request.ask
        segments = ask.path.strip("/").split("/")
        call = _Call(segments[1] if len(segments) > 1 else "", ask.query, body, time.time())
        route = self._open.get((ask.method, "/".join(segments)))
        if route is not None:
            return json_answer(route(call))
        scheme, _, token = request.head.fields.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not self.mint.accepts(token.strip(), call.now):
            raise _RefusedError(401, error_code="NO_AUTH_USER")
        variant = self.registry.variant
        if variant.success_false:
            raise _RefusedError(200, error_code="INTERNAL_ERROR", message="The sandbox says no")
        if len(segments) > 1 and segments[0] in ("bucket", "organization"):
            segments[1] = "*"
        route = self._routes.get((ask.method, "/".join(segments)))
        if route is None:
            raise _RefusedError(404, message="Not found")
        data = route(call)
        if variant.garbage == "text":
            return Answer(200, b'{"success": true, "data": [', "application/json")
        if variant.garbage == "huge":
            data = {"padding": "x" * _HUGE, **(data if isinstance(data, dict) else {"data": data})}
        return json_answer(data)

    def _health(self, call: _Call) -> Any:
        return {"status": "ok", "timestamp": notation.timestamp(call.now)}

    def _root(self, _: _Call) -> Any:
        return {"status": "ok"}

    def _nodes(self, call: _Call) -> Any:
        text = call.parameter("nodeServices")
        if text is None and not self.registry.variant.require_node_services:
            text = "0"
        if text is None or not text.isdecimal():
            raise _RefusedError(400, message="nodeServices must be a number")
        return payloads.nodes(self.registry, int(text), call.now)

    def _organization_nodes(self, call: _Call) -> Any:
        if call.argument != self.registry.org_id:
            raise _RefusedError(403, message="Access denied - user not in organization")
        return payloads.organization_nodes(self.registry, call.now)

    def _minute_stats(self, call: _Call) -> Any:
        return payloads.minute_stats(self.registry, call.bucket_ids(), call.now)

    def _daily_stats(self, call: _Call) -> Any:
        start = call.date("startDate", call.now)
        end = call.date("endDate", start.timestamp())
        if not 0 <= (end - start).days <= _MAX_DAYS:
            raise _RefusedError(400, message="Invalid date range")
        return payloads.daily_stats(self.registry, call.bucket_ids(), start, end)

    def _buckets(self, call: _Call) -> Any:
        return payloads.buckets(self.registry, call.now)

    def _bucket_status(self, call: _Call) -> Any:
        return payloads.bucket_status(self.registry, self._bucket(call), call.now)

    def _bucket_stats(self, call: _Call) -> Any:
        bucket = self._bucket(call)
        try:
            datetime.fromisoformat(str(call.json().get("day")))
        except ValueError as error:
            raise _RefusedError(400, message="Invalid date") from error
        return payloads.bucket_stats(self.registry, bucket, call.now)

    def _repositories(self, call: _Call) -> Any:
        return payloads.repositories(self.registry, call.now)

    def _quota(self, _: _Call) -> Any:
        return payloads.quota(self.registry)

    def _login(self, call: _Call) -> Any:
        body = call.json()
        if (body.get("email"), body.get("password")) != (self._user["email"], self._user["password"]):
            raise _RefusedError(401, error_code="INVALID_CREDENTIALS", message="Wrong email or password")
        return {**self._tokens(call), "tokenId": "tok-1", "user": self._user["user"]}

    def _refresh(self, call: _Call) -> Any:
        body = call.json()
        if not self.mint.redeem(str(body.get("refreshToken", body.get("refresh_token")))):
            raise _RefusedError(401, error_code="INVALID_REFRESH_TOKEN", message="Unknown or used token")
        return self._tokens(call)

    def _tokens(self, call: _Call) -> dict[str, Any]:
        access, expires = self.mint.access_token(call.now)
        return {
            "success": True,
            "accessToken": access,
            "refreshToken": self.mint.refresh_token(),
            "expiresAt": int(expires * (1000 if self.registry.variant.expires_in_ms else 1)),
        }

    def _bucket(self, call: _Call) -> str:
        for name in self.registry.buckets:
            if self.registry.bucket_id(name) == call.argument:
                return name
        raise _RefusedError(404, message="Bucket not found")
