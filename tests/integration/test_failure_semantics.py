"""README's table "What is retried, and what is raised", row by row, as answers on the wire.

Two nodes answer from one script, in the order in which requests arrive at either of them. Every case says who
is asked how often, what comes of it, and who is blamed. What takes more than two nodes and a script is proved
elsewhere, and `ELSEWHERE` says where; together they cover the table, which a test compares.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flashback_async import (
    AccessDeniedError,
    ClockSkewError,
    EndpointConnectError,
    EndpointServerError,
    EndpointTimeoutError,
    EntityTooLargeError,
    NotModifiedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    ServiceError,
    ThrottledError,
    WritesDisabledError,
)

from .scripted import RESET, SILENCE, Answer, error, etag, scripted, settings_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BOTH_LANES = True

ROOT = Path(__file__).parents[2]
DATA = bytes(range(256)) * 40
NONE_SENT = (1, 0)
"""Requests at the first node and at the other: no retry."""
ELSEWHERE_ONCE = (1, 1)
"""One retry, at the other node."""


async def get(fb):
    assert (await fb.get_object("bucket", "key")).body == DATA


async def get_range(fb):
    await fb.get_object("bucket", "key", range=(1 << 20, None))


async def get_if_changed(fb):
    await fb.get_object("bucket", "key", if_none_match='"x"')


async def head(fb):
    await fb.head_object("bucket", "key")


async def put(fb):
    assert (await fb.put_object("bucket", "key", DATA)).etag == etag(DATA)


async def put_new(fb):
    assert (await fb.put_object("bucket", "key", DATA, if_none_match="*")).etag == etag(DATA)


async def put_tagged(fb):
    await fb.put_object("bucket", "key", DATA, tagging={"a": "b"})


async def copy(fb):
    assert (await fb.copy_object("bucket", "key", "copy")).etag == etag(DATA)


async def delete(fb):
    await fb.delete_object("bucket", "key")


async def delete_by_boto(fb):
    answer = await fb.s3.delete_object(Bucket="bucket", Key="key")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204


async def delete_two(fb):
    deleted = [row async for row in fb.delete_objects("bucket", ["a", "b"])]
    assert sorted(row.key for row in deleted) == ["a", "b"]


async def list_all(fb):
    assert [info async for info in fb.list_objects("bucket")] == []


def xml(text: str, status: int = 200) -> Answer:
    return Answer(status, text.encode(), {"Content-Type": "application/xml"})


def html(status: int) -> Answer:
    return Answer(status, b"<html><h1>No.</h1></html>", {"Content-Type": "text/html"})


FOUND = Answer(body=DATA, headers={"ETag": etag(DATA)})
STORED = Answer(headers={"ETag": etag(DATA)})
DELETED = Answer(204)
EMPTY = xml("<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>")
COPIED = xml(f"<CopyObjectResult><ETag>{etag(DATA)}</ETag></CopyObjectResult>")
SLOW_DOWN_INSIDE = error(200, "SlowDown")
CUT = FOUND._replace(sent=1_000, then="close")
STALLED = FOUND._replace(sent=1_000, then="hang")
REST = Answer(
    206,
    DATA[1_000:],
    {"ETag": etag(DATA), "Content-Range": f"bytes 1000-{len(DATA) - 1}/{len(DATA)}"},
)


def rows(deleted: str, *, code: str | None = None) -> Answer:
    """The answer to DeleteObjects: one key deleted, and `b` refused with `code`."""
    refused = f"<Error><Key>b</Key><Code>{code}</Code><Message>No.</Message></Error>" if code else ""
    return xml(f"<DeleteResult><Deleted><Key>{deleted}</Key></Deleted>{refused}</DeleteResult>")


def redirect(status: int) -> Answer:
    return Answer(status, headers={"Location": "http://elsewhere.invalid/bucket/key"})


@dataclass(frozen=True)
class Case:
    """One way to fail.

    Attributes:
        row: the first cell of README's row that it proves.
        verb: what is asked for.
        answers: in the order of the requests, whichever node they come to.
        raises: the error; None: it succeeds.
        requests: at the node that was asked first, and at the other.
        blamed: failures counted against either of them.
        throttled: the same for throttling.
        name: for the test's id.
    """

    row: str
    verb: Callable[..., Awaitable[None]]
    answers: tuple[Answer, ...]
    raises: type[Exception] | None = None
    requests: tuple[int, int] = NONE_SENT
    blamed: tuple[int, int] = (0, 0)
    throttled: tuple[int, int] = (0, 0)
    code: str = ""
    name: str = field(default="", kw_only=True)


def elsewhere(row: str, verb, first: Answer, *then: Answer, **options) -> Case:
    """The first node fails and is blamed, the other one serves."""
    return Case(row, verb, (first, *then), requests=(1, len(then)), **{"blamed": (1, 0), **options})


def at_once(row: str, verb, answer: Answer, raises: type[Exception], code: str = "") -> Case:
    """One request, one error, nobody blamed."""
    return Case(row, verb, (answer,), raises, code=code)


BROKEN = "refused, reset, TLS or DNS error, no connection in time"
LATE = "no first byte in `first_byte_timeout`"
SERVER = "408 or RequestTimeout, 500, 502, 503, 504 (HTML or XML), a redirect"
THROTTLED = "429, or SlowDown, also inside a 200"
BODY = "a body that stalls, breaks or ends early"
LOST = "the answer to a put, copy or delete is lost"
LOST_CONDITIONAL = "412 to a conditional put whose earlier answer was lost"
CONFLICT = "409 ConditionalRequestConflict or OperationAborted"
REFUSED = "404 / 401, 403 / 412 / 413"
GONE = "404 NoSuchKey to a delete, or any 404 after one whose answer was lost"
SKEW = "403 RequestTimeTooSkewed"
SAME = "304, or an answer with the ETag or time that the caller has"
SOME_KEYS = "SlowDown or a server error for some keys of `delete_objects`"
QUOTA = "402, 507, or a write refused for a quota"
OTHER = "every other answer, such as 400, 405, 409, 416, 501"
USED_UP = "all attempts used up, or the shared retry budget"

CASES = [
    elsewhere(BROKEN, get, RESET, FOUND),
    elsewhere(BROKEN, list_all, RESET, EMPTY),
    elsewhere(LATE, get, SILENCE, FOUND),
    *(
        elsewhere(SERVER, get, answer(status), FOUND, name=f"{status} {kind}")
        for status in (500, 502, 503, 504)
        for kind, answer in (("html", html), ("xml", lambda status: error(status, "InternalError")))
    ),
    *(elsewhere(SERVER, get, redirect(status), FOUND, name=f"{status}") for status in (301, 302, 303, 307, 308)),
    elsewhere(SERVER, get, error(301, "PermanentRedirect"), FOUND),
    elsewhere(SERVER, put, error(400, "RequestTimeout"), STORED),
    elsewhere(SERVER, put, html(408), STORED),
    elsewhere(SERVER, copy, error(200, "InternalError"), COPIED, FOUND),
    elsewhere(SERVER, copy, error(503, "ServiceUnavailable"), COPIED, FOUND),
    elsewhere(SERVER, delete, html(502), DELETED),
    elsewhere(SERVER, list_all, html(504), EMPTY),
    *(
        elsewhere(THROTTLED, verb, first, *then, blamed=(0, 0), throttled=(1, 0), name=name)
        for name, verb, first, then in (
            ("429 html", get, html(429), (FOUND,)),
            ("503 SlowDown", get, error(503, "SlowDown"), (FOUND,)),
            ("429 put", put, html(429), (STORED,)),
            ("SlowDown in 200 copy", copy, SLOW_DOWN_INSIDE, (COPIED, FOUND)),
        )
    ),
    elsewhere(BODY, get, CUT, REST, name="short"),
    elsewhere(BODY, get, CUT._replace(then="reset"), REST, name="reset"),
    elsewhere(BODY, get, STALLED, REST, name="stalled"),
    elsewhere(LOST, put, RESET, STORED),
    elsewhere(LOST, copy, RESET, COPIED, FOUND),
    elsewhere(LOST, delete, RESET, DELETED),
    elsewhere(LOST, delete_two, RESET, xml("<DeleteResult><Deleted><Key>a</Key></Deleted><Deleted><Key>b</Key></Deleted></DeleteResult>")),
    Case(CONFLICT, put_new, (error(409, "ConditionalRequestConflict"), STORED), requests=ELSEWHERE_ONCE),
    Case(CONFLICT, delete, (error(409, "OperationAborted"), DELETED), requests=ELSEWHERE_ONCE),
    Case(
        CONFLICT,
        put_new,
        (error(409, "ConditionalRequestConflict"), error(412, "PreconditionFailed"), error(404, "404")),
        PreconditionFailedError,
        requests=(1, 2),
        name="lost to another writer",
    ),
    at_once(REFUSED, get, error(404, "NoSuchKey"), ObjectNotFoundError, "NoSuchKey"),
    at_once(REFUSED, get, error(404, "NoSuchBucket"), ObjectNotFoundError, "NoSuchBucket"),
    at_once(REFUSED, head, Answer(404), ObjectNotFoundError, "404"),
    at_once(REFUSED, get, html(404), ObjectNotFoundError, "404"),
    at_once(REFUSED, get, error(403, "AccessDenied"), AccessDeniedError, "AccessDenied"),
    at_once(REFUSED, get, html(401), AccessDeniedError, "401"),
    at_once(REFUSED, put_new, error(412, "PreconditionFailed"), PreconditionFailedError),
    at_once(REFUSED, put, html(413), EntityTooLargeError),
    at_once(REFUSED, put, error(400, "EntityTooLarge"), EntityTooLargeError),
    at_once(REFUSED, delete, error(404, "NoSuchBucket"), ObjectNotFoundError),
    at_once(REFUSED, delete, html(404), ObjectNotFoundError),
    at_once(REFUSED, copy, error(404, "NoSuchKey"), ObjectNotFoundError),
    at_once(SKEW, put, error(403, "RequestTimeTooSkewed"), ClockSkewError),
    at_once(SAME, get_if_changed, Answer(304), NotModifiedError),
    at_once(SAME, get_if_changed, Answer(body=DATA, headers={"ETag": '"x"'}), NotModifiedError),
    Case(GONE, delete, (error(404, "NoSuchKey"),), name="none there"),
    elsewhere(GONE, delete, RESET, error(404, "NoSuchKey"), name="xml"),
    elsewhere(GONE, delete, RESET, html(404), name="html"),
    elsewhere(GONE, delete_by_boto, RESET, error(404, "NoSuchKey"), name="boto"),
    Case(GONE, delete_two, (rows("a", code="NoSuchKey"),), name="one of many"),
    elsewhere(SOME_KEYS, delete_two, rows("a", code="InternalError"), rows("b"), blamed=(0, 0)),
    elsewhere(
        SOME_KEYS, delete_two, rows("a", code="SlowDown"), rows("b"), blamed=(0, 0), throttled=(1, 0)
    ),
    Case(SOME_KEYS, delete_two, (rows("a", code="OperationAborted"), rows("b")), requests=ELSEWHERE_ONCE),
    at_once(QUOTA, put, html(402), WritesDisabledError),
    at_once(QUOTA, put, error(507, "InsufficientStorage"), WritesDisabledError),
    at_once(QUOTA, put, error(403, "QuotaExceeded"), WritesDisabledError),
    at_once(QUOTA, copy, error(403, "WritesDisabled"), WritesDisabledError),
    at_once(OTHER, get, error(507, "InsufficientStorage"), ServiceError),
    at_once(OTHER, get, error(400, "InvalidArgument"), ServiceError, "InvalidArgument"),
    at_once(OTHER, delete, error(405, "MethodNotAllowed"), ServiceError, "MethodNotAllowed"),
    at_once(OTHER, delete, error(409, "InvalidBucketState"), ServiceError, "InvalidBucketState"),
    at_once(OTHER, get_range, error(416, "InvalidRange"), ServiceError, "InvalidRange"),
    at_once(OTHER, put_tagged, error(501, "NotImplemented"), ServiceError, "NotImplemented"),
    *(
        Case(USED_UP, verb, (answer,) * 3, raises, requests=(2, 1), blamed=blamed, throttled=throttled, name=name)
        for name, verb, answer, raises, blamed, throttled in (
            ("reset", get, RESET, EndpointConnectError, (2, 1), (0, 0)),
            ("silence", get, SILENCE, EndpointTimeoutError, (2, 1), (0, 0)),
            ("503", put, html(503), EndpointServerError, (2, 1), (0, 0)),
            ("429", put, html(429), ThrottledError, (0, 0), (2, 1)),
            ("409", put_new, error(409, "ConditionalRequestConflict"), ServiceError, (0, 0), (0, 0)),
        )
    ),
]  # fmt: skip

ELSEWHERE = {
    "the same, while your own event loop was blocked for a quarter of that time": (
        "tests/executor/test_loop_lag.py::test_a_timeout_of_a_blocked_loop_is_neutral"
    ),
    "the object is another one when a read is resumed, or in another piece": (
        "tests/executor/test_any_cut.py::test_a_stream_is_what_is_stored"
    ),
    "a part of an upload fails": (
        "tests/executor/test_multipart.py::test_a_part_with_bad_luck_goes_on_while_others_arrive"
    ),
    "the node of an upload fails, or has forgotten it": (
        "tests/executor/test_multipart.py::test_the_upload_begins_anew_elsewhere"
    ),
    "the answer to the end of an upload is lost": (
        "tests/executor/test_multipart.py::test_a_lost_answer_to_the_completion_is_looked_after"
    ),
    "whole bytes do not have the checksum that they were written with": (
        "tests/executor/test_checksums.py::test_a_damaged_object_is_read_elsewhere"
    ),
    "the answer to the creation of an upload is lost": (
        "tests/executor/test_lost_answers.py::test_a_lost_creation_is_told"
    ),
    "NoSuchUpload to the end of an upload through `client.s3`, whose earlier answer was lost": (
        "tests/executor/test_lost_answers.py::test_a_completion_that_meets_its_own_success"
    ),
    "a copy, or the end of an upload, takes the store longer than `first_byte_timeout`": (
        "tests/executor/test_lost_answers.py::test_a_copy_may_take_its_time"
    ),
    "a refusal that means the key (InvalidAccessKeyId, SignatureDoesNotMatch, ExpiredToken, ..., 401) while there is a `credentials_provider`": (
        "tests/executor/test_credentials.py::test_a_refused_request_goes_once_more_with_another_key"
    ),
    "412 to a conditional copy, or to a conditional write through `client.s3`, whose earlier answer was lost": (
        "tests/executor/test_lost_answers.py::test_a_condition_through_boto_may_meet_its_own_success"
    ),
    "your deadline": "tests/executor/test_timers.py::test_the_callers_deadline_is_neutral",
}


def case_id(case: Case) -> str:
    return f"{CASES.index(case)} {case.verb.__name__} {case.name or case.answers[0].status}"


class Script:
    """One script for two nodes: whoever is asked takes the next answer."""

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self.left = list(answers)
        self.asked: list[str] = []
        self._broken = ""

    def node(self, name: str):
        async def answer(request):
            # A request whose connection broke off comes once more on a new one: that is no attempt yet.
            if self._broken == name and request.method != "POST":
                self._broken = ""
                return RESET
            self.asked.append(name)
            taken = self.left.pop(0)
            self._broken = name if taken is RESET else ""
            return taken

        return answer


@pytest.mark.parametrize("case", CASES, ids=case_id)
async def test_a_failure_leads_where_the_table_says(running, case):
    """The error, the requests at each node, and who is blamed for it are those of README's table."""
    script = Script(case.answers)
    is_slow = any(answer.then == "hang" for answer in case.answers)
    patience = {"first_byte_timeout": 1.0, "stall_timeout": 1.0} if is_slow else {}
    async with (
        scripted(script.node("one")) as one,
        scripted(script.node("two")) as two,
        running(settings_for(one, two, **patience)) as fb,
    ):
        if case.raises is None:
            await case.verb(fb)
        else:
            with pytest.raises(case.raises) as caught:
                await case.verb(fb)
            assert type(caught.value) is case.raises
            assert case.code in {"", getattr(caught.value, "code", "")}
        order = {one.id: "one", two.id: "two"}
        nodes = sorted(fb.nodes(), key=lambda node: order[node.id] != script.asked[0])
        assert tuple(script.asked.count(order[node.id]) for node in nodes) == case.requests
        assert tuple(node.failures for node in nodes) == case.blamed
        assert tuple(node.throttled for node in nodes) == case.throttled
        assert {node.breaker for node in nodes} == {"closed"}
        assert script.left == []


async def test_a_conditional_put_meets_its_own_success(running):
    """A conditional put whose answer was lost is refused with 412 when it is repeated: the mark on the object
    tells that it is the one that was sent, and nothing is raised; a mark of somebody else is not taken for it.
    """
    for is_ours in (True, False):
        marks = []

        async def answer(request, marks=marks, is_ours=is_ours):
            if request.method == "PUT":
                marks.append(request.headers["x-amz-meta-flashback-write-id"])
                # Once more on a new connection, then at the other node.
                return RESET if len(marks) <= 2 else error(412, "PreconditionFailed")
            mark = marks[0] if is_ours else "0" * 32
            return Answer(body=DATA, headers={"ETag": etag(DATA), "x-amz-meta-flashback-write-id": mark})

        async with scripted(answer) as one, scripted(answer) as two, running(settings_for(one, two)) as fb:
            if is_ours:
                await put_new(fb)
            else:
                with pytest.raises(PreconditionFailedError):
                    await put_new(fb)
        assert len(marks) == 3
        assert len(set(marks)) == 1


async def test_a_put_that_is_sent_again_sends_the_same_bytes(running):
    """A put whose answer was lost is sent again with the same bytes, so that the object is the same."""
    bodies = []

    async def answer(request):
        bodies.append(request.body)
        return RESET if len(bodies) <= 2 else STORED

    async with scripted(answer) as one, scripted(answer) as two, running(settings_for(one, two)) as fb:
        await put(fb)
    assert bodies == [DATA] * 3


def table() -> list[str]:
    """First cells of README's table."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("### What is retried, and what is raised")[2].partition("\n## ")[0]
    return re.findall(r"^\| (.+?) \| .+ \|$", section, re.MULTILINE)[1:]


def test_every_row_of_the_table_is_proved():
    """No row of README's table is without a test, and no test is of a row that is not there."""
    proved = {case.row for case in CASES} | {LOST_CONDITIONAL} | ELSEWHERE.keys()
    assert sorted(table()) == sorted(proved)
    for test in ELSEWHERE.values():
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), test
