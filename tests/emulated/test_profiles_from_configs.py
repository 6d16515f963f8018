"""Profiles worked out from the example configs are those of the published models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aquahost.config.loader import load_settings
from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.demo.models import make_paint
from aquahost.errors import ConfigError
from aquahost.profiler.gated_shape import read_gated_shape
from aquahost.profiler.lookup import analytic_profile, profiles_of
from aquahost.profiles.data_sheets import SHEETS
from aquahost.profiles.profile import GatedCosts, LanguageCosts, Profile
from aquahost.profiles.step_costs import RooflineSteps, StepShape
from tiny_llms import tiny_config

EXAMPLES = Path(__file__).parents[2] / "examples"
H100 = SHEETS["H100"]
KIB = 1 << 10


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUAHOST_PROFILE_DIR", str(tmp_path / "profiles"))


def worked_out(name: str, kind: Kind, **changes: object) -> Profile:
    settings = ModelSettings.model_validate({"kind": kind, "source": str(EXAMPLES / "configs" / name), **changes})
    return analytic_profile(name, settings, H100, SchedulerSettings())


@pytest.mark.parametrize(
    ("name", "billions", "kv_kib", "context"),
    [
        ("Llama-3.1-8B", 8.03, 128, 131072),
        ("Llama-3.1-70B", 70.55, 320, 131072),
        ("CodeLlama-34B", 33.74, 192, 16384),
        ("OPT-30B", 29.97, 1344, 2048),
        ("Mistral-7B", 7.25, 128, 32768),
        ("Qwen2.5-14B", 14.77, 192, 32768),
        ("Qwen2.5-32B", 32.76, 256, 32768),
        ("Mixtral-8x7B", 46.70, 128, 32768),
    ],
)
def test_language_models_have_their_published_sizes(name: str, billions: float, kv_kib: int, context: int) -> None:
    profile = worked_out(name, Kind.LLM)
    costs = profile.costs
    assert isinstance(costs, LanguageCosts)
    assert profile.parameters / 1e9 == pytest.approx(billions, abs=0.006)
    assert costs.weights_bytes == 2 * profile.parameters
    assert costs.kv_token_bytes == kv_kib * KIB
    assert costs.context_tokens == context
    assert 0 < costs.step.seconds(StepShape(decodes=1, context=1000)) < 0.1


def test_of_mixtral_two_experts_of_eight_are_used() -> None:
    costs = worked_out("Mixtral-8x7B", Kind.LLM).costs
    assert isinstance(costs, LanguageCosts)
    assert isinstance(costs.step, RooflineSteps)
    assert (costs.step.experts, costs.step.experts_each) == (8, 2)
    active = costs.step.token_flops / 2 + 2 * 32000 * 4096  # both tables of tokens
    assert active / 1e9 == pytest.approx(12.88, abs=0.02)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral", "gpt2"])
def test_any_decoder_s_parameters_are_counted_exactly(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    config = tiny_config(kind)
    config.save_pretrained(tmp_path)
    settings = ModelSettings(kind=Kind.LLM, source=str(tmp_path))
    profile = analytic_profile("tiny", settings, H100, SchedulerSettings())
    assert profile.parameters == AutoModelForCausalLM.from_config(config).num_parameters()


@pytest.mark.parametrize(
    ("name", "kind", "millions", "steps"),
    [
        ("Stable-Diffusion-1.5", Kind.IMAGE, 1066, 50),
        ("SDXL-base-1.0", Kind.IMAGE, 3469, 50),
        ("Stable-Audio-Open-1.0", Kind.AUDIO, 1323, 100),
        ("MusicGen-large", Kind.AUDIO, 3423, 500),
    ],
)
def test_image_and_audio_models_have_their_published_sizes(name: str, kind: Kind, millions: int, steps: int) -> None:
    limits = {"max_size_px": 512} if kind is Kind.IMAGE else {"max_duration_s": 10}
    profile = worked_out(name, kind, **limits)
    costs = profile.costs
    assert isinstance(costs, GatedCosts)
    assert profile.parameters / 1e6 == pytest.approx(millions, abs=1)
    assert costs.weights_bytes == 2 * profile.parameters
    assert costs.default_steps == steps
    assert [one.size for one in costs.sizes] == sorted(one.size for one in costs.sizes)
    for one in costs.sizes:
        assert 0 < one.held_bytes < one.peak_bytes < 8 << 30
        assert 1e-3 < one.step_s < 0.1
        assert one.begin_s > 0
        assert one.end_s > 0
    if kind is Kind.IMAGE:
        assert costs.default_size == costs.sizes[-1].size == 512 * 512


def test_guidance_doubles_a_step(tmp_path: Path) -> None:
    make_paint(tmp_path)
    settings = ModelSettings(kind=Kind.IMAGE, source=str(tmp_path), max_size_px=64)
    plain, guided = (
        read_gated_shape(tmp_path, settings.model_copy(update={"guidance": guidance})).sizes[0].step
        for guidance in (0.0, 5.0)
    )
    assert guided.flops == pytest.approx(2 * plain.flops)
    assert plain.operators == guided.operators


def test_a_profile_is_worked_out_once() -> None:
    models = {"chat": ModelSettings(kind=Kind.LLM, source=str(EXAMPLES / "configs" / "Mistral-7B"))}
    told: list[str] = []
    first = profiles_of(models, H100, step_tokens=512, max_batch=64, progress=told.append)
    assert profiles_of(models, H100, step_tokens=512, max_batch=64, progress=told.append) == first
    assert told == ["working out what chat costs on H100"]
    profiles_of(models, H100, step_tokens=1024, max_batch=64, progress=told.append)
    assert len(told) == 2


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("{", "can't be used"),
        ('{"model_type": "no-such-model"}', "can't be used"),
        ('{"model_type": "t5"}', "encoder-decoder"),
        ('{"model_type": "mamba"}', "only full and sliding attention"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(config: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    settings = ModelSettings(kind=Kind.LLM, source=str(tmp_path))
    with pytest.raises(ConfigError, match=f"^odd: .*{why}"):
        analytic_profile("odd", settings, H100, SchedulerSettings())


def test_a_pipeline_without_its_parts_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    settings = ModelSettings(kind=Kind.IMAGE, source=str(tmp_path))
    with pytest.raises(ConfigError, match=r"^odd: .*no config\.json"):
        analytic_profile("odd", settings, H100, SchedulerSettings())


def test_the_example_node_lacks_kv_memory_on_some_gpus_and_has_much_to_lend_on_others() -> None:
    settings = load_settings(EXAMPLES / "node8.yaml", env={})
    models = settings.models
    assert sum(model.traffic.rate_per_s for model in models.values()) == pytest.approx(20, abs=0.5)
    language = {name: model for name, model in models.items() if model.kind is Kind.LLM}
    assert len(models) == 8
    assert {model.kind for model in models.values()} == {Kind.LLM, Kind.IMAGE, Kind.AUDIO}
    terms = {"step_tokens": settings.scheduler.step_tokens, "max_batch": settings.scheduler.max_batch}
    short = []
    for name, profile in profiles_of(language, H100, **terms, progress=lambda _: None).items():
        costs, traffic = profile.costs, models[name].traffic
        assert isinstance(costs, LanguageCosts)
        free = H100.memory_bytes - settings.leasing.headroom_bytes - costs.weights_bytes - costs.peak_bytes
        most_bytes = terms["max_batch"] * (traffic.input_tokens + traffic.output_tokens) * costs.kv_token_bytes
        assert free > 0
        if most_bytes > free:
            short.append(name)
    assert short == ["coder-34b", "qwen-32b", "opt-30b"]
