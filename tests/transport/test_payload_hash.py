"""What a signature says of the body."""

from __future__ import annotations

from hashlib import sha256

import pytest

from flashback_async.errors import ConfigurationError
from flashback_async.transport.payload_hash import payload_hash
from flashback_async.transport.sigv4 import EMPTY_PAYLOAD, UNSIGNED_PAYLOAD
from flashback_async.transport.upload import READ_AT_ONCE, SLICE, Upload

SIZES = [0, 1, SLICE, SLICE + 1, READ_AT_ONCE, READ_AT_ONCE + 1, 3 * READ_AT_ONCE]


class Pieces:
    """Counts what is reported."""

    def __init__(self):
        self.told = []

    def __call__(self, *, complete):
        self.told.append(complete)


@pytest.mark.parametrize("size", SIZES)
async def test_bytes_of_any_size_have_their_sha256(size):
    """The hash is that of the bytes, however many they are and wherever it was computed."""
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]

    body = Upload.of_bytes(data).reader(Pieces())
    told = payload_hash(body, signed=True) if isinstance(body, bytes) else await body.sha256()
    assert told == sha256(data).hexdigest()


def test_no_body_is_an_empty_one():
    """A request without a body is signed over nothing."""
    assert payload_hash(None, signed=True) == EMPTY_PAYLOAD


@pytest.mark.parametrize("body", [None, b"", b"x"])
def test_an_unsigned_payload_says_so(body):
    """Where TLS answers for the body, nothing is hashed."""
    assert payload_hash(body, signed=False) == UNSIGNED_PAYLOAD


async def test_a_file_is_hashed_from_where_it_was_given_and_sent_from_there_again(tmp_path):
    """Every piece is progress, none is the last one, and afterwards the body is sent from its start."""
    data = bytes(range(256)) * 10_000
    path = tmp_path / "data"
    path.write_bytes(b"skipped" + data)
    pieces = Pieces()
    with path.open("rb") as file:
        file.read(7)
        upload = await Upload.of(file)
        reader = upload.reader(pieces)

        assert await reader.sha256() == sha256(data).hexdigest()

        assert pieces.told == [False] * 3
        assert b"".join([piece async for piece in reader]) == data


async def test_a_file_that_grows_is_hashed_as_far_as_it_is_sent(tmp_path):
    """What joins the file after it was given belongs to no request."""
    path = tmp_path / "data"
    path.write_bytes(b"first")
    upload = await Upload.of(path)
    path.write_bytes(b"first and more")
    reader = upload.reader(Pieces())

    assert await reader.sha256() == sha256(b"first").hexdigest()
    reader.close()


async def test_a_file_that_shrank_is_refused(tmp_path):
    """A source that became shorter is the caller's error, as when it is sent."""
    path = tmp_path / "data"
    path.write_bytes(b"first")
    upload = await Upload.of(path)
    path.write_bytes(b"f")
    reader = upload.reader(Pieces())

    with pytest.raises(ConfigurationError, match="data ended after 1 of 5 bytes"):
        await reader.sha256()
    reader.close()


async def test_a_closed_file_is_refused(tmp_path):
    """A file that somebody closed in the meantime is the caller's error."""
    path = tmp_path / "data"
    path.write_bytes(b"first")
    file = path.open("rb")
    upload = await Upload.of(file)
    reader = upload.reader(Pieces())
    reader.tell()
    file.close()

    with pytest.raises(ConfigurationError, match="cannot be read"):
        await reader.sha256()
