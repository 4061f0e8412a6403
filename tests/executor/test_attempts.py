"""Who is asked when, and what comes of it: scenario in, exact times out.

In the manner of trio's `_tests/test_highlevel_open_tcp_stream.py`. The endpoints are asked in the order a, b,
c; chance says 0.5, so a delay with full jitter is half of its limit.
"""

from __future__ import annotations

import pickle

import pytest
from virtual_time import run, scenario

from flashback_async.errors import (
    AccessDeniedError,
    ClockSkewError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointConnectError,
    EndpointServerError,
    EndpointTimeoutError,
    EntityTooLargeError,
    IntegrityError,
    NoEndpointAvailableError,
    ObjectChangedError,
    ObjectNotFoundError,
    OperationError,
    PoolTimeoutError,
    PreconditionFailedError,
    ServiceError,
    ThrottledError,
    WritesDisabledError,
)
from flashback_async.routing import Endpoint, RoutingPolicy
from flashback_async.testing import Step
from flashback_async.transport.operation import Operation
from flashback_async.transport.outcomes import cause_of, may_go_elsewhere, outcome_of

from .scenes import (
    CALLER_FAULT,
    CANCELLED,
    CLOSED,
    FAULT,
    READ,
    SUCCESS,
    THROTTLED,
    TIMEOUT,
    WRITE,
    Scene,
    now,
    one_shot,
    operation,
)

REFUSED, RESET, SILENT = Step.refused(), Step.reset(), Step.silent()


def ok(after: float = 0.0) -> Step:
    return Step(after=after)


SCENARIOS = {
    "the first one answers": ({"a": [ok(1)], "b": []}, "a", [("a", 0)], 1.0),
    "the first hop needs no delay": (
        {"a": [Step.refused(after=0.2)], "b": [ok(0.3)]},
        "b",
        [("a", 0), ("b", 0.2)],
        0.5,
    ),
    "the second hop waits half of 50 ms": (
        {"a": [RESET], "b": [Step.error(503, after=0.1)], "c": [ok(0.1)]},
        "c",
        [("a", 0), ("b", 0), ("c", 0.125)],
        0.225,
    ),
    "a black hole costs the time to the first byte": (
        {"a": [SILENT], "b": [ok(0.5)]},
        "b",
        [("a", 0), ("b", 5)],
        5.5,
    ),
    "an epsilon before the timer is in time": ({"a": [ok(4.999_999)], "b": []}, "a", [("a", 0)], 4.999_999),
    "an epsilon after it is not": ({"a": [ok(5.000_001)], "b": []}, "b", [("a", 0), ("b", 5)], 5.0),
    "three black holes": (
        {"a": SILENT, "b": SILENT, "c": SILENT},
        EndpointTimeoutError,
        [("a", 0), ("b", 5), ("c", 10.025)],
        15.025,
    ),
    "three refusals": (
        {"a": REFUSED, "b": REFUSED, "c": REFUSED},
        EndpointConnectError,
        [("a", 0), ("b", 0), ("c", 0.025)],
        0.025,
    ),
    "no more than three attempts": (
        {"a": REFUSED, "b": REFUSED, "c": REFUSED, "d": []},
        EndpointConnectError,
        [("a", 0), ("b", 0), ("c", 0.025)],
        0.025,
    ),
    "throttled ones go elsewhere at once": (
        {"a": [Step.throttled(30, after=0.2)], "b": [ok(0.1)]},
        "b",
        [("a", 0), ("b", 0.2)],
        0.3,
    ),
    "a lost answer to a put is sent again": (
        {"a": [Step.lost(after=0.4)], "b": [ok(0.4)]},
        "b",
        [("a", 0), ("b", 0.4)],
        0.8,
    ),
    "a lone endpoint is asked again, with doubled delays": (
        {"a": [RESET, RESET, ok()]},
        "a",
        [("a", 0), ("a", 0.025), ("a", 0.075)],
        0.075,
    ),
    "when all have failed, the delay doubles from the start": (
        {"a": [RESET, ok()], "b": [RESET]},
        "a",
        [("a", 0), ("b", 0), ("a", 0.05)],
        0.05,
    ),
    "a refusal of the service is nobody's fault": (
        {"a": [Step.error(404, after=0.1)], "b": []},
        ObjectNotFoundError,
        [("a", 0)],
        0.1,
    ),
    "a refusal after a failure ends it too": (
        {"a": [RESET], "b": [Step.error(403)]},
        AccessDeniedError,
        [("a", 0), ("b", 0)],
        0.0,
    ),
}


@pytest.mark.parametrize("kind", ["get", "put"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_who_is_asked_when(name, kind):
    """Endpoints are asked in order, at exact times, and the operation ends when it should."""
    scripts, expected, asked, end = SCENARIOS[name]

    async def play():
        scene = Scene({key: [*step] if isinstance(step, list) else step for key, step in scripts.items()})
        scene.store.put("bucket", "key", b"data")
        try:
            if kind == "get":
                stored = await scene.get_object("bucket", "key")
                assert stored.body == b"data"
                assert stored.attempts == len(asked)
                assert stored.endpoint == expected
            else:
                await scene.put_object("bucket", "key", b"data")
        except OperationError as error:
            assert type(error) is expected  # noqa: PT017  # the same table for successes
        else:
            assert scene.asked[-1][0] == expected
        assert scene.asked == [(who, pytest.approx(when, abs=1e-9)) for who, when in asked]
        assert now() == pytest.approx(end, abs=1e-9)
        assert scene.leaks() == {}

    run(play())


CLASSIFIED = [
    # status, code, error to a read, error to a write, outcome
    (500, "", EndpointServerError, EndpointServerError, FAULT),
    (502, "", EndpointServerError, EndpointServerError, FAULT),
    (503, "", EndpointServerError, EndpointServerError, FAULT),
    (504, "", EndpointServerError, EndpointServerError, FAULT),
    (503, "SlowDown", ThrottledError, ThrottledError, THROTTLED),
    (200, "SlowDown", ThrottledError, ThrottledError, THROTTLED),
    (400, "RequestTimeout", EndpointServerError, EndpointServerError, FAULT),
    (408, "", EndpointServerError, EndpointServerError, FAULT),
    (429, "", ThrottledError, ThrottledError, THROTTLED),
    (400, "", ServiceError, ServiceError, CALLER_FAULT),
    (401, "", AccessDeniedError, AccessDeniedError, CALLER_FAULT),
    (403, "", AccessDeniedError, AccessDeniedError, CALLER_FAULT),
    (403, "RequestTimeTooSkewed", ClockSkewError, ClockSkewError, CALLER_FAULT),
    (404, "", ObjectNotFoundError, ObjectNotFoundError, CALLER_FAULT),
    (409, "", ServiceError, ServiceError, CALLER_FAULT),
    (412, "", PreconditionFailedError, PreconditionFailedError, CALLER_FAULT),
    (413, "", EntityTooLargeError, EntityTooLargeError, CALLER_FAULT),
    (416, "", ServiceError, ServiceError, CALLER_FAULT),
    (501, "", ServiceError, ServiceError, CALLER_FAULT),
    (507, "", ServiceError, WritesDisabledError, CALLER_FAULT),
]


@pytest.mark.parametrize("kind", [READ, WRITE])
@pytest.mark.parametrize("row", CLASSIFIED)
def test_answers_are_classified(row, kind):
    """408, 500, 502, 503, 504, 429 and SlowDown go elsewhere; every other answer is raised and blames nobody."""
    status, code, to_read, to_write, outcome = row

    async def play():
        scene = Scene({"a": Step.error(status, code), "b": Step()})
        scene.store.put("bucket", "key", b"data")
        asked = operation(kind=kind)
        if outcome is CALLER_FAULT:
            with pytest.raises(OperationError) as caught:
                await scene.runner.call(asked, timeout=None, endpoint=None, retry=True)
            assert type(caught.value) is (to_read if kind is READ else to_write)
            assert scene.router.settled == [("a", CALLER_FAULT)]
            assert (scene.troubles, scene.monitor.failed, scene.monitor.operations) == (0, 0, 1)
        else:
            answered = await scene.runner.call(asked, timeout=None, endpoint=None, retry=True)
            assert (answered.endpoint_id, answered.attempts, answered.status) == ("b", 2, 200)
            assert scene.router.settled == [("a", outcome), ("b", SUCCESS)]
            assert scene.troubles == 1
        assert scene.at("a").failures == (outcome is FAULT)
        assert scene.breakers() == {CLOSED}
        assert scene.leaks() == {}

    run(play())


@pytest.mark.parametrize(
    ("error", "outcome", "cause"),
    [
        (EndpointConnectError("x"), FAULT, "connect"),
        (EndpointServerError("x", status=503), FAULT, "server"),
        (EndpointTimeoutError("x"), TIMEOUT, "timeout"),
        (EndpointTimeoutError("x", is_endpoint_fault=False), CANCELLED, "lag"),
        (IntegrityError("x"), FAULT, "body"),
        (ThrottledError("x"), THROTTLED, "throttled"),
        (ObjectChangedError("x"), CALLER_FAULT, None),
        (ServiceError("x"), CALLER_FAULT, None),
        (ServiceError("x", code="OperationAborted", status=409), CALLER_FAULT, "conflict"),
        (ServiceError("x", code="ConditionalRequestConflict", status=409), CALLER_FAULT, "conflict"),
        (ServiceError("x", code="BucketNotEmpty", status=409), CALLER_FAULT, None),
        (ServiceError("x", code="OperationAborted", status=400), CALLER_FAULT, None),
        (DeadlineExceededError("x"), CANCELLED, None),
        (PoolTimeoutError("x"), CANCELLED, None),
        (OperationError("x"), CANCELLED, None),
    ],
)
def test_what_errors_say_of_endpoints(error, outcome, cause):
    """Each error stands for one outcome; those that go elsewhere have a name under which they are counted."""
    assert outcome_of(error) is outcome
    assert may_go_elsewhere(error) == (cause is not None)
    if cause is not None:
        assert cause_of(error) == cause


@scenario
async def test_faults_never_open_a_breaker_through_refusals_of_the_service():
    """A hundred 404s, 403s and 412s leave an endpoint as healthy as it was."""
    scene = Scene({"a": []})
    for number in range(100):
        scene["a"].script.append(Step.error((404, 403, 412)[number % 3]))
        with pytest.raises(ServiceError):
            await scene.head_object("bucket", "key")
    assert (scene.at("a").breaker, scene.at("a").failures, scene.at("a").requests) == (CLOSED, 0, 100)


@scenario
async def test_attempts_are_told():
    """The error names operation, target, endpoint, and every attempt with its time and its reason."""
    scene = Scene({"a": Step.refused(after=0.2), "b": Step.error(503, after=0.3), "c": Step.silent()})
    with pytest.raises(EndpointTimeoutError) as caught:
        await scene.get_object("bucket", "some/key")
    error = caught.value
    assert (error.operation, error.bucket, error.key, error.endpoint) == (
        "GetObject",
        "bucket",
        "some/key",
        "c",
    )
    assert [(row.endpoint, row.elapsed) for row in error.attempts] == [
        ("a", pytest.approx(0.2)),
        ("b", pytest.approx(0.3)),
        ("c", pytest.approx(5.0)),
    ]
    assert str(error) == (
        "GetObject bucket/some/key: no answer and no progress within 5 s (attempts: "
        "a after 0.200 s: EndpointConnectError: cannot connect to a: connection refused; "
        "b after 0.300 s: EndpointServerError: 503 ServiceUnavailable; "
        "c after 5.000 s: EndpointTimeoutError: no answer and no progress within 5 s)"
    )
    assert error.is_endpoint_fault
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@scenario
async def test_a_plain_refusal_has_no_history():
    """A 404 at the first attempt says so and nothing more; after a failure it tells that too."""
    scene = Scene({"a": [Step.error(404), Step.reset()], "b": [Step.error(404)]})
    with pytest.raises(ObjectNotFoundError) as plain:
        await scene.head_object("bucket", "key")
    assert str(plain.value) == "HeadObject bucket/key: 404 NoSuchKey"
    assert (plain.value.endpoint, plain.value.attempts) == ("a", ())
    with pytest.raises(ObjectNotFoundError) as later:
        await scene.head_object("bucket", "key")
    assert [row.endpoint for row in later.value.attempts] == ["a", "b"]


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_attempts_are_limited(attempts):
    """No operation makes more attempts than the settings allow."""

    async def play():
        scene = Scene({name: Step.reset() for name in "abcdef"}, attempts=attempts)
        with pytest.raises(EndpointConnectError) as caught:
            await scene.head_object("bucket", "key")
        assert len(scene.asked) == len(caught.value.attempts) == scene.monitor.attempts == attempts
        assert len({who for who, _ in scene.asked}) == attempts
        assert scene.monitor.retries == attempts - 1

    run(play())


@scenario
async def test_retry_can_be_switched_off():
    """With retry=False there is one attempt, and its error comes at once."""
    scene = Scene({"a": Step.reset(after=0.1), "b": Step()})
    with pytest.raises(EndpointConnectError):
        await scene.head_object("bucket", "key", retry=False)
    assert scene.asked == [("a", 0.0)]
    assert (now(), scene.monitor.retries) == (0.1, 0)


@pytest.mark.parametrize("pin", ["b", Endpoint(id="b", url="https://b")])
def test_a_pinned_call_asks_nobody_else(pin):
    """With endpoint= every attempt goes there, and counts as no failover."""

    async def play():
        scene = Scene({"a": Step(), "b": Step.reset(), "c": Step()})
        with pytest.raises(EndpointConnectError):
            await scene.head_object("bucket", "key", endpoint=pin)
        assert [who for who, _ in scene.asked] == ["b", "b", "b"]
        assert not scene.monitor.failovers
        assert scene.monitor.retries == 2

    run(play())


@scenario
async def test_an_unknown_pin_is_named():
    """Pinning an endpoint that is not in the table says so, and lists those that are."""
    scene = Scene(ids="ab")
    with pytest.raises(NoEndpointAvailableError, match="'z' is not in the table; known ones: a, b"):
        await scene.head_object("bucket", "key", endpoint="z")
    assert scene.leaks() == {}


@scenario
async def test_an_empty_table_is_an_error():
    """Without any endpoint there is nobody to ask."""
    scene = Scene(ids="a")
    scene.router.apply_discovery([], now=0.0)
    with pytest.raises(NoEndpointAvailableError, match="empty"):
        await scene.head_object("bucket", "key")
    assert (scene.monitor.failed, scene.leaks()) == (1, {})


@scenario
async def test_a_body_that_can_be_sent_once_is_sent_once():
    """An upload that cannot be replayed gets one attempt, for half of it may be gone."""
    scene = Scene({"a": Step.reset(), "b": Step()})
    put = operation("PutObject", kind=WRITE, data=await one_shot(b"x"))
    with pytest.raises(EndpointConnectError) as caught:
        await scene.runner.call(put, timeout=None, endpoint=None, retry=True)
    assert [who for who, _ in scene.asked] == ["a"]
    assert len(caught.value.attempts) == 1


@scenario
async def test_a_replayed_upload_is_whole():
    """Every attempt at a put sends all bytes, however much of them the last one had taken."""
    data = bytes(range(256)) * 4_096
    scene = Scene({"a": Step.reset(takes=300_000), "b": Step.reset(takes=900_000), "c": Step()})
    await scene.put_object("bucket", "key", data)
    assert scene.store.get("bucket", "key").data == data
    assert len(scene.store.history("bucket", "key")) == 1


@scenario
async def test_the_budget_ends_retries():
    """When the shared budget is empty, the first failure is final; no delay is waited for."""
    scene = Scene(
        {"a": Step.reset(), "b": Step.reset(), "c": Step.reset()},
        policy=RoutingPolicy(budget=28, retry_cost=14),
    )
    for sent in (3, 1):
        before = len(scene.asked)
        with pytest.raises(EndpointConnectError) as caught:
            await scene.head_object("bucket", "key")
        assert len(scene.asked) - before == len(caught.value.attempts) == sent
    assert scene.router.snapshot(now=now()).retry_budget == 0


@scenario
async def test_a_success_pays_the_budget_back():
    """What retries took comes back with their success, and every plain success brings one token."""
    scene = Scene({"a": [Step.reset()], "b": [Step.reset()], "c": []})
    scene.store.put("bucket", "key", b"")

    def left() -> int:
        return scene.router.snapshot(now=now()).retry_budget

    await scene.head_object("bucket", "key")
    assert (scene.monitor.retries, left()) == (2, 500)
    for name in "abc":
        scene[name].then = Step.reset()
    with pytest.raises(EndpointConnectError):
        await scene.head_object("bucket", "key")
    assert left() == 500 - 2 * 14
    for name in "abc":
        scene[name].then = Step()
    await scene.head_object("bucket", "key")
    assert left() == 500 - 2 * 14 + 1


@scenario
async def test_a_retry_after_throttling_is_cheaper():
    """A 429 costs 5 tokens of the budget, a fault 14."""
    scene = Scene({"a": [Step.throttled()], "b": [Step.reset()], "c": [Step.error(404)]})
    with pytest.raises(ObjectNotFoundError):
        await scene.head_object("bucket", "key")
    assert scene.router.snapshot(now=now()).retry_budget == 500 - 5 - 14


@scenario
async def test_trouble_calls_for_discovery():
    """Every failure that goes elsewhere asks for an early discovery, and every bucket is told to it."""
    scene = Scene({"a": Step.reset(), "b": Step.throttled(), "c": Step()})
    scene.store.put("bucket", "key", b"")
    await scene.head_object("bucket", "key")
    assert (scene.troubles, scene.wanted) == (2, ["bucket"])


@scenario
async def test_operations_without_a_bucket_want_none():
    """An operation that has no bucket tells discovery nothing, and its errors name no target."""
    scene = Scene({"a": []})
    with pytest.raises(ServiceError) as caught:
        await scene.runner.call(Operation("ListBuckets", READ), timeout=None, endpoint=None, retry=True)
    assert scene.wanted == []
    assert str(caught.value) == "ListBuckets: 501 NotImplemented"


@pytest.mark.parametrize(
    ("step", "cause"),
    [
        (Step.reset(), "connect"),
        (Step.silent(), "timeout"),
        (Step.error(503), "server"),
        (Step.throttled(), "throttled"),
    ],
)
def test_counters_tell_what_happened(step, cause):
    """Operations, attempts, retries, and failovers with their cause are counted."""

    async def play():
        scene = Scene({"a": step, "b": Step()})
        scene.store.put("bucket", "key", b"")
        await scene.head_object("bucket", "key")
        monitor = scene.monitor
        assert (monitor.operations, monitor.failed, monitor.attempts, monitor.retries) == (1, 0, 2, 1)
        assert monitor.failovers == {cause: 1}

    run(play())


@scenario
async def test_local_mistakes_are_neutral():
    """An error of our own side (an unreadable upload, a bug) is raised as it is and blames nobody."""
    scene = Scene({"a": []})

    class Broken(type(await one_shot(b""))):
        def reader(self, progress):
            raise ConfigurationError("data cannot be read")

    put = operation("PutObject", kind=WRITE, data=Broken(lambda: None, 3))
    with pytest.raises(ConfigurationError, match="data cannot be read"):
        await scene.runner.call(put, timeout=None, endpoint=None, retry=True)
    assert scene.router.settled == [("a", CANCELLED)]
    assert scene.leaks() == {}


@scenario
async def test_a_conflict_that_passes_is_waited_for():
    """A 409 that asks for the request again gets it, elsewhere and then after a pause, and blames nobody."""
    conflict = Step.error(409, "OperationAborted")
    scene = Scene({"a": [conflict], "b": [conflict], "c": Step()})
    scene.store.put("bucket", "key", b"data")
    await scene.delete_object("bucket", "key")
    assert scene.asked == [("a", 0.0), ("b", 0.0), ("c", 0.025)]
    assert [outcome for _, outcome in scene.router.settled] == [CALLER_FAULT, CALLER_FAULT, SUCCESS]
    assert (scene.monitor.failovers, scene.troubles) == ({"conflict": 2}, 0)
    assert {scene.at(name).failures for name in "abc"} == {0}
