"""Where new tokens are made: by the caller's function, or by trading a refresh token."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from flashback_async.errors import ConfigurationError, DiscoveryError
from flashback_async.transport.token_life import checked_token, jwt_expiry, lifetime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flashback_async.config import RotationCallback, TokenProvider
    from flashback_async.transport.json_channel import JsonChannel

REFRESH_TIMEOUT = 10.0
"""Seconds for one refresh; the callback that persists the rotated token gets as long again."""

PROVIDER_TIMEOUT = 30.0
"""Seconds for the caller's function, which may have to ask somebody else."""

SIGN_IN = "sign in again and set FB_REFRESH_TOKEN; it changes with every use, so persist it through on_rotate"

_logger = logging.getLogger("flashback_async.auth")


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token just obtained.

    Attributes:
        text: the access token.
        life: seconds it can be used from now on; infinite where only a refusal can tell.
    """

    text: str = field(repr=False)
    life: float


class TokenIssuer(Protocol):
    """Makes new tokens. One call at a time."""

    async def issue(self, current: str | None) -> IssuedToken:
        """A new token; `current` is the one in use, as long as it still is accepted.

        Raises:
            DiscoveryError: there is none; the message names the remedy.
        """


class ProviderIssuer:
    """Asks the caller's async function.

    Args:
        provider: returns an access token.
        wall_clock: seconds since 1970, compared with the token's expiry.
    """

    def __init__(self, provider: TokenProvider, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._provider = provider
        self._wall_clock = wall_clock

    async def issue(self, current: str | None) -> IssuedToken:  # noqa: ARG002  # TokenIssuer's signature
        """The provider's token, good until it expires (where it says so) or is refused."""
        try:
            async with asyncio.timeout(PROVIDER_TIMEOUT):
                text = await self._provider()
        except DiscoveryError:
            raise
        except Exception as error:
            # The caller's message may hold what nobody should log: its type says enough.
            raise DiscoveryError(
                f"token_provider raised {type(error).__name__}; the cause is attached"
            ) from error
        try:
            checked_token(text)
        except ValueError as error:
            raise DiscoveryError(
                f"token_provider returned a token that {error}; return a fresh JWT"
            ) from None
        return IssuedToken(text, remaining(text, wall_now=self._wall_clock()))


class RefreshIssuer:
    """Trades the refresh token for an access token and its own successor: `POST /user/refresh`.

    The successor is handed to `on_rotate`; when that returned it replaces the old one here. A callback that
    fails is logged, and the successor used all the same: the old token is spent.

    Args:
        channel: to the control plane.
        refresh_token: the first refresh token.
        on_rotate: async function that persists every new refresh token.
        wall_clock: seconds since 1970, compared with expiries that tell no start.

    Raises:
        ConfigurationError: `refresh_token` cannot be a token.
    """

    def __init__(
        self,
        channel: JsonChannel,
        refresh_token: str,
        *,
        on_rotate: RotationCallback | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            self._refresh_token = checked_token(refresh_token)
        except ValueError as error:
            raise ConfigurationError(f"refresh_token {error}; copy it again") from None
        self._channel = channel
        self._on_rotate = on_rotate
        self._wall_clock = wall_clock

    async def issue(self, current: str | None) -> IssuedToken:
        """Refresh once. Both spellings of the key are sent: documentation and official client disagree.

        The documentation also asks for an access token here: it is sent while there is one.
        """
        request = "POST /user/refresh"
        held = self._refresh_token
        answer = await self._channel.exchange(
            "POST",
            "/user/refresh",
            timeout=REFRESH_TIMEOUT,
            body={"refreshToken": held, "refresh_token": held},
            bearer=current,
        )
        if not answer.is_success:
            raise answer.failure(request, "it will be tried again" if answer.is_transient else SIGN_IN)
        fields = answer.payload if isinstance(answer.payload, dict) else {}
        try:
            await self._rotate(_first(fields, "refreshToken", "refresh_token"))
            access = checked_token(_first(fields, "accessToken", "access_token", "token"))
        except ValueError as error:
            raise DiscoveryError(
                f"{request} answered {answer.status} with a token that {error}; check FB_BASE_URL",
                status=answer.status,
            ) from None
        expires_at = _first(fields, "expiresAt", "expires_at")
        return IssuedToken(access, lifetime(access, expires_at, wall_now=self._wall_clock()))

    async def _rotate(self, successor: object) -> None:
        if successor is None or successor == self._refresh_token:
            return
        text = checked_token(successor)
        try:
            if self._on_rotate is not None:
                async with asyncio.timeout(REFRESH_TIMEOUT):
                    await self._on_rotate(text)
        except Exception as error:  # noqa: BLE001  # the caller's code; the old token is spent either way
            _logger.error(  # noqa: TRY400  # a traceback of the caller's code may show the token
                "on_rotate raised %s: the new refresh token lives in this process only, and after a restart "
                "somebody has to sign in again",
                type(error).__name__,
            )
        self._refresh_token = text


def remaining(token: str, *, wall_now: float) -> float:
    """Seconds until a token from elsewhere expires; infinite where that is unknown or already past.

    One that looks expired may have met a wrong clock, so a refusal decides.
    """
    expiry = jwt_expiry(token)
    return expiry - wall_now if expiry is not None and expiry > wall_now else float("inf")


def _first(fields: Mapping[str, object], *names: str) -> object:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


__all__ = ["IssuedToken", "ProviderIssuer", "RefreshIssuer", "TokenIssuer", "remaining"]
