"""What the verbs for many objects have in common: how their arguments are checked and their results told."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, Literal, TypeVar

from flashback_async.errors import ClientClosedError, ConfigurationError, FlashbackError
from flashback_async.models import BulkResult, ObjectInfo, ObjectVersion
from flashback_async.objects.names import checked_count

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from flashback_async.objects.budget import Share

T = TypeVar("T")
R = TypeVar("R")

OnError = Literal["raise", "yield"]


def check_bounds(concurrency: object, max_bytes: object, on_error: object) -> None:
    """Refuse bounds and a way with errors that cannot work.

    Raises:
        ConfigurationError: one of them cannot.
    """
    checked_count(concurrency, what="concurrency", limit=100_000)
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
        raise ConfigurationError(f"max_bytes={max_bytes!r:.40} must be a number of bytes, 1 or more")
    if on_error not in {"raise", "yield"}:
        raise ConfigurationError(f"on_error={on_error!r:.40} is neither 'raise' nor 'yield'")


def check_input(given: object, *, what: str) -> None:
    """Refuse what is no input of many things, as a single key is not, whose letters nobody means.

    Raises:
        ConfigurationError: it is one thing, or cannot be iterated over.
    """
    if isinstance(given, str | bytes | bytearray | memoryview):
        raise ConfigurationError(f"{what}={given!r:.80} is a single {type(given).__name__}; give a list")
    if not isinstance(given, Iterable | AsyncIterable):
        raise ConfigurationError(
            f"{what}={given!r:.80} cannot be iterated over; give an iterable or an async iterable"
        )


def told(
    work: Callable[[T, Share], Coroutine[object, object, R]], on_error: OnError
) -> Callable[[T, Share], Coroutine[object, object, BulkResult[R]]]:
    """`work`, with its results under the keys of its items; its errors too, if they are not to be raised."""

    async def one(item: T, share: Share) -> BulkResult[R]:
        try:
            return BulkResult(key_of(item), await work(item, share))
        except ClientClosedError:
            raise
        except FlashbackError as error:
            share.end()
            if on_error == "raise":
                raise
            return BulkResult(key_of(item), error)

    return one


def name_of(item: object) -> object:
    """What an item of an input gives as the key."""
    if isinstance(item, ObjectInfo | ObjectVersion):
        return item.key
    return item[0] if isinstance(item, tuple) and item else item


def key_of(item: object) -> str:
    """The same as text: what names no key is refused where it is used, and shown."""
    name = name_of(item)
    return name if isinstance(name, str) else repr(name)[:80]


def checked_pair(item: tuple[str, T]) -> tuple[str, T]:
    """Return `item` if it is a key and what belongs to it.

    Raises:
        ConfigurationError: it is not.
    """
    if not isinstance(item, tuple) or len(item) != 2:  # noqa: PLR2004  # a pair
        raise ConfigurationError(f"{item!r:.80} is no pair; give (key, data) for each object")
    return item
