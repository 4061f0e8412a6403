"""What is each thing worth that makes boto's part of a call cheaper here? CPU of an aioboto3 client's calls.

    python benchmarks/boto_knobs.py
    python benchmarks/boto_knobs.py --quick

One client has none of them, one has each alone, one is as `FlashbackClient` makes its own. All share one
aiohttp session, and are configured alike in what S3-compatible stores need. GET and PUT of 4 KiB with 32 in
flight, every key a new one, and listings of 1,000 objects. Rounds are short and interleaved, so that noise of
the machine meets everything alike; shown are the medians, the ratio to the client with none of them, and how
many calls of Python functions an operation is made of, which no noise changes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import aioboto3
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.awsrequest import HeadersDict
from botocore.handlers import add_expect_header
from measuring.results import RESULTS, write
from serving.fixed import fixed_server

from flashback_async.config import FlashbackSettings
from flashback_async.routing import Endpoint
from flashback_async.transport.s3_client import S3ClientFactory
from flashback_async.transport.s3_http import HttpSession
from flashback_async.transport.s3_session import (
    USER_AGENT,
    ask_fewer_rules,
    count_no_retries,
    parse_timestamps_faster,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiobotocore.client import AioBaseClient
    from botocore.awsrequest import AWSPreparedRequest

QUESTION = "What is each thing worth that makes boto's part of a call cheaper here?"
BODY = 4_096
IN_FLIGHT = 32
KEY = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
ROW = (
    "<Contents><Key>key-{number:04}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;"
    "0123456789abcdef0123456789abcdef&quot;</ETag><Size>4096</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
LISTING = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>bucket</Name><KeyCount>1000</KeyCount>'
    f"<IsTruncated>false</IsTruncated>{''.join(ROW.format(number=number) for number in range(1_000))}"
    "</ListBucketResult>"
).encode()


class Slow(HttpSession):
    """Gives botocore the headers in its own dictionary, as aiobotocore's session does."""

    async def send(self, request: AWSPreparedRequest) -> AioAWSResponse:
        """See `HttpSession`."""
        answer = await super().send(request)
        answer.headers = HeadersDict(answer.headers)
        return answer


class Knob(NamedTuple):
    """One thing that costs less."""

    name: str
    session: Callable[[AioSession], None] | None = None
    options: dict[str, object] = {}  # noqa: RUF012  # never changed
    http: type[HttpSession] = Slow


NONE = Knob("none of them")
ALL = "all, as the client has it"
KNOBS = (
    NONE,
    Knob("fixed User-Agent", options={"user_agent": USER_AGENT}),
    Knob("timestamps", parse_timestamps_faster),
    Knob("endpoint rules", ask_fewer_rules),
    Knob("no headers of retries", count_no_retries),
    Knob("dictionary of headers", http=HttpSession),
)


class Listing:
    """The body of a listing, as if it had been read."""

    async def read(self) -> bytes:
        """All of it."""
        return LISTING


def listed(**_event: object) -> AioAWSResponse:
    """Handler of `before-send`: a listing of 1,000 objects, without a server."""
    answer = AioAWSResponse("", 200, {}, Listing())
    answer.headers = HeadersDict({"content-type": "application/xml"})
    return answer


async def client_with(knob: Knob, url: str, http: HttpSession) -> AioBaseClient:
    """A client with that knob only."""
    session = AioSession()
    if knob.session is not None:
        knob.session(session)
    config = AioConfig(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        inject_host_prefix=False,
        http_session_cls=http.for_client,
        read_timeout=None,
        **knob.options,
    )
    made = aioboto3.Session(botocore_session=session).client("s3", endpoint_url=url, config=config, **KEY)
    client = await made.__aenter__()
    client.meta.events.unregister("before-call.s3", add_expect_header)
    return client


async def client_with_all(url: str, http: HttpSession) -> AioBaseClient:
    """A client as the package makes it."""
    settings = FlashbackSettings(endpoints=(url,), key_id="key", key_secret="secret")
    factory = S3ClientFactory(settings, http)
    made = await asyncio.to_thread(
        factory.make, Endpoint(id="fixed", url=url), settings.credentials(), sign_payload=True
    )
    return made.boto


class Work(NamedTuple):
    """What is measured: how to do it once, with a number that is always new, and how often in a round."""

    once: Callable[[AioBaseClient, int], Awaitable[object]]
    times: int


async def get(client: AioBaseClient, number: int) -> None:
    """Read an object."""
    answer = await client.get_object(Bucket="bucket", Key=f"key-{number}")
    async with answer["Body"] as body:
        assert len(await body.read()) == BODY


async def put(client: AioBaseClient, number: int) -> None:
    """Write one."""
    await client.put_object(Bucket="bucket", Key=f"key-{number}", Body=bytes(BODY), ContentLength=BODY)


async def list_objects(client: AioBaseClient, number: int) -> None:
    """List a bucket."""
    answer = await client.list_objects_v2(Bucket="bucket", Prefix=str(number))
    assert answer["KeyCount"] == len(answer["Contents"])


WORK = {"GET": Work(get, 96), "PUT": Work(put, 96), "LIST": Work(list_objects, 1)}
NUMBERS = count()


async def do(work: Work, client: AioBaseClient) -> float:
    """CPU seconds of one operation, over a round with 32 in flight."""
    left = iter(range(work.times))

    async def worker() -> None:
        for _ in left:
            await work.once(client, next(NUMBERS))

    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(min(IN_FLIGHT, work.times))))
    return (time.process_time() - began) / work.times


async def calls_of(work: Work, client: AioBaseClient) -> float:
    """Calls of functions, C's included, that one operation is made of."""
    calls = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(counted)
    try:
        await do(work, client)
    finally:
        sys.setprofile(None)
    return calls / work.times


async def measure(url: str, operations: Sequence[str], rounds: int) -> list[dict[str, object]]:
    """One row per operation and client."""
    rows = []
    async with AsyncExitStack() as stack:
        sessions = {kind: kind(connect_timeout=5, tls=None) for kind in (Slow, HttpSession)}
        for http in sessions.values():
            http.open()
            stack.push_async_callback(http.close)
        clients = {knob.name: await client_with(knob, url, sessions[knob.http]) for knob in KNOBS}
        clients[ALL] = await client_with_all(url, sessions[HttpSession])
        for client in clients.values():
            client.meta.events.register("before-send.s3.ListObjectsV2", listed)
        for operation in operations:
            work = WORK[operation]
            for client in clients.values():
                await do(work, client)
            figures: dict[str, list[float]] = {name: [] for name in clients}
            for _ in range(rounds):
                for name, client in clients.items():
                    figures[name].append(await do(work, client))
            for name, client in clients.items():
                ratios = [mine / none for mine, none in zip(figures[name], figures[NONE.name], strict=True)]
                row = {"seconds": median(figures[name]), "ratio": median(ratios)}
                calls = round(await calls_of(work, client))
                rows.append({"operation": operation, "client": name, **row, "calls": calls})
    return rows


def main() -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 15")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--operations", nargs="+", choices=WORK, default=list(WORK))
    parser.add_argument("--json", type=Path, default=RESULTS / "boto_knobs.json", metavar="FILE")
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 15)
    with fixed_server(BODY) as url:
        rows = asyncio.run(measure(url, options.operations, rounds))
    print(f"{'':32} {'CPU':>9} {'ratio':>6} {'calls':>7}")
    for row in rows:
        name = f"{row['operation']:5}{row['client']}"
        print(f"{name:32} {row['seconds'] * 1e6:6.0f} us {row['ratio']:6.2f} {row['calls']:7,}")
    write(options.json, QUESTION, rows, rounds=rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
