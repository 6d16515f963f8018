"""Costs worked out from shapes and data sheets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.profiler.gated_costs import GatedShape, SizedWork, Work, gated_costs, seconds
from aquahost.profiler.gpu_names import sheet_name
from aquahost.profiler.known_steps import step_times
from aquahost.profiler.language_costs import LanguageShape, language_costs
from aquahost.profiles.data_sheets import SHEETS
from aquahost.profiles.step_costs import RooflineSteps, StepShape
from aquahost.scheduling.slicer import StepTimes

H100 = SHEETS["H100"]
LLAMA_8B = LanguageShape(
    parameters=8_030_261_248, looked_up=128256 * 4096, head=128256 * 4096, layers=32, heads=32, kv_heads=8,
    head_dim=128, hidden=4096, widest=14336, vocabulary=128256, context_tokens=131072, dtype="bfloat16", dtype_bytes=2,
)  # fmt: skip


def step_of(shape: LanguageShape, group: int = 1) -> RooflineSteps:
    step = language_costs(shape, H100, group=group, step_tokens=512, max_batch=64).step
    assert isinstance(step, RooflineSteps)
    return step


def test_a_single_decode_reads_the_weights_once_but_for_the_table_of_tokens() -> None:
    step = step_of(LLAMA_8B)
    assert step.weights_bytes == 2 * (8_030_261_248 - 128256 * 4096)
    assert step.seconds(StepShape(decodes=1, context=1)) == pytest.approx(15.0e9 / (0.8 * 3.35e12) + 1.64e-3, rel=0.01)


def test_prefill_is_bounded_by_arithmetic_and_skips_the_head() -> None:
    step = step_of(LLAMA_8B)
    tokens = 4096
    flops = 2 * tokens * (8_030_261_248 - 2 * 128256 * 4096)
    took_s = step.seconds(StepShape(decodes=0, prefill=tokens, pairs=0.0))
    assert took_s == pytest.approx(flops / (0.55 * 989e12) + 1.64e-3, rel=0.01)


@given(st.sampled_from([1, 2, 3, 4, 8, 16, 64]))
def test_a_group_divides_weights_and_kv_but_never_a_head(group: int) -> None:
    alone = language_costs(LLAMA_8B, H100, group=1, step_tokens=512, max_batch=64)
    costs = language_costs(LLAMA_8B, H100, group=group, step_tokens=512, max_batch=64)
    assert costs.weights_bytes * group >= alone.weights_bytes
    assert costs.weights_bytes <= -(-alone.weights_bytes // group)
    assert costs.kv_token_bytes == alone.kv_token_bytes // 8 * max(1, -(-8 // group))
    assert costs.peak_bytes <= alone.peak_bytes


def test_a_group_pays_for_its_exchanges() -> None:
    alone, pair = step_of(LLAMA_8B), step_of(LLAMA_8B, group=2)
    assert alone.exchange_s == alone.exchange_token_s == 0
    assert pair.exchange_s == pytest.approx(2 * 32 * 2 * H100.nvlink_latency_s)
    assert pair.seconds(StepShape(decodes=1)) > alone.seconds(StepShape(decodes=1)) / 2


def test_of_a_mixture_a_token_goes_through_its_own_experts_only() -> None:
    dense = step_of(LLAMA_8B)
    mixture = replace(LLAMA_8B, expert_parameters=4_000_000_000, experts=8, experts_each=2)
    step = step_of(mixture)
    assert dense.token_flops - step.token_flops == pytest.approx(2 * 4e9 * 6 / 8)
    assert dense.weights_bytes - step.weights_bytes == pytest.approx(step.expert_bytes) == pytest.approx(8e9)
    one, many = step.seconds(StepShape(decodes=1)), step.seconds(StepShape(decodes=60))
    assert one < dense.seconds(StepShape(decodes=1))
    assert many == pytest.approx(dense.seconds(StepShape(decodes=60)), rel=0.01)


@given(st.integers(1, 4096), st.integers(1, 256))
def test_the_widest_step_takes_more_the_more_it_may_compute(step_tokens: int, max_batch: int) -> None:
    def peak(tokens: int, batch: int) -> int:
        return language_costs(LLAMA_8B, H100, group=1, step_tokens=tokens, max_batch=batch).peak_bytes

    assert peak(step_tokens, max_batch) < peak(step_tokens + 1, max_batch)
    assert peak(step_tokens, max_batch) <= peak(step_tokens, max_batch + 1)


def work(**changes: float) -> Work:
    return replace(Work(flops=1e12, moved_bytes=1e9, operators=10, peak_bytes=100), **changes)


def test_a_pass_takes_its_arithmetic_and_its_traffic_or_its_launches() -> None:
    busy_s = 1e12 / (0.55 * 989e12) + 1e9 / (0.8 * 3.35e12)
    assert seconds(work(), H100) == pytest.approx(busy_s)
    assert seconds(work(operators=10_000), H100) == pytest.approx(10_000 * 6e-6)
    assert seconds(work(is_wide=True), H100) > seconds(work(), H100)


def test_a_gated_model_s_peak_is_its_worst_pass_beside_what_it_holds() -> None:
    one = SizedWork(size=64.0, begin=[work()], step=work(peak_bytes=500), end=work(peak_bytes=900), held_bytes=40)
    shape = GatedShape(
        parameters=1000, dtype="float16", dtype_bytes=2, sizes=(one,), default_steps=30, default_size=64.0
    )
    costs = gated_costs(shape, H100)
    assert costs.weights_bytes == 2000
    assert (costs.sizes[0].peak_bytes, costs.sizes[0].held_bytes) == (940, 40)
    assert costs.sizes[0].begin_s == costs.sizes[0].step_s == pytest.approx(seconds(work(), H100))


@pytest.mark.parametrize(
    ("name", "gigabytes", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 79.6, "H100"),
        ("NVIDIA A100-SXM4-80GB", 79.2, "A100"),
        ("NVIDIA A100-SXM4-40GB", 39.4, "A100-40GB"),
        ("NVIDIA H200", 139.8, "H200"),
        ("NVIDIA H100 NVL", 94.0, "NVIDIA H100 NVL"),
        ("NVIDIA H100 PCIe", 79.6, "NVIDIA H100 PCIe"),
        ("NVIDIA A100-PCIE-40GB", 39.4, "NVIDIA A100-PCIE-40GB"),
        ("NVIDIA A100 80GB PCIe", 79.2, "NVIDIA A100 80GB PCIe"),
        ("NVIDIA H200 NVL", 139.8, "NVIDIA H200 NVL"),
        ("NVIDIA A100-SXM4-80GB MIG 7g.80gb", 79.2, "NVIDIA A100-SXM4-80GB MIG 7g.80gb"),
        ("NVIDIA A100-SXM4-80GB (part 1 of 2)", 39.6, "NVIDIA A100-SXM4-80GB (part of 2)"),
        ("NVIDIA A100-SXM4-80GB (part 2 of 2)", 39.6, "NVIDIA A100-SXM4-80GB (part of 2)"),
        ("NVIDIA L40S", 45.0, "NVIDIA L40S"),
    ],
)
def test_drivers_names_lead_to_data_sheets(name: str, gigabytes: float, expected: str) -> None:
    assert sheet_name(name, int(gigabytes * 1.02e9)) == expected


def test_a_scheduler_s_first_times_are_those_of_middling_steps() -> None:
    costs = language_costs(LLAMA_8B, H100, group=1, step_tokens=512, max_batch=64)
    times = step_times(costs, max_batch=64)
    assert times.decode_step_s == costs.step.seconds(StepShape(decodes=8, context=8 * 256))
    assert times == StepTimes(times.decode_step_s, times.decode_step_s / 8, times.prefill_token_s)
    assert 0 < times.prefill_token_s < times.decode_token_s
