"""Requests of the wire plan at a server that verifies every signature, over bare sockets."""

from __future__ import annotations

import asyncio
import time
from random import Random
from urllib.parse import urlsplit

import botocore.session
import pytest

from flashback_async.config import Credentials
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Operation
from flashback_async.transport.payload_hash import payload_hash
from flashback_async.transport.s3_place import Place
from flashback_async.transport.s3_wire import WirePlan
from flashback_async.transport.sigv4 import Signer
from flashback_async.transport.upload import Upload

# rclone keeps objects as files: no double slashes, no dots as parts, and no line breaks.
KEYS = ["plain", "with space", "a+b", "100%", "50%2F", "dir/", "ümläut/日本/😀", "a~b!c'd(e)*f", "?query&x=y#z", "a.b/..c", "q=1;2,3:@$"]  # fmt: skip
BODY = Random(5).randbytes(5_000)


@pytest.fixture(scope="module")
def plans():
    model = botocore.session.Session().get_service_model("s3")
    return {name: WirePlan.of(model.operation_model(name)) for name in model.operation_names}


@pytest.fixture
def send(rclone_cluster, plans):
    """`await send(name, key, parameters, body)`: status, the answer's fields or error, and its body."""
    url = rclone_cluster.nodes[0].url
    own = rclone_cluster.settings().credentials()

    async def exchange(name, key, parameters=None, body=None, credentials: Credentials = own):
        upload = None if body is None else Upload.of_bytes(body)
        operation = Operation(name, OperationKind.WRITE, "demo", key, parameters or {}, upload)
        request = plans[name].request(operation, Place(url))
        head = request.signed_head(
            Signer(credentials, "us-east-1"),
            payload_hash=payload_hash(body, signed=True),
            now=time.time(),
        )
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(head + (body or b""))
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
            headers = [(line.partition(":")[0].lower(), line.partition(":")[2].strip()) for line in lines]
            length = 0 if request.method == "HEAD" else int(dict(headers).get("content-length", 0))
            data = await reader.readexactly(length)
        finally:
            writer.close()
            await writer.wait_closed()
        status = int(first.split()[1])
        answer = plans[name].answer
        return status, (answer.fields if status < 300 else answer.error)(status, headers, data), data

    return exchange


@pytest.mark.parametrize("key", KEYS)
async def test_a_server_that_verifies_signatures_takes_any_key(send, key):
    """Written, looked at, read in part and deleted under the same key: the server takes every signature."""
    told = {"ContentType": "text/plain", "Metadata": {"kind": "a  b"}}
    assert (await send("PutObject", key, told, BODY))[0] == 200

    status, fields, _ = await send("HeadObject", key)
    assert (status, fields["ContentLength"], fields["ContentType"]) == (200, len(BODY), "text/plain")
    _, fields, data = await send("GetObject", key, {"Range": "bytes=10-29"})
    assert (fields["ContentLength"], data) == (20, BODY[10:30])
    assert (await send("DeleteObject", key))[0] == 204
    status, error, _ = await send("GetObject", key)
    assert (status, error.response["Error"]["Code"]) == (404, "NoSuchKey")


async def test_a_wrong_secret_is_refused(send, rclone_cluster):
    """The server does look: with another secret the same request is refused."""
    wrong = Credentials(rclone_cluster.key_id, "another secret")

    status, error, _ = await send("GetObject", "plain", credentials=wrong)

    assert (status, error.response["Error"]["Code"]) == (403, "SignatureDoesNotMatch")
