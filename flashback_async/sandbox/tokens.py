"""Tokens of the control plane: HS256 JWTs that expire, and refresh tokens that rotate."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class TokenMint:
    """Issues and checks tokens. The parent and the control plane share its secret, so both can issue.

    Args:
        secret: signs all tokens; a restarted control plane goes on accepting them.
        lifetime: seconds an access token lives.
        claims: further claims of every access token.
    """

    secret: str
    lifetime: float
    claims: dict[str, Any] = field(default_factory=dict)
    _generation: int = 0
    _redeemed: set[str] = field(default_factory=set)

    def access_token(self, now: float) -> tuple[str, float]:
        """A new access token and when it expires, in seconds of Unix time."""
        expires = now + self.lifetime
        header = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
        claims = {**self.claims, "iat": int(now), "exp": expires, "generation": self._generation}
        signed = f"{header}.{_encode(json.dumps(claims).encode())}"
        return f"{signed}.{self._sign(signed)}", expires

    def accepts(self, token: str, now: float) -> bool:
        """Whether an access token is ours, not expired and not revoked."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._sign(signed).encode(), signature.encode()):
            return False
        claims = json.loads(_decode(signed.partition(".")[2]))  # signed by us, so it is one of ours
        return bool(claims["exp"] > now and claims["generation"] == self._generation)

    def refresh_token(self) -> str:
        """A new refresh token; opaque to clients."""
        nonce = secrets.token_urlsafe(24)
        return f"{nonce}.{self._sign(f'refresh {nonce}')}"

    def redeem(self, token: str) -> bool:
        """Whether a refresh token is ours and unused; it is used from now on."""
        nonce, _, signature = token.rpartition(".")
        ours = hmac.compare_digest(self._sign(f"refresh {nonce}").encode(), signature.encode())
        if not ours or token in self._redeemed:
            return False
        self._redeemed.add(token)
        return True

    def revoke(self) -> None:
        """Refuse every access token issued so far."""
        self._generation += 1

    def restore(self) -> None:
        """Accept the first tokens again, and every refresh token once more."""
        self._generation = 0
        self._redeemed.clear()

    def _sign(self, text: str) -> str:
        return _encode(hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).digest())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
