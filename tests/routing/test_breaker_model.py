"""The breaker beside a second one, written naively and from the rules alone: both must always agree."""

from __future__ import annotations

from random import Random

import pytest

from flashback_async.routing import Outcome, RoutingPolicy
from flashback_async.routing.breaker import Breaker


class NaiveBreaker:
    """Keeps everything that ever happened in lists and derives each answer from them."""

    def __init__(self, policy: RoutingPolicy, chance) -> None:
        self.policy = policy
        self.chance = chance
        self.mode = "closed"
        self.era = 0
        self.calls: list[tuple[int, bool]] = []
        self.level = 0
        self.spotless_from = 0.0
        self.until = 0.0
        self.tester: object | None = None
        self.tester_came = 0.0

    def lets_in(self, now: float) -> bool:
        if self.mode == "closed":
            return True
        if self.mode == "open":
            return not now < self.until
        return self.tester is None or not now - self.tester_came < self.policy.trial_limit

    def enter(self, now: float) -> tuple[int, object]:
        ticket = (self.era, object())
        if self.mode != "closed" and self.lets_in(now):
            if self.mode == "open":
                self.mode, self.era = "half-open", self.era + 1
                ticket = (self.era, object())
            self.tester, self.tester_came = ticket[1], now
        return ticket

    def leave(self, ticket: tuple[int, object], outcome: str, now: float) -> None:
        era, who = ticket
        bad, good = outcome in {"ENDPOINT_FAULT", "TIMEOUT"}, outcome in {"SUCCESS", "CALLER_FAULT"}
        if era != self.era:
            return
        if self.mode == "half-open" and who is self.tester:
            self.tester = None
            if good:
                self.mode, self.era, self.calls, self.spotless_from = "closed", self.era + 1, [], now
            elif bad:
                self.shut(now)
        elif self.mode == "closed" and (good or bad):
            self.calls.append((int(now), bad))
            if bad:
                whole = 0
                while self.spotless_from + (whole + 1) * self.policy.healthy_time <= now:
                    whole += 1
                self.level = max(self.level - whole, 0)
                self.spotless_from = now
                if self.too_bad(now):
                    self.shut(now)

    def too_bad(self, now: float) -> bool:
        row = 0
        for _, bad in reversed(self.calls):
            if not bad:
                break
            row += 1
        recent = [bad for second, bad in self.calls if int(now) - second < self.policy.breaker_window]
        often = len(recent) >= self.policy.breaker_minimum and sum(recent) * 2 >= len(recent)
        return row >= self.policy.breaker_consecutive or often

    def shut(self, now: float) -> None:
        length = self.policy.open_time
        for _ in range(self.level):
            length = min(length * 2, self.policy.open_time_limit)
        self.until = now + length * (0.5 + self.chance())
        self.mode, self.era, self.level = "open", self.era + 1, self.level + 1


@pytest.mark.parametrize("seed", range(40))
def test_it_agrees_with_a_naive_model(seed):
    """On random sequences of permits, results (late ones too) and pauses, both say the same at each step."""
    dice = Random(seed)
    policy = RoutingPolicy(trial_limit=dice.choice([5.0, 60.0]))
    real, naive = Breaker(policy, Random(seed).random), NaiveBreaker(policy, Random(seed).random)
    failing = dice.random()
    held: list[tuple[object, tuple[int, object]]] = []
    now = 0.0
    seen = set()
    for step in range(1_500):
        if step % 100 == 0:
            failing = dice.choice([0.02, 0.3, 0.5, 0.9, 1.0])
        # Quarters of a second are exact in binary, so that both agree on every edge.
        now += dice.choice([0.0] * 12 + [0.25, 0.25, 0.5, 1.0, 3.25, 10.0, 30.0])
        if dice.random() < 0.6 or not held:
            held.append((real.permit(now), naive.enter(now)))
        if held and dice.random() < 0.6:
            permit, ticket = held.pop(dice.randrange(len(held)) if dice.random() < 0.3 else -1)
            roll = dice.random()
            if roll < 0.1:
                outcome = dice.choice([Outcome.CANCELLED, Outcome.THROTTLED])
            else:
                bad = dice.random() < failing
                outcome = dice.choice(
                    [Outcome.ENDPOINT_FAULT, Outcome.TIMEOUT]
                    if bad
                    else [Outcome.SUCCESS, Outcome.CALLER_FAULT]
                )
            real.record(permit, outcome, now)
            naive.leave(ticket, outcome.name, now)
        assert real.state.value == naive.mode, f"seed {seed}, step {step}"
        assert real.generation == naive.era, f"seed {seed}, step {step}"
        assert real.retry_at == pytest.approx(naive.until), f"seed {seed}, step {step}"
        assert real.admits(now) is naive.lets_in(now), f"seed {seed}, step {step}"
        seen.add(real.state)
    assert len(seen) == 3, "the sequence must have visited every state"
