"""What models need: Little's law on their own step costs, and what their entries say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings, TrafficSettings
from aquahost.errors import ConfigError
from aquahost.placement.language_load import LanguageLoad, LanguageTraffic, language_load
from aquahost.placement.needs import needs_of
from aquahost.profiles.profile import GatedCosts, LanguageCosts, Profile, SizedCost
from aquahost.profiles.step_costs import FittedSteps

GIB = 1 << 30
STEP = FittedSteps(
    decode_widths=(1, 101),
    decode_s=(0.010, 0.020),
    context_token_s=1e-7,
    prefill_widths=(100, 1000),
    prefill_s=(0.01, 0.1),
    pair_s=0.0,
)
COSTS = LanguageCosts(weights_bytes=16 * GIB, kv_token_bytes=1 << 17, peak_bytes=GIB, context_tokens=4096, step=STEP)
PICTURES = GatedCosts(
    weights_bytes=6 * GIB,
    sizes=(SizedCost(size=512.0**2, peak_bytes=4 * GIB, held_bytes=GIB, begin_s=0.1, step_s=0.05, end_s=0.4),),
    default_steps=30,
    default_size=512.0**2,
)


def profile(costs: LanguageCosts | GatedCosts) -> Profile:
    return Profile(source="x", key="k", gpu="H100", dtype="bfloat16", measured=False, costs=costs)


def load(rate: float, *, tokens: tuple[int, int] = (500, 200), max_batch: int = 64) -> LanguageLoad:
    traffic = LanguageTraffic(
        rate_per_s=rate, input_tokens=tokens[0], output_tokens=tokens[1], step_tokens=512, max_batch=max_batch
    )
    return language_load(COSTS, traffic)


@given(rate=st.floats(0.01, 3.0))
def test_the_batch_is_what_little_s_law_makes_of_its_own_step_time(rate: float) -> None:
    found = load(rate)
    assert not found.saturated
    step_s = 0.010 + max(0.0, found.batch - 1) * 1e-4 + max(1.0, found.batch) * 600e-7
    left = 1 - rate * 0.05
    assert found.batch == pytest.approx(rate * 200 * step_s / left, rel=1e-6)
    assert found.live == pytest.approx(rate * found.residence_s)
    assert found.residence_s == pytest.approx((0.05 + 200 * step_s) / left, rel=1e-6)


@given(rates=st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 100.0)))
def test_more_traffic_never_needs_less(rates: tuple[float, float]) -> None:
    less, more = (load(rate) for rate in sorted(rates))
    assert less.live <= more.live + 1e-6
    assert less.utilisation <= more.utilisation + 1e-9
    assert less.burst <= more.burst + 1e-6


def test_no_traffic_and_too_much() -> None:
    assert (load(0.0).live, load(0.0).utilisation) == (0.0, 0.0)
    assert load(0.0).residence_s == pytest.approx(0.05 + 200 * (0.010 + 600e-7))
    swamped = load(50.0)
    assert swamped.saturated
    assert swamped.live == 64


def entry(**keys: object) -> ModelSettings:
    return ModelSettings.model_validate({"kind": Kind.LLM, "source": "x", **keys})


def test_kv_is_wanted_for_bursts_and_at_least_for_two_prompts() -> None:
    quiet = entry(traffic=TrafficSettings(input_tokens=500, output_tokens=200))
    busy = entry(traffic=TrafficSettings(rate_per_s=2.0, input_tokens=500, output_tokens=200))
    needs = needs_of(
        {"quiet": quiet, "busy": busy}, dict.fromkeys(["quiet", "busy"], profile(COSTS)), SchedulerSettings()
    )
    assert needs[0].kv_wanted_bytes == needs[0].kv_least_bytes == 2 * 704 * COSTS.kv_token_bytes
    live = needs[1].live_prompts
    assert needs[1].kv_wanted_bytes == round((live + 3 * live**0.5) * 608 * COSTS.kv_token_bytes)
    assert needs[1].floor_bytes == 17 * GIB + needs[1].kv_least_bytes


def test_prompts_are_no_longer_than_the_context_allows() -> None:
    short = entry(max_context=256, traffic=TrafficSettings(input_tokens=500, output_tokens=200))
    (need,) = needs_of({"m": short}, {"m": profile(COSTS)}, SchedulerSettings())
    assert need.kv_least_bytes == 2 * 256 * COSTS.kv_token_bytes


def test_replicas_share_the_traffic() -> None:
    models = {str(n): entry(replicas=n, traffic=TrafficSettings(rate_per_s=2.0)) for n in (1, 2)}
    one, two = needs_of(models, dict.fromkeys("12", profile(COSTS)), SchedulerSettings())
    assert two.utilisation == pytest.approx(one.utilisation / 2)


def test_what_an_entry_reserves_is_all_that_lies_on_its_own_gpu() -> None:
    traffic = TrafficSettings(rate_per_s=3.0, input_tokens=1000, output_tokens=300)
    models = {
        "tight": entry(kv_bytes="1GiB", traffic=traffic),
        "alone": entry(kv_bytes="1GiB", borrow_bytes=0, traffic=traffic),
        "ample": entry(kv_bytes="40GiB", traffic=TrafficSettings(input_tokens=10)),
    }
    tight, alone, ample = needs_of(models, dict.fromkeys(models, profile(COSTS)), SchedulerSettings())
    assert tight.floor_bytes == tight.taken_bytes == 18 * GIB
    assert tight.remote_bytes == min(4 * GIB, tight.kv_wanted_bytes - GIB) > 0
    assert tight.flexible_bytes == 0
    assert (alone.remote_bytes, alone.hopeless_bytes) == (0, alone.kv_wanted_bytes - GIB)
    assert (ample.floor_bytes, ample.taken_bytes) == (57 * GIB, 27 * GIB)
    assert ample.signed_bytes(80 * GIB) == 53 * GIB


def test_an_image_model_computes_one_prompt_while_others_sleep() -> None:
    asked = entry(kind=Kind.IMAGE, max_concurrent=3, steps=10, traffic=TrafficSettings(rate_per_s=0.5))
    (need,) = needs_of({"paint": asked}, {"paint": profile(PICTURES)}, SchedulerSettings())
    assert need.floor_bytes == need.taken_bytes == 12 * GIB
    assert need.utilisation == pytest.approx(0.5 * 1.0)
    assert need.signed_bytes(80 * GIB) == 68 * GIB


def test_a_sound_s_steps_follow_from_its_length() -> None:
    sound = SizedCost(size=10, peak_bytes=GIB, held_bytes=0, begin_s=0, step_s=0.01, end_s=0, steps_per_size=50)
    costs = GatedCosts(weights_bytes=GIB, sizes=(sound,), default_steps=7, default_size=10)
    asked = entry(kind=Kind.AUDIO, max_duration_s=10, traffic=TrafficSettings(rate_per_s=0.1, duration_s=20))
    (need,) = needs_of({"sing": asked}, {"sing": profile(costs)}, SchedulerSettings())
    assert need.utilisation == pytest.approx(0.1 * 500 * 0.01)


def test_toys_need_nothing_and_mistakes_are_named() -> None:
    assert needs_of({"toy": ModelSettings(kind=Kind.TOY)}, {}, SchedulerSettings()) == []
    with pytest.raises(ConfigError, match=r"^models\.chat: there is no profile"):
        needs_of({"chat": entry()}, {}, SchedulerSettings())
    with pytest.raises(ConfigError, match=r"^models\.chat\.replicas: 2 replicas .* gpu is 3; say gpu: auto"):
        needs_of({"chat": entry(replicas=2, gpu=3)}, {"chat": profile(COSTS)}, SchedulerSettings())


def test_what_an_entry_says_of_kv_is_of_each_gpu_of_a_group() -> None:
    entry = ModelSettings(kind=Kind.LLM, source="x", kv_bytes=3 * GIB, borrow_bytes=5 * GIB, tensor_parallel=4)
    (wide,) = needs_of({"wide": entry}, {"wide": profile(COSTS)}, SchedulerSettings())
    assert (wide.group, wide.kv_bytes, wide.borrow_most_bytes) == (4, 3 * GIB, 5 * GIB)
    assert wide.floor_bytes == (16 + 1 + 3) * GIB
