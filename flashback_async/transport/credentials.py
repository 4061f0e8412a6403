"""The S3 keys in use: given once by the settings, or asked for, kept, and asked for again.

A provider is asked when the client starts. Its key is kept until it expires, or until a store refuses it;
then the provider is asked once, however many requests wait for the answer. A key that it confirms is not
asked about again for a while: a key that is plainly wrong must not storm a vault.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from flashback_async.config import Credentials
from flashback_async.errors import ClientClosedError, ConfigurationError
from flashback_async.routing.endpoint import WRITE
from flashback_async.transport.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashback_async.config import FlashbackSettings
    from flashback_async.errors import ServiceError
    from flashback_async.routing import OperationKind

logger = logging.getLogger("flashback_async.pool")

# What stores answer when they mean the key, and not what it may do; rclone spells the first one differently.
KEY_CODES: Final = frozenset({
    "invalidaccesskeyid",
    "invalidclienttokenid",
    "signaturedoesnotmatch",
    "expiredtoken",
    "invalidtoken",
    "tokenrefreshrequired",
})  # fmt: skip
# Seconds for which a key that the provider has confirmed is not asked about again, after a refusal that means
# the key; and after one that has no body to tell (HEAD): usually it is the permission that is missing.
SURE_PAUSE: Final = 1.0
UNSURE_PAUSE: Final = 30.0
# Seconds before its end at which a key is replaced, in the background; half of its life, if that is shorter.
EARLY: Final = 60.0


def pause_after(refusal: ServiceError) -> float | None:
    """Seconds that must have passed since the key was confirmed; None: the refusal is not about the key."""
    code = refusal.code.lower()
    denied_for_age = code == "accessdenied" and "expired" in refusal.reason.lower()
    if code in KEY_CODES or denied_for_age or refusal.status == 401:  # noqa: PLR2004  # HTTP's own number
        return SURE_PAUSE
    # AWS answers 400 to a token that has expired.
    return UNSURE_PAUSE if refusal.status in {400, 403} and code == str(refusal.status) else None


class KeyRing:
    """The key for each kind of operation. One per pool; belongs to its loop.

    Args:
        settings: hold the keys, or the provider of one for both kinds; it gets `total_timeout` seconds.
        clock: seconds of the running loop.
        on_replaced: told a key that another one has replaced.
        wall_clock: seconds since 1970, to understand when a key expires.

    Raises:
        ConfigurationError: the settings hold neither keys nor a provider.
    """

    def __init__(
        self,
        settings: FlashbackSettings,
        *,
        clock: Callable[[], float],
        on_replaced: Callable[[Credentials], None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._provider = settings.credentials_provider
        self._patience = settings.total_timeout
        # For reads and for writes.
        self._fixed = (
            (settings.read_credentials(), settings.credentials()) if self._provider is None else None
        )
        self._clock = clock
        self._wall_clock = wall_clock
        self._on_replaced = on_replaced
        self._flight = SingleFlight(self._ask, name="flashback: credentials", detached=True)
        self._early: asyncio.Task[None] | None = None
        self._key: Credentials | None = None
        self._renew_at = self._ends_at = float("inf")
        self._kept_at = float("-inf")

    async def open(self) -> None:
        """Get the first key.

        Raises:
            ConfigurationError: there is none.
        """
        await self.of(WRITE)

    def at_hand(self, kind: OperationKind) -> Credentials | None:
        """The key for that kind of operation; None: wait for it with `of`."""
        if self._fixed is not None:
            return self._fixed[kind is WRITE]
        now = self._clock()
        if now >= self._renew_at:
            if now >= self._ends_at:
                return None
            if self._early is None or self._early.done():
                self._early = asyncio.create_task(self._renew_early())
        return self._key

    async def of(self, kind: OperationKind) -> Credentials:
        """The key for that kind of operation. A cancellation ends the waiting, never the provider.

        Raises:
            ConfigurationError: there is none, or the provider gave none.
            ClientClosedError: closed meanwhile.
        """
        key = self.at_hand(kind)
        return await self._flight.join() if key is None else key

    async def replaced(self, refused: Credentials, refusal: ServiceError) -> bool:
        """Whether there is another key than the one a store refused; asks the provider where it has to.

        Raises:
            ConfigurationError: the provider failed.
            ClientClosedError: closed meanwhile.
        """
        pause = pause_after(refusal)
        if self._provider is None or pause is None:
            return False
        if self._key != refused:
            return True
        if self._clock() - self._kept_at < pause:
            return False
        return await self._flight.join() != refused

    async def close(self) -> None:
        """Stop asking."""
        await self._flight.aclose()
        if self._early is not None:
            await asyncio.wait([self._early])

    async def _renew_early(self) -> None:
        try:
            await self._flight.join()
        except ClientClosedError:
            return
        except ConfigurationError as error:
            # The key is good for a while yet; whoever needs one after its end is told.
            logger.warning("a key that expires soon was not replaced: %s", error)
            self._renew_at = min(self._ends_at, self._clock() + SURE_PAUSE)

    async def _ask(self) -> Credentials:
        """Ask the provider."""
        old, asked = self._key, self._clock()
        try:
            key = await self._answer()
        except ConfigurationError:
            self._kept_at = self._clock()
            raise
        life = float("inf")
        if key.expires_at is not None:
            life = key.expires_at.timestamp() - self._wall_clock()
        if life <= 0:
            self._kept_at = self._clock()
            raise ConfigurationError(
                f"{self._name} returned a key that has expired {-life:.0f} s ago; return a fresh one"
            )
        self._key, now = key, self._clock()
        self._ends_at, self._renew_at = now + life, now + life - min(EARLY, life / 2)
        if old == key:
            self._kept_at = now
        elif old is not None:
            logger.info("%s gave another key after %.3f s", self._name, now - asked)
            self._on_replaced(old)
        return key

    async def _answer(self) -> Credentials:
        assert self._provider is not None, "only a provider is asked"
        timer = asyncio.timeout(self._patience)
        try:
            async with timer:
                key = await self._provider()
        except Exception as error:
            if timer.expired():
                raise ConfigurationError(f"{self._name} gave no key within {self._patience:g} s") from None
            # Its text may hold a secret.
            raise ConfigurationError(
                f"{self._name} raised {type(error).__name__}; the cause is attached"
            ) from error
        if not isinstance(key, Credentials):
            raise ConfigurationError(f"{self._name} returned a {type(key).__name__}; return Credentials")
        return key

    @property
    def _name(self) -> str:
        provider = self._provider
        return f"credentials_provider {getattr(provider, '__qualname__', type(provider).__name__)}"
