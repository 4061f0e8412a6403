"""How large objects are cut: the limits of one client, and those that a call asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from flashback_async.config import MAX_PART, MIN_PART
from flashback_async.errors import ConfigurationError, EntityTooLargeError

if TYPE_CHECKING:
    from flashback_async.config import FlashbackSettings

# S3's rule.
MOST_PARTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimits:
    """How large objects are moved. The defaults are those of `FlashbackSettings`.

    Attributes:
        threshold: bytes above which an object moves in parts.
        part_size: bytes of a part.
        concurrency: parts of one object that move at once.
        together: parts of all objects of a client that move at once.
    """

    threshold: int
    part_size: int
    concurrency: int
    together: int

    @classmethod
    def of(cls, settings: FlashbackSettings) -> Self:
        """What a client's settings say."""
        return cls(
            threshold=settings.multipart_threshold,
            part_size=settings.part_size,
            concurrency=settings.transfer_concurrency,
            # Whatever goes to one node has a connection there, and others find one too.
            together=max(1, settings.max_connections // 2),
        )

    @property
    def whole(self) -> int:
        """Bytes of the largest object that moves in one request."""
        return max(self.threshold, self.part_size)

    @property
    def ahead(self) -> int:
        """Parts of a source of unknown length that are held back, to see whether it ends below the threshold.

        At most as many as may be in memory anyway.
        """
        return max(1, min(-(-self.threshold // self.part_size), self.concurrency))

    def asked(self, part_size: int | None, concurrency: int | None) -> TransferLimits:
        """These limits, with those that a call gives.

        Raises:
            ConfigurationError: they cannot work.
        """
        if part_size is not None and not (_is_whole(part_size) and MIN_PART <= part_size < MAX_PART):
            raise ConfigurationError(
                f"part_size={part_size!r:.40} must be a number of bytes from {MIN_PART:,} (5 MiB) to below "
                f"{MAX_PART:,}"
            )
        if concurrency is not None and not (_is_whole(concurrency) and concurrency >= 1):
            raise ConfigurationError(f"concurrency={concurrency!r:.40} must be a number of parts, 1 or more")
        return replace(
            self,
            part_size=self.part_size if part_size is None else part_size,
            concurrency=self.concurrency if concurrency is None else concurrency,
        )

    def part_size_for(self, size: int | None) -> int:
        """Bytes of a part of an object of that size; it has at most as many parts as S3 takes.

        Raises:
            EntityTooLargeError: no such parts would do.
        """
        needed = self.part_size if size is None else max(self.part_size, -(-size // MOST_PARTS))
        if needed >= MAX_PART:
            raise EntityTooLargeError(
                f"{size:,} bytes do not fit into {MOST_PARTS:,} parts of less than {MAX_PART:,} bytes",
                code="EntityTooLarge",
            )
        return needed


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
