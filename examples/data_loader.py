"""Feed a training loop from S3: objects are fetched ahead, batches come in order, memory is bounded.

Set FB_KEY_ID, FB_KEY_SECRET and FB_REFRESH_TOKEN, and run `python data_loader.py bucket prefix/`.
"""

import asyncio
import random
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from itertools import islice

from flashback_async import FlashbackClient, StoredObject


async def batches(
    client: FlashbackClient, bucket: str, keys: Iterable[str], *, size: int = 32, prefetch: int = 128
) -> AsyncGenerator[list[bytes], None]:
    """Yield the objects in the order of `keys`, `size` at a time.

    Beside the batch, at most `prefetch` objects are on their way or wait. Use `aclosing`: leaving its block,
    by `break` or by an error, cancels what is on its way.
    """
    rest, batch = iter(keys), list[bytes]()
    window: deque[asyncio.Task[StoredObject]] = deque()
    try:
        while True:
            for key in islice(rest, prefetch - len(window)):
                window.append(asyncio.create_task(client.get_object(bucket, key)))
            if window:
                batch.append((await window[0]).body)
                window.popleft()
            if batch and (len(batch) == size or not window):
                yield batch
                batch = []
            elif not window:
                return
    finally:
        for task in window:
            task.cancel()
        await asyncio.gather(*window, return_exceptions=True)


async def train(bucket: str, prefix: str, *, epochs: int = 2) -> None:
    async with FlashbackClient() as client:
        keys = [info.key async for info in client.list_objects(bucket, prefix)]
        for epoch in range(epochs):
            random.Random(epoch).shuffle(keys)  # noqa: S311  # an order, not a secret
            began, samples = time.monotonic(), 0
            async with aclosing(batches(client, bucket, keys)) as loader:
                async for batch in loader:
                    samples += len(batch)  # the training step goes here
            print(f"epoch {epoch}: {samples} samples in {time.monotonic() - began:.2f} s")


if __name__ == "__main__":
    asyncio.run(train(*sys.argv[1:3]))
