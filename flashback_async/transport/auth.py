"""Which access token a request to the control plane carries.

A `TokenSource` answers two questions: which token now, and which one instead of one that was refused.
No message contains a token; each names what to do.
"""

from __future__ import annotations

import time
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from flashback_async.errors import ConfigurationError, DiscoveryError
from flashback_async.transport.single_flight import SingleFlight
from flashback_async.transport.token_issuers import (
    IssuedToken,
    ProviderIssuer,
    RefreshIssuer,
    remaining,
)
from flashback_async.transport.token_life import checked_token, jwt_expiry

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashback_async.config import RotationCallback, TokenProvider
    from flashback_async.transport.json_channel import JsonChannel
    from flashback_async.transport.token_issuers import TokenIssuer

MARGIN = 60.0
"""Seconds before its expiry when a token is renewed, so that none expires on its way."""

REFUSALS_HEEDED, REFUSALS_WINDOW = 3, 60.0
"""Renewals that refusals may cause within so many seconds: a control plane that refuses every new token gets
no storm of them."""

FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0
"""Seconds between failing renewals: doubled each time up to the second number, jittered by half."""

CLOSE_GRACE = 5.0
"""Seconds that a renewal under way gets at closing: a rotated refresh token must not get lost."""


@runtime_checkable
class TokenSource(Protocol):
    """Where access tokens come from. Both methods raise DiscoveryError that names the remedy."""

    async def token(self) -> str:
        """A token that should be valid now."""

    async def renewed(self, refused: str) -> str:
        """A token other than `refused`, which the control plane answered with 401."""


class StaticToken:
    """A token that somebody else looks after; it cannot be renewed.

    Args:
        text: the access token.
        wall_clock: seconds since 1970, to tell for how long the token has been expired.

    Raises:
        ConfigurationError: `text` cannot be a token.
    """

    def __init__(self, text: str, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._text = _given(text)
        self._wall_clock = wall_clock

    async def token(self) -> str:
        """The token. It is sent even when it looks expired: the control plane's clock decides."""
        return self._text

    async def renewed(self, refused: str) -> str:
        """Say why there is no other token.

        Raises:
            DiscoveryError: always.
        """
        expiry = jwt_expiry(refused)
        age = 0.0 if expiry is None else self._wall_clock() - expiry
        reason = f"it expired {age:.0f} s ago" if age > 0.0 else "it is unknown there, or revoked"
        raise DiscoveryError(
            f"the control plane refuses the access token: {reason}; set a fresh FB_JWT, or FB_REFRESH_TOKEN "
            "to have it renewed",
            status=HTTPStatus.UNAUTHORIZED,
        )


class RenewedToken:
    """A token that is renewed before it expires and when it is refused.

    However many ask, one renewal runs at a time and everybody gets its result; the cancellation of one
    caller does not reach the others. While renewals fail, the old token serves until it expires, and the
    next renewal waits (1 s doubling to 60 s, or as long as the control plane asked).

    Args:
        issuer: makes new tokens.
        initial: a token to start with.
        clock: monotonic seconds.
        random: returns floats in [0, 1), for the jitter.
        wall_clock: seconds since 1970, compared with the expiry of `initial`.

    Raises:
        ConfigurationError: `initial` cannot be a token.
    """

    def __init__(
        self,
        issuer: TokenIssuer,
        *,
        initial: str | None = None,
        clock: Callable[[], float],
        random: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._clock = clock
        self._random = random
        self._flight = SingleFlight(self._renew, name="flashback: token renewal", detached=True)
        self._refused: deque[float] = deque(maxlen=REFUSALS_HEEDED)
        self._failures = 0
        self._resting_until = float("-inf")
        self._last_failure: tuple[str, int | None] = ("", None)
        self._held: IssuedToken | None = None
        self._renew_at = self._expires_at = float("inf")
        if initial is not None:
            self._hold(IssuedToken(_given(initial), remaining(initial, wall_now=wall_clock())))

    async def token(self) -> str:
        """The token in use, renewed first if it is missing or about to expire.

        Raises:
            DiscoveryError: there is none and no new one can be had.
        """
        held = self._held
        if held is not None and self._clock() < self._renew_at:
            return held.text
        try:
            return (await self._new()).text
        except DiscoveryError:
            if held is not None and held is self._held and self._clock() < self._expires_at:
                return held.text
            raise

    async def renewed(self, refused: str) -> str:
        """A new token; the one that somebody else got meanwhile, where there is one.

        Raises:
            DiscoveryError: no new one can be had, or too many were refused lately.
        """
        held = self._held
        if held is not None and held.text != refused:
            return held.text
        if held is not None:
            self._held = None
            self._note_refusal()
        return (await self._new()).text

    async def aclose(self) -> None:
        """Let a renewal under way end (up to 5 s: its refresh token may have rotated), then stop it."""
        await self._flight.aclose(grace=CLOSE_GRACE)

    async def _new(self) -> IssuedToken:
        rest = self._resting_until - self._clock()
        if rest > 0.0:
            reason, status = self._last_failure
            raise DiscoveryError(f"{reason} (next try in {rest:.1f} s)", status=status, retry_after=rest)
        return await self._flight.join()

    async def _renew(self) -> IssuedToken:
        current = self._held if self._clock() < self._expires_at else None
        try:
            issued = await self._issuer.issue(current.text if current is not None else None)
        except DiscoveryError as error:
            self._rest(error)
            raise
        self._failures = 0
        self._hold(issued)
        return issued

    def _note_refusal(self) -> None:
        now = self._clock()
        if len(self._refused) == REFUSALS_HEEDED and now - self._refused[0] < REFUSALS_WINDOW:
            self._resting_until = self._refused[0] + REFUSALS_WINDOW
            reason = (
                "the control plane refuses every new token; check that FB_BASE_URL is where they are valid"
            )
            self._last_failure = (reason, HTTPStatus.UNAUTHORIZED)
        else:
            self._refused.append(now)

    def _rest(self, error: DiscoveryError) -> None:
        backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(self._failures, 16))
        self._failures += 1
        wait = max(backoff * (0.5 + self._random()), error.retry_after or 0.0)
        self._resting_until = self._clock() + wait
        self._last_failure = (str(error), error.status)

    def _hold(self, issued: IssuedToken) -> None:
        self._held = issued
        now = self._clock()
        self._expires_at = now + issued.life
        # A token that lives less than two margins is renewed at half its life instead.
        self._renew_at = now + max(issued.life - MARGIN, issued.life / 2.0)


def token_source(
    channel: JsonChannel,
    *,
    token: str | TokenProvider | TokenSource | None,
    refresh_token: str | None = None,
    on_rotate: RotationCallback | None = None,
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
    random: Callable[[], float],
) -> TokenSource:
    """The source for what the caller has; a `TokenSource` is returned as it is.

    Raises:
        ConfigurationError: nothing given, two kinds at once, or a value that cannot be a token.
    """
    if refresh_token is not None:
        if token is not None and not isinstance(token, str):
            raise ConfigurationError("token and refresh_token both renew: give one of them")
        refresher = RefreshIssuer(channel, refresh_token, on_rotate=on_rotate, wall_clock=wall_clock)
        return RenewedToken(refresher, initial=token, clock=clock, random=random, wall_clock=wall_clock)
    if isinstance(token, str):
        return StaticToken(token, wall_clock=wall_clock)
    if callable(token):
        return RenewedToken(ProviderIssuer(token, wall_clock=wall_clock), clock=clock, random=random)
    if isinstance(token, TokenSource):
        return token
    if token is not None:
        raise ConfigurationError(
            f"token: {type(token).__name__} is no token, no async function, no TokenSource"
        )
    raise ConfigurationError(
        "the control plane needs a token: set FB_REFRESH_TOKEN or FB_JWT, or FB_ENDPOINTS to do without"
    )


def _given(token: str) -> str:
    try:
        return checked_token(token)
    except ValueError as error:
        raise ConfigurationError(f"the access token {error}; copy it again") from None


__all__ = ["RenewedToken", "StaticToken", "TokenSource", "token_source"]
