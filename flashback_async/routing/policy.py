"""Every number of the routing algorithm, with its unit and its reason, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, fields

from flashback_async.errors import ConfigurationError

KIB = 1_024
MIB = 1_024 * KIB

# Something is divided by them.
_ABOVE_ZERO = (
    "decay_time",
    "penalty_time",
    "limiter_search",
    "limiter_hold",
    "limiter_window",
    "limiter_sample",
    "limiter_minimum",
    "hedge_window",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPolicy:
    """The parameters of the pick, the breaker, the limiter and the retries. Times are seconds, sizes bytes.

    Raises:
        ConfigurationError: a value is negative, not a number, or a share lies outside 0..1.

    Attributes:
        floor_samples: first bytes whose least is the floor. 16 forget a route change within a second of
            traffic, and are enough to have seen the floor of a log-normal service time.
        window_minimum: width of the window of equally good endpoints; below it noise decides.
        window_share: the same as a share of the best score.
        window_deviations: the same in mean deviations of the best: a window narrower than the noise
            oscillates.
        smoothing_limit: largest weight of one sample; 0.2 forgets a slow answer in some ten.
        smoothing_time: samples closer together than this share their weight.
        decay_time: an excess nobody confirms fades with this time constant.
        usual_share: what an excess fades to is at most this share of the narrowest window, so that an
            endpoint that was slow for long can come back.
        penalty: least excess after a failure, so that fast errors do not look fast.
        penalty_time: it fades with this time constant: what a failure is given is no measurement, and an
            endpoint that has recovered is asked again within 10 s.
        penalty_limit: largest excess.
        silence_minimum: nothing completed for so long while requests wait: the endpoint is silent.
        silence_factor: the same as a multiple of its score.
        warm_outcomes: an endpoint with fewer outcomes gets one request at a time.
        bucket_outcomes: a bucket has figures of its own from so many outcomes on.
        bucket_limit: buckets per endpoint with figures of their own; the least recently used one goes.
        small_body: larger uploads tell nothing of latency, and their silence is judged by progress.
        large_body: bodies from here on tell throughput, and sizes from here on are weighed with it.
        read_slo: first byte of a read that is good enough: endpoints within it share the reads, and one that
            leaves it is left; 0: none, and only the best will do.
        subset_from: with so many eligible endpoints, a client uses a subset of them; 0: never.
        subset_near: how many of the nearest are in it.
        subset_drawn: how many more are drawn, differently by each client (rendezvous hash, gRPC A68).
        subset_time: a subset is drawn anew after so long at the latest, for distances become known.
        panic_share: if fewer of the eligible endpoints admit a call, breakers are ignored (Envoy).
        breaker_consecutive: faults in a row that open a breaker (Envoy, Finagle).
        breaker_share: share of faults in the window that opens it (Linkerd).
        breaker_minimum: calls in the window below which the share means nothing.
        breaker_window: seconds of the window, in exact buckets of one second (resilience4j).
        open_time: first time a breaker stays open; doubles each time.
        open_time_limit: longest time it stays open.
        open_time_jitter: share of the open time that is random, so that clients do not return together.
        healthy_time: healthy seconds that take one doubling back.
        trial_limit: a half-open trial that never ended is given up after so long.
        limiter_search_share: a first 429, and one too soon after another to have measured what passed between
            them, set the limit to this share of the estimate. Less than CUBIC's 0.7: a first estimate has a
            whole burst in it.
        limiter_search: from there it is back at the estimate in so long. More than limiter_sample, or 429s
            could go on coming too soon.
        limiter_hold_share: any other 429 sets it to this share: less is left unused where an endpoint has no
            room for bursts, and where it has some, that is what it makes room for.
        limiter_hold: from there it is back in so long, and 15 % above after as long again: a node that allows
            10 requests/s refuses one in some 110, and ten times as much is found within 30 s.
        limiter_window: longest time over which it is measured what passed.
        limiter_sample: shortest; in less, a burst looks like a rate.
        limiter_minimum: least limit in requests per second: it must be able to learn again.
        calm_time: a retry prefers endpoints that answered no 429 for so long: clients that share an address
            share a limit, and cannot see what the others take of it.
        retry_after_limit: longest Retry-After that is believed.
        preference_wait: longest wait for the rate limit of an endpoint that is preferred; a node that allows
            10 requests/s has a token within a tenth of it, and one that asks to stay away has none.
        attempts: attempts per operation.
        backoff: delay before the second hop, doubled each time, with full jitter; the first hop goes to
            another endpoint and needs none (botocore standard).
        backoff_limit: longest such delay.
        budget: least size of the retry budget that all endpoints share (botocore v2.1).
        retry_cost: what a retry takes from it, and what its success gives back.
        throttle_cost: the same for a retry after a 429.
        hedge_share: hedges per request at most; as many are late, so this is also what makes a request late:
            its first byte takes longer than all but this share did (The Tail at Scale; Finagle's
            BackupRequestFilter, maxExtraLoad).
        hedge_minimum: least time after which a request is late; in less, an event loop that is a little
            behind looks like a slow endpoint.
        hedge_samples: first bytes, of all endpoints, that "late" is measured by: ten of them lie above it.
        hedge_outcomes: nothing is hedged before so many: fewer have no twentieth.
        hedge_window: seconds that a request counts for the budget (Finagle). With 10 s and a share of 5 %,
            a client needs two requests a second to hedge at all.
    """

    floor_samples: int = 16
    window_minimum: float = 0.015
    window_share: float = 0.25
    window_deviations: float = 2.0
    smoothing_limit: float = 0.2
    smoothing_time: float = 0.25
    decay_time: float = 10.0
    usual_share: float = 0.5
    penalty: float = 0.25
    penalty_time: float = 4.0
    penalty_limit: float = 5.0
    silence_minimum: float = 0.15
    silence_factor: float = 4.0
    warm_outcomes: int = 5
    bucket_outcomes: int = 5
    bucket_limit: int = 64
    small_body: int = 64 * KIB
    large_body: int = MIB
    read_slo: float = 0.0
    subset_from: int = 20
    subset_near: int = 6
    subset_drawn: int = 6
    subset_time: float = 2.0
    panic_share: float = 0.5
    breaker_consecutive: int = 5
    breaker_share: float = 0.5
    breaker_minimum: int = 10
    breaker_window: int = 10
    open_time: float = 1.0
    open_time_limit: float = 60.0
    open_time_jitter: float = 0.5
    healthy_time: float = 10.0
    trial_limit: float = 60.0
    limiter_search_share: float = 0.6
    limiter_search: float = 2.0
    limiter_hold_share: float = 0.85
    limiter_hold: float = 6.0
    limiter_window: float = 6.0
    limiter_sample: float = 1.0
    limiter_minimum: float = 0.5
    calm_time: float = 30.0
    retry_after_limit: float = 300.0
    preference_wait: float = 1.0
    attempts: int = 3
    backoff: float = 0.05
    backoff_limit: float = 20.0
    budget: int = 500
    retry_cost: int = 14
    throttle_cost: int = 5
    hedge_share: float = 0.05
    hedge_minimum: float = 0.01
    hedge_samples: int = 200
    hedge_outcomes: int = 20
    hedge_window: float = 10.0

    def __post_init__(self) -> None:
        """Refuse values that the algorithm cannot work with."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise ConfigurationError(
                    f"RoutingPolicy.{item.name}={value!r} must be a number of at least 0"
                )
            if item.type == "int" and not isinstance(value, int):
                raise ConfigurationError(f"RoutingPolicy.{item.name}={value!r} must be a whole number")
            if item.name.endswith(("_share", "_jitter")) and value > 1:
                raise ConfigurationError(f"RoutingPolicy.{item.name}={value!r} is a share; give 0..1")
        for name in ("floor_samples", "attempts", "breaker_window", "breaker_consecutive", "hedge_samples"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"RoutingPolicy.{name}={getattr(self, name)!r} must be at least 1")
        for name in _ABOVE_ZERO:
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"RoutingPolicy.{name}={getattr(self, name)!r} must be above 0")
        if self.subset_from and self.subset_near + self.subset_drawn < 1:
            raise ConfigurationError(
                f"RoutingPolicy.subset_near={self.subset_near!r} and subset_drawn={self.subset_drawn!r} "
                "leave no endpoint; give at least 1 in all, or subset_from=0"
            )
