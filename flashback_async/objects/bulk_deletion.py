"""The verb that deletes many objects, a thousand with each request."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from flashback_async.errors import ClientClosedError, ConfigurationError, FlashbackError
from flashback_async.models import BulkResult, DeletedObject, ObjectInfo, ObjectVersion
from flashback_async.objects.bounded import Input, bounded, each
from flashback_async.objects.bulk import OnError, check_bounds, check_input, key_of
from flashback_async.objects.deletion import BATCH, Doomed, deleted
from flashback_async.objects.names import checked_bucket, checked_key
from flashback_async.objects.writing_verbs import WritingVerbs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from flashback_async.objects.budget import Share
    from flashback_async.routing import Endpoint

# Each of them is a thousand deletions to the store.
BATCHES_IN_FLIGHT: Final = 4

Given = str | ObjectInfo | ObjectVersion
Outcome = DeletedObject | FlashbackError


class BulkDeletion(WritingVerbs):
    """Deleting many objects. See `BulkVerbs` for what the verbs for many objects have in common."""

    def delete_objects(
        self,
        bucket: str,
        keys: Input[Given],
        *,
        concurrency: int = BATCHES_IN_FLIGHT,
        ordered: bool = False,
        on_error: OnError = "raise",
        timeout: float | None = None,
        endpoint: Endpoint | str | None = None,
        retry: bool = True,
    ) -> AsyncGenerator[BulkResult[DeletedObject], None]:
        """Delete many objects, a thousand with each request; see `BulkVerbs`.

        Keys that are not there count as deleted. What the store refuses of a request is told key by key; keys
        that it throttled are asked for again.

        Args:
            bucket: bucket name.
            keys: keys, or the `ObjectInfo`s of a listing; or `ObjectVersion`s, which are deleted for good.
            concurrency: requests at the same time.
            ordered: whether results keep the order of the input.
            on_error: `"raise"` or `"yield"`.
            timeout: seconds for each request.
            endpoint: see `Verbs`.
            retry: see `Verbs`.
        """
        checked_bucket(bucket)
        check_input(keys, what="keys")
        check_bounds(concurrency, 1, on_error)
        runner = self._started()

        async def delete(batch: list[Given], _share: Share) -> list[BulkResult[DeletedObject]]:
            asked = [_doomed(given) for given in batch]
            together = [doomed for doomed in asked if isinstance(doomed, Doomed) and doomed.is_plain]
            found: dict[Doomed, Outcome] = {}
            try:
                if together:
                    found |= await deleted(
                        runner, bucket, together, timeout=timeout, endpoint=endpoint, retry=retry
                    )
            except ClientClosedError:
                raise
            except FlashbackError as error:
                found |= dict.fromkeys(together, error)
            for doomed in asked:
                if isinstance(doomed, Doomed) and doomed not in found:
                    found[doomed] = await self._deleted_alone(
                        bucket, doomed, timeout=timeout, endpoint=endpoint, retry=retry
                    )
            return [
                BulkResult(key_of(given), found[doomed] if isinstance(doomed, Doomed) else doomed)
                for given, doomed in zip(batch, asked, strict=True)
            ]

        return _one_by_one(
            bounded(_batches(keys), delete, concurrency=concurrency, ordered=ordered), on_error
        )

    async def _deleted_alone(
        self,
        bucket: str,
        doomed: Doomed,
        *,
        timeout: float | None,
        endpoint: Endpoint | str | None,
        retry: bool,
    ) -> Outcome:
        """Delete what no batch can name."""
        try:
            await self.delete_object(
                bucket,
                doomed.key,
                version_id=doomed.version_id,
                timeout=timeout,
                endpoint=endpoint,
                retry=retry,
            )
        except ClientClosedError:
            raise
        except FlashbackError as error:
            return error
        return DeletedObject(bucket, doomed.key, doomed.version_id)


def _doomed(given: Given) -> Doomed | ConfigurationError:
    try:
        if isinstance(given, ObjectVersion):
            return Doomed(checked_key(given.key), given.version_id)
        return Doomed(checked_key(given.key if isinstance(given, ObjectInfo) else given))
    except ConfigurationError as error:
        return error


async def _batches(keys: Input[Given]) -> AsyncGenerator[list[Given], None]:
    """The input in batches; where it fails, the last one has what it yielded before."""
    batch: list[Given] = []
    async with aclosing(each(keys)) as feed:
        try:
            async for given in feed:
                batch.append(given)
                if len(batch) == BATCH:
                    yield batch
                    batch = []
        except Exception:
            if batch:
                yield batch
            raise
        if batch:
            yield batch


async def _one_by_one(
    batches: AsyncGenerator[list[BulkResult[DeletedObject]], None], on_error: OnError
) -> AsyncGenerator[BulkResult[DeletedObject], None]:
    async with aclosing(batches):
        async for batch in batches:
            for result in batch:
                if result.error is not None and on_error == "raise":
                    raise result.error
                yield result
