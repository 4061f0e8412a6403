"""What callers say about a write: headers to store with the object, tags, conditions; checked first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from flashback_async.errors import ConfigurationError
from flashback_async.models import StorageHeaders
from flashback_async.objects.names import checked_metadata

if TYPE_CHECKING:
    from typing import Literal

# S3's limits.
TAGS_LIMIT: Final = 10
TAG_KEY_LIMIT: Final = 128
TAG_VALUE_LIMIT: Final = 256
_COMMON: Final[Mapping[str, str]] = {
    "content_type": "ContentType",
    "cache_control": "CacheControl",
    "content_encoding": "ContentEncoding",
    "content_disposition": "ContentDisposition",
    "storage_class": "StorageClass",
}
_NONE: Final = (None,) * len(_COMMON)
_RARE: Final[Mapping[str, str]] = {
    "content_language": "ContentLanguage",
    "expires": "Expires",
    "acl": "ACL",
    "server_side_encryption": "ServerSideEncryption",
    "kms_key_id": "SSEKMSKeyId",
    "bucket_key": "BucketKeyEnabled",
    "website_redirect": "WebsiteRedirectLocation",
}
# What a copy takes from its source unless it is told to replace all of it.
_OF_THE_SOURCE: Final = frozenset({
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "Metadata",
})  # fmt: skip


def stored_headers(
    *,
    content_type: str | None,
    metadata: Mapping[str, str] | None,
    cache_control: str | None,
    content_encoding: str | None,
    content_disposition: str | None,
    storage_class: str | None,
    tagging: Mapping[str, str] | None,
    headers: StorageHeaders | None,
) -> dict[str, object]:
    """What is to be stored beside the bytes, as boto names it.

    Raises:
        ConfigurationError: a value that no header can carry.
    """
    parameters: dict[str, object] = {}
    given = (content_type, cache_control, content_encoding, content_disposition, storage_class)
    if given != _NONE:  # Most writes say nothing.
        for (what, name), value in zip(_COMMON.items(), given, strict=True):
            if value is not None:
                parameters[name] = checked_header(value, what=what)
    if metadata is not None:
        parameters["Metadata"] = checked_metadata(metadata)
    if tagging is not None:
        parameters["Tagging"] = urlencode(_checked_tags(tagging), quote_via=quote)
    if headers is not None:
        parameters.update(_rare(headers))
    return parameters


def copied_headers(parameters: dict[str, object]) -> dict[str, object]:
    """The same for a copy, which keeps everything of its source or replaces all of it."""
    directives: dict[str, object] = {}
    if _OF_THE_SOURCE & parameters.keys():
        directives["MetadataDirective"] = "REPLACE"
    if "Tagging" in parameters:
        directives["TaggingDirective"] = "REPLACE"
    return {**parameters, **directives}


def write_conditions(if_match: str | None, if_none_match: Literal["*"] | None) -> dict[str, object]:
    """The conditions of a write, as boto names them.

    Raises:
        ConfigurationError: conditions that S3 does not have.
    """
    if if_none_match is not None and if_none_match != "*":
        raise ConfigurationError(
            f"if_none_match={if_none_match!r:.80}: a write can only ask for no object at all; give '*'"
        )
    if if_match is not None and if_none_match is not None:
        raise ConfigurationError(
            "if_match and if_none_match exclude each other: there is such an object or not"
        )
    if if_match is not None:
        return {"IfMatch": checked_header(if_match, what="if_match")}
    return {} if if_none_match is None else {"IfNoneMatch": "*"}


def checked_header(value: object, *, what: str) -> str:
    """Return a header's value if it is text that a header can carry.

    Raises:
        ConfigurationError: it is not.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{what}={value!r:.80} is a {type(value).__name__}; give a string")
    if not value or not value.isprintable() or value != value.strip():
        raise ConfigurationError(
            f"{what}={value!r:.80} is empty, or has blanks at its ends or control characters"
        )
    return value


def checked_moment(value: object, *, what: str) -> datetime:
    """Return a moment if it is one and tells its time zone.

    Raises:
        ConfigurationError: it is not.
    """
    if not isinstance(value, datetime):
        raise ConfigurationError(f"{what}={value!r:.80} is a {type(value).__name__}; give a datetime")
    if value.tzinfo is None:
        raise ConfigurationError(
            f"{what}={value!r:.80} has no time zone; give one, such as datetime.now(UTC)"
        )
    return value


def _checked_tags(tagging: object) -> dict[str, str]:
    if not isinstance(tagging, Mapping):
        raise ConfigurationError(f"tagging={tagging!r:.80} is a {type(tagging).__name__}; give a mapping")
    if len(tagging) > TAGS_LIMIT:
        raise ConfigurationError(f"tagging has {len(tagging)} tags; S3 allows {TAGS_LIMIT}")
    for name, value in tagging.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigurationError(f"tagging {name!r:.40}: {value!r:.40} must be text")
        if not 1 <= len(name) <= TAG_KEY_LIMIT or len(value) > TAG_VALUE_LIMIT:
            raise ConfigurationError(
                f"tagging {name!r:.40}: {value!r:.40}: S3 allows keys of 1 to {TAG_KEY_LIMIT} and values "
                f"of up to {TAG_VALUE_LIMIT} characters"
            )
    return dict(tagging)


def _rare(headers: object) -> dict[str, object]:
    if not isinstance(headers, StorageHeaders):
        raise ConfigurationError(
            f"headers={headers!r:.80} is a {type(headers).__name__}; give StorageHeaders(...)"
        )
    found: dict[str, object] = {}
    for field, name in _RARE.items():
        value: object = getattr(headers, field)
        if value is None:
            continue
        if field == "expires":
            value = checked_moment(value, what=field)
        elif field != "bucket_key":
            value = checked_header(value, what=field)
        elif not isinstance(value, bool):
            raise ConfigurationError(f"bucket_key={value!r:.80} is neither True nor False")
        found[name] = value
    return found
