"""What botocore's service model says of an operation that matters for its way. No list of operations here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashback_async.routing import OperationKind

if TYPE_CHECKING:
    from botocore.model import OperationModel

_READS = frozenset({"GET", "HEAD"})
# What is done to an upload as a whole; its parts are PUT, its list of parts is a GET.
_ENDS_UPLOAD = frozenset({"DELETE", "POST"})


@dataclass(frozen=True, slots=True)
class Traits:
    """How an operation is routed.

    Attributes:
        name: in S3's spelling.
        kind: read for GET and HEAD, else write.
        body_in: the parameter that is sent as a stream, None where there is none.
        body_out: the member of the answer that is a stream, of bytes or of events; None where there is none.
        has_events: whether `body_out` is a stream of events.
        is_resumable: whether the rest of its body can be asked for: it takes a range, and a condition on the
            version, and tells the version it has.
        starts_upload: whether its answer names a new multipart upload.
        within_upload: whether it belongs to a multipart upload that exists.
        ends_upload: whether that upload exists no more after it.
        takes_long: whether the store moves bytes for it by itself: it copies, or puts parts together.
    """

    name: str
    kind: OperationKind
    body_in: str | None
    body_out: str | None
    has_events: bool
    is_resumable: bool
    starts_upload: bool
    within_upload: bool
    ends_upload: bool
    takes_long: bool

    @classmethod
    def of(cls, model: OperationModel) -> Traits:
        """Read them off the model."""
        given = model.input_shape.members if model.input_shape is not None else {}
        told = model.output_shape.members if model.output_shape is not None else {}
        required = model.input_shape.required_members if model.input_shape is not None else []
        method = model.http["method"]
        within_upload = "UploadId" in required
        return cls(
            name=model.name,
            kind=OperationKind.READ if method in _READS else OperationKind.WRITE,
            body_in=streamed_input(model),
            body_out=streamed_output(model),
            has_events=model.has_event_stream_output,
            is_resumable=(
                model.has_streaming_output and {"Range", "IfMatch"} <= given.keys() and "ETag" in told
            ),
            starts_upload="UploadId" in told and not within_upload,
            within_upload=within_upload,
            ends_upload=within_upload and method in _ENDS_UPLOAD,
            takes_long="CopySource" in given or (within_upload and method == "POST"),
        )


def streamed_input(model: OperationModel) -> str | None:
    """The parameter that is sent as a stream, None where there is none."""
    return model.input_shape.serialization["payload"] if model.has_streaming_input else None


def streamed_output(model: OperationModel) -> str | None:
    """The member of the answer that is a stream, None where there is none."""
    if not (model.has_streaming_output or model.has_event_stream_output):
        return None
    payload: str | None = model.output_shape.serialization.get("payload")
    if payload is None:
        payload = next(
            name
            for name, shape in model.output_shape.members.items()
            if shape.serialization.get("eventstream")
        )
    return payload
