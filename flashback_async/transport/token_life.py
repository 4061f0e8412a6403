"""How long a token lives, read from whatever says so."""

from __future__ import annotations

import base64
import json
import math

LONGEST_TOKEN = 16_384
"""Characters: what servers take as one header line at most."""

DEFAULT_LIFE = 3600.0
"""Seconds: access tokens live one hour according to the documentation."""

_MILLISECONDS = 1e11
"""Times above this are milliseconds since 1970; as seconds they would lie beyond the year 5000."""


def checked_token(text: object) -> str:
    """`text`, if it can be sent in a header.

    Raises:
        ValueError: it cannot; the message says why and does not repeat it.
    """
    if not isinstance(text, str) or not text:
        raise ValueError("is missing or no text")
    if len(text) > LONGEST_TOKEN:
        raise ValueError("is longer than any header may be")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("holds blanks, control or non-ASCII characters")
    return text


def jwt_expiry(token: str) -> float | None:
    """Seconds since 1970 when `token` expires, None where it is no JWT or does not say."""
    return _seconds(_claims(token).get("exp"))


def lifetime(token: str, expires_at: object, *, wall_now: float) -> float:
    """Seconds that a token issued just now lives: from its JWT, else from `expiresAt`, else one hour.

    A JWT that says when it was issued is measured against that, so a wrong local clock does no harm.
    """
    claims = _claims(token)
    expiry, issued = _seconds(claims.get("exp")), _seconds(claims.get("iat"))
    if expiry is None:
        expiry, issued = _seconds(expires_at), None
    if expiry is None:
        return DEFAULT_LIFE
    life = expiry - (wall_now if issued is None else issued)
    # Expired at birth: one of the clocks is wrong, and a refusal will tell when the token is.
    return life if life > 0.0 else DEFAULT_LIFE


def _claims(token: str) -> dict[str, object]:
    """The unverified claims: they steer our schedule only, the control plane does the verifying."""
    middle = token.partition(".")[2].partition(".")[0]
    try:
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _seconds(value: object) -> float | None:
    """A time in seconds since 1970, from seconds or milliseconds, number or text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number) or number <= 0.0:
        return None
    return number / 1000.0 if number > _MILLISECONDS else number


__all__ = ["DEFAULT_LIFE", "checked_token", "jwt_expiry", "lifetime"]
