"""Shares of device time, had and deserved, over time."""

from __future__ import annotations

import pytest

from aquahost.messages.snapshot import TenantView
from aquahost_tui.store.tenant_shares import OVER_S, ModelWork, TenantShares


def tenant(name: str, service_s: float, *, weight: float = 1.0, live: int = 1, tokens: int = 0) -> TenantView:
    return TenantView(name=name, weight=weight, live=live, waiting=0, service_s=service_s, output_tokens=tokens)


def test_shares_follow_weights_until_device_time_is_used() -> None:
    shares = TenantShares()
    shares.take([tenant("gold", 0.0, weight=3.0), tenant("web", 0.0), tenant("idle", 0.0, weight=9.0, live=0)], 0.0)
    found = shares.shares()
    assert {name: share.deserved for name, share in found.items()} == {"gold": 0.75, "web": 0.25, "idle": 0.0}
    assert all(share.had == share.since_start == 0.0 for share in found.values())


def test_who_had_less_than_its_weight_is_seen() -> None:
    shares = TenantShares()
    for second in range(11):
        shares.take([tenant("gold", 0.5 * second, weight=3.0), tenant("web", 100.0 + 0.5 * second)], float(second))
    gold, web = shares.shares()["gold"], shares.shares()["web"]
    assert (gold.deserved, web.deserved) == pytest.approx((0.75, 0.25))
    assert (gold.had, web.had) == pytest.approx((0.5, 0.5))
    assert (gold.surplus, web.surplus) == pytest.approx((-0.25, 0.25))
    assert web.since_start == pytest.approx(105 / 110)


def test_only_the_last_seconds_count() -> None:
    shares = TenantShares()
    for second in range(100):
        had = min(second, 40)
        shares.take([tenant("early", had), tenant("late", second - had)], float(second))
    found = shares.shares()
    assert OVER_S < 99 - 40
    assert (found["early"].had, found["late"].had) == (0.0, 1.0)
    assert found["early"].since_start == pytest.approx(40 / 99)


def test_a_tenant_deserves_only_what_was_served_while_it_had_prompts() -> None:
    """One that went idle halfway had all that it deserved, though its share of the whole time is small."""
    shares = TenantShares()
    had_by = {"gold": 0.0, "web": 0.0}
    for second in range(21):
        gold_is_live = second < 10
        shares.take(
            [
                tenant("gold", had_by["gold"], weight=3.0, live=4 if gold_is_live else 0),
                tenant("web", had_by["web"]),
            ],
            float(second),
        )
        had_by["gold"] += 0.75 if gold_is_live else 0.0
        had_by["web"] += 0.25 if gold_is_live else 1.0
    found = shares.shares()
    assert found["gold"].surplus == pytest.approx(0.0)
    assert found["web"].surplus == pytest.approx(0.0)
    assert found["gold"].had == pytest.approx(7.5 / 20)


def test_the_first_prompt_of_all_deserves_its_device_time() -> None:
    shares = TenantShares()
    shares.take([tenant("web", 0.0, live=0)], 0.0)
    shares.take([tenant("web", 1.0)], 1.0)
    assert shares.shares()["web"].surplus == pytest.approx(0.0)


def test_snapshots_that_come_often_are_thinned_out_without_losing_device_time() -> None:
    shares = TenantShares()
    for step in range(1001):
        shares.take([tenant("gold", step * 0.03), tenant("web", step * 0.01)], step * 0.05)
    assert shares.shares()["gold"].had == pytest.approx(0.75)


def test_tokens_per_second_of_each_tenant() -> None:
    shares = TenantShares()
    for second in range(4):
        shares.take([tenant("gold", 0.0, tokens=second * 100)], float(second))
    assert shares.tokens_per_s("gold") == pytest.approx(100.0)
    assert shares.tokens_per_s("nobody") == 0.0


def test_weights_hold_among_the_tenants_of_one_model() -> None:
    """gold and web share one model by their weights, and web has another one alone: nobody is treated unfairly."""
    shares = TenantShares()
    for second in range(11):
        works = [
            ModelWork("chat", 1.0 * second, frozenset({"gold", "web"})),
            ModelWork("story", 1.0 * second, frozenset({"web"})),
            ModelWork("idle", 5.0, frozenset()),
        ]
        shares.take([tenant("gold", 0.75 * second, weight=3.0), tenant("web", 1.25 * second)], float(second), works)
    found = shares.shares()
    assert (found["gold"].deserved, found["gold"].had) == pytest.approx((0.375, 0.375))
    assert found["web"].surplus == pytest.approx(0.0)
