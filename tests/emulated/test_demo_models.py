"""The demo models as they are made, and paint and sing on emulated GPUs as a worker loads them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
import torch
from PIL import Image

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.demo.make import NAMES, make_demo_model
from aquahost.engines.device import EngineDevice
from aquahost.engines.registry import load_engine
from aquahost.errors import LoadError
from aquahost.messages.prompts import AudioRequest, ImageRequest
from driver_fixtures import emulated
from tiny_media import Reports, run_all

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in NAMES}
    for name, folder in folders.items():
        make_demo_model(name, folder)
    return folders


@pytest.fixture
def device(tmp_path: Path) -> Iterator[EngineDevice]:
    with emulated(tmp_path, gpus=1) as driver:  # which finds nothing left behind at the end
        device = EngineDevice(driver, 0)
        yield device
        device.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_the_same_bytes_every_time_and_small(folders: dict[str, Path], name: str, tmp_path: Path) -> None:
    outside = torch.get_rng_state()
    make_demo_model(name, tmp_path)
    assert torch.equal(torch.get_rng_state(), outside)
    files = {file.relative_to(folders[name]): file.read_bytes() for file in folders[name].rglob("*") if file.is_file()}
    assert {file: (tmp_path / file).read_bytes() for file in files} == files
    assert sum(map(len, files.values())) < 16 << 20


def test_chat_spells_any_text_and_knows_turns(folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folders["chat"])
    text = "Grüße, 世界! 🙂\n\t~"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    turns = [{"role": "user", "content": "Hello!"}]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert rendered == "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer("<|im_end|>")["input_ids"] == [tokenizer.eos_token_id]


def test_chat_ends_its_turn_with_the_tokenizers_end(folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    generation = GenerationConfig.from_pretrained(folders["chat"])
    assert generation.eos_token_id == AutoTokenizer.from_pretrained(folders["chat"]).eos_token_id


def test_paint_makes_an_image_on_an_emulated_gpu(folders: dict[str, Path], device: EngineDevice) -> None:
    free_bytes = device.free_bytes()
    settings = ModelSettings(kind=Kind.IMAGE, source=str(folders["paint"]), size_px=64, steps=3)
    engine = load_engine("paint", settings, SchedulerSettings(), device, Reports())
    assert free_bytes - device.free_bytes() >= engine.footprint.weights_bytes > 0
    data = run_all(engine, {"p": ImageRequest(text="a red house", seed=1)})["p"].data
    assert Image.open(io.BytesIO(data)).size == (64, 64)
    engine.close()


def test_sing_makes_an_audible_sound_on_an_emulated_gpu(folders: dict[str, Path], device: EngineDevice) -> None:
    free_bytes = device.free_bytes()
    settings = ModelSettings(kind=Kind.AUDIO, source=str(folders["sing"]))
    engine = load_engine("sing", settings, SchedulerSettings(), device, Reports())
    assert free_bytes - device.free_bytes() >= engine.footprint.weights_bytes > 0
    data = run_all(engine, {"p": AudioRequest(text="la la la", seed=1, duration_s=1.0)})["p"].data
    samples, rate_hz = soundfile.read(io.BytesIO(data))
    assert len(samples) == rate_hz == 16_000
    assert 0.05 < abs(samples).max() <= 1.0
    engine.close()


def test_a_gpu_too_small_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    settings = ModelSettings(kind=Kind.IMAGE, source=str(folders["paint"]))
    with emulated(tmp_path, gpus=1, gpu_bytes=4 << 20) as driver:
        device = EngineDevice(driver, 0)
        with pytest.raises(LoadError, match="the weights of StableDiffusionPipeline need"):
            load_engine("paint", settings, SchedulerSettings(), device, Reports())
        device.close()
