"""`FB_READ_SLO` reaches the router; what it does there is told in `tests/routing/test_slo.py`."""

from __future__ import annotations

import pytest

from flashback_async import FlashbackClient, FlashbackSettings
from flashback_async.errors import ConfigurationError

GIVEN = {"endpoints": ("https://a.example",), "key_id": "id", "key_secret": "secret"}


def test_the_objective_reaches_the_router():
    """Seconds in the settings are seconds in the router's policy."""
    client = FlashbackClient(FlashbackSettings(**GIVEN, read_slo=0.05))
    assert client.router.policy.read_slo == 0.05


def test_the_objective_comes_from_the_environment(monkeypatch):
    """The variable is `FB_READ_SLO`."""
    monkeypatch.setenv("FB_READ_SLO", "0.2")
    assert FlashbackClient(FlashbackSettings(**GIVEN)).router.policy.read_slo == 0.2


def test_without_an_objective_the_policy_has_none():
    """By default only the best will do."""
    assert FlashbackClient(FlashbackSettings(**GIVEN)).router.policy.read_slo == 0.0


@pytest.mark.parametrize("value", [0, -1, float("nan"), "soon"])
def test_what_is_no_objective_is_refused(value):
    """A time that no answer can meet, or none at all, is an error that names the setting."""
    with pytest.raises(ConfigurationError, match="read_slo"):
        FlashbackSettings(**GIVEN, read_slo=value)
