"""Operations in S3's own words, carried out like this package's verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flashback_async.objects.answer_stream import AnswerStream
from flashback_async.objects.lost_answers import completed, created, removed

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashback_async.objects.runner import Runner
    from flashback_async.transport.executor import Answered
    from flashback_async.transport.operation import Operation

# Whose lost answers leave something behind, or have the next one say that there is nothing.
_LOOKED_AFTER: Final = {
    "CompleteMultipartUpload": completed,
    "CreateMultipartUpload": created,
    "DeleteObject": removed,
}


class RoutedCalls:
    """Runs any operation through the router. One per running client.

    Args:
        runner: of the client.
        here: raises ClientClosedError unless the client is running, in this loop.
    """

    def __init__(self, runner: Runner, here: Callable[[], object]) -> None:
        self._runner = runner
        self._here = here

    def check(self) -> None:
        """Raise ClientClosedError unless the client is running, in this loop."""
        self._here()
        self._runner.check_open()

    async def call(self, operation: Operation, *, pin: str | None) -> Answered:
        """Run an operation whose answer is read whole. Raises what verbs raise."""
        runner = self._runner
        # A large body takes what it takes, as long as it moves; the stall timeout watches over that.
        is_transfer = operation.upload is not None and operation.upload.in_slices
        journey = runner.journey(timeout=None, endpoint=pin, retry=True, streamed=is_transfer)
        async with runner.running(operation, journey.deadline):
            run = _LOOKED_AFTER.get(operation.name)
            if run is None:
                answered = await runner.executor.call(operation, journey)
            else:
                answered = await run(runner, operation, journey)
        if operation.upload is not None:
            runner.monitor.bytes_written += operation.upload.size
        return answered

    async def open(self, operation: Operation, *, pin: str | None, is_resumable: bool) -> AnswerStream:
        """Run an operation up to its headers; the caller must read the stream to its end, or close it."""
        runner = self._runner
        journey = runner.journey(timeout=None, endpoint=pin, retry=True, streamed=True)
        return await AnswerStream.opened(runner, operation, journey, is_resumable=is_resumable)
