"""The S3 verbs as callers see them. `FlashbackClient` is these plus a life cycle.

| family | verbs |
|---|---|
| `reading_verbs` | get, stream, head, exists, get_ranges |
| `writing_verbs` | put, copy, delete |
| `transfer_verbs` | upload_file, download_file |
| `listing_verbs` | list_objects, list_object_versions |
| `bulk_verbs` | get, put, head and copy of many objects |
| `bulk_deletion` | delete_objects |
| `presigning_verbs` | generate_presigned_url |
"""

from __future__ import annotations

from flashback_async.objects.bulk_deletion import BulkDeletion
from flashback_async.objects.bulk_verbs import BulkVerbs
from flashback_async.objects.presigning_verbs import PresigningVerbs
from flashback_async.objects.transfer_verbs import TransferVerbs


class Verbs(BulkVerbs, BulkDeletion, PresigningVerbs, TransferVerbs):
    """Reading, writing and listing objects through whichever endpoint is best at the moment.

    Every verb takes the same three options:

    - `timeout`: seconds for all of it, retries included. Default: `settings.total_timeout` for whole objects
      and metadata, none for streams. `math.inf` switches it off.
    - `endpoint`: the only endpoint to use, as an `Endpoint` or its id.
    - `retry`: False makes one attempt.

    Every verb raises `ConfigurationError` for arguments that cannot work (before anything is sent), a
    subclass of `ServiceError` when the service says no, a subclass of `EndpointError` or `ThrottledError`
    when no endpoint gave an answer in as many attempts as are allowed, `DeadlineExceededError` when time is
    up, and `ClientClosedError` when the client does not run. Cancelling a verb leaves no connection, permit
    or task.

    Reads take conditions: `if_match` and `if_none_match` (an ETag, `info.etag` as it is), `if_modified_since`
    and `if_unmodified_since` (a `datetime` with a time zone). A read whose condition says that the caller has
    the object already raises `NotModifiedError`, one that finds another object than expected
    `PreconditionFailedError`. They hold also where a gateway ignores them: the answer is compared here.
    `version_id` names a version, where the bucket keeps versions.
    """
