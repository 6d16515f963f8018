"""Times of day in the machine's zone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from aquahost_tui.clock_words import clock_of


@pytest.fixture(autouse=True)
def kolkata() -> Iterator[None]:
    """The machine's clock is five and a half hours ahead of UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "IST-5:30")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("at", "clock"),
    [
        ("2026-11-25T12:00:41Z", "17:30:41"),
        ("2026-11-25T12:00:41.250Z", "17:30:41"),
        ("2026-11-25T14:00:41+02:00", "17:30:41"),
        ("2026-11-25T20:00:00Z", "01:30:00"),
        ("9999-12-31T23:59:59Z", "--:--:--"),
        ("yesterday", "--:--:--"),
        ("", "--:--:--"),
    ],
)
def test_a_time_is_told_in_the_machine_s_zone(at: str, clock: str) -> None:
    assert clock_of(at) == clock
