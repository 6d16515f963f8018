"""Token buckets: never more than a minute's worth and the rate, and nothing that was given back is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.api.token_bucket import TokenBucket

RATES = st.integers(1, 100_000)
WAITS = st.floats(0, 300)
UNITS = st.floats(0, 200_000)


@given(RATES, st.lists(st.tuples(WAITS, UNITS), max_size=40))
def test_never_more_than_a_minute_s_worth_and_the_rate(rate: int, asks: list[tuple[float, float]]) -> None:
    bucket, now_s, taken = TokenBucket(rate, 0.0), 0.0, 0.0
    for pause_s, units in asks:
        now_s += pause_s
        if bucket.take(units, now_s) == 0:
            taken += min(units, rate)
        assert taken <= (rate + rate * now_s / 60) * (1 + 1e-9)


@given(RATES, st.lists(st.tuples(WAITS, UNITS), max_size=20), st.floats(1, 200_000))
def test_what_is_refused_is_there_when_it_was_said_to_be_and_not_before(
    rate: int, asks: list[tuple[float, float]], wanted: float
) -> None:
    bucket, now_s = TokenBucket(rate, 0.0), 0.0
    for pause_s, units in asks:
        now_s += pause_s
        bucket.take(units, now_s)
    wait_s = bucket.take(wanted, now_s)
    if wait_s > 1e-3:
        assert bucket.take(wanted, now_s + wait_s * 0.9) > 0
        assert bucket.take(wanted, now_s + wait_s * (1 + 1e-6) + 1e-6) == 0


@given(RATES, UNITS, WAITS)
def test_what_is_given_back_can_be_taken_again(rate: int, units: float, pause_s: float) -> None:
    units = min(units, rate)
    bucket, untouched = TokenBucket(rate, 0.0), TokenBucket(rate, 0.0)
    assert bucket.take(units, 0.0) == 0
    bucket.charge(-units, pause_s)
    assert bucket.remaining(pause_s) == untouched.remaining(pause_s)
    assert bucket.full_in_s(pause_s) == 0


@given(RATES, st.floats(1, 10_000))
def test_a_debt_is_made_good_before_more_is_to_be_had(rate: int, beyond: float) -> None:
    bucket = TokenBucket(rate, 0.0)
    bucket.charge(rate + beyond, 0.0)
    assert bucket.remaining(0.0) == 0
    assert bucket.take(1, 0.0) == pytest.approx((beyond + 1) * 60 / rate)
    assert bucket.full_in_s(0.0) == pytest.approx((rate + beyond) * 60 / rate)


def test_it_fills_up_to_a_minute_s_worth() -> None:
    bucket = TokenBucket(60, 0.0)
    assert bucket.take(60, 0.0) == 0
    assert bucket.take(1, 0.0) == pytest.approx(1.0)
    assert bucket.remaining(2.5) == 2
    assert bucket.remaining(3600.0) == 60


def test_more_than_it_ever_holds_is_taken_as_all_of_it() -> None:
    bucket = TokenBucket(60, 0.0)
    assert bucket.take(1000, 0.0) == 0
    assert bucket.take(1000, 30.0) == pytest.approx(30.0)
    assert bucket.take(1000, 60.0) == 0


def test_a_clock_that_stands_or_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(60, 100.0)
    bucket.take(60, 100.0)
    assert bucket.remaining(90.0) == 0
    assert bucket.remaining(101.0) == 1
