"""The verb that makes presigned URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from flashback_async.errors import ConfigurationError
from flashback_async.objects.headers import checked_header
from flashback_async.objects.names import checked_bucket, checked_key
from flashback_async.objects.verb_family import VerbFamily
from flashback_async.routing import OperationKind
from flashback_async.transport.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashback_async.routing import Endpoint

# Seconds: what signature version 4 allows.
LONGEST: Final = 7 * 24 * 3_600

PresignedMethod = Literal["get_object", "put_object", "head_object", "delete_object"]


class _Signed(NamedTuple):
    """What a method signs for, and which options it knows, in boto's names."""

    operation: str
    kind: OperationKind
    options: Mapping[str, str]


_READ_OPTIONS: Final = {
    "version_id": "VersionId",
    "response_content_type": "ResponseContentType",
    "response_content_disposition": "ResponseContentDisposition",
}
_METHODS: Final[Mapping[str, _Signed]] = {
    "get_object": _Signed("GetObject", OperationKind.READ, _READ_OPTIONS),
    "head_object": _Signed("HeadObject", OperationKind.READ, _READ_OPTIONS),
    "put_object": _Signed("PutObject", OperationKind.WRITE, {"content_type": "ContentType"}),
    "delete_object": _Signed("DeleteObject", OperationKind.WRITE, {"version_id": "VersionId"}),
}


class PresigningVerbs(VerbFamily):
    """URLs for others. See `Verbs` for what all verbs have in common."""

    async def generate_presigned_url(
        self,
        bucket: str,
        key: str,
        *,
        method: PresignedMethod = "get_object",
        expires: int = 3_600,
        endpoint: Endpoint | str | None = None,
        version_id: str | None = None,
        content_type: str | None = None,
        response_content_type: str | None = None,
        response_content_disposition: str | None = None,
    ) -> str:
        """A URL with which anybody can do one thing to one object, for a while and without a key.

        It is computed here: nothing is sent, no permit and no connection is taken, and whether the object
        exists is not looked at. It leads to one endpoint, for the signature covers the host; whoever uses it
        does without failover. It is a secret until it expires, and is never logged.

        Args:
            bucket: bucket name.
            key: object key.
            method: what it allows.
            expires: seconds that it is valid, from 1 to 7 days. A temporary key ends it sooner.
            endpoint: where it leads, as an `Endpoint` or its id; default: the endpoint that is best now.
            version_id: the version that it is about (not for `put_object`).
            content_type: for `put_object`: the media type that the upload has to send as its `Content-Type`.
            response_content_type: for reads: the media type that the answer shall tell.
            response_content_disposition: for reads: the `Content-Disposition` that the answer shall have,
                such as `attachment; filename="a.csv"`.

        Raises:
            ConfigurationError: an argument cannot work, or the method does not know it.
            NoEndpointAvailableError: the table is empty, or does not have that endpoint.
            ClientClosedError: the client is not running here.
        """
        signed = _METHODS.get(method) if isinstance(method, str) else None
        if signed is None:
            raise ConfigurationError(f"method={method!r:.80} is none of {', '.join(_METHODS)}")
        if isinstance(expires, bool) or not isinstance(expires, int) or not 1 <= expires <= LONGEST:
            raise ConfigurationError(f"expires={expires!r:.40} must be 1 to {LONGEST} whole seconds (7 days)")
        parameters: dict[str, object] = {}
        for what, value in (
            ("version_id", version_id),
            ("content_type", content_type),
            ("response_content_type", response_content_type),
            ("response_content_disposition", response_content_disposition),
        ):
            if value is None:
                continue
            if what not in signed.options:
                raise ConfigurationError(f"{what} says nothing to {method}; leave it out")
            parameters[signed.options[what]] = checked_header(value, what=what)
        operation = Operation(
            signed.operation, signed.kind, checked_bucket(bucket), checked_key(key), parameters
        )
        return await self._started().presign(operation, endpoint=endpoint, expires=expires)
