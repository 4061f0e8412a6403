"""Who a cluster's only user is: S3 keys, login, tokens, and the secrets its processes share."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from flashback_async.sandbox.registry import stable_uuid
from flashback_async.sandbox.tokens import TokenMint


@dataclass(frozen=True, slots=True)
class Identity:
    """Random per cluster, except for the ids; its repr shows no secret.

    Args:
        token_lifetime: seconds that access tokens live.
    """

    token_lifetime: float
    key_id: str = field(default_factory=lambda: f"FBSANDBOX{secrets.token_hex(6).upper()}")
    key_secret: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    email: str = "sandbox@example.com"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)
    org_id: str = stable_uuid("organization", "sandbox")
    user_id: str = stable_uuid("user", "sandbox")
    admin_token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    signing_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def access_token(self) -> str:
        """A new access token for the control plane."""
        token, _ = TokenMint(**self.mint()).access_token(time.time())
        return token

    def refresh_token(self) -> str:
        """A new refresh token for the control plane."""
        return TokenMint(**self.mint()).refresh_token()

    def mint(self) -> dict[str, Any]:
        """The arguments of a `TokenMint` for this user."""
        claims = {"userId": self.user_id, "email": self.email, "orgId": self.org_id}
        return {"secret": self.signing_secret, "lifetime": self.token_lifetime, "claims": claims}

    def login(self) -> dict[str, Any]:
        """What the control plane must know to let the user log in."""
        user = {
            "id": self.user_id,
            "email": self.email,
            "name": "sandbox",
            "orgId": self.org_id,
            "orgRole": 1,
        }
        return {"email": self.email, "password": self.password, "user": user}
