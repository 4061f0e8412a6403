"""End-to-end checksums: computed where the bytes are, stored in the metadata, compared on every whole read.

The store keeps them and never looks at them, so they hold from the writer's memory to the reader's, through
every gateway, proxy and disk between. The hashing of what is large happens in threads.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from flashback_async.errors import ConfigurationError, IntegrityError
from flashback_async.objects.info import CHECKSUM_NAMES, stored_checksum, text
from flashback_async.objects.shielding import finished

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

    from flashback_async.config import ChecksumAlgorithm, ChecksumChoice
    from flashback_async.objects.parts import PartSource
    from flashback_async.transport.upload import Upload

logger = logging.getLogger("flashback_async")

# Hashed on the loop: a millisecond at worst (SHA-256 without instructions of its own), less than a thread
# costs under load.
INLINE: Final = 256 * 1_024
# Hashed by a thread at a time, so that a cancellation need not wait for the end of a large file.
BLOCK: Final = 4 * 1_024 * 1_024
_MISSING: Final = "crc32c checksums need google-crc32c: pip install 'flashback-async[crc32c]'"
# An ETag that is the MD5 of the bytes, unless they were encrypted with a key of the caller's or of a service.
_MD5_ETAG: Final = re.compile(r'"?([0-9a-f]{32})"?')


class Digest(Protocol):
    """A checksum in the making."""

    def update(self, data: bytes | memoryview, /) -> None:
        """The next bytes."""

    def digest(self) -> bytes:
        """What it is so far."""


class Checksum(NamedTuple):
    """A checksum that an object should have.

    Attributes:
        algorithm: its name.
        value: the checksum in lower-case hexadecimal digits.
    """

    algorithm: ChecksumAlgorithm
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"

    def beside(self, parameters: Mapping[str, object]) -> dict[str, object]:
        """The parameters of a write, with this in the metadata."""
        given = parameters.get("Metadata")
        metadata = given if isinstance(given, dict) else {}
        return {**parameters, "Metadata": {**metadata, CHECKSUM_NAMES[self.algorithm]: self.value}}

    def for_the_store(self) -> dict[str, object]:
        """What makes the store refuse other bytes in a single request; there is that for MD5 only."""
        if self.algorithm != "md5":
            return {}
        return {"ContentMD5": b64encode(bytes.fromhex(self.value)).decode()}


class Check:
    """The bytes of one body, in their order, against the checksum that they should have."""

    def __init__(self, expected: Checksum) -> None:
        self.expected = expected
        self._digest = digest_of(expected.algorithm)

    def update(self, data: bytes | memoryview) -> None:
        """The next bytes."""
        self._digest.update(data)

    def error(self) -> IntegrityError | None:
        """What is wrong with all of them; None: nothing."""
        found = Checksum(self.expected.algorithm, self._digest.digest().hex())
        if found == self.expected:
            return None
        return IntegrityError(
            f"the bytes that arrived have {found}, the object was written with {self.expected}"
        )


class Checksums:
    """What a client computes and compares. One per running client.

    Args:
        setting: `settings.checksum`.

    Raises:
        ConfigurationError: the algorithm needs what is not installed.
    """

    def __init__(self, setting: ChecksumChoice) -> None:
        self._setting = setting
        self._has_warned = False
        self.algorithm_for(None)

    def algorithm_for(self, asked: ChecksumChoice | None) -> ChecksumAlgorithm | None:
        """What a write computes; `asked`: by its caller, None: what the setting says.

        Raises:
            ConfigurationError: there is no such algorithm, or it is not installed.
        """
        chosen = self._setting if asked is None else asked
        if chosen == "none":
            return None
        digest_of(chosen)
        return chosen

    def expected_of(self, fields: Mapping[str, object]) -> Checksum | None:
        """The checksum that the bytes of an object should have, by what an answer says of it; None: any.

        With the setting `md5` that is also an ETag which is an MD5: one of 32 hexadecimal digits, of an
        object that was not encrypted with a key of its own, as far as the answer tells.
        """
        found = stored_checksum(fields)
        if found is None:
            return _md5_by_etag(fields) if self._setting == "md5" else None
        expected = Checksum(*found)
        try:
            digest_of(expected.algorithm)
        except ConfigurationError as error:
            if not self._has_warned:
                self._has_warned = True
                logger.warning("objects are read without comparing their checksums: %s", error)
            return None
        return expected


class _Crc32c:
    """google-crc32c's, which takes nothing but bytes; a copy is small beside the hashing."""

    def __init__(self, made: Digest) -> None:
        self._made = made
        self.digest = made.digest

    def update(self, data: bytes | memoryview, /) -> None:
        self._made.update(data if isinstance(data, bytes) else bytes(data))


def digest_of(algorithm: object) -> Digest:
    """A checksum of nothing yet.

    Raises:
        ConfigurationError: there is no such algorithm, or it is not installed.
    """
    match algorithm:
        case "sha256":
            return hashlib.sha256(usedforsecurity=False)
        case "md5":
            return hashlib.md5(usedforsecurity=False)
        case "crc32c":
            try:
                import google_crc32c  # noqa: PLC0415  # an extra
            except ImportError as error:
                raise ConfigurationError(_MISSING) from error
            return _Crc32c(google_crc32c.Checksum())  # type: ignore[no-untyped-call]  # it has no annotations
    names = ", ".join(map(repr, CHECKSUM_NAMES))
    raise ConfigurationError(f"checksum={algorithm!r:.40} is no checksum; give {names}, or 'none'")


async def check_bytes(expected: Checksum, data: bytes) -> IntegrityError | None:
    """What is wrong with a whole body in memory; None: nothing."""
    check = Check(expected)
    if len(data) <= INLINE:
        check.update(data)
    else:
        view = memoryview(data)
        for start in range(0, len(view), BLOCK):
            await asyncio.to_thread(_update, check, view[start : start + BLOCK])
    return check.error()


async def check_blocks(
    expected: Checksum, read: Callable[[int, int], bytes], size: int
) -> IntegrityError | None:
    """The same for a file. `read`: so many bytes from an offset; in a thread."""
    check = Check(expected)
    for start in range(0, size, BLOCK):
        await finished(asyncio.to_thread(_update_from, check, read, start))
    return check.error()


async def checksum_of_upload(algorithm: ChecksumAlgorithm, upload: Upload) -> Checksum:
    """That of what goes in one request.

    Raises:
        ConfigurationError: the source cannot be read.
    """
    digest = digest_of(algorithm)
    if upload.in_slices:
        # The caller may use the file right after a cancellation.
        await finished(asyncio.to_thread(_read_all, digest, upload))
    else:
        _read_all(digest, upload)
    return Checksum(algorithm, digest.digest().hex())


async def checksum_of_parts(algorithm: ChecksumAlgorithm, source: PartSource) -> Checksum:
    """That of what goes in parts, which is read for it from its start, and stands there again afterwards.

    It is stored when the upload is created, before the first part: it has to be known by then.

    Raises:
        ConfigurationError: the source can be read only once. What was looked at of it is lost.
        Exception: what the source raises.
    """
    if not source.is_replayable:
        raise ConfigurationError(
            "a checksum of what goes in parts has to be known before the first one, and this source can be "
            "read only once; give bytes, a path or a file that can seek, or checksum='none'"
        )
    digest = digest_of(algorithm)
    await source.rewind()
    while data := await source.take(BLOCK):
        await asyncio.to_thread(digest.update, data)
    await source.rewind()
    return Checksum(algorithm, digest.digest().hex())


def _md5_by_etag(fields: Mapping[str, object]) -> Checksum | None:
    is_encrypted = (text(fields, "ServerSideEncryption") or "").startswith("aws:kms")
    if is_encrypted or text(fields, "SSECustomerAlgorithm") is not None:
        return None
    etag = _MD5_ETAG.fullmatch(text(fields, "ETag") or "")
    return None if etag is None else Checksum("md5", etag[1])


def _update(check: Check, view: memoryview) -> None:
    check.update(view)


def _update_from(check: Check, read: Callable[[int, int], bytes], start: int) -> None:
    check.update(read(BLOCK, start))


def _read_all(digest: Digest, upload: Upload) -> None:
    file: BinaryIO = upload.open()
    try:
        left = upload.size
        while left and (data := file.read(min(INLINE, left))):
            digest.update(data)
            left -= len(data)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"data cannot be read: {error}") from error
    finally:
        file.close()
