"""Models measured with their real engines, in this process, on emulated GPUs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.demo.models import make_sing
from aquahost.engines.device import EngineDevice
from aquahost.engines.gated import GatedEngine
from aquahost.engines.llm.engine import LlmEngine
from aquahost.engines.llm.kv_layout import KvLayout
from aquahost.engines.llm.tiers import Tier
from aquahost.engines.registry import load_engine
from aquahost.profiler import gated_measure, language_measure, step_scenes
from aquahost.profiler.paging_measure import measure_paging
from aquahost.profiler.step_probe import StepProbe
from aquahost.profiler.step_scenes import Limits, SceneTimes, scenes
from aquahost.profiles.step_costs import FittedSteps, StepShape
from aquahost_cuda.driver import EmulatedNode, load
from tiny_llms import VOCABULARY, emulated_device, load_tiny, make_tiny_llm

SCHEDULER = SchedulerSettings(step_tokens=32, max_batch=4)
LIMITS = Limits(context=256, kv_tokens=1024, step_tokens=32, max_batch=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llm(tmp_path_factory.mktemp("tiny"), "llama")


@pytest.fixture
def engine(folder: Path, tmp_path: Path) -> Iterator[LlmEngine]:
    with emulated_device(tmp_path / "node") as device:
        made = load_tiny(folder, device, scheduler=SCHEDULER, kv_bytes=4 << 20)
        yield made
        made.close()


def test_a_step_s_shape_is_what_was_submitted(engine: LlmEngine) -> None:
    probe = StepProbe(engine, VOCABULARY)
    probe.submit(50, 10)
    shapes = [step.shape for step in probe.run_to_decodes()]
    assert shapes == [
        StepShape(decodes=0, prefill=32, pairs=32 * 33 / 2),
        StepShape(decodes=0, prefill=18, pairs=18 * 32 + 18 * 19 / 2, prefill_context=32),
    ]
    probe.submit(8, 10)
    assert probe.step().shape == StepShape(decodes=1, context=51, prefill=8, pairs=8 * 9 / 2)
    assert probe.step().shape == StepShape(decodes=2, context=52 + 9)
    probe.clear()
    assert not engine.has_work()
    engine.check()


def test_scenes_measure_every_kind_of_step_and_leave_the_engine_empty(engine: LlmEngine) -> None:
    found = scenes(LIMITS)
    times = SceneTimes(StepProbe(engine, VOCABULARY), found, lambda what: None)
    times.measure()
    shapes = [step.shape for step in times.steps]
    assert {shape.decodes for shape in shapes if not shape.prefill} == {1, 2, 4}
    assert {shape.prefill for shape in shapes if not shape.decodes} >= {4, 16, 32}
    assert any(shape.prefill and shape.decodes for shape in shapes)
    assert any(shape.chunks == 4 for shape in shapes)
    assert any(shape.prefill_context > 100 for shape in shapes)
    assert max(shape.context for shape in shapes if shape.decodes == 1) > 100
    assert not engine.has_work()
    before = times.steps
    times.measure([0])
    assert all(now.seconds <= then.seconds for now, then in zip(times.steps, before, strict=True))


@pytest.mark.parametrize(
    "limits",
    [
        dataclasses.replace(LIMITS, kv_tokens=64),
        dataclasses.replace(LIMITS, context=8),
        dataclasses.replace(LIMITS, max_batch=1),
        dataclasses.replace(LIMITS, step_tokens=1, max_batch=1),
        dataclasses.replace(LIMITS, max_batch=64, step_tokens=2048, context=131072, kv_tokens=10**6),
    ],
)
def test_scenes_fit_their_limits(limits: Limits) -> None:
    names = [scene.name for scene in scenes(limits)]
    assert any("decoding" in name for name in names)
    assert any("prefill" in name for name in names)


def test_a_language_model_s_costs_are_measured(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_measure, "ROUNDS", 1)
    monkeypatch.setattr(step_scenes, "REPEATS", 3)
    driver = load("emulated", EmulatedNode(path=str(tmp_path), gpus=2, gpu_bytes=256 << 20, host_bytes_per_s=2e7))
    device = EngineDevice(driver, 0)
    engine = load_tiny(folder, device, scheduler=SCHEDULER, kv_bytes=4 << 20)
    told: list[tuple[str, int, int]] = []
    costs, rates = language_measure.measure_language(
        engine, driver, 1, SCHEDULER, lambda what, done, total: told.append((what, done, total))
    )
    device.close()
    assert costs.weights_bytes == engine.footprint.weights_bytes
    assert costs.kv_token_bytes == 3 * 2 * 2 * 16 * 4  # layers, K and V, heads, values, float32
    assert costs.peak_bytes == engine.footprint.peak_bytes > 0
    assert costs.transfer_s > 0
    assert isinstance(costs.step, FittedSteps)
    assert costs.step.seconds(StepShape(decodes=4, context=400)) > 0
    assert rates[Tier.HOST] == pytest.approx(2e7, rel=0.5)
    assert rates[Tier.PEER] > rates[Tier.HOST]
    assert all(done <= total for _, done, total in told)


def test_paging_goes_at_the_links_rates(tmp_path: Path) -> None:
    node = EmulatedNode(path=str(tmp_path), gpus=2, gpu_bytes=64 << 20, peer_bytes_per_s=2e8, host_bytes_per_s=1e8)
    driver = load("emulated", node)
    layout = KvLayout(layers=4, block_tokens=16, kv_heads=4, head_dim=64, dtype=torch.float32)
    found = measure_paging(driver, 0, 1, layout, tokens=512)
    assert found[Tier.PEER].bytes_per_s == pytest.approx(2e8, rel=0.3)
    assert found[Tier.HOST].bytes_per_s == pytest.approx(1e8, rel=0.3)
    assert set(measure_paging(driver, 0, None, layout, tokens=512)) == {Tier.HOST}


def test_an_audio_model_s_costs_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gated_measure, "REPEATS", 1)
    make_sing(tmp_path / "sing")
    settings = ModelSettings(kind=Kind.AUDIO, source=str(tmp_path / "sing"), max_duration_s=0.5)
    driver = load("emulated", EmulatedNode(path=str(tmp_path), gpus=1, gpu_bytes=256 << 20))
    device = EngineDevice(driver, 0)
    engine = load_engine("sing", settings, SchedulerSettings(), device, lambda progress: None)
    assert isinstance(engine, GatedEngine)
    costs = gated_measure.measure_gated(engine, settings, lambda what, done, total: None)
    engine.close()
    device.close()
    assert costs.weights_bytes == engine.footprint.weights_bytes
    assert [one.size for one in costs.sizes] == [0.25, 0.5]
    assert costs.default_size == pytest.approx(0.5)
    for one in costs.sizes:
        assert 0 < one.held_bytes <= one.peak_bytes
        assert one.step_s > 0
        assert one.steps_per_size == pytest.approx(costs.default_steps / costs.default_size, rel=0.3)
