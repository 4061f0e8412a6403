"""An endpoint in memory: an S3 gateway that does what a script says."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from flashback_async.errors import EndpointConnectError
from flashback_async.routing import Endpoint
from flashback_async.testing.multipart import OpenUploads
from flashback_async.testing.script import Break, Dialect, Fault, Request, Step, refusal
from flashback_async.testing.service import serve
from flashback_async.transport.outcomes import unsent
from flashback_async.transport.s3_call import Progress, S3Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from flashback_async.testing.store import MemoryStore
    from flashback_async.transport.operation import Operation
    from flashback_async.transport.upload import Upload

T = TypeVar("T")


class Line:
    """A connection in use: what waits on it ends when it is cut."""

    def __init__(self) -> None:
        self.is_cut = False
        self._timer: asyncio.Timeout | None = None

    async def hold(self, work: Coroutine[object, object, T]) -> T:
        """Await `work`, at most until the line is cut.

        Raises:
            EndpointConnectError: it was.
        """
        timer = self._timer = asyncio.timeout(None)
        try:
            async with timer:
                return await work
        except TimeoutError:
            if not timer.expired():
                raise
            raise EndpointConnectError("the connection was closed") from None
        finally:
            self._timer = None

    def cut(self) -> None:
        """Break it off. Idempotent."""
        self.is_cut = True
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(asyncio.get_running_loop().time())


class MemoryBody:
    """The unread body of an answer, as `RawBody`; breaks where its step says."""

    is_direct = True

    def __init__(self, endpoint: ScriptedEndpoint, data: bytes, step: Step) -> None:
        self._endpoint = endpoint
        self._data = data if step.cut is None else data[: step.cut]
        self._breaks = step.cut is not None and step.cut < len(data)
        self._step = step
        self._offset = 0
        self.line = Line()
        endpoint.bodies.add(self)

    async def read(self) -> bytes:
        """The next piece, empty at the end.

        Raises:
            EndpointConnectError: the connection broke or was closed.
        """
        if self.line.is_cut:
            raise EndpointConnectError("the connection was closed")
        return await self.line.hold(self._next(self._step.piece))

    async def read_into(self, memory: memoryview, came: Callable[[], None]) -> int:  # noqa: ARG002  # of the seam
        """The next piece, or as much of it as there is room for, into `memory`. Raises what `read` raises."""
        if self.line.is_cut:
            raise EndpointConnectError("the connection was closed")
        piece = await self.line.hold(self._next(min(self._step.piece, len(memory))))
        memory[: len(piece)] = piece
        return len(piece)

    def at_hand(self) -> None:
        """Nothing: whoever reads gives way to the loop, as with most sockets."""

    async def _next(self, most: int) -> bytes:
        # Always gives way to the loop once, as a socket may.
        await asyncio.sleep(self._step.pace)
        piece = self._data[self._offset : self._offset + most]
        self._offset += len(piece)
        if not piece and self._breaks:
            if self._step.how is Break.RESET:
                raise EndpointConnectError("the body broke off")
            if self._step.how is Break.STALL:
                await _never()
        return piece

    def close(self) -> None:
        """Give the connection back. Idempotent."""
        self.line.cut()
        self._endpoint.bodies.discard(self)


class ScriptedEndpoint:
    """One gateway in memory, as `S3Call`. Each request takes the next step of its script.

    Args:
        id: the endpoint's id; a host name, for clients name endpoints after their hosts.
        store: what it leads to; usually shared with other endpoints.
        script: what it does with its first requests, in the order of their arrival.
        then: what it does with all further ones.
        dialect: how it answers.
        own_uploads: multipart uploads are known here only; else to all endpoints of the store.

    Attributes:
        endpoint: the endpoint as the router knows it.
        requests: every request that reached it (refused connections too), oldest first.
        bodies: bodies handed out and not closed.
        uploads: multipart uploads that it knows of.
    """

    def __init__(
        self,
        id: str,  # noqa: A002  # what it is called everywhere
        store: MemoryStore,
        script: Iterable[Step] = (),
        *,
        then: Step | None = None,
        dialect: Dialect | None = None,
        own_uploads: bool = False,
    ) -> None:
        self.endpoint = Endpoint(id=id, url=f"https://{id}")
        self.store = store
        self.script = deque(script)
        self.then = Step() if then is None else then
        self.dialect = Dialect() if dialect is None else dialect
        self.requests: list[Request] = []
        self.bodies: set[MemoryBody] = set()
        self.uploads = OpenUploads() if own_uploads else store.uploads

    def __repr__(self) -> str:
        return (
            f"<ScriptedEndpoint {self.endpoint.id}: {len(self.requests)} requests, {len(self.bodies)} bodies>"
        )

    async def __call__(self, operation: Operation, *, progress: Progress) -> S3Answer:
        """Do what the script says with one request; see `S3Call`."""
        step = self.script.popleft() if self.script else self.then
        self.requests.append(
            Request(
                self.endpoint.id,
                asyncio.get_running_loop().time(),
                operation.name,
                operation.bucket,
                operation.key,
                operation.parameters,
            )
        )
        data = b""
        if operation.upload is not None and step.fault is not Fault.REFUSED:
            data = await _received(operation.upload, step, progress)
        await asyncio.sleep(step.after)
        if step.fault is Fault.SILENT:
            await _never()
        if step.fault is Fault.REFUSED:
            raise unsent(_EXCUSES[step.fault].format(self.endpoint.id))
        if step.fault is not None:
            raise EndpointConnectError(_EXCUSES[step.fault].format(self.endpoint.id))
        if step.status is not None:
            raise refusal(step.status, step.code, kind=operation.kind, retry_after=step.retry_after)
        served = serve(self.store, operation, data, step.dialect or self.dialect, self.uploads)
        if step.is_lost:
            raise EndpointConnectError(_EXCUSES[Fault.RESET])
        body = MemoryBody(self, served.data or b"", step) if operation.streamed else None
        fields = {**served.fields, **step.fields}
        told = {name: value for name, value in fields.items() if value is not None}
        return S3Answer(told, served.status, body, is_throttled=served.is_throttled)


_EXCUSES = {
    Fault.REFUSED: "cannot connect to {}: connection refused",
    Fault.RESET: "the connection was closed without an answer",
}


async def _received(upload: Upload, step: Step, progress: Progress) -> bytes:
    """What arrives of an upload: all of it, or as much as the step takes before its fault."""
    reader = upload.reader(progress)
    if isinstance(reader, bytes):
        return reader
    received = bytearray()
    slices = aiter(reader)
    try:
        while step.takes is None or len(received) < step.takes:
            piece = await anext(slices, b"")
            if not piece:
                break
            await asyncio.sleep(step.pace)
            received += piece
    finally:
        await slices.aclose()
        reader.close()
    return bytes(received)


async def _never() -> None:
    """Wait for what does not happen."""
    await asyncio.get_running_loop().create_future()


__all__ = ["MemoryBody", "ScriptedEndpoint"]
