"""Content-MD5 for DeleteObjects, in place of the checksum that botocore sends since 1.36.

S3 wants either; many S3-compatible stores know only the older one and refuse the request without it.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import md5
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.awsrequest import AWSRequest


def send_content_md5(request: AWSRequest, **_event: object) -> None:
    """Handler of `before-sign`: what is signed carries the MD5 of the body, and no other checksum."""
    body = request.data
    if not isinstance(body, bytes | bytearray):
        return
    for name in [
        name for name in request.headers if name.lower().startswith(("x-amz-checksum-", "x-amz-sdk-checksum"))
    ]:
        del request.headers[name]
    del request.headers["Content-MD5"]
    request.headers["Content-MD5"] = b64encode(md5(body, usedforsecurity=False).digest()).decode("ascii")
