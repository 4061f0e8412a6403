"""What a plain botocore client sends and understands, without a socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore import xform_name
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.handlers import add_expect_header
from botocore.httpchecksum import AwsChunkedWrapper

from flashback_async.transport.s3_wire import WirePlan

if TYPE_CHECKING:
    from botocore.model import ServiceModel

REGION = "eu-west-1"
# Of boto's own; they say nothing to a store.
BOTOS_OWN = frozenset({"user-agent", "amz-sdk-invocation-id", "amz-sdk-request"})


@cache
def session() -> botocore.session.Session:
    return botocore.session.Session()


@cache
def model() -> ServiceModel:
    return session().get_service_model("s3")


@cache
def plans() -> dict[str, WirePlan]:
    """Of every operation that has one."""
    made = {name: WirePlan.of(model().operation_model(name)) for name in model().operation_names}
    return {name: plan for name, plan in made.items() if plan is not None}


@dataclass
class Canned:
    """An answer, and the request that it was given to."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    url: str = ""
    method: str = ""
    sent: dict[str, str] = field(default_factory=dict)

    @property
    def then(self) -> float:
        """When it was signed."""
        text = self.sent["x-amz-date"]
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()

    def __call__(self, request, **_event):
        if not self.url:
            self.url, self.method = request.url, request.method
            assert not isinstance(request.body, AwsChunkedWrapper)
            self.sent = {
                name.lower(): value.decode() if isinstance(value, bytes) else value
                for name, value in request.headers.items()
                if name.lower() not in BOTOS_OWN
            }
        return AWSResponse(request.url, self.status, HeadersDict(dict(self.headers)), self)

    def stream(self):
        """As urllib3 gives the body."""
        return [self.body]


@cache
def client(url: str, addressing: str, *, token: str | None, signed: bool):
    """Configured as the clients of our pool are."""
    made = session().create_client(
        "s3",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="key",
        aws_secret_access_key="sec/ret",
        aws_session_token=token,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": addressing, "payload_signing_enabled": signed},
            retries={"total_max_attempts": 1, "mode": "standard"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            inject_host_prefix=False,
        ),
    )
    made.meta.events.unregister("before-call.s3", add_expect_header)
    return made


def call(
    name: str,
    parameters: dict[str, Any],
    canned: Canned,
    *,
    url: str = "https://node.example.com:9000",
    addressing: str = "path",
    token: str | None = None,
    signed: bool = False,
) -> dict[str, Any]:
    """Call an operation of the client, which gets `canned` as its answer.

    Without the remark that the only attempt was the last one: that is of the configuration, not of the answer.
    """
    boto = client(url, addressing, token=token, signed=signed)
    boto.meta.events.register("before-send.s3", canned)
    try:
        fields = getattr(boto, xform_name(name))(**parameters)
    except ClientError as error:
        error.response["ResponseMetadata"].pop("MaxAttemptsReached", None)
        raise
    else:
        fields["ResponseMetadata"].pop("MaxAttemptsReached", None)
        return fields
    finally:
        boto.meta.events.unregister("before-send.s3", canned)
