"""Tokens for tests: unsigned JWTs with chosen times."""

from __future__ import annotations

import base64
import json


def _part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def jwt(name="t", **claims):
    """A JWT that says `claims`; `name` makes it recognisable."""
    return f"{_part({'alg': 'none', 'kid': name})}.{_part(claims)}.c2lnbmF0dXJlLW9mLXRlc3Q"
