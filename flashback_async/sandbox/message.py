"""The seam between the front and what serves behind it: requests with their uploads, replies, backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flashback_async.sandbox.wire import Body, Head, MemoryBody, WireError

if TYPE_CHECKING:
    from asyncio import StreamWriter

    from flashback_async.sandbox.answer import Answer
    from flashback_async.sandbox.faults import Ask
    from flashback_async.sandbox.pacing import Pacer


class BackendError(Exception):
    """What stands behind the front gave no usable answer."""


class ClientGoneError(Exception):
    """The client closed its connection before its request was complete."""


class Upload:
    """A request's body: says `100 Continue` when first read, paces and counts what passes."""

    def __init__(self, body: Body, writer: StreamWriter, pacer: Pacer, *, expects: bool) -> None:
        self._body = body
        self._writer = writer
        self._pacer = pacer
        self._expects = expects
        self.passed = 0

    @property
    def finished(self) -> bool:
        """Whether the whole body was read."""
        return self._body.finished

    async def read(self) -> bytes:
        """The next piece, empty at the end. Raises `ClientGoneError`."""
        if self._expects:
            self._expects = False
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            piece = await self._body.read()
        except (WireError, ConnectionError) as error:
            raise ClientGoneError(str(error)) from error
        self.passed += len(piece)
        await self._pacer.pass_on(len(piece))
        return piece

    async def drop(self, limit: int) -> None:
        """Read and forget up to about `limit` bytes; nothing of a client that waits for a go-ahead."""
        while not (self.finished or self._expects or self.passed > limit):
            await self.read()


@dataclass(frozen=True, slots=True)
class Request:
    """One request on its way to a backend."""

    head: Head
    ask: Ask
    upload: Upload


class Reply(Protocol):
    """A backend's answer. Whoever got it calls `release` once."""

    status: int
    body: Body
    delimited: bool
    """Whether the client can tell the body's end without the connection's end."""

    def encode(self, *extra: bytes) -> bytes:
        """The head to send, with extra field lines."""
        ...

    async def release(self) -> None:
        """Give back what the reply holds; a body that is not finished is abandoned."""
        ...


class AnswerReply:
    """A complete `Answer` as a `Reply`."""

    delimited = True

    def __init__(self, answer: Answer, *, method: str) -> None:
        self._head = Head(answer.start, answer.lines, {})
        self.status = answer.status
        self.body: Body = MemoryBody(b"" if method == "HEAD" else answer.body)

    def encode(self, *extra: bytes) -> bytes:
        """Status line and fields."""
        return self._head.encode(*extra)

    async def release(self) -> None:
        """Nothing is held."""


class Backend(Protocol):
    """What serves the requests that no fault strikes."""

    counts_paths: bool
    """Whether its paths are few enough to be counted one by one."""

    async def respond(self, request: Request) -> Reply:
        """Serve. Raises `BackendError` (the front answers 502) or `ClientGoneError`."""
        ...

    def close(self) -> None:
        """Let go of what is kept between requests."""
        ...
