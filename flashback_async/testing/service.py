"""The S3 operations over a `MemoryStore`: what a healthy gateway answers, in boto's names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

from flashback_async.testing.conditions import refused_read, refused_write
from flashback_async.testing.listings import page_of_objects, page_of_versions
from flashback_async.testing.script import Dialect, refusal
from flashback_async.testing.store import DEFAULT_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashback_async.testing.multipart import OpenUploads, UploadInParts
    from flashback_async.testing.store import MemoryStore, Version
    from flashback_async.transport.operation import Operation

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CONDITIONS = ("IfMatch", "IfNoneMatch", "IfModifiedSince", "IfUnmodifiedSince")
# Headers that describe the content: a copy takes them from its source, or replaces all of them.
_DESCRIPTIVE = frozenset({
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "Expires",
})  # fmt: skip
_STORED = _DESCRIPTIVE | {
    "BucketKeyEnabled",
    "SSEKMSKeyId",
    "ServerSideEncryption",
    "StorageClass",
    "WebsiteRedirectLocation",
}


class Served(NamedTuple):
    """A successful answer; `data` is its body, None where the operation has none; see `S3Answer`."""

    fields: dict[str, object]
    status: int = 200
    data: bytes | None = None
    is_throttled: bool = False


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
    _check_write(store, operation)
    return _written(store, operation, data, operation.parameters)


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
    # A condition is of the object, which there is from now on; refused, the upload stays open.
    _check_write(store, operation)
    listed = operation.parameters["MultipartUpload"]
    assert isinstance(listed, dict), "the verbs list the parts as boto's dictionary"
    joined = upload.joined([(part["PartNumber"], part["ETag"]) for part in listed["Parts"]])
    if joined is None:
        raise refusal(400, "InvalidPart", kind=operation.kind)
    uploads.end(upload)
    data, etag = joined
    return _written(store, operation, data, upload.parameters, etag)


def _abort(_store: MemoryStore, operation: Operation, _data: bytes, uploads: OpenUploads) -> Served:
    uploads.end(_upload(operation, uploads))
    return Served({}, 204)


def _upload(operation: Operation, uploads: OpenUploads) -> UploadInParts:
    upload = uploads.get(operation.parameters["UploadId"], operation.bucket, operation.key)
    if upload is None:
        raise refusal(404, "NoSuchUpload", kind=operation.kind)
    return upload


def _written(
    store: MemoryStore,
    operation: Operation,
    data: bytes,
    given: Mapping[str, object],
    etag: str | None = None,
) -> Served:
    version = store.put(str(operation.bucket), str(operation.key), data, **_stored(given), etag=etag)
    return Served(_with_version({"ETag": version.etag}, version))


def _delete(store: MemoryStore, operation: Operation, _data: bytes, _dialect: Dialect) -> Served:
    version_id = _version_id(operation.parameters)
    mark = store.delete(str(operation.bucket), str(operation.key), version_id)
    if mark is not None:
        return Served({"DeleteMarker": True, "VersionId": mark.version_id}, 204)
    return Served({} if version_id is None else {"VersionId": version_id}, 204)


def _delete_many(store: MemoryStore, operation: Operation, _data: bytes, dialect: Dialect) -> Served:
    request = operation.parameters["Delete"]
    assert isinstance(request, dict), "boto's dictionary"
    done: list[dict[str, object]] = []
    refused: list[dict[str, object]] = []
    for asked in request["Objects"]:
        code = dialect.key_errors.get(asked["Key"])
        if code is not None:
            refused.append({**asked, "Code": code, "Message": "No."})
            continue
        mark = store.delete(str(operation.bucket), asked["Key"], asked.get("VersionId"))
        told = {} if mark is None else {"DeleteMarker": True, "DeleteMarkerVersionId": mark.version_id}
        done.append({**asked, **told})
    fields: dict[str, object] = {
        name: rows for name, rows in (("Deleted", done), ("Errors", refused)) if rows
    }
    return Served(fields, is_throttled=any(row["Code"] == "SlowDown" for row in refused))


def _copy(store: MemoryStore, operation: Operation, _data: bytes, _dialect: Dialect) -> Served:
    given = operation.parameters
    source = given["CopySource"]
    assert isinstance(source, dict), "the verbs name the source as boto's dictionary"
    if source["Bucket"] not in store:
        raise refusal(404, "NoSuchBucket", kind=operation.kind)
    version = store.get(source["Bucket"], source["Key"], source.get("VersionId"))
    if version is None or version.is_delete_marker:
        raise refusal(404, kind=operation.kind)
    status = refused_read(given, version, prefix="CopySource")
    if status is not None:
        raise refusal(status, kind=operation.kind)
    _check_write(store, operation)
    stored = _stored(given)
    if given.get("MetadataDirective") != "REPLACE":
        kept = {name: version.headers[name] for name in _DESCRIPTIVE if name in version.headers}
        given_headers = {name: value for name, value in stored["headers"].items() if name not in _DESCRIPTIVE}
        stored |= {
            "content_type": version.content_type,
            "metadata": version.metadata,
            "headers": {**kept, **given_headers},
        }
    if given.get("TaggingDirective") != "REPLACE":
        stored["tags"] = version.tags
    copied = store.put(str(operation.bucket), str(operation.key), version.data, **stored)
    told = {"ETag": copied.etag, "LastModified": copied.last_modified}
    return Served(_with_version({"CopyObjectResult": told}, copied))


def _list(store: MemoryStore, operation: Operation, _data: bytes, _dialect: Dialect) -> Served:
    return Served(page_of_objects(store, operation))


def _list_versions(store: MemoryStore, operation: Operation, _data: bytes, _dialect: Dialect) -> Served:
    return Served(page_of_versions(store, operation))


_OPERATIONS = {
    "CopyObject": _copy,
    "DeleteObject": _delete,
    "DeleteObjects": _delete_many,
    "GetObject": _get,
    "HeadObject": _head,
    "ListObjectVersions": _list_versions,
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
    given = operation.parameters
    version_id = _version_id(given)
    version = store.get(str(operation.bucket), str(operation.key), version_id)
    if version is None:
        code = "NoSuchKey" if version_id is None else "NoSuchVersion"
        raise refusal(404, _unless_head(operation, code), kind=operation.kind)
    if version.is_delete_marker:
        raise refusal(405, "MethodNotAllowed", kind=operation.kind)
    ignored = set() if dialect.conditions else set(_CONDITIONS)
    if not dialect.if_match:
        ignored.add("IfMatch")
    status = refused_read({name: given[name] for name in given if name not in ignored}, version)
    if status is not None:
        # The answer to a HEAD has no body, so its code is only the status.
        code = str(status) if operation.name == "HeadObject" else ""
        raise refusal(status, code, kind=operation.kind)
    return version


def _check_write(store: MemoryStore, operation: Operation) -> None:
    there = store.get(str(operation.bucket), str(operation.key))
    status = refused_write(operation.parameters, there)
    if status is not None:
        raise refusal(status, kind=operation.kind)


def _stored(given: Mapping[str, object]) -> dict[str, Any]:
    """What a write stores beside the bytes, as `MemoryStore.put` takes it."""
    kind, metadata = given.get("ContentType"), given.get("Metadata")
    return {
        "content_type": kind if isinstance(kind, str) else DEFAULT_TYPE,
        "metadata": metadata if isinstance(metadata, dict) else None,
        "headers": {name: value for name, value in given.items() if name in _STORED},
        "tags": dict(parse_qsl(str(given.get("Tagging", "")), keep_blank_values=True)),
    }


def _version_id(given: Mapping[str, object]) -> str | None:
    return None if given.get("VersionId") is None else str(given["VersionId"])


def _with_version(fields: dict[str, object], version: Version) -> dict[str, object]:
    return fields if version.version_id is None else {**fields, "VersionId": version.version_id}


def _unless_head(operation: Operation, code: str) -> str:
    """The answer to a HEAD has no body, so its code is only the status."""
    return code if operation.name != "HeadObject" else "404"


def _described(version: Version, dialect: Dialect) -> dict[str, object]:
    fields: dict[str, object] = {
        "AcceptRanges": "bytes",
        "ContentType": version.content_type,
        "Metadata": dict(version.metadata),
        **version.headers,
    }
    if version.tags:
        fields["TagCount"] = len(version.tags)
    if dialect.etag:
        fields["ETag"] = version.etag
    if dialect.last_modified:
        fields["LastModified"] = version.last_modified
    return _with_version(fields, version)


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
