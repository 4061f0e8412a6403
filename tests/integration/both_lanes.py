"""Random operations through two clients, one on each lane, and what came of each in a form that can be compared."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from flashback_async import FlashbackClient, FlashbackError, StorageHeaders

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

KIB = 1_024
LANES = ("aioboto3", "fast")
# Of the same length, so that answers that name the bucket are of the same length as well.
BUCKETS = {"aioboto3": "lane-1", "fast": "lane-2"}

# Small ones, and both sides of where a body is copied behind its head, or hashed in a thread and sent in slices.
SIZES = [0, 1, 2, 1_000, 4 * KIB] * 4 + [size + more for size in (64 * KIB, 256 * KIB) for more in (-1, 0, 1)]
KEYS = [
    "plain", "dir/name.txt", "a b", " blank at both ends ", "a+b", "a%b", "100%25", "%41", "%zz", "a?b=c&d", "a#b",
    "a&b;c=d", "a@b:c", "a,b$c", "a!b'c(d)e*f", 'a"b<c>d', "a\\b^c`d", "a{b}c|d", "a[b]c", "a~b_c-d", "..a", "a..",
    ".hidden", "a.b/..c/d..", "ümläut", "日本語/キー", "😀", "\u202eright-to-left", "a\u00a0b",
    "İstanbul", "x" * 250, "/".join(["k" * 99] * 10), "é" * 120, "UPPER/lower", "UPPER/Lower", "=", "a=b", "~", "$(id)",
]  # fmt: skip
# What a store that keeps objects as files cannot keep, or not always.
HARD_KEYS = [
    "u\u0308mla\u0308ut", "\u007f", "a//b", "/leading", "//", "trailing/", "a/./b", "a/../b", "..", ".", "a\nb", "a\r\nb", "a\tb", "\x01", "é" * 512,
    "z" * 1_024,
]  # fmt: skip
TEXTS = [
    "a",
    "a b",
    "a  b",
    "text/plain; charset=utf-8",
    'attachment; filename="a;b"',
    "%C3%BC",
    "x" * 300,
    "a,b",
]
METADATA = [
    {},
    {"kind": "a  b"},
    {"one": "1", "two-words": "a;b"},
    {"UPPER": "Case"},
    {"empty": ""},
    {"a": "=?x?="},
]
DATES = [datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)]  # fmt: skip
RANGES = [
    "bytes=0-0",
    "bytes=0-99",
    "bytes=10-",
    "bytes=-5",
    "bytes=5-2",
    "bytes=999999999-",
    "bytes=a-b",
    "lines=1-2",
]
SPANS = [(0, 1), (0, 100), (10, None), (5, 70_000), (10**9, None)]

# Which no two answers have in common; of the moments and uploads, the type is compared. A store that refuses a
# body before it has read all of it keeps the connection or not, as it comes.
_IDS = {
    "RequestId", "HostId", "x-amz-request-id", "x-amzn-requestid", "x-amz-id-2", "date", "x-amz-date", "connection",
    "flashback-write-id", "x-amz-meta-flashback-write-id",
}  # fmt: skip
# A plain client's word on its only attempt, which is no lane's.
_OF_ONE_ATTEMPT = {"MaxAttemptsReached"}
_RETRIES = " (reached max retries: 0)"
_MOMENTS = {"LastModified", "last_modified", "last-modified", "UploadId", "Initiated"}
_DOCUMENTS = {"application/xml", "text/xml", "text/html; charset=utf-8"}
_SECONDS = re.compile(r"\b\d+(\.\d+)? (s|ms)\b")
# The lanes write one after the other, maybe on either side of a second.
_WRITTEN_AT = re.compile(r"it was written at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00")


class Step(NamedTuple):
    """One operation: a verb of the client, or a method of `client.s3`; whose bucket, its lane says."""

    face: str
    name: str
    given: dict[str, object]

    def __str__(self) -> str:
        given = {
            name: f"{len(value)} bytes" if isinstance(value, bytes) else value
            for name, value in self.given.items()
        }
        return f"{self.face}.{self.name}({given})".replace("z" * 1_000, "...").replace("k" * 99, "...")


class Side:
    """One lane's client, and what only its own answers can tell.

    Attributes:
        bucket: its own.
        statuses: how often boto's answers had which.
    """

    def __init__(self, lane: str, client: FlashbackClient) -> None:
        self.bucket = BUCKETS[lane]
        self.client = client
        self.statuses: Counter[int] = Counter()
        self._uploads: dict[str, str] = {}

    async def take(self, step: Step) -> object:
        """What came of it, bucket and moments left out."""
        try:
            value = await self._taken(step)
        except (FlashbackError, ClientError, BotoCoreError, ValueError, TypeError) as error:
            return ("error", self._of_error(error))
        return ("value", self._told(value))

    async def _taken(self, step: Step) -> object:
        if step.face == "fb":
            if step.name == "stream_object":
                async with self.client.stream_object(self.bucket, **step.given) as stream:
                    return (await stream.read(), stream.info)
            found = await getattr(self.client, step.name)(self.bucket, **step.given)
            return {name: getattr(found, name) for name in ("body", "info", "attempts")} if step.name == "get_object" else found  # fmt: skip
        given = {"Bucket": self.bucket, **step.given}
        key = given["Key"]
        if "UploadId" in given:
            given["UploadId"] = self._uploads.get(key, "none")
        answer = await getattr(self.client.s3, step.name)(**given)
        if step.name == "create_multipart_upload":
            self._uploads[key] = answer["UploadId"]
        if "Body" in answer:
            async with answer["Body"] as body:
                answer["Body"] = (type(body).__name__, await body.read())
        return answer

    def _told(self, value: object) -> object:
        """With the types of everything."""
        if dataclasses.is_dataclass(value):
            value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        if isinstance(value, dict):
            told = {
                name: type(each).__name__ if name in _MOMENTS else self._told(each)
                for name, each in value.items()
                if name not in _IDS | _OF_ONE_ATTEMPT
            }
            if told.get("content-type") in _DOCUMENTS:
                # The ids in moto's are not of the same length.
                told.pop("content-length", None)
            if isinstance(status := value.get("HTTPStatusCode"), int):
                self.statuses[status] += 1
            return told
        if isinstance(value, list | tuple):
            return [self._told(each) for each in value]
        if isinstance(value, str):
            return self._words(value)
        kind = type(value).__name__
        return (kind, value, repr(value.tzinfo)) if isinstance(value, datetime) else (kind, value)

    def _of_error(self, error: BaseException | None) -> object:
        if error is None:
            return None
        told = {name: self._told(each) for name, each in vars(error).items() if name not in {"attempts", "_request_id", "request_id"}}  # fmt: skip
        return (type(error).__name__, self._words(str(error)), told, self._of_error(error.__cause__))

    def _words(self, text: str) -> str:
        text = _SECONDS.sub("some time", text.replace(self.bucket, "the bucket").replace(_RETRIES, ""))
        text = _WRITTEN_AT.sub("it was written then", text)
        for upload in self._uploads.values():
            text = text.replace(upload, "the upload")
        return text


class Steps:
    """A seeded sequence of operations on some keys, which knows what the objects should be by now."""

    def __init__(self, random: Random, keys: list[str], *, is_exact: bool) -> None:
        self._random = random
        self._keys = keys
        self._exact = is_exact
        self._etags: dict[str, str] = {}

    def next(self) -> Step:
        """The next one. Writes and reads come about as often as each other; a tenth of all must fail."""
        key = self._random.choice(self._keys)
        kind = self._random.choices(
            [self._put, self._get, self._head, self._delete, self._tags, self._upload, self._refused],
            [30, 30, 12, 8, 5, 7, 8],
        )[0]
        return kind(key)

    def _put(self, key: str) -> Step:
        random = self._random
        body = random.randbytes(random.choice(SIZES))
        if random.random() < 0.5:
            given = self._some({
                "content_type": TEXTS, "cache_control": TEXTS, "content_encoding": ["gzip", "br"],
                "content_disposition": TEXTS, "metadata": METADATA, "tagging": [{"a b": "c&d"}, {"ü": "1"}],
                "headers": [StorageHeaders(content_language="de", expires=DATES[1])],
                "if_none_match": ["*"], "if_match": self._tags_of(key), "checksum": ["crc32c", "sha256", "md5"],
            })  # fmt: skip
            step = Step("fb", "put_object", {"key": key, "data": body, **given})
        else:
            given = self._some({
                "ContentType": TEXTS, "CacheControl": TEXTS, "ContentLanguage": ["de, en"], "ContentEncoding": ["gzip"],
                "Expires": DATES, "Metadata": [*METADATA, {"ü": "1"}, {"a": "ü"}], "Tagging": ["a=b&c=d%20e"],
                "StorageClass": ["STANDARD", "STANDARD_IA"], "ACL": ["private"], "IfNoneMatch": ["*"],
                "IfMatch": self._tags_of(key), "WebsiteRedirectLocation": ["/elsewhere"],
                "ContentLength": [len(body)],
            })  # fmt: skip
            step = Step("s3", "put_object", {"Key": key, "Body": body, **given})
        self._etags[key] = f'"{md5(body).hexdigest()}"'
        return step

    def _get(self, key: str) -> Step:
        random = self._random
        conditions = {
            "if_match": self._tags_of(key),
            "if_none_match": self._tags_of(key),
            "if_modified_since": self._dates(),
            "if_unmodified_since": self._dates(),
        }
        if random.random() < 0.5:
            name = random.choice(["get_object", "get_object", "stream_object", "get_ranges"])
            if name == "get_ranges":
                return Step("fb", name, {"key": key, "ranges": random.sample(SPANS[:4], 2)})
            return Step("fb", name, {"key": key, **self._some({"range": SPANS, **conditions}, chance=0.2)})
        return Step("s3", "get_object", {"Key": key, **self._some(self._boto(conditions) | {
            "Range": RANGES, "PartNumber": [1], "ResponseContentType": TEXTS,
            "ResponseContentDisposition": TEXTS, "ResponseExpires": DATES, "ChecksumMode": ["ENABLED"],
        }, chance=0.12)})  # fmt: skip

    def _head(self, key: str) -> Step:
        conditions = {"if_match": self._tags_of(key), "if_none_match": self._tags_of(key)}
        name = self._random.choice(["head_object", "object_exists", "s3"])
        if name == "object_exists":
            return Step("fb", name, {"key": key})
        if name == "head_object":
            return Step("fb", name, {"key": key, **self._some(conditions, chance=0.3)})
        told = self._boto(conditions) | {"Range": RANGES[:4]}
        return Step("s3", "head_object", {"Key": key, **self._some(told, chance=0.2)})

    def _delete(self, key: str) -> Step:
        self._etags.pop(key, None)
        if self._random.random() < 0.5:
            return Step("fb", "delete_object", {"key": key})
        return Step("s3", "delete_object", {"Key": key})

    def _tags(self, key: str) -> Step:
        if not self._exact or self._random.random() < 0.5:
            return Step("s3", "get_object_tagging", {"Key": key})
        return Step(
            "s3", "put_object_tagging", {"Key": key, "Tagging": {"TagSet": [{"Key": "a", "Value": "ü b"}]}}
        )

    def _upload(self, key: str) -> Step:
        name = self._random.choice(
            ["create_multipart_upload", "upload_part", "upload_part", "abort_multipart_upload"]
        )
        if name == "create_multipart_upload":
            return Step("s3", name, {"Key": key, **self._some({"ContentType": TEXTS, "Metadata": METADATA})})
        given = {"Key": key, "UploadId": "of its lane"}
        if name == "upload_part":
            given |= {"PartNumber": self._random.randint(1, 5), "Body": self._random.randbytes(self._random.choice(SIZES))}  # fmt: skip
        return Step("s3", name, given)

    def _refused(self, key: str) -> Step:
        """What boto, this package or the store refuses."""
        return self._random.choice([
            Step("s3", "get_object", {"Key": key, "Bucket": "no-such-bucket"}),
            Step("s3", "head_object", {"Key": key, "Bucket": "no-such-bucket"}),
            Step("s3", "put_object", {"Key": key, "Body": b"", "Bucket": "no-such-bucket"}),
            Step("s3", "delete_object", {"Key": key, "Bucket": "no-such-bucket"}),
            Step("s3", "get_object", {"Key": key, "Bucket": "a b"}),
            Step("s3", "get_object", {"Key": ""}),
            Step("s3", "get_object", {"Key": key, "Colour": "blue"}),
            Step("s3", "get_object", {"Key": 7}),
            Step("s3", "get_object", {"Key": key, "IfMatch": "a\r\nx-evil: 1"}),
            Step("s3", "put_object", {"Key": key, "Body": b"", "Metadata": {"a b": "1"}}),
            Step("s3", "put_object", {"Key": key, "Body": b"", "ContentLength": -1}),
            Step("s3", "put_object", {"Key": key, "Body": 3}),
            Step("s3", "upload_part", {"Key": key, "Body": b"", "PartNumber": 0, "UploadId": "of its lane"}),
            Step("fb", "get_object", {"key": key, "range": (5, 5)}),
            Step("fb", "put_object", {"key": key, "data": b"", "metadata": {"a": "ü"}}),
            Step("fb", "put_object", {"key": key, "data": b"", "content_type": "a\nb"}),
        ])  # fmt: skip

    def _tags_of(self, key: str) -> list[str]:
        return [self._etags.get(key, '"none"'), '"0123456789abcdef0123456789abcdef"']

    def _dates(self) -> list[datetime]:
        return [DATES[0], datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._random.random())]

    def _some(self, choices: Mapping[str, list[object]], *, chance: float = 0.12) -> dict[str, object]:
        random = self._random
        return {name: random.choice(values) for name, values in choices.items() if random.random() < chance}

    @staticmethod
    def _boto(conditions: Mapping[str, list[object]]) -> dict[str, list[object]]:
        return {"".join(word.title() for word in name.split("_")): each for name, each in conditions.items()}


async def differences(sides: list[Side], steps: Steps, count: int) -> list[str]:
    """Take so many steps on both sides; what they did not agree on."""
    found = []
    for number in range(count):
        step = steps.next()
        one, other = await asyncio.gather(*(side.take(step) for side in sides))
        found += [f"step {number}, {step}: {where}" for where in unlike(one, other)]
    return found


def unlike(one: object, other: object, at: str = "") -> list[str]:
    """Where two of what `Side.take` tells differ."""
    if one == other:
        return []
    if isinstance(one, dict) and isinstance(other, dict):
        names = {**one, **other}
        return [
            text
            for name in names
            for text in unlike(one.get(name, "nothing"), other.get(name, "nothing"), f"{at}.{name}")
        ]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [
            text
            for n, pair in enumerate(zip(one, other, strict=True))
            for text in unlike(*pair, f"{at}[{n}]")
        ]
    return [f"{at}: {one!r:.300} != {other!r:.300}"]
