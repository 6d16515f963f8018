"""Which image models are loaded, how, and which are refused with what reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.engines.diffusion import load_image
from aquahost.engines.diffusion.text_to_image import refuse_unless_text_to_image
from aquahost.engines.engine import Engine
from aquahost.errors import LoadError
from aquahost.messages.prompts import ImageRequest
from tiny_media import PlainDevice, Reports, make_tiny_sd, make_tiny_stable_audio, run_all

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_sd(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "model"))


def load(folder: Path, device: PlainDevice | None = None, reports: Reports | None = None, **settings: Any) -> Engine:
    entry = ModelSettings(kind=Kind.IMAGE, source=str(folder), **{"size_px": 16, "max_size_px": 64, **settings})
    device_, reports_ = device or PlainDevice(), reports or Reports()
    return load_image("paint", entry, SchedulerSettings(), device_, reports_)  # type: ignore[arg-type]


def test_progress_grows_to_the_bytes_of_all_weights_and_all_are_placed(folder: Path) -> None:
    device, reports = PlainDevice(), Reports()
    engine = load(folder, device, reports)
    weights = [progress for progress in reports.seen if progress.stage == "loading weights"]
    assert [progress.done for progress in weights] == sorted({progress.done for progress in weights})
    assert len(weights) == 4  # none yet, and after each of text encoder, unet and vae
    assert weights[-1].done == weights[-1].total == device.required[0]
    assert engine.footprint.weights_bytes == device.placed_bytes >= weights[-1].total
    assert engine.footprint.detail == "StableDiffusionPipeline float32"


def test_the_dtype_of_the_entry_holds(folder: Path) -> None:
    whole, half = PlainDevice(), PlainDevice()
    load(folder, whole)
    engine = load(folder, half, dtype="bfloat16")
    assert half.required[0] * 2 == whole.required[0]
    assert engine.footprint.detail == "StableDiffusionPipeline bfloat16"
    assert run_all(engine, {"p": ImageRequest(text="x", steps=1)})["p"].data


def test_weights_stored_as_half_become_whole_on_a_cpu(folder: Path) -> None:
    from diffusers import DiffusionPipeline

    DiffusionPipeline.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder / "half")
    half, whole = PlainDevice(), PlainDevice()
    load(folder, whole)
    assert load(folder / "half", half).footprint.detail.endswith("float32")
    assert half.required == whole.required


def test_a_repository_with_only_an_fp16_variant_loads(folder: Path) -> None:
    for file in list(folder.rglob("*.safetensors")):
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    assert run_all(load(folder), {"p": ImageRequest(text="x", steps=1)})["p"].data


def test_a_model_larger_than_the_gpu_is_refused_before_its_weights_are_read(folder: Path) -> None:
    reports = Reports()
    with pytest.raises(LoadError, match="the weights of StableDiffusionPipeline need"):
        load(folder, PlainDevice(capacity_bytes=1000), reports)
    assert [progress.stage for progress in reports.seen] == ["importing"]


def test_a_folder_that_is_no_pipeline(folder: Path) -> None:
    (folder / "model_index.json").unlink()
    (folder / "config.json").write_text("{}")
    with pytest.raises(LoadError, match=r"no model_index\.json.*transformers"):
        load(folder)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"steps": 50, "max_steps": 20}, r"steps: 50 is more than max_steps \(20\)"),
        ({"size_px": 128, "max_size_px": 64}, r"size_px: 128 is more than max_size_px \(64\)"),
    ],
)
def test_defaults_beyond_the_entrys_own_limits_are_refused_before_anything_is_read(
    folder: Path, settings: dict[str, Any], reason: str
) -> None:
    reports = Reports()
    with pytest.raises(LoadError, match=reason):
        load(folder, reports=reports, **settings)
    assert reports.seen == []


def test_a_default_size_that_the_model_can_not_do_is_refused(folder: Path) -> None:
    with pytest.raises(LoadError, match=r"size_px: 20 is no multiple of 8"):
        load(folder, size_px=20)


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_damaged_index(folder: Path, text: str) -> None:
    (folder / "model_index.json").write_text(text)
    with pytest.raises(LoadError, match=r"model_index\.json is damaged"):
        load(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(LoadError, match=r"unet has its weights only as .*\.bin, a pickle"):
        load(folder)


def test_weights_cut_short_are_named(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(LoadError, match=r"unet/diffusion_pytorch_model\.safetensors"):
        load(folder)


def test_weights_that_do_not_match_the_config_are_refused(folder: Path) -> None:
    config = folder / "unet" / "config.json"
    changed = json.loads(config.read_text()) | {"block_out_channels": [16, 32]}
    config.write_text(json.dumps(changed))
    with pytest.raises(LoadError, match="unet can't be loaded"):
        load(folder)


def test_a_part_without_files_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "vae")
    with pytest.raises(LoadError, match="can't be loaded"):
        load(folder)


@pytest.mark.parametrize(
    ("class_name", "reason"),
    [
        ("NoSuchPipeline", "has no pipeline 'NoSuchPipeline'"),
        (["pipeline", "MyPipeline"], "set trust_remote_code: true"),
        ("StableDiffusionImg2ImgPipeline", "it needs an image"),
        ("StableDiffusionControlNetPipeline", "it needs an image"),
    ],
)
def test_other_pipelines_are_refused_before_their_weights_are_read(
    folder: Path, class_name: object, reason: str
) -> None:
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": class_name}))
    reports = Reports()
    with pytest.raises(LoadError, match=reason):
        load(folder, reports=reports)
    assert len(reports.seen) == 1


def test_an_audio_pipeline_is_no_image_model(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"StableAudioPipeline is no text-to-image pipeline: it makes sounds"):
        load(make_tiny_stable_audio(tmp_path))


def test_a_pipeline_that_cannot_be_paused_is_refused() -> None:
    class Unpausable:
        def __call__(self, prompt: str, height: int, width: int) -> None: ...

    with pytest.raises(LoadError, match="no callback_on_step_end"):
        refuse_unless_text_to_image(Unpausable)


@pytest.mark.parametrize(
    "class_name", ["StableDiffusionPipeline", "StableDiffusionXLPipeline", "FluxPipeline", "StableDiffusion3Pipeline"]
)
def test_well_known_pipelines_are_taken(class_name: str) -> None:
    import diffusers

    refuse_unless_text_to_image(getattr(diffusers, class_name))
