from __future__ import annotations

from bridge.matrix.crypto import crypto
from bridge.matrix.crypto.peers import DAY_MS, HOUR_MS, Allowance, RateLimit


def test_budget_is_limited_per_period() -> None:
    budget = RateLimit(2, HOUR_MS)
    assert [budget.spend("a", 5) for _ in range(3)] == [True, True, False]
    assert budget.spend("b", 5)
    assert not budget.spend("a", 5 + HOUR_MS - 1)
    assert [budget.spend("a", 5 + HOUR_MS) for _ in range(3)] == [True, True, False]
    assert budget.spend("a", 0)  # the clock went back


def test_a_homeserver_has_a_limit_for_all_its_users() -> None:
    allowance = Allowance(2, 3, "here")
    assert [allowance.spend("@a:there", 0) for _ in range(3)] == [True, True, False]
    assert [allowance.spend(f"@{n}:there", 0) for n in range(3)] == [True, False, False]
    assert all(allowance.spend(f"@{n}:here", 0) for n in range(10))
    assert allowance.spend("@a:elsewhere", 0)
    assert not allowance.spend("@9:there", HOUR_MS)
    assert allowance.spend("@9:there", DAY_MS)


def test_refused_use_is_not_charged() -> None:
    allowance = Allowance(2, 3, "here")
    assert all(allowance.spend(f"@{n}:there", 0) for n in range(3))
    late = DAY_MS - 1
    assert [allowance.spend("@a:there", late) for _ in range(3)] == [False] * 3
    assert [allowance.spend("@a:there", DAY_MS) for _ in range(3)] == [True, True, False]
    assert allowance.spend("@b:there", DAY_MS)


def test_a_thousand_customers_of_one_homeserver_stay_within_the_limits() -> None:
    """With four devices each, in a room with the bot and a queue user, whom six agents served."""
    channels = Allowance(crypto._CHANNELS, crypto._CHANNELS_OF_SERVER, "here")
    for customer in range(1_000):
        assert all(channels.spend(f"@{customer}:there", 0) for _ in range(4 * (2 + 6)))
