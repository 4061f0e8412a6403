"""How one gateway (or the control plane) misbehaves: frozen values, no I/O.

A behaviour has conditions (`latency`, `bandwidth`, `rate_limit`, `max_body`, `writes_disabled`) that always
hold, and at most one fault (`FAULTS`) that strikes with probability `error_rate`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from flashback_async.sandbox.errors import require

MAX_BODY: Final = 104_857_600
"""Bytes of one request body that a Bridge Node's nginx accepts (`client_max_body_size 100M`)."""

FAULTS: Final = (
    "refuse",
    "black_hole",
    "reset",
    "lose_answer",
    "status",
    "truncate_after",
    "reset_after",
    "stall_after",
)
"""The fields of `Behaviour` of which at most one may be set."""


_FINAL: Final = range(200, 600)
_ERRORS: Final = range(400, 600)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """nginx's `limit_req zone=... burst=... nodelay`, per client address: a leaky bucket.

    Attributes:
        rate: requests per second that leak out of the bucket.
        burst: requests beyond the first that the bucket holds; 20 lets 21 pass at once.
        retry_after: seconds named in a `Retry-After` header; None sends none, as nginx does.
    """

    rate: float = 10.0
    burst: int = 20
    retry_after: float | None = None

    def __post_init__(self) -> None:
        require(self.rate > 0, f"rate={self.rate!r}: give requests per second above zero")
        require(self.burst >= 0, f"burst={self.burst!r}: give zero or more requests")
        _not_negative("retry_after", self.retry_after)


@dataclass(frozen=True, slots=True, kw_only=True)
class WritesDisabled:
    """The answer to PUT and POST while a quota is used up; deleting stays allowed.

    The real service's status and code are not documented, hence parameters.
    """

    status: int = 403
    code: str = "QuotaExceeded"

    def __post_init__(self) -> None:
        require(self.status in _ERRORS, f"status={self.status!r}: give an HTTP status from 400 to 599")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How a server of the sandbox treats its requests; `Behaviour()` is healthy.

    Attributes:
        latency: seconds added before a request is served, on top of the node's own distance.
        jitter: seconds; a uniformly drawn part of it is added to every request.
        spike: seconds added to the unlucky ones: a tail.
        spike_rate: probability of a spike.
        bandwidth: bytes per second of all bodies together, each direction on its own; None is unlimited.
        refuse: the port is closed (ECONNREFUSED) and open connections are reset.
        black_hole: connections are accepted and read, and nothing is ever answered.
        reset: the connection is reset (TCP RST) instead of an answer; the store never sees the request.
        lose_answer: the store executes the request, then the connection is reset without an answer.
        status: HTTP status answered instead of serving.
        body_format: `html` as nginx writes it, or S3's `xml`.
        error_code: S3 error code in an XML body; None derives it from the status.
        retry_after: seconds in the `Retry-After` header of `status`; None sends none.
        truncate_after: bytes of a response body after which the connection is closed.
        reset_after: bytes of a response body after which the connection is reset.
        stall_after: bytes of a response body after which nothing more comes.
        error_rate: probability with which the fault strikes a request.
        rate_limit: requests beyond it get 429 in HTML; None is unlimited.
        max_body: bytes of a request body above which it gets 413 in HTML; None is unlimited.
        writes_disabled: the answer to writes; None lets them pass.
        health_ok: `/health` keeps answering at once while requests suffer (a brownout). The rate limit
            covers it nevertheless, as on a real node.
    """

    latency: float = 0.0
    jitter: float = 0.0
    spike: float = 0.0
    spike_rate: float = 0.0
    bandwidth: float | None = None
    refuse: bool = False
    black_hole: bool = False
    reset: bool = False
    lose_answer: bool = False
    status: int | None = None
    body_format: Literal["html", "xml"] = "html"
    error_code: str | None = None
    retry_after: float | None = None
    truncate_after: int | None = None
    reset_after: int | None = None
    stall_after: int | None = None
    error_rate: float = 1.0
    rate_limit: RateLimit | None = None
    max_body: int | None = MAX_BODY
    writes_disabled: WritesDisabled | None = None
    health_ok: bool = False

    def __post_init__(self) -> None:
        for name in ("latency", "jitter", "spike", "retry_after", "max_body", *FAULTS[-3:]):
            _not_negative(name, getattr(self, name))
        for name in ("spike_rate", "error_rate"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name}={value!r}: give a probability from 0 to 1")
        require(
            self.bandwidth is None or self.bandwidth > 0,
            f"bandwidth={self.bandwidth!r}: give bytes per second above zero, or None for no limit",
        )
        require(
            self.status is None or self.status in _FINAL,
            f"status={self.status!r}: give a final HTTP status, 200 to 599",
        )
        require(
            self.body_format in ("html", "xml"), f"body_format={self.body_format!r}: give 'html' or 'xml'"
        )
        self._check_combination()

    def _check_combination(self) -> None:
        chosen = self._chosen()
        require(
            len(chosen) <= 1,
            f"{' and '.join(chosen)} exclude each other: set one fault per Behaviour",
        )
        require(
            self.status is not None or (self.error_code is None and self.retry_after is None),
            "error_code and retry_after describe an injected answer: set status too",
        )
        require(
            self.error_code is None or self.body_format == "xml",
            f"error_code={self.error_code!r} needs body_format='xml'; nginx's HTML carries no code",
        )
        require(
            not (self.refuse and (self.error_rate < 1 or self.health_ok)),
            "refuse closes the port for everything: leave error_rate and health_ok at their defaults",
        )

    @property
    def fault(self) -> str | None:
        """Name of the one fault that is set, or None."""
        return next(iter(self._chosen()), None)

    def _chosen(self) -> list[str]:
        # By identity: zero bytes are a choice.
        values = {name: getattr(self, name) for name in FAULTS}
        return [name for name, value in values.items() if value is not None and value is not False]

    def to_json(self) -> dict[str, Any]:
        """The behaviour as plain JSON data, for the admin channel."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Behaviour:
        """The inverse of `to_json`; validates again."""
        fields = dict(data)
        if fields.get("rate_limit") is not None:
            fields["rate_limit"] = RateLimit(**fields["rate_limit"])
        if fields.get("writes_disabled") is not None:
            fields["writes_disabled"] = WritesDisabled(**fields["writes_disabled"])
        return cls(**fields)


def _not_negative(name: str, value: float | None) -> None:
    require(value is None or value >= 0, f"{name}={value!r}: give zero or more")
