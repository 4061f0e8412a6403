"""Keys that rotate: when a provider is asked, how often, and what a refused key leads to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from virtual_time import run, scenario

from flashback_async.config import Credentials, FlashbackSettings
from flashback_async.errors import (
    AccessDeniedError,
    ClientClosedError,
    ConfigurationError,
    DeadlineExceededError,
    PoolTimeoutError,
    ServiceError,
)
from flashback_async.routing import Endpoint, OperationKind
from flashback_async.transport.credentials import KeyRing, pause_after
from flashback_async.transport.operation import Deadline, Journey
from flashback_async.transport.s3_call import S3Answer
from flashback_async.transport.s3_pool import S3Pool

from .scenes import CALLER_FAULT, CLOSED, SUCCESS, Scene, now, operation
from .test_timers import Lines, executor

READ, WRITE = OperationKind.READ, OperationKind.WRITE
OLD, NEW = Credentials("old", "secret"), Credentials("new", "secret")
START = 1_800_000_000.0
UNKNOWN = AccessDeniedError("403 InvalidAccessKeyId", code="InvalidAccessKeyId", status=403)
BARE = AccessDeniedError("403", code="403", status=403)


class Vault:
    """A provider that gives `key`, after `delay` seconds, and counts."""

    def __init__(self, key: object = OLD, *, delay: float = 0.0) -> None:
        self.key = key
        self.delay = delay
        self.asked: list[float] = []

    async def provide(self):
        self.asked.append(now())
        await asyncio.sleep(self.delay)
        if isinstance(self.key, Exception):
            raise self.key
        return self.key


def ring(vault: Vault, replaced: list[Credentials] | None = None) -> KeyRing:
    return KeyRing(
        FlashbackSettings(endpoints=("https://a",), credentials_provider=vault.provide),
        clock=now,
        wall_clock=lambda: START + now(),
        on_replaced=lambda key: None if replaced is None else replaced.append(key),
    )


def journey(*, attempts: int = 3, at: float | None = None) -> Journey:
    return Journey(deadline=Deadline(at), attempts_left=attempts)


def expiring(key_id: str, seconds: float) -> Credentials:
    return Credentials(
        key_id, "secret", expires_at=datetime.fromtimestamp(START, UTC) + timedelta(0, seconds)
    )


@scenario
async def test_a_key_is_asked_for_once_and_kept():
    """The provider is asked at the start, and its key is used for reads and writes from then on."""
    vault = Vault()
    keys = ring(vault)
    await keys.open()
    await asyncio.sleep(100_000)
    assert keys.at_hand(READ) == keys.at_hand(WRITE) == await keys.of(READ) == OLD
    assert vault.asked == [0.0]
    await keys.close()


@scenario
async def test_fixed_keys_are_not_asked_about():
    """Keys of the settings stay as they are: reads have their own, and a refusal changes nothing."""
    settings = FlashbackSettings(
        endpoints=("https://a",), key_id="w", key_secret="s", read_key_id="r", read_key_secret="s"
    )
    keys = KeyRing(settings, clock=now, on_replaced=lambda _: None)
    await keys.open()
    assert (keys.at_hand(READ).key_id, (await keys.of(WRITE)).key_id) == ("r", "w")
    assert not await keys.replaced(keys.at_hand(READ), UNKNOWN)
    await keys.close()


@scenario
async def test_many_refusals_ask_once():
    """However many requests are refused with the old key, the provider is asked once, and all may go on."""
    vault, replaced = Vault(delay=0.5), []
    keys = ring(vault, replaced)
    await keys.open()
    vault.key = NEW
    assert await asyncio.gather(*(keys.replaced(OLD, UNKNOWN) for _ in range(100))) == [True] * 100
    assert await keys.replaced(OLD, UNKNOWN)  # one more whose answer was late
    assert (vault.asked, replaced, keys.at_hand(READ)) == ([0.0, 0.5], [OLD], NEW)
    await keys.close()


@pytest.mark.parametrize(("refusal", "pause"), [(UNKNOWN, 1.0), (BARE, 30.0)])
def test_a_confirmed_key_is_not_asked_about_again_for_a_while(refusal, pause):
    """A key that the provider stands by is refused as before, without another question for a second, or half a minute where the refusal cannot tell."""

    async def play():
        vault, replaced = Vault(), []
        keys = ring(vault, replaced)
        await keys.open()
        for _ in range(50):
            assert not await keys.replaced(OLD, refusal)
        await asyncio.sleep(pause - 0.001)
        assert not await keys.replaced(OLD, refusal)
        assert len(vault.asked) == 2
        await asyncio.sleep(0.002)
        vault.key = NEW
        assert await keys.replaced(OLD, refusal)
        assert (len(vault.asked), replaced) == (3, [OLD])
        await keys.close()

    run(play())


@pytest.mark.parametrize(
    ("status", "code", "reason", "pause"),
    [
        (403, "InvalidAccessKeyId", "", 1.0),
        (403, "InvalidAccessKeyID", "", 1.0),  # as rclone spells it
        (403, "SignatureDoesNotMatch", "", 1.0),
        (400, "ExpiredToken", "", 1.0),
        (400, "TokenRefreshRequired", "", 1.0),
        (400, "InvalidToken", "", 1.0),
        (401, "Unauthorized", "", 1.0),
        (403, "AccessDenied", "the key has expired", 1.0),
        (403, "403", "", 30.0),
        (400, "400", "", 30.0),
        (403, "AccessDenied", "Access Denied", None),
        (403, "AllAccessDisabled", "", None),
        (404, "404", "", None),
        (400, "InvalidArgument", "", None),
    ],
)
def test_which_refusals_are_about_the_key(status, code, reason, pause):
    """Codes that name the key, and 401, ask the provider; an answer without a code asks rarely; a missing permission never."""
    assert pause_after(ServiceError(reason, code=code, status=status)) == pause


@scenario
async def test_a_key_is_replaced_before_it_expires():
    """A minute before its end another key is asked for in the background, while requests go on with the first."""
    vault, replaced = Vault(expiring("one", 600), delay=2), []
    keys = ring(vault, replaced)
    await keys.open()
    vault.key = expiring("two", 1_200)
    await asyncio.sleep(530)
    assert (await keys.of(READ)).key_id == "one"
    assert len(vault.asked) == 1
    await asyncio.sleep(9)
    assert [keys.at_hand(READ).key_id for _ in range(3)] == ["one"] * 3
    await asyncio.sleep(3)
    assert keys.at_hand(READ).key_id == "two"
    assert (len(vault.asked), [key.key_id for key in replaced]) == (2, ["one"])
    await keys.close()


@scenario
async def test_an_expired_key_is_waited_for():
    """After its end a key is used no more; whoever needs one waits for the provider, which keeps being asked while it fails."""
    vault = Vault(expiring("one", 100))
    keys = ring(vault)
    await keys.open()
    vault.key = OSError("down")
    for second in range(60, 100):
        await asyncio.sleep(second - now())
        assert keys.at_hand(READ).key_id == "one"
    assert 10 < len(vault.asked) < 45
    await asyncio.sleep(101 - now())
    assert keys.at_hand(READ) is None
    with pytest.raises(ConfigurationError, match="Vault.provide raised OSError"):
        await keys.of(READ)
    vault.key = expiring("two", 1_000)
    assert (await keys.of(READ)).key_id == "two"
    await keys.close()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (RuntimeError("secret"), "Vault.provide raised RuntimeError; the cause is attached"),
        (("id", "secret"), "Vault.provide returned a tuple; return Credentials"),
        (expiring("old", -5), "Vault.provide returned a key that has expired 5 s ago"),
    ],
)
def test_a_provider_that_fails_is_named(given, told):
    """A provider that raises, or returns what is no key, is named in a ConfigurationError that quotes no secret."""

    async def play():
        keys = ring(Vault(given))
        with pytest.raises(ConfigurationError, match=told) as caught:
            await keys.open()
        assert "secret" not in str(caught.value)
        assert isinstance(caught.value.__cause__, RuntimeError) is isinstance(given, RuntimeError)
        await keys.close()

    run(play())


@scenario
async def test_a_provider_that_hangs_ends():
    """A provider has the total timeout for an answer; a closed ring stops waiting at once."""
    vault = Vault(delay=1_000)
    keys = ring(vault)
    with pytest.raises(ConfigurationError, match="gave no key within 60 s"):
        await keys.open()
    assert now() == 60.0
    waiting = asyncio.create_task(keys.of(READ))
    await asyncio.sleep(1)
    await keys.close()
    with pytest.raises(ClientClosedError):
        await waiting


def test_a_moment_needs_a_time_zone():
    """A key that expires at a time without a zone is refused when it is made."""
    with pytest.raises(ConfigurationError, match="needs a time zone"):
        Credentials("id", "secret", expires_at=datetime(2030, 1, 1))  # noqa: DTZ001  # what is tested


# --- attempts ------------------------------------------------------------------------------------------------


class Locked(Lines):
    """A pool whose endpoint takes one key only; a refused lease may get it after `delay` seconds."""

    def __init__(self, *, key: bool, delay: float = 0.0) -> None:
        super().__init__(self._serve)
        self.sent: list[float] = []
        self._key = key
        self._delay = delay
        self._is_new = False

    async def _serve(self, _operation, *, progress):
        self.sent.append(now())
        await asyncio.sleep(0.1)
        if not self._is_new:
            raise AccessDeniedError("403 InvalidAccessKeyId", code="InvalidAccessKeyId", status=403)
        return S3Answer({})

    async def renewed(self, refusal):
        assert refusal.code == "InvalidAccessKeyId"
        await asyncio.sleep(self._delay)
        self._is_new = self._key
        return self._key


@scenario
async def test_a_refused_request_goes_once_more_with_another_key():
    """The same endpoint is asked again: one attempt, nobody blamed, and what the provider took is not the endpoint's latency."""
    scene, lines = Scene({"a": []}), Locked(key=True, delay=8.0)
    trip = journey(attempts=1)
    answered = await executor(scene, lines).call(operation(), trip)
    assert (answered.endpoint_id, answered.attempts, trip.failures) == ("a", 1, [])
    assert lines.sent == pytest.approx([0.0, 8.1])
    assert scene.router.settled == [("a", SUCCESS)]
    assert scene.router.details[0]["first_byte"] == pytest.approx(0.1)
    assert lines.released == 1


@pytest.mark.parametrize("rotations", [2, 3, 4])
def test_keys_that_rotate_while_one_request_runs(rotations):
    """A request that is refused with one key after the other goes on with the next one, but not for ever."""

    class Rotating(Locked):
        async def renewed(self, refusal):
            self._is_new = len(self.sent) >= rotations
            return True

    async def play():
        scene, lines = Scene({"a": []}), Rotating(key=True)
        call = executor(scene, lines).call(operation(), Journey(deadline=Deadline(), attempts_left=1))
        if rotations <= 3:
            await call
        else:
            with pytest.raises(AccessDeniedError):
                await call
        assert (len(lines.sent), lines.released) == (min(rotations + 1, 4), 1)

    run(play())


@scenario
async def test_a_key_without_a_successor_is_refused():
    """If the provider has no other key, the refusal is raised as it came; it counts against nobody."""
    scene, lines = Scene({"a": []}), Locked(key=False)
    with pytest.raises(AccessDeniedError, match="InvalidAccessKeyId"):
        await executor(scene, lines).call(operation(), journey())
    assert (len(lines.sent), scene.router.settled) == (1, [("a", CALLER_FAULT)])
    assert scene.at("a").breaker is CLOSED
    assert lines.released == 1


@scenario
async def test_the_deadline_bounds_the_provider():
    """A provider that hangs takes an operation no further than its deadline."""
    scene, lines = Scene({"a": []}), Locked(key=True, delay=1_000)
    with pytest.raises(DeadlineExceededError, match="credentials provider was asked, after 403"):
        await executor(scene, lines).call(operation(), journey(at=12.0))
    assert now() == pytest.approx(12.0)
    assert lines.released == 1


# --- the pool ------------------------------------------------------------------------------------------------


def endpoints(count: int) -> list[Endpoint]:
    return [Endpoint(id=f"n{place}", url=f"https://n{place}") for place in range(count)]


async def opened(vault: Vault, nodes: list[Endpoint]) -> S3Pool:
    settings = FlashbackSettings(endpoints=("https://n0",), credentials_provider=vault.provide)
    pool = S3Pool(settings, tls=None, clock=now)
    await pool.open()
    pool.track(nodes)
    await pool.ready()
    return pool


@scenario
async def test_the_clients_of_a_replaced_key_are_closed():
    """Every endpoint has one client; when the key rotates it gets another one, and the old one goes with its last lease."""
    vault, nodes = Vault(), endpoints(3)
    pool = await opened(vault, nodes)
    assert pool.clients == 3
    held = [await pool.lease(nodes[0], kind, timeout=1) for kind in (READ, READ, WRITE)]
    for rotation in range(5):
        vault.key = Credentials(f"key {rotation}", "secret")
        assert await held[0].renewed(UNKNOWN)
        await pool.ready()
    # Those that were not renewed hold the first key's client.
    assert (pool.clients, pool.leases, len(vault.asked)) == (4, 3, 6)
    url = await pool.presign(nodes[1], operation(), expires=60)
    assert "key%204" in url
    held[1].release()
    assert pool.clients == 4
    assert await held[2].renewed(UNKNOWN)
    assert (pool.clients, len(vault.asked)) == (3, 6)
    held[0].release()
    held[2].release()
    assert (pool.clients, pool.leases) == (3, 0)
    await pool.close()


@scenario
async def test_a_lease_waits_for_a_key_as_long_as_for_a_connection():
    """Where the key has expired and the provider hangs, a lease ends in time and gives its connection back."""
    soon = datetime.now(UTC) + timedelta(seconds=100)
    vault, [node] = Vault(Credentials("old", "secret", expires_at=soon)), endpoints(1)
    pool = await opened(vault, [node])
    vault.delay = 1_000
    await asyncio.sleep(200)
    with pytest.raises(PoolTimeoutError, match="gave no key within 3 s"):
        await pool.lease(node, READ, timeout=3)
    assert now() == pytest.approx(203)
    assert pool.leases == 0
    await pool.close()
