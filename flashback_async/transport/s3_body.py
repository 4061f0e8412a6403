"""The bodies that `client.s3` hands out: boto's interface around a stream that survives its node."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from botocore.exceptions import FlexibleChecksumError
from botocore.httpchecksum import Crc32Checksum, Sha1Checksum, Sha256Checksum

from flashback_async.errors import FlashbackError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
    from types import TracebackType

# aiobotocore's: what iterating over a body yields at a time.
CHUNK: Final = 1_024
# More than arrives at once.
ANY: Final = 1 << 30
# Those that botocore computes by itself; the others need awscrt.
CHECKSUMS: Final = {
    "ChecksumCRC32": Crc32Checksum,
    "ChecksumSHA1": Sha1Checksum,
    "ChecksumSHA256": Sha256Checksum,
}


class Stream(Protocol):
    """The bytes of one answer, as they arrive."""

    @property
    def is_at_end(self) -> bool:
        """Whether nothing more will come."""

    async def read_some(self) -> bytes:
        """The next bytes; empty at the end.

        Raises:
            FlashbackError: the body broke, and nobody could continue it.
        """

    def close(self) -> None:
        """Free everything. Idempotent, does not wait."""


class GuardedBody:
    """A body as boto's `StreamingBody`. Its end, an error, `close` and leaving its block free the connection.

    One that is dropped unread frees it too, as soon as it is collected. A cancelled read closes it. Not for
    use by several tasks at once.

    Raises:
        ClientError: from every way to read, when the body broke and no endpoint could continue it.
        FlexibleChecksumError: a checksum was asked for, and does not fit.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        translate: Callable[[FlashbackError], Exception],
        checksum: Checksum | None = None,
    ) -> None:
        self._stream = stream
        self._translate = translate
        self._checksum = checksum
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._read = 0

    def __repr__(self) -> str:
        return f"<GuardedBody: {self._read} bytes read{', at the end' if self.at_eof() else ''}>"

    def __del__(self) -> None:
        # The collector may run anywhere, even under the router's lock: only the loop may free.
        stream = getattr(self, "_stream", None)
        if stream is not None and not stream.is_at_end and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(stream.close)

    @property
    def content(self) -> Content:
        """The same bytes in the words of aiohttp, as aiobotocore's bodies offer them."""
        return Content(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the connection; nothing is drained."""
        self.close()

    def close(self) -> None:
        """Free the connection. Idempotent; what was not read is lost."""
        self._stream.close()

    def at_eof(self) -> bool:
        """Whether everything was read."""
        return not self._buffer and self._stream.is_at_end

    def readable(self) -> bool:
        """Whether there may be more to read."""
        return not self.at_eof()

    def tell(self) -> int:
        """Bytes read so far."""
        return self._read

    async def read(self, amt: int | None = None) -> bytes:
        """Everything that is left, or at most `amt` bytes as soon as there are some; empty at the end."""
        if amt is None or amt < 0:
            pieces = [self._take(len(self._buffer))]
            while piece := await self._some():
                pieces.append(piece)
                self._read += len(piece)
            return b"".join(pieces)
        if not amt:
            return b""
        if not self._buffer:
            self._buffer += await self._some()
        return self._take(amt)

    async def readinto(self, b: bytearray | memoryview) -> int:
        """Fill `b` from its start with what is there, and return the number of bytes; 0 at the end."""
        data = await self.read(len(b))
        b[: len(data)] = data
        return len(data)

    async def readlines(self) -> list[bytes]:
        """All lines, without their ends."""
        return [line async for line in self.iter_lines()]

    async def iter_lines(self, chunk_size: int = CHUNK, keepends: bool = False) -> AsyncIterator[bytes]:  # noqa: FBT001, FBT002  # boto's signature
        """The lines, one by one."""
        pending = b""
        async for chunk in self.iter_chunks(chunk_size):
            *lines, pending = (pending + chunk).splitlines(keepends=True)
            for line in lines:
                yield line.splitlines(keepends)[0]
        if pending:
            yield pending.splitlines(keepends)[0]

    async def iter_chunks(self, chunk_size: int = CHUNK) -> AsyncIterator[bytes]:
        """Pieces of at most `chunk_size` bytes."""
        while chunk := await self.read(chunk_size):
            yield chunk

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.iter_chunks(CHUNK)

    async def __anext__(self) -> bytes:
        if chunk := await self.read(CHUNK):
            return chunk
        raise StopAsyncIteration

    anext = __anext__

    def _take(self, amount: int) -> bytes:
        taken = bytes(self._buffer[:amount])
        del self._buffer[:amount]
        self._read += len(taken)
        return taken

    async def _some(self) -> bytes:
        try:
            data = await self._stream.read_some()
        except FlashbackError as error:
            told = self._translate(error)
            raise told from (None if told is error else error)
        if self._checksum is not None:
            self._checksum.take(data)
        return data


class Content:
    """A body in the words of aiohttp's `StreamReader`, which aiobotocore's bodies have as `content`."""

    def __init__(self, body: GuardedBody) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body.iter_lines(keepends=True)

    def at_eof(self) -> bool:
        """Whether everything was read."""
        return self._body.at_eof()

    async def read(self, n: int = -1) -> bytes:
        """Everything that is left, or at most `n` bytes as soon as there are some; empty at the end."""
        return await self._body.read(n)

    async def readany(self) -> bytes:
        """Whatever comes next; empty at the end."""
        return await self._body.read(ANY)

    async def readexactly(self, n: int) -> bytes:
        """Exactly `n` bytes.

        Raises:
            asyncio.IncompleteReadError: the end came before.
        """
        data = bytearray()
        while len(data) < n:
            piece = await self._body.read(n - len(data))
            if not piece:
                raise asyncio.IncompleteReadError(bytes(data), n)
            data += piece
        return bytes(data)

    async def iter_any(self) -> AsyncGenerator[bytes, None]:
        """Pieces as they arrive."""
        while data := await self.readany():
            yield data

    async def iter_chunked(self, n: int) -> AsyncGenerator[bytes, None]:
        """Pieces of at most `n` bytes."""
        while data := await self._body.read(n):
            yield data

    async def iter_chunks(self) -> AsyncGenerator[tuple[bytes, bool], None]:
        """Pieces as they arrive, each with whether an HTTP chunk ends there, of which nothing is known."""
        while data := await self.readany():
            yield data, False


class Checksum:
    """The checksum that the first answer announced, against the bytes that really came."""

    def __init__(self, kind: type[Crc32Checksum | Sha1Checksum | Sha256Checksum], expected: str) -> None:
        self._computed = kind()
        self._expected = expected

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Checksum | None:
        """The one to verify; None where there is none of a whole object that can be computed here."""
        for name, kind in CHECKSUMS.items():
            expected = fields.get(name)
            # A composite one is a checksum of checksums, and ends with the number of its parts.
            if isinstance(expected, str) and "-" not in expected:
                return cls(kind, expected)
        return None

    def take(self, data: bytes) -> None:
        """The next bytes; empty at the end, where it is verified.

        Raises:
            FlexibleChecksumError: the bytes are others.
        """
        if data:
            self._computed.update(data)
        elif self._computed.digest() != base64.b64decode(self._expected):
            raise FlexibleChecksumError(
                error_msg=f"Expected checksum {self._expected} did not match calculated checksum: "
                f"{self._computed.b64digest()}"
            )
