"""Which audio models are loaded, and which are refused with what reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.engines.audio import load_audio
from aquahost.engines.audio.text_to_audio import refuse_unless_text_to_audio
from aquahost.engines.engine import Engine
from aquahost.errors import LoadError
from tiny_media import PlainDevice, Reports, make_tiny_musicgen, make_tiny_sd, make_tiny_stable_audio

pytestmark = pytest.mark.filterwarnings("ignore:.torch.nn.utils.weight_norm. is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_musicgen(tmp_path_factory.mktemp("musicgen"))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "model"))


def load(folder: Path, device: PlainDevice | None = None, reports: Reports | None = None, **settings: Any) -> Engine:
    entry = ModelSettings(kind=Kind.AUDIO, source=str(folder), **{"max_duration_s": 0.5, **settings})
    device_, reports_ = device or PlainDevice(), reports or Reports()
    return load_audio("sing", entry, SchedulerSettings(), device_, reports_)  # type: ignore[arg-type]


def test_musicgens_weights_are_placed_and_reported(folder: Path) -> None:
    device, reports = PlainDevice(), Reports()
    engine = load(folder, device, reports)
    assert engine.footprint.weights_bytes == device.placed_bytes
    assert engine.footprint.detail == "MusicgenForConditionalGeneration float32"
    assert [(p.done, p.total) for p in reports.seen if p.stage == "loading weights"] == [
        (0, device.required[0]),
        (device.required[0],) * 2,
    ]


def test_a_pipelines_weights_are_placed_and_reported(tmp_path: Path) -> None:
    device, reports = PlainDevice(), Reports()
    engine = load(make_tiny_stable_audio(tmp_path), device, reports)
    assert engine.footprint.weights_bytes == device.placed_bytes
    assert engine.footprint.detail == "StableAudioPipeline float32"
    weights = [progress for progress in reports.seen if progress.stage == "loading weights"]
    assert weights[-1].done == weights[-1].total == device.required[0]


def test_a_model_larger_than_the_gpu_is_refused_before_its_weights_are_read(folder: Path) -> None:
    reports = Reports()
    with pytest.raises(LoadError, match="the weights of musicgen need"):
        load(folder, PlainDevice(capacity_bytes=1000), reports)
    assert [progress.stage for progress in reports.seen] == ["importing"]


def test_a_default_beyond_the_entrys_own_limit_is_refused(folder: Path) -> None:
    with pytest.raises(LoadError, match=r"steps: 50 is more than max_steps \(20\)"):
        load(folder, steps=50, max_steps=20)


def test_other_audio_models_of_transformers_are_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "vits"}))
    with pytest.raises(LoadError, match=r"is a vits model; .* only musicgen and musicgen_melody"):
        load(folder)


def test_an_unknown_type_of_model_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "no-such-thing"}))
    with pytest.raises(LoadError, match="no-such-thing"):
        load(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(LoadError, match=r"only as pytorch_model\.bin, a pickle file"):
        load(folder)


def test_missing_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(LoadError, match="has no weights"):
        load(folder)


def test_damaged_weights_are_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(b"\xff" * 100 + weights.read_bytes()[100:])
    with pytest.raises(LoadError, match=r"model\.safetensors"):
        load(folder)


def test_an_image_pipeline_is_no_audio_model(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"StableDiffusionPipeline is no text-to-audio pipeline: .* no duration"):
        load(make_tiny_sd(tmp_path))


def test_a_pipeline_that_cannot_be_paused_is_refused() -> None:
    class Unpausable:
        def __call__(self, prompt: str, audio_length_in_s: float) -> None: ...

    with pytest.raises(LoadError, match="no callback at the end of a step"):
        refuse_unless_text_to_audio(Unpausable)


def test_a_pipeline_without_a_sampling_rate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_tiny_stable_audio(tmp_path)
    config = folder / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sampling_rate": 0}))
    with pytest.raises(LoadError, match="does not tell its sampling rate"):
        load(folder)


@pytest.mark.parametrize(
    "class_name", ["StableAudioPipeline", "AudioLDM2Pipeline", "AudioLDMPipeline", "MusicLDMPipeline"]
)
def test_well_known_pipelines_are_taken(class_name: str) -> None:
    import diffusers

    refuse_unless_text_to_audio(getattr(diffusers, class_name))
