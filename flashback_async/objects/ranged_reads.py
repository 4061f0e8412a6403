"""Several ranges of one object: near ones with one request, all of the same version."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from flashback_async.errors import ServiceError
from flashback_async.objects.bounded import bounded
from flashback_async.objects.names import ByteRange
from flashback_async.objects.reading import ObjectStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashback_async.objects.budget import Share
    from flashback_async.objects.read_request import ReadRequest
    from flashback_async.objects.runner import Runner
    from flashback_async.routing import Endpoint

# Bytes from which on ranges are no longer put together: two requests then are faster than one.
LARGEST: Final = 16 * 1_024 * 1_024


class Span(NamedTuple):
    """Absolute offsets of one request."""

    start: int
    stop: int


async def read_ranges(
    runner: Runner,
    request: ReadRequest,
    wanted: Sequence[ByteRange],
    *,
    coalesce: int,
    concurrency: int,
    timeout: float | None,
    endpoint: Endpoint | str | None,
    retry: bool,
) -> list[bytes]:
    """The bytes of each range, in the order asked; see `ReadingVerbs.get_ranges`.

    The first request decides the version. It asks for a range that depends on the size, if there is one, for
    then its answer tells where all others are.
    """
    relative = next((asked for asked in wanted if asked.start < 0 or asked.stop is None), None)
    spans: list[Span] = []
    if relative is None:
        spans = coalesced([Span(asked.start, asked.stop or 0) for asked in wanted], coalesce)
        lead = replace(request, range=ByteRange(*spans.pop(0)))
    else:
        lead = replace(request, range=relative)
    pieces: list[tuple[Span, bytes]] = []
    async with ObjectStream(
        runner, lead, timeout=timeout, endpoint=endpoint, retry=retry, streamed=False
    ) as first:
        covered = Span(first.start, first.start + first.length)
        # Where an answer does not tell the size, only its end does, if it goes as far.
        total = (
            covered.stop if first.identity.total is None and relative is not None else first.identity.total
        )
        absolute = [_absolute(asked, total) for asked in wanted]
        for asked in absolute:
            if total is not None and asked.start >= total:
                raise _beyond(asked, request, first.endpoint)
        if relative is not None:
            spans = coalesced([asked for asked in absolute if not _is_within(asked, covered)], coalesce)

        async def read(span: Span, _share: Share) -> tuple[Span, bytes]:
            if span is covered:
                return span, await first.read()
            async with first.part(*span) as part:
                return Span(part.start, part.start + part.length), await part.read()

        async with aclosing(bounded([covered, *spans], read, concurrency=concurrency)) as results:
            pieces = [piece async for piece in results]
        return [_cut(asked, pieces, total) for asked in absolute]


def coalesced(spans: Sequence[Span], gap: int) -> list[Span]:
    """The requests that cover `spans`: those with at most `gap` bytes between them together."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.start <= found[-1].stop + gap:
            last = found[-1]
            joined = Span(last.start, max(last.stop, span.stop))
            if joined == last or joined.stop - joined.start <= LARGEST:
                found[-1] = joined
                continue
        found.append(span)
    return found


def _absolute(asked: ByteRange, total: int | None) -> Span:
    if total is not None:
        return Span(*asked.within(total))
    assert asked.stop is not None, "relative ranges are asked for first, so that the size is known"
    return Span(asked.start, asked.stop)


def _is_within(asked: Span, covered: Span) -> bool:
    return covered.start <= asked.start and asked.stop <= covered.stop


def _cut(asked: Span, pieces: Sequence[tuple[Span, bytes]], total: int | None) -> bytes:
    for span, data in pieces:
        # Where nobody told the size, a piece may have ended before what was asked of it.
        if _is_within(asked, span) or (total is None and span.start <= asked.start < span.stop):
            return data[asked.start - span.start : asked.stop - span.start]
    raise AssertionError(f"{asked} was not read")


def _beyond(asked: Span, request: ReadRequest, endpoint: str) -> ServiceError:
    return ServiceError(
        f"416 InvalidRange: a range begins at {asked.start}, where the object has ended",
        code="InvalidRange",
        status=416,
        operation="GetObject",
        bucket=request.bucket,
        key=request.key,
        endpoint=endpoint,
    )
