"""Tokens: renewed in time, once for all, without storms, and never shown."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
import virtual_time
from aioresponses import CallbackResult, aioresponses

from flashback_async.errors import ConfigurationError, DiscoveryError
from flashback_async.transport.auth import RenewedToken, StaticToken, token_source
from flashback_async.transport.json_channel import JsonChannel
from flashback_async.transport.token_issuers import IssuedToken, ProviderIssuer, RefreshIssuer
from flashback_async.transport.token_life import checked_token, jwt_expiry, lifetime

from .tokens import jwt

BASE = "https://backend.flashback.tech"
REFRESH = f"{BASE}/user/refresh"
WALL = 1_768_473_000.0
SECRET = "refresh-token-0123456789abcdef"


class Issuer:
    """Issues t1, t2, ... after a pause; a step that is an exception is raised instead."""

    def __init__(self, *steps, life=3600.0, pause=1.0):
        self.steps = list(steps)
        self.life = life
        self.pause = pause
        self.asked = []

    async def issue(self, current):
        self.asked.append((asyncio.get_running_loop().time(), current))
        await asyncio.sleep(self.pause)
        step = self.steps.pop(0) if self.steps else None
        if step is not None:
            raise step
        return IssuedToken(f"t{len(self.asked)}", self.life)


def _renewed(issuer, *, random=0.5, **options):
    clock = asyncio.get_running_loop().time
    return RenewedToken(issuer, clock=clock, random=lambda: random, wall_clock=lambda: WALL, **options)


class TestTokenLife:
    """What a token says of its own life."""

    def test_jwt_tells_its_expiry(self):
        """`exp` is read from any JWT, as number or text, in seconds or milliseconds."""
        for exp in (WALL, str(WALL), WALL * 1000.0):
            assert jwt_expiry(jwt(exp=exp)) == WALL

    @pytest.mark.parametrize(
        "token",
        [
            "opaque",
            "a.b.c",
            "a.e30",
            jwt(),
            jwt(exp=None),
            jwt(exp=True),
            jwt(exp="soon"),
            jwt(exp=float("inf")),
            jwt(exp=-5),
            jwt(exp=0),
            "x." + "W1s" * 20_000 + ".y",
            "é.é.é",
        ],
    )
    def test_anything_else_tells_nothing(self, token):
        """Tokens that are no JWT, or say nothing sensible, have no expiry; none raises."""
        assert jwt_expiry(token) is None

    def test_life_is_measured_by_the_issuers_clock(self):
        """`exp - iat` does not depend on this machine's clock, however wrong it is."""
        assert lifetime(jwt(exp=WALL + 600, iat=WALL), None, wall_now=0.0) == 600.0
        assert lifetime(jwt(exp=WALL + 600), None, wall_now=WALL) == 600.0

    @pytest.mark.parametrize("expires_at", [WALL + 120, (WALL + 120) * 1000, str(WALL + 120)])
    def test_expires_at_is_second_choice(self, expires_at):
        """`expiresAt` counts where the token says nothing, in seconds or in milliseconds (> 1e11)."""
        assert lifetime("opaque", expires_at, wall_now=WALL) == pytest.approx(120.0)
        assert lifetime(jwt(exp=WALL + 7), expires_at, wall_now=WALL) == 7.0

    def test_seconds_end_where_milliseconds_begin(self):
        """1e11 is still a time in seconds, anything above is in milliseconds."""
        assert jwt_expiry(jwt(exp=1e11)) == 1e11
        assert jwt_expiry(jwt(exp=1e11 + 1)) == pytest.approx(1e8)

    @pytest.mark.parametrize("expires_at", [None, "tomorrow", {}, 0, WALL - 1, WALL])
    def test_one_hour_is_the_last_resort(self, expires_at):
        """Nothing said, nonsense, or a time already past: one hour, as documented."""
        assert lifetime("opaque", expires_at, wall_now=WALL) == 3600.0

    def test_a_long_token_is_fine(self):
        """Up to what servers take as one header line."""
        assert len(checked_token("x" * 16_384)) == 16_384

    @pytest.mark.parametrize("token", [None, "", 5, "a b", "a\nb", "a\x00", "é", "x" * 16_385])
    def test_a_token_must_fit_a_header(self, token):
        """What would break or split a header is refused, without being repeated."""
        with pytest.raises(ValueError, match=r"is missing|longer|holds") as caught:
            checked_token(token)
        assert not token or str(token) not in str(caught.value)


class TestStaticToken:
    """A token that nobody renews."""

    async def test_is_sent_as_it_is(self):
        """Even an expired one: the control plane's clock decides."""
        token = jwt(exp=WALL - 5)
        assert await StaticToken(token, wall_clock=lambda: WALL).token() == token

    @pytest.mark.parametrize(
        ("token", "reason"),
        [
            (jwt(exp=WALL - 5), "expired 5 s ago"),
            (jwt(exp=WALL + 5), "unknown there"),
            ("garbage", "unknown"),
        ],
    )
    async def test_a_refused_one_names_the_remedy(self, token, reason):
        """The error says since when it is expired and which settings help, and does not show it."""
        source = StaticToken(token, wall_clock=lambda: WALL)
        with pytest.raises(DiscoveryError, match=f"{reason}.*FB_JWT.*FB_REFRESH_TOKEN") as caught:
            await source.renewed(token)
        assert caught.value.status == 401
        assert token not in str(caught.value)

    def test_garbage_is_refused_at_once(self):
        """A token with a line break never reaches a header."""
        with pytest.raises(ConfigurationError, match="access token holds blanks") as caught:
            StaticToken("abc\ndef")
        assert "abc" not in str(caught.value)


class TestRenewal:
    """When a token is renewed, and for whom."""

    @virtual_time.scenario
    async def test_one_token_serves_until_its_margin(self):
        """The first caller has it made; it is renewed 60 s before it expires, and not earlier."""
        issuer = Issuer(life=3600.0, pause=0.0)
        source = _renewed(issuer)
        assert await source.token() == "t1"
        await asyncio.sleep(3539.9)
        assert await source.token() == "t1"
        await asyncio.sleep(0.1)
        assert await source.token() == "t2"
        assert issuer.asked == [(0.0, None), (3540.0, "t1")]

    @virtual_time.scenario
    async def test_a_short_life_is_halved(self):
        """A token that lives less than two margins is renewed at half its life, not all the time."""
        issuer = Issuer(life=30.0, pause=0.0)
        source = _renewed(issuer)
        for at in (0.0, 14.9, 15.0, 29.9, 30.0):
            await asyncio.sleep(at - asyncio.get_running_loop().time())
            await source.token()
        assert [at for at, _ in issuer.asked] == [0.0, 15.0, 30.0]

    @virtual_time.scenario
    async def test_everyone_shares_one_renewal(self):
        """A hundred callers cause one renewal; those cancelled meanwhile do not take it from the others."""
        issuer = Issuer()
        source = _renewed(issuer)
        callers = [asyncio.create_task(source.token()) for _ in range(100)]
        await asyncio.sleep(0.5)
        for caller in callers[::2]:
            caller.cancel()
        assert await asyncio.gather(*callers[1::2]) == ["t1"] * 50
        assert len(issuer.asked) == 1

    @virtual_time.scenario
    async def test_a_renewal_survives_its_only_caller(self):
        """A refresh token that rotated must not get lost: the renewal ends although nobody waits."""
        issuer = Issuer()
        source = _renewed(issuer)
        caller = asyncio.create_task(source.token())
        await asyncio.sleep(0.5)
        caller.cancel()
        await asyncio.sleep(1.0)
        assert await source.token() == "t1"
        assert len(issuer.asked) == 1

    @virtual_time.scenario
    async def test_a_given_token_is_used_first(self):
        """The token to start with serves until it is due; one that looks expired is tried all the same."""
        issuer = Issuer(pause=0.0)
        source = _renewed(issuer, initial=jwt(exp=WALL + 100))
        assert (await source.token()).startswith("ey")
        await asyncio.sleep(50.0)
        assert await source.token() == "t1"
        assert issuer.asked[0][1] is not None
        expired = jwt(exp=WALL - 100)
        assert await _renewed(Issuer(), initial=expired).token() == expired

    @virtual_time.scenario
    async def test_a_refused_token_is_replaced_once(self):
        """Several requests refused with the same token cause one renewal; the refused one is not sent on."""
        issuer = Issuer()
        source = _renewed(issuer)
        assert await source.token() == "t1"
        assert await asyncio.gather(*(source.renewed("t1") for _ in range(5))) == ["t2"] * 5
        assert await source.renewed("t1") == "t2"
        assert [current for _, current in issuer.asked] == [None, None]

    @virtual_time.scenario
    async def test_refusals_without_end_are_no_storm(self):
        """After three renewals within a minute that were refused again, nobody asks for the rest of it."""
        issuer = Issuer(pause=0.0)
        source = _renewed(issuer)
        refused = await source.token()
        for _ in range(3):
            refused = await source.renewed(refused)
        with pytest.raises(DiscoveryError, match=r"refuses every new token.*FB_BASE_URL") as caught:
            await source.renewed(refused)
        assert caught.value.status == 401
        assert caught.value.retry_after == 60.0
        await asyncio.sleep(30.0)
        with pytest.raises(DiscoveryError, match="next try in 30"):
            await source.token()
        assert len(issuer.asked) == 4
        await asyncio.sleep(30.0)
        assert await source.token() == "t5"

    @virtual_time.scenario
    async def test_failing_renewals_back_off(self):
        """However often a token is wanted, failing renewals are tried after 1, 2, 4 ... 60 s."""
        issuer = Issuer(*(DiscoveryError("down", status=503) for _ in range(9)), pause=0.0)
        source = _renewed(issuer)
        outcomes = []
        for _ in range(3000):
            (outcome,) = await asyncio.gather(source.token(), return_exceptions=True)
            outcomes.append(outcome if isinstance(outcome, str) else (outcome.status, str(outcome)[:4]))
            await asyncio.sleep(0.1)
        assert [round(at, 1) for at, _ in issuer.asked] == [
            0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 123.0, 183.0, 243.0,
        ]  # fmt: skip
        assert set(outcomes) == {(503, "down"), "t10"}

    @virtual_time.scenario
    async def test_rare_refusals_are_always_heeded(self):
        """A control plane that revokes a token every minute gets a new one asked for every time."""
        issuer = Issuer(pause=0.0)
        source = _renewed(issuer)
        refused = await source.token()
        for _ in range(10):
            await asyncio.sleep(20.1)
            refused = await source.renewed(refused)
        assert refused == "t11"

    @pytest.mark.parametrize(("random", "pause"), [(0.0, 0.5), (0.999, 1.499)])
    def test_the_back_off_is_jittered_and_starts_anew(self, random, pause):
        """It varies by half either way, and a success resets it."""

        async def scenario():
            down = DiscoveryError("down")
            issuer = Issuer(down, None, down, None, life=10.0, pause=0.0)
            source = _renewed(issuer, random=random)
            for _ in range(3000):
                await asyncio.gather(source.token(), return_exceptions=True)
                await asyncio.sleep(0.01)
            times = [at for at, _ in issuer.asked]
            return times[1] - times[0], times[3] - times[2]

        assert virtual_time.run(scenario()) == pytest.approx((pause, pause), abs=0.02)

    @virtual_time.scenario
    async def test_the_control_planes_wish_is_granted(self):
        """A `Retry-After` longer than the back-off is waited for."""
        issuer = Issuer(DiscoveryError("slow down", status=429, retry_after=20.0), pause=0.0)
        source = _renewed(issuer)
        with pytest.raises(DiscoveryError, match="slow down"):
            await source.token()
        await asyncio.sleep(19.9)
        with pytest.raises(DiscoveryError, match=r"next try in 0\.1 s") as caught:
            await source.token()
        assert caught.value.retry_after == pytest.approx(0.1)
        await asyncio.sleep(0.1)
        assert await source.token() == "t2"

    @virtual_time.scenario
    async def test_the_old_token_serves_while_renewal_fails(self):
        """Between margin and expiry a failing renewal costs nothing; after expiry it does."""
        issuer = Issuer(None, *(DiscoveryError("down") for _ in range(9)), life=600.0, pause=0.0)
        source = _renewed(issuer)
        for at in (0.0, 540.0, 540.5, 599.9):
            await asyncio.sleep(at - asyncio.get_running_loop().time())
            assert await source.token() == "t1"
        await asyncio.sleep(0.1)
        with pytest.raises(DiscoveryError, match="down"):
            await source.token()

    @virtual_time.scenario
    async def test_a_token_refused_meanwhile_is_not_handed_out(self):
        """The old token does not stand in for a failing renewal once it was refused."""
        issuer = Issuer(None, DiscoveryError("down"), life=600.0)
        source = _renewed(issuer)
        await source.token()
        await asyncio.sleep(550.0)
        waiting = asyncio.create_task(source.token())
        await asyncio.sleep(0.5)
        refused = asyncio.create_task(source.renewed("t1"))
        results = await asyncio.gather(waiting, refused, return_exceptions=True)
        assert [str(result) for result in results] == ["down", "down"]

    @virtual_time.scenario
    async def test_closing_lets_a_renewal_end(self):
        """A renewal under way gets five seconds; one that takes longer is cancelled."""
        quick, slow = Issuer(pause=4.0), Issuer(pause=60.0)
        for issuer, took in ((quick, 4.0), (slow, 5.0)):
            source = _renewed(issuer)
            caller = asyncio.create_task(source.token())
            await asyncio.sleep(0)
            began = asyncio.get_running_loop().time()
            await source.aclose()
            assert asyncio.get_running_loop().time() - began == took
            await asyncio.wait({caller})
            caller.exception()

    def test_a_given_token_must_fit_a_header(self):
        """What cannot be sent is refused at once."""
        with pytest.raises(ConfigurationError, match="access token"):
            RenewedToken(Issuer(), initial="a b", clock=lambda: 0.0, random=lambda: 0.0)


class TestProvider:
    """The caller's own function."""

    @virtual_time.scenario
    async def test_is_asked_when_the_token_expires(self):
        """A JWT's expiry is heeded by this machine's clock; a token without one is kept until refused."""
        texts = [jwt("a", exp=WALL + 600, iat=WALL - 3000), "opaque", jwt("c", exp=WALL - 1)]
        lives = []
        for text in texts:

            async def provider(text=text):
                return text

            issued = await ProviderIssuer(provider, wall_clock=lambda: WALL).issue(None)
            assert issued.text == text
            lives.append(issued.life)
        assert lives == [600.0, float("inf"), float("inf")]

    @virtual_time.scenario
    async def test_its_failures_are_typed(self):
        """Errors, nonsense and silence become DiscoveryErrors that show nothing of what it said."""

        async def raising():
            raise RuntimeError("password=hunter2")

        async def nonsense():
            return "two words"

        async def silent():
            await asyncio.sleep(3600)

        async def typed():
            raise DiscoveryError("sign in with the company's tool")

        for provider, message in (
            (raising, "raised RuntimeError"),
            (nonsense, "returned a token that holds blanks"),
            (silent, "raised TimeoutError"),
            (typed, "sign in with"),
        ):
            with pytest.raises(DiscoveryError, match=message) as caught:
                await ProviderIssuer(provider).issue(None)
            assert "hunter2" not in str(caught.value)
            assert "two words" not in str(caught.value)

    @virtual_time.scenario
    async def test_life_of_an_issued_token_is_not_shown(self):
        """The repr of an issued token does not contain it."""
        assert "t1" not in repr(IssuedToken("t1", 5.0))


class Rotating:
    """The control plane's side of `POST /user/refresh`."""

    def __init__(self, mocked, *answers):
        self.answers = list(answers)
        self.bodies = []
        self.headers = []
        mocked.post(REFRESH, callback=self, repeat=True)

    def __call__(self, url, **request):
        self.bodies.append(request["json"])
        self.headers.append(request["headers"])
        status, payload = self.answers.pop(0)
        body = payload if isinstance(payload, str) else json.dumps(payload)
        return CallbackResult(status=status, body=body)


@pytest.fixture
def mocked():
    with aioresponses() as mock:
        yield mock


def _refresher(**options):
    channel = JsonChannel(BASE)
    return channel, RefreshIssuer(channel, SECRET, wall_clock=lambda: WALL, **options)


class TestRefresh:
    """`POST /user/refresh`, in every spelling."""

    async def test_both_spellings_are_sent_and_the_new_token_is_used_next(self, mocked):
        """The refresh token goes out under both keys; its successor replaces it."""
        service = Rotating(
            mocked,
            (200, {"success": True, "accessToken": "a1", "refreshToken": "r1", "expiresAt": WALL + 50}),
            (200, {"access_token": "a2", "refresh_token": "r2", "expiresAt": (WALL + 60) * 1000}),
            (200, {"token": "a3"}),
            (200, {"accessToken": "a4"}),
        )
        channel, issuer = _refresher()
        issued = [await issuer.issue(current) for current in (None, "a1", None, None)]
        await channel.aclose()
        assert [(one.text, one.life) for one in issued] == [
            ("a1", 50.0), ("a2", 60.0), ("a3", 3600.0), ("a4", 3600.0),
        ]  # fmt: skip
        sent = [SECRET, "r1", "r2", "r2"]
        assert service.bodies == [{"refreshToken": text, "refresh_token": text} for text in sent]
        assert [headers.get("Authorization") for headers in service.headers] == [
            None,
            "Bearer a1",
            None,
            None,
        ]

    async def test_rotation_is_persisted_before_the_old_token_is_forgotten(self, mocked):
        """`on_rotate` has returned before anything is done with the new token, and gets every one once."""
        persisted = []

        async def on_rotate(text):
            await asyncio.sleep(0)
            persisted.append(text)

        Rotating(
            mocked,
            (200, {"accessToken": "a1", "refreshToken": "r1"}),
            (200, {"accessToken": "a2", "refreshToken": "r1"}),
            (200, {"refreshToken": "r3"}),
        )
        channel, issuer = _refresher(on_rotate=on_rotate)
        await issuer.issue(None)
        await issuer.issue(None)
        with pytest.raises(DiscoveryError, match="token that is missing"):
            await issuer.issue(None)
        await channel.aclose()
        assert persisted == ["r1", "r3"]

    async def test_a_failing_callback_is_logged_and_the_new_token_used(self, mocked, caplog):
        """The old refresh token is spent: losing the new one as well would lock the process out."""

        async def on_rotate(text):
            raise OSError(f"cannot write {text}")

        service = Rotating(mocked, *[(200, {"accessToken": "a", "refreshToken": "rotated-secret"})] * 2)
        channel, issuer = _refresher(on_rotate=on_rotate)
        await issuer.issue(None)
        await issuer.issue(None)
        await channel.aclose()
        assert service.bodies[1]["refreshToken"] == "rotated-secret"
        assert [(r.levelno, "raised OSError" in r.getMessage()) for r in caplog.records] == [
            (logging.ERROR, True)
        ]
        assert "rotated-secret" not in caplog.text

    @pytest.mark.parametrize(
        ("status", "payload", "message"),
        [
            (401, {"success": False, "message": f"bad token {SECRET}"}, r"401 \(bad token \*\*\*\); sign in"),
            (
                200,
                {"success": False, "error_code": "EXPIRED"},
                "EXPIRED.*sign in again.*FB_REFRESH_TOKEN.*on_rotate",
            ),
            (400, "<html><title>Bad Request</title></html>", "Bad Request.*sign in"),
            (503, {}, "answered 503.*tried again"),
            (200, [], "token that is missing"),
            (200, {"accessToken": "a b"}, "token that holds blanks"),
            (200, {"accessToken": "a", "refreshToken": "r\n"}, "token that holds blanks"),
            (200, "<html>", "answered 200 without JSON"),
        ],
    )
    async def test_failures_name_the_remedy_and_no_token(self, mocked, status, payload, message):
        """Each way to fail gives a typed error that helps and shows no token."""
        Rotating(mocked, (status, payload))
        channel, issuer = _refresher()
        with pytest.raises(DiscoveryError, match=message) as caught:
            await issuer.issue(None)
        await channel.aclose()
        assert SECRET not in str(caught.value)
        assert caught.value.status == status

    def test_garbage_is_refused_at_once(self):
        """A refresh token that cannot be one is named as a setting, without being shown."""
        with pytest.raises(ConfigurationError, match="refresh_token holds blanks") as caught:
            RefreshIssuer(JsonChannel(BASE), "two words")
        assert "two words" not in str(caught.value)


class TestChoice:
    """Which source belongs to what the caller has."""

    @staticmethod
    def _source(**given):
        return token_source(
            JsonChannel(BASE), clock=lambda: 0.0, wall_clock=lambda: WALL, random=lambda: 0.0, **given
        )

    def test_everything_has_its_source(self):
        """A string is static, a function and a refresh token renew, a source is used as it is."""

        async def provider():
            return "t"

        own = StaticToken("t")
        assert isinstance(self._source(token="t"), StaticToken)
        assert isinstance(self._source(token=provider), RenewedToken)
        assert isinstance(self._source(token=None, refresh_token="r"), RenewedToken)
        assert isinstance(self._source(token="t", refresh_token="r"), RenewedToken)
        assert self._source(token=own) is own

    def test_nothing_or_too_much_is_refused(self):
        """The error names the settings that would help."""
        with pytest.raises(ConfigurationError, match="FB_REFRESH_TOKEN or FB_JWT, or FB_ENDPOINTS"):
            self._source(token=None)
        with pytest.raises(ConfigurationError, match="bytes is no token"):
            self._source(token=b"t")
        with pytest.raises(ConfigurationError, match="give one of them"):
            self._source(token=StaticToken("t"), refresh_token="r")
