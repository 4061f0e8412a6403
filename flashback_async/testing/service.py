"""The S3 operations over a `MemoryStore`: what a healthy gateway answers, in boto's names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from flashback_async.testing.script import Dialect, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashback_async.testing.multipart import OpenUploads, UploadInParts
    from flashback_async.testing.store import MemoryStore, Version
    from flashback_async.transport.operation import Operation

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_MANY = 1_000


class Served(NamedTuple):
    """A successful answer; `data` is its body, None where the operation has none."""

    fields: dict[str, object]
    status: int = 200
    data: bytes | None = None


def serve(
    store: MemoryStore, operation: Operation, data: bytes, dialect: Dialect, uploads: OpenUploads
) -> Served:
    """Carry out one operation; `data` is the upload, `uploads` are those that the endpoint knows of.

    Raises:
        ServiceError: the store says no.
    """
    answer, in_parts = _OPERATIONS.get(operation.name), _IN_PARTS.get(operation.name)
    if answer is None and in_parts is None:
        raise refusal(501, kind=operation.kind)
    if operation.bucket not in store:
        raise refusal(404, _unless_head(operation, "NoSuchBucket"), kind=operation.kind)
    if in_parts is not None:
        return in_parts(store, operation, data, uploads)
    assert answer is not None, "one of the two"
    return answer(store, operation, data, dialect)


def _get(store: MemoryStore, operation: Operation, _data: bytes, dialect: Dialect) -> Served:
    version = _version(store, operation, dialect)
    size = len(version.data)
    fields = _described(version, dialect)
    status, start, stop = 200, 0, size
    span = _span(str(operation.parameters.get("Range", "")), size) if dialect.ranges else None
    if span is not None:
        start, stop = span
        if start >= stop:
            raise refusal(416, kind=operation.kind)
        status = dialect.partial_status
        if dialect.content_range:
            fields["ContentRange"] = f"bytes {start}-{stop - 1}/{size if dialect.total else '*'}"
    if dialect.content_length:
        fields["ContentLength"] = stop - start
    return Served(fields, status, version.data[start:stop])


def _head(store: MemoryStore, operation: Operation, _data: bytes, dialect: Dialect) -> Served:
    version = _version(store, operation, dialect)
    return Served({**_described(version, dialect), "ContentLength": len(version.data)})


def _put(store: MemoryStore, operation: Operation, data: bytes, _dialect: Dialect) -> Served:
    return Served({"ETag": _stored(store, operation, data, operation.parameters).etag})


def _create(_store: MemoryStore, operation: Operation, _data: bytes, uploads: OpenUploads) -> Served:
    bucket, key = str(operation.bucket), str(operation.key)
    upload = uploads.create(bucket, key, operation.parameters)
    return Served({"Bucket": bucket, "Key": key, "UploadId": upload.upload_id})


def _part(_store: MemoryStore, operation: Operation, data: bytes, uploads: OpenUploads) -> Served:
    number = operation.parameters["PartNumber"]
    assert isinstance(number, int), "boto refuses anything else"
    return Served({"ETag": _upload(operation, uploads).put(number, data)})


def _complete(store: MemoryStore, operation: Operation, _data: bytes, uploads: OpenUploads) -> Served:
    upload = _upload(operation, uploads)
    listed = operation.parameters["MultipartUpload"]
    assert isinstance(listed, dict), "the verbs list the parts as boto's dictionary"
    joined = upload.joined([(part["PartNumber"], part["ETag"]) for part in listed["Parts"]])
    if joined is None:
        raise refusal(400, "InvalidPart", kind=operation.kind)
    uploads.end(upload)
    data, etag = joined
    return Served({"ETag": _stored(store, operation, data, upload.parameters, etag).etag})


def _abort(_store: MemoryStore, operation: Operation, _data: bytes, uploads: OpenUploads) -> Served:
    uploads.end(_upload(operation, uploads))
    return Served({}, 204)


def _upload(operation: Operation, uploads: OpenUploads) -> UploadInParts:
    upload = uploads.get(operation.parameters["UploadId"], operation.bucket, operation.key)
    if upload is None:
        raise refusal(404, "NoSuchUpload", kind=operation.kind)
    return upload


def _stored(
    store: MemoryStore,
    operation: Operation,
    data: bytes,
    given: Mapping[str, object],
    etag: str | None = None,
) -> Version:
    kind, metadata = given.get("ContentType"), given.get("Metadata")
    return store.put(
        str(operation.bucket),
        str(operation.key),
        data,
        **({"content_type": kind} if isinstance(kind, str) else {}),
        metadata=metadata if isinstance(metadata, dict) else None,
        etag=etag,
    )


def _delete(store: MemoryStore, operation: Operation, _data: bytes, _dialect: Dialect) -> Served:
    store.delete(str(operation.bucket), str(operation.key))
    return Served({}, 204)


def _copy(store: MemoryStore, operation: Operation, _data: bytes, _dialect: Dialect) -> Served:
    source = operation.parameters["CopySource"]
    assert isinstance(source, dict), "the verbs name the source as boto's dictionary"
    if source["Bucket"] not in store:
        raise refusal(404, "NoSuchBucket", kind=operation.kind)
    version = store.get(source["Bucket"], source["Key"])
    if version is None:
        raise refusal(404, kind=operation.kind)
    copied = store.put(
        str(operation.bucket),
        str(operation.key),
        version.data,
        content_type=version.content_type,
        metadata=version.metadata,
    )
    return Served({"CopyObjectResult": {"ETag": copied.etag, "LastModified": copied.last_modified}})


def _list(store: MemoryStore, operation: Operation, _data: bytes, _dialect: Dialect) -> Served:
    bucket, given = str(operation.bucket), operation.parameters
    prefix, limit = str(given.get("Prefix", "")), given.get("MaxKeys", _MANY)
    assert isinstance(limit, int), "boto refuses anything else"
    # The token is the last key told, so that writes between two pages move nothing.
    token = str(given.get("ContinuationToken", ""))
    keys = [key for key in store.keys(bucket, prefix) if key.encode() > token.encode()]
    page = keys[: min(limit, _MANY)]
    fields: dict[str, object] = {
        "Name": bucket,
        "Prefix": prefix,
        "MaxKeys": limit,
        "KeyCount": len(page),
        "IsTruncated": len(page) < len(keys),
    }
    if page:
        fields["Contents"] = [_row(store, bucket, key) for key in page]
    if len(page) < len(keys):
        fields["NextContinuationToken"] = page[-1]
    return Served(fields)


_OPERATIONS = {
    "CopyObject": _copy,
    "DeleteObject": _delete,
    "GetObject": _get,
    "HeadObject": _head,
    "ListObjectsV2": _list,
    "PutObject": _put,
}
_IN_PARTS = {
    "AbortMultipartUpload": _abort,
    "CompleteMultipartUpload": _complete,
    "CreateMultipartUpload": _create,
    "UploadPart": _part,
}


def _version(store: MemoryStore, operation: Operation, dialect: Dialect) -> Version:
    version = store.get(str(operation.bucket), str(operation.key))
    if version is None:
        raise refusal(404, _unless_head(operation, "NoSuchKey"), kind=operation.kind)
    expected = operation.parameters.get("IfMatch")
    if dialect.if_match and expected not in {None, "*", version.etag}:
        raise refusal(412, _unless_head(operation, "PreconditionFailed"), kind=operation.kind)
    return version


def _unless_head(operation: Operation, code: str) -> str:
    """The answer to a HEAD has no body, so its code is only the status."""
    return code if operation.name != "HeadObject" else {"PreconditionFailed": "412"}.get(code, "404")


def _described(version: Version, dialect: Dialect) -> dict[str, object]:
    fields: dict[str, object] = {
        "AcceptRanges": "bytes",
        "ContentType": version.content_type,
        "Metadata": dict(version.metadata),
    }
    if dialect.etag:
        fields["ETag"] = version.etag
    if dialect.last_modified:
        fields["LastModified"] = version.last_modified
    return fields


def _row(store: MemoryStore, bucket: str, key: str) -> Mapping[str, object]:
    version = store.get(bucket, key)
    assert version is not None, "it was listed a moment ago"
    return {
        "Key": key,
        "Size": len(version.data),
        "ETag": version.etag,
        "LastModified": version.last_modified,
        "StorageClass": "STANDARD",
    }


def _span(header: str, size: int) -> tuple[int, int] | None:
    """The half-open part of an object that a Range header asks for; None: it asks for none."""
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1 if last else size, size)


__all__ = ["Served", "serve"]
