"""Every operation of botocore's S3 model once, with the smallest parameters that it accepts, in a useful order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from botocore.eventstream import EventStream
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from botocore.model import OperationModel, Shape

BUCKET, EMPTY, KEY, COPY, DATA = "every-operation", "empty", "dir/key", "dir/copy", b"a,b\n1,2\n"
# The values of members whose type alone does not tell what is accepted; by name, wherever they occur.
WORDS = {
    "Bucket": BUCKET,
    "Key": KEY,
    "CopySource": {"Bucket": BUCKET, "Key": KEY},
    "RenameSource": f"{BUCKET}/{KEY}",
    "Body": DATA,
    "Policy": '{"Version": "2012-10-17", "Statement": []}',
    "Expression": "SELECT * FROM s3object s",
    "RequestRoute": "route",
    "PartNumber": 1,
    "Days": 7,
    "Date": datetime(2030, 1, 1, tzinfo=UTC),
    "RetainUntilDate": datetime(2030, 1, 1, tzinfo=UTC),
}
SMALLEST = {
    "map": {},
    "string": "a",
    "integer": 1,
    "long": 1,
    "boolean": False,
    "timestamp": WORDS["Date"],
    "blob": DATA,
}
# Where the smallest parameters that the model accepts mean nothing, or contradict each other.
MEANINGFUL = {
    "PutBucketLifecycle": {
        "LifecycleConfiguration": {"Rules": [{"ID": "a", "Prefix": "x", "Status": "Enabled", "Expiration": {"Days": 7}}]}
    },
    "PutBucketLifecycleConfiguration": {
        "LifecycleConfiguration": {
            "Rules": [{"ID": "a", "Filter": {"Prefix": "x"}, "Status": "Enabled", "Expiration": {"Days": 7}}]
        }
    },
    "CreateBucket": {"ObjectLockEnabledForBucket": True},
    "PutBucketCors": {"CORSConfiguration": {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}},
    "PutBucketEncryption": {
        "ServerSideEncryptionConfiguration": {
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        }
    },
    "PutObjectRetention": {"Retention": {"Mode": "GOVERNANCE", "RetainUntilDate": WORDS["Date"]}},
    "RestoreObject": {"RestoreRequest": {"Days": 1}},
    "PutBucketVersioning": {"VersioningConfiguration": {"Status": "Enabled"}},
    "PutBucketAcl": {"ACL": "private"},
    "PutObjectAcl": {"ACL": "private"},
    "PutBucketWebsite": {"WebsiteConfiguration": {"IndexDocument": {"Suffix": "index.html"}}},
    "PutBucketAccelerateConfiguration": {"AccelerateConfiguration": {"Status": "Enabled"}},
    "PutBucketLogging": {"BucketLoggingStatus": {}},
    "PutPublicAccessBlock": {"PublicAccessBlockConfiguration": {"BlockPublicAcls": True}},
    "PutObjectLockConfiguration": {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}},
    "PutBucketReplication": {
        "ReplicationConfiguration": {
            "Role": "a",
            "Rules": [{"ID": "a", "Prefix": "", "Status": "Enabled", "Destination": {"Bucket": BUCKET}}],
        }
    },
    "PutObjectLegalHold": {"LegalHold": {"Status": "OFF"}},
    "PutBucketRequestPayment": {"RequestPaymentConfiguration": {"Payer": "Requester"}},
    # The other one has versions, and would stay.
    "DeleteBucket": {"Bucket": EMPTY},
    "CopyObject": {"Key": COPY},
    "DeleteObjects": {"Delete": {"Objects": [{"Key": COPY}, {"Key": "missing"}]}},
    "GetObjectAttributes": {"ObjectAttributes": ["ETag", "ObjectSize"]},
    "SelectObjectContent": {
        "ExpressionType": "SQL",
        "InputSerialization": {"CSV": {"FileHeaderInfo": "USE"}},
        "OutputSerialization": {"JSON": {}},
    },
}  # fmt: skip
ORDER = (
    "CreateBucket",
    "PutBucketVersioning",
    "PutObjectLockConfiguration",
    "PutObject",
    "CreateMultipartUpload",
    "UploadPart",
)
# After the reads, in this order: an upload is completed, another one aborted. moto empties what it renames.
END = (
    "CompleteMultipartUpload",
    "CreateMultipartUpload",
    "AbortMultipartUpload",
    "RenameObject",
    "DeleteObjects",
    "DeleteObject",
    "DeleteBucket",
)
# What no two calls have in common.
VOLATILE = {
    "RequestId", "HostId", "HTTPHeaders", "UploadId", "VersionId", "LastModified", "CreationDate", "Initiated",
    "NextVersionIdMarker", "CopySourceVersionId", "DeleteMarkerVersionId", "MaxAttemptsReached", "RetryAttempts",
}  # fmt: skip
# Headers that say something of the answer itself.
TELLING = ("content-type", "etag", "content-range")


class Result(NamedTuple):
    """What a call came to: the kind of answer or error, and what it said, without what differs every time."""

    operation: str
    kind: str
    said: object


def in_order(names: list[str]) -> list[str]:
    """What makes things, what changes them, what reads them, what removes them; then the reads once more."""
    rest = [name for name in names if name not in ORDER + END]
    reads = [name for name in rest if name.startswith(("Get", "Head", "List"))]
    # Backwards: a removal that moto does not know yet removes the object itself, and its name comes early.
    removals = [name for name in reversed(rest) if name.startswith("Delete")]
    others = [name for name in rest if name not in reads and name not in removals]
    return [*ORDER, *others, *reads, *END[:5], *removals, *reads, *END[5:], *reads]


def smallest(shape: Shape, name: str = "") -> object:
    """The smallest value of a shape: required members only, first of an enumeration, one element of a list."""
    if name in WORDS:
        return WORDS[name]
    if shape.type_name == "structure":
        return {each: smallest(shape.members[each], each) for each in shape.required_members}
    if shape.type_name == "list":
        return [smallest(shape.member)]
    if shape.type_name == "string" and getattr(shape, "enum", None):
        return shape.enum[0]
    return SMALLEST[shape.type_name]


def parameters(model: OperationModel, known: dict[str, object]) -> dict[str, object]:
    """Those of one operation; `known` has what only answers before could tell."""
    if model.input_shape is None:
        return {}
    given = {
        name: smallest(model.input_shape.members[name], name) for name in model.input_shape.required_members
    }
    given |= MEANINGFUL.get(model.name, {})
    if model.has_streaming_input:
        given[model.input_shape.serialization["payload"]] = DATA
    if "UploadId" in given:
        given["UploadId"] = known.get("UploadId", "none")
    if model.name == "CompleteMultipartUpload":
        given["MultipartUpload"] = {"Parts": [{"PartNumber": 1, "ETag": known.get("PartETag", "none")}]}
    return given


async def every_operation(client) -> list[Result]:
    """Call every operation through this client, and say what came of each."""
    service, known, results = client.meta.service_model, {}, []
    methods = {operation: method for method, operation in client.meta.method_to_api_mapping.items()}
    await client.create_bucket(Bucket=EMPTY)
    for name in in_order(service.operation_names):
        given = parameters(service.operation_model(name), known)
        try:
            async with asyncio.timeout(20):
                answer = await getattr(client, methods[name])(**given)
        except (ClientError, BotoCoreError) as error:
            results.append(Result(name, *refusal(error)))
            continue
        if name == "CreateMultipartUpload":
            known["UploadId"] = answer["UploadId"]
        if name == "UploadPart":
            known["PartETag"] = answer["ETag"]
        results.append(Result(name, "answer", await said(answer)))
    return results


def refusal(error: Exception) -> tuple[str, object]:
    """An error: its class by name, and what it says."""
    if not isinstance(error, ClientError):
        return type(error).__name__, str(error)
    response = error.response
    details = {name: value for name, value in response["Error"].items() if name not in VOLATILE}
    return type(error).__name__, (details, response["ResponseMetadata"].get("HTTPStatusCode"))


async def said(answer: dict[str, object]) -> object:
    """An answer without what differs every time, its bodies and events read."""
    read = {}
    for name, value in answer.items():
        if isinstance(value, EventStream):
            read[name] = [event async for event in value]
        elif callable(getattr(value, "iter_chunks", None)):
            read[name] = b"".join([chunk async for chunk in value.iter_chunks(3)])
        else:
            read[name] = value
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return stable(read), {name: headers.get(name) for name in TELLING}


def stable(value: object) -> object:
    """A value without the volatile members in it."""
    if isinstance(value, dict):
        return {name: stable(each) for name, each in value.items() if name not in VOLATILE}
    return [stable(each) for each in value] if isinstance(value, list) else value
