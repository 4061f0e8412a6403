"""One authorised question to the control plane, asked as often as it is worth and within one deadline."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from flashback_async.errors import DiscoveryError
from flashback_async.transport.json_channel import UnansweredError
from flashback_async.transport.token_life import checked_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flashback_async.transport.answer import Answer
    from flashback_async.transport.auth import TokenSource
    from flashback_async.transport.json_channel import JsonChannel

TRIES = 3
"""Requests per question: what three do not settle is better left to the next discovery."""

FIRST_BACKOFF = 0.2
"""Seconds before the second try, doubled for the third, fully jittered: a few round trips."""


class Conversation:
    """Asks one question at a time per call; calls may overlap.

    Args:
        channel: carries the requests.
        tokens: authorises them.
        timeout: seconds for one question: token, tries and pauses included.
        clock: monotonic seconds.
        random: returns floats in [0, 1), for jitter.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        channel: JsonChannel,
        tokens: TokenSource,
        *,
        timeout: float,
        clock: Callable[[], float],
        random: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._channel = channel
        self._tokens = tokens
        self._timeout = timeout
        self._clock = clock
        self._random = random
        self._sleep = sleep

    async def get(self, path: str, query: Mapping[str, str] | None = None, *, hint: str) -> object:
        """The JSON that `GET path` answers.

        Lost connections, 429 and 5xx are tried again, after `Retry-After` where there is one; a 401 renews
        the token once; everything else is final. Cancellation ends the question at once.

        Args:
            path: path on the host, encoded.
            query: query parameters.
            hint: what somebody can do when the answer is no.

        Raises:
            DiscoveryError: no usable answer in time.
        """
        deadline = self._clock() + self._timeout
        try:
            async with asyncio.timeout(self._timeout):
                return await self._asked(path, query, hint, deadline)
        except TimeoutError as error:
            raise DiscoveryError(
                f"GET {path}: no answer from {self._channel.base_url} within {self._timeout:.3g} s; "
                "check the network and FB_BASE_URL"
            ) from error

    async def _asked(self, path: str, query: Mapping[str, str] | None, hint: str, deadline: float) -> object:
        token = _sendable(await self._tokens.token())
        renewed = False
        tries = 0
        while True:
            try:
                answer = await self._channel.exchange(
                    "GET", path, timeout=max(0.0, deadline - self._clock()), query=query, bearer=token
                )
            except UnansweredError as error:
                failure: DiscoveryError = error
            else:
                if answer.is_success:
                    return answer.payload
                if answer.status == HTTPStatus.UNAUTHORIZED and not renewed:
                    token = _sendable(await self._tokens.renewed(token))
                    renewed = True
                    continue
                failure = answer.failure(f"GET {path}", _remedy(answer, hint))
                if not answer.is_transient:
                    raise failure
            tries += 1
            pause = self._random() * FIRST_BACKOFF * 2.0**tries / 2.0 + (failure.retry_after or 0.0)
            if tries >= TRIES or self._clock() + pause >= deadline:
                raise failure
            await self._sleep(pause)


def _sendable(token: str) -> str:
    try:
        return checked_token(token)
    except ValueError as error:  # from a token source that is not ours
        raise DiscoveryError(f"the token source returned a token that {error}") from None


def _remedy(answer: Answer, hint: str) -> str:
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return "a renewed token was refused too; check that FB_BASE_URL is where it is valid"
    if answer.is_redirect:
        return "the token is not sent there; set FB_BASE_URL to the address that answers itself"
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return "it is asked too often; raise FB_DISCOVERY_INTERVAL or run fewer processes"
    if answer.is_transient:
        return "it will be asked again"
    if answer.is_2xx and not answer.is_refusal:
        return "check FB_BASE_URL and the proxies on the way"
    return hint


__all__ = ["Conversation"]
