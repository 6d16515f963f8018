"""What `aquahost chaos` sends, and how it judges what it measures."""

from __future__ import annotations

import random
from collections.abc import Sequence

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.bench.chaos.fuzz_inputs import VALID, fuzz_input
from aquahost.bench.chaos.report import Check, Report, times
from aquahost.bench.chaos.trend import trend


class Heard:
    """How many requests a parser has found."""

    def __init__(self) -> None:
        self.requests = 0

    def on_message_complete(self) -> None:
        self.requests += 1


@pytest.mark.parametrize("data", VALID)
def test_what_inputs_are_made_of_is_one_whole_request_each(data: bytes) -> None:
    heard = Heard()
    httptools.HttpRequestParser(heard).feed_data(data)
    assert heard.requests == 1


def test_inputs_are_those_of_their_seed_and_nearly_all_are_bent() -> None:
    inputs = [fuzz_input(random.Random(seed)) for seed in range(300)]
    assert inputs == [fuzz_input(random.Random(seed)) for seed in range(300)]
    assert len(set(inputs)) > 250
    assert sum(data in VALID for data in inputs) < 30


@given(st.integers())
def test_no_input_steers_the_daemon(seed: int) -> None:
    data = fuzz_input(random.Random(seed))
    assert not any(word in data for word in (b"shutdown", b"drain", b"unload", b"/load", b"/park"))


def line(slope: float, noise: float, samples: int = 200) -> list[tuple[float, float]]:
    generator = random.Random(1)
    return [(float(at), 1000 + slope * at + generator.gauss(0, noise)) for at in range(samples)]


def test_noise_is_flat_and_a_slope_within_it_is_found() -> None:
    flat, rising = trend(line(0, 50)), trend(line(1, 50))
    assert flat is not None
    assert rising is not None
    assert flat.is_flat(allowed=0)
    assert not rising.is_flat(allowed=100)
    assert rising.growth == pytest.approx(199, abs=40)
    assert rising.start == pytest.approx(1000, abs=40)
    assert rising.is_flat(allowed=250)


def test_one_step_early_on_or_a_few_peaks_are_no_growth() -> None:
    samples = line(0, 5)
    peaks = [(at, value + (10_000 if at % 40 == 7 else 0)) for at, value in samples]
    found = trend(peaks)
    assert found is not None
    assert found.is_flat(allowed=10)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1e12)), max_size=30, unique_by=lambda pair: pair[0]))
def test_any_samples_have_a_trend_or_are_too_few(samples: Sequence[tuple[int, float]]) -> None:
    assert (trend(sorted(samples)) is None) == (len(samples) < 4)


def test_a_report_is_whole_if_nothing_was_found() -> None:
    good, bad = Check(name="prompts lost", found=0), Check(name="wrong replies", found=1)
    assert Report(counts={}, checks=[good], times=[], took_s=1.0).is_whole
    assert not Report(counts={}, checks=[good, bad], times=[], took_s=1.0).is_whole


def test_times_that_never_were_have_no_quantiles() -> None:
    assert times("nothing", []).p99_s is None
    assert times("something", [3.0, 1.0, 2.0]).p50_s == 2.0
