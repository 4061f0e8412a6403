"""Settings: every default with its unit and reason, read from `FB_*` variables, validated once."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from flashback_async.config_sources import explained, from_environment
from flashback_async.endpoint_url import checked_url
from flashback_async.errors import ConfigurationError

if TYPE_CHECKING:
    from datetime import datetime

MIN_PART = 5 * 1_024 * 1_024
"""Bytes of a part at least, the last one excepted: S3's rule."""

MAX_PART = 100_000_000
"""Bytes that one request has to stay below: what gateways take."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """One S3 key pair. The secret parts are absent from `repr`.

    Attributes:
        key_id: access key id of a repository.
        key_secret: its secret.
        session_token: session token, where the key is a temporary one.
        expires_at: when a provider is to be asked for another key, with a time zone; None: when it is
            refused. Asked up to a minute early, so that no request has to wait.
    """

    key_id: str
    key_secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuse a time that nobody can compare with."""
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            raise ConfigurationError(f"expires_at={self.expires_at} needs a time zone, such as UTC")


CredentialsProvider = Callable[[], Awaitable[Credentials]]
"""Called when the client starts, and again when a store refuses the key or it expires; may return another."""

TokenProvider = Callable[[], Awaitable[str]]
"""Returns a valid control-plane token; called again after the control plane refused the last one."""

RotationCallback = Callable[[str], Awaitable[None]]
"""Receives every new refresh token, so that it can be persisted before the old one is forgotten."""


ResumeIdentity = Literal["etag", "etag_and_length", "last_modified", "length"]
"""What the answers of several nodes have to agree on to be of one version; their length always."""


ChecksumAlgorithm = Literal["crc32c", "sha256", "md5"]
# One list, not a union of two: pydantic would complain once for each of them.
ChecksumChoice = Literal["none", ChecksumAlgorithm]
"""The checksum of a whole object that its writer computes and its readers compare."""


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _split_pairs(value: object) -> object:
    if isinstance(value, str):
        pairs = (part.partition("=") for part in value.split(",") if part.strip())
        return {name.strip(): number.strip() for name, _, number in pairs}
    return value


Strings = Annotated[tuple[str, ...], BeforeValidator(_split)]
Pairs = Annotated[Mapping[str, str], BeforeValidator(_split_pairs)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Secret = SecretStr | str | None


class FlashbackSettings(BaseModel):
    """Everything a client can be told. Explicit arguments win over `FB_<NAME>` variables.

    Times are seconds, sizes bytes. Instances are frozen and picklable; secrets are shown by no `repr`.

    Attributes:
        key_id, key_secret, session_token: the repository's API key; the token belongs to temporary keys.
        read_key_id, read_key_secret: another key for reads, where a WRITE key cannot read.
        credentials_provider: async function that returns `Credentials`, instead of the five above. Its answer
            is kept until it expires or a store refuses it; an answer may take `total_timeout` seconds.
        jwt, refresh_token: control-plane tokens; the first lives one hour, the second rotates with use.
        on_rotate: async function that receives every new refresh token, to persist it.
        token_provider: async function that returns an access token, instead of `jwt` and `refresh_token`.
        base_url: the control plane.
        org_id: organization whose private nodes join the table.
        endpoints: fixed S3 endpoints; with them no control plane is asked at all.
        bucket_ids: S3 bucket name -> Flashback UUID, where the control plane cannot be asked for it.
        allowed_domains: endpoints outside these domains are dropped: they would receive signed requests.
        regions, exclude_nodes: regions to keep, empty for all; ids, addresses or hosts never to use.
        addressing: how a bucket is named in a request; `virtual` needs certificates for `*.host`.
        region: region to sign for; Flashback's nodes accept us-east-1 everywhere.
        ca_file: PEM file of certificate authorities to trust instead of the system's.
        payload_signing: `auto` signs the payload over http and leaves it to TLS over https; an endpoint
            that refuses an unsigned payload is remembered and gets signed ones.
        lane: `aioboto3` sends everything through it; `fast` needs the extra `fast`, and sends what carries
            no XML (reading, writing and deleting objects and parts) over connections of its own.
        connect_timeout: seconds to connect; a healthy handshake takes two round trips, < 0.5 s worldwide.
        pool_timeout: seconds to wait for a free connection of an endpoint.
        first_byte_timeout: seconds from the sent request to the first byte of the answer (the attempt).
        stall_timeout: seconds without a byte of progress, in either direction.
        total_timeout: seconds for a whole object or metadata call with all its attempts; none for streams
            and for what moves in parts.
        resume_identity: what answers must agree on that make up one body; their length always. `etag`: ETag
            and Last-Modified too; weaker, for nodes that tell one object differently: `etag_and_length`,
            `last_modified` (no ETag) and `length` (neither).
        checksum: end-to-end checksum that writes store with an object: `crc32c` (fast, finds accidents),
            `sha256`, or `md5`, which the store is told too, and with which reads compare ETags as well.
        attempts: attempts per operation, on different endpoints; 1 turns retries off.
        max_connections, max_in_flight: connections per endpoint; operations at once, more wait their turn.
        multipart_threshold: bytes above which an object moves in parts, up and down; below, the requests
            that parts need cost more than they save. Objects of one part never do.
        part_size: bytes of a part: large enough that a round trip does not show, small enough that a lost
            part is cheap. S3 takes 5 MiB at least, gateways take less than 100 MB, and objects that would
            have more than 10,000 parts get larger ones.
        transfer_concurrency: parts of one object that move at once: enough to use several nodes, and bounded
            because an upload holds up to `part_size * (transfer_concurrency + 1)` bytes in memory.
        discovery_interval, discovery_timeout: seconds between discoveries (10 % jitter), and for one.
        probes, hedging: measure the round trip to idle endpoints; let another one race a late read.
        read_slo: first byte of a read that is good enough; endpoints within it share the reads.
        read_your_writes: seconds for which reads of a key (not listings) prefer the endpoint that took this
            client's last write or deletion of it: others may front repositories that are mirrored later. A
            preference, no guarantee: an endpoint that fails, or whose breaker is open, is left. 0: none.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    key_id: str | None = None
    key_secret: Secret = Field(default=None, repr=False)
    session_token: Secret = Field(default=None, repr=False)
    read_key_id: str | None = None
    read_key_secret: Secret = Field(default=None, repr=False)
    credentials_provider: CredentialsProvider | None = None

    jwt: Secret = Field(default=None, repr=False)
    refresh_token: Secret = Field(default=None, repr=False)
    on_rotate: RotationCallback | None = None
    token_provider: TokenProvider | None = None

    base_url: str = "https://backend.flashback.tech"
    org_id: str | None = None
    endpoints: Strings = ()
    bucket_ids: Pairs = Field(default_factory=dict)
    allowed_domains: Strings = ("flashback.tech",)
    regions: Strings = ()
    exclude_nodes: Strings = ()
    addressing: Literal["path", "virtual"] = "path"
    region: str = "us-east-1"
    ca_file: Path | None = None
    payload_signing: Literal["auto", "signed", "unsigned"] = "auto"
    lane: Literal["aioboto3", "fast"] = "aioboto3"

    connect_timeout: Seconds = 2.0
    pool_timeout: Seconds = 5.0
    first_byte_timeout: Seconds = 5.0
    stall_timeout: Seconds = 10.0
    total_timeout: Seconds = 60.0
    resume_identity: ResumeIdentity = "etag"
    checksum: ChecksumChoice = "none"
    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    max_connections: Annotated[int, Field(ge=1, le=10_000)] = 64
    max_in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = 1_024
    multipart_threshold: Annotated[int, Field(ge=MIN_PART, lt=MAX_PART)] = 32 * 1_024 * 1_024
    part_size: Annotated[int, Field(ge=MIN_PART, lt=MAX_PART)] = 8 * 1_024 * 1_024
    transfer_concurrency: Annotated[int, Field(ge=1, le=256)] = 4
    discovery_interval: Seconds = 10.0
    discovery_timeout: Seconds = 10.0
    probes: bool = True
    hedging: bool = False
    read_slo: Seconds | None = None
    read_your_writes: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 0.0

    if not TYPE_CHECKING:  # the model's own signature stays visible to type checkers

        def __init__(self, **values: object) -> None:
            given = {name: value for name, value in values.items() if value is not None}
            merged = {**from_environment(type(self).model_fields, os.environ), **given}
            try:
                super().__init__(**merged)
            except ValidationError as error:
                raise explained(error, merged, from_environment=merged.keys() - given.keys()) from None

    @field_validator("key_secret", "session_token", "read_key_secret", "jwt", "refresh_token")
    @classmethod
    def _hide(cls, value: Secret) -> Secret:
        if value is None:
            return None
        text = reveal(value)
        if not text or not text.isprintable() or text != text.strip():
            raise ValueError("is empty or has blanks or control characters at its ends; copy it again")
        return SecretStr(text)

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str) -> str:
        return checked_url(value, what="base_url")

    @field_validator("endpoints")
    @classmethod
    def _check_endpoints(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(checked_url(endpoint, what="endpoints") for endpoint in value))

    @field_validator("bucket_ids")
    @classmethod
    def _check_bucket_ids(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, number in value.items():
            if not name or not number:
                raise ValueError(f"{name or number!r} is no pair; write it like name=uuid")
        return value

    @field_validator("allowed_domains")
    @classmethod
    def _check_domains(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for domain in value:
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?", domain):
                raise ValueError(f"{domain!r} is not a domain; write it like example.com")
        return tuple(domain.lower() for domain in value)

    @field_validator("ca_file")
    @classmethod
    def _check_ca_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"{str(value)!r} is not a file; name a PEM file of certificates")
        return value

    @model_validator(mode="after")
    def _check_pairs(self) -> FlashbackSettings:
        for key, secret in (("key_id", "key_secret"), ("read_key_id", "read_key_secret")):
            if (getattr(self, key) is None) != (getattr(self, secret) is None):
                raise ValueError(f"{key} and {secret} belong together; give both or none")
        if self.on_rotate is not None and self.refresh_token is None:
            raise ValueError("on_rotate needs refresh_token; without one nothing rotates")
        return self

    def has_control_plane(self) -> bool:
        """Whether nodes are discovered; fixed `endpoints` replace the control plane."""
        return not self.endpoints

    def credentials(self) -> Credentials:
        """The key pair for writes, and for reads where no other is given.

        Raises:
            ConfigurationError: there is none.
        """
        if self.key_id is None or self.key_secret is None:
            raise ConfigurationError(
                "no S3 credentials: set FB_KEY_ID and FB_KEY_SECRET to an API key of the repository, "
                "or give key_id and key_secret, or a credentials_provider"
            )
        token = self.session_token
        return Credentials(self.key_id, reveal(self.key_secret), reveal(token) if token else None)

    def read_credentials(self) -> Credentials:
        """The key pair for reads; raises as `credentials` does."""
        if self.read_key_id is None or self.read_key_secret is None:
            return self.credentials()
        return Credentials(self.read_key_id, reveal(self.read_key_secret))


def reveal(secret: SecretStr | str) -> str:
    """The text of a secret, for the one place that sends it."""
    return secret.get_secret_value() if isinstance(secret, SecretStr) else secret


__all__ = [
    "ChecksumAlgorithm",
    "ChecksumChoice",
    "Credentials",
    "CredentialsProvider",
    "FlashbackSettings",
    "ResumeIdentity",
    "RotationCallback",
    "TokenProvider",
    "reveal",
]
