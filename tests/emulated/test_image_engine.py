"""Images of tiny pipelines, through the gate."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.engines.diffusion import load_image
from aquahost.engines.engine import Engine
from aquahost.errors import InvalidRequestError
from aquahost.messages.prompts import AudioRequest, ImageRequest, Request
from tiny_media import PlainDevice, Reports, make_tiny_sd, make_tiny_sdxl, prompt, run_all

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PIPELINES = {
    "sd-ddim": (make_tiny_sd, "DDIMScheduler"),
    "sd-pndm": (make_tiny_sd, "PNDMScheduler"),
    "sd-ancestral": (make_tiny_sd, "EulerAncestralDiscreteScheduler"),
    "sdxl-euler": (make_tiny_sdxl, "EulerDiscreteScheduler"),
    "sdxl-heun": (make_tiny_sdxl, "HeunDiscreteScheduler"),
    "sdxl-dpm": (make_tiny_sdxl, "DPMSolverMultistepScheduler"),
}


@pytest.fixture(scope="module", params=PIPELINES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make, scheduler = PIPELINES[request.param]
    return make(tmp_path_factory.mktemp(request.param), scheduler)


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_sd(tmp_path_factory.mktemp("sd"))


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def load(folder: Path, **settings: Any) -> Engine:
    entry = ModelSettings(kind=Kind.IMAGE, source=str(folder), **{"size_px": 32, **settings})
    return load_image("paint", entry, SchedulerSettings(), PlainDevice(), Reports())  # type: ignore[arg-type]


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))


def plain_image(folder: Path, request: ImageRequest) -> npt.NDArray[np.uint8]:
    """The same image straight from diffusers."""
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(request.seed or 0)
    image = pipeline(
        request.text,
        negative_prompt=request.negative_text,
        width=request.width_px or 32,
        height=request.height_px or 32,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance,
        generator=torch.Generator().manual_seed(request.seed or 0),
    ).images[0]
    return np.asarray(image)


def test_prompts_in_turns_give_the_images_they_give_alone(folder: Path) -> None:
    requests: dict[str, Request] = {
        "a": ImageRequest(text="a cat", steps=3, seed=1, guidance=7.5),
        "b": ImageRequest(text="a red house", steps=5, seed=2, guidance=1.0, negative_text="blue"),
        "c": ImageRequest(text="a lake", steps=4, seed=3, guidance=3.0, width_px=48, height_px=16, negative_text="x"),
        "d": ImageRequest(text="a cat", steps=3, seed=1, guidance=7.5),
    }
    engine = load(folder, max_concurrent=3)
    results = run_all(engine, requests)
    engine.close()
    for name, request in requests.items():
        assert isinstance(request, ImageRequest)
        np.testing.assert_array_equal(pixels(results[name].data), plain_image(folder, request), err_msg=name)
    assert results["a"].data == results["d"].data
    assert pixels(results["c"].data).shape == (16, 48, 3)


def test_progress_counts_the_schedulers_real_steps(folder: Path) -> None:
    engine = load(folder)
    accepted = engine.submit(prompt("p", ImageRequest(text="a cat", steps=4)))
    engine.cancel("p")
    progress = run_all(engine, {"p": ImageRequest(text="a cat", steps=4)})["p"].progress
    real = {"PNDMScheduler": 5, "HeunDiscreteScheduler": 7}
    steps = next((count for name, count in real.items() if name in (folder / "model_index.json").read_text()), 4)
    assert [(p.step, p.steps) for p in progress] == [(step, steps) for step in range(1, steps + 1)]
    assert accepted.steps == steps


def test_without_a_seed_every_image_differs(sd: Path) -> None:
    request = ImageRequest(text="a cat", steps=2)
    results = run_all(load(sd), {"a": request, "b": request})
    assert results["a"].data != results["b"].data


@pytest.mark.parametrize(("file_format", "pil_format"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_images_come_in_the_format_asked_for(sd: Path, file_format: str, pil_format: str) -> None:
    result = run_all(load(sd), {"a": ImageRequest(text="a cat", steps=1, format=file_format)})["a"]
    assert result.artifact is not None
    assert result.artifact.media_type == f"image/{file_format}"
    assert Image.open(io.BytesIO(result.data)).format == pil_format


def test_the_entrys_defaults_hold_where_the_request_is_silent(sd: Path) -> None:
    engine = load(sd, steps=3, guidance=2.0, size_px=16)
    result = run_all(engine, {"a": ImageRequest(text="a cat", seed=5)})["a"]
    assert len(result.progress) == 3
    asked = ImageRequest(text="a cat", seed=5, steps=3, guidance=2.0, width_px=16, height_px=16)
    np.testing.assert_array_equal(pixels(result.data), plain_image(sd, asked))


@pytest.mark.parametrize(
    ("request_", "param", "allowed"),
    [
        (ImageRequest(text="x", width_px=33, height_px=32), "size", "multiple of 8"),
        (ImageRequest(text="x", width_px=32, height_px=72), "size", "between 8 and 64"),
        (ImageRequest(text="x", width_px=0, height_px=32), "size", "positive"),
        (ImageRequest(text="x", width_px=-8, height_px=32), "size", "positive"),
        (ImageRequest(text="x", steps=0), "steps", "between 1 and 10"),
        (ImageRequest(text="x", steps=11), "steps", "between 1 and 10"),
        (ImageRequest(text="x", guidance=float("nan")), "guidance", "between 0 and 1000"),
        (ImageRequest(text="x", guidance=-1.0), "guidance", "between 0 and 1000"),
        (ImageRequest(text="x", seed=-1), "seed", "between 0 and"),
        (ImageRequest(text="x", format="gif"), "output_format", "png, jpeg, webp"),
        (AudioRequest(text="x"), None, "makes images"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(sd: Path, request_: Request, param: str | None, allowed: str) -> None:
    engine = load(sd, max_size_px=64, max_steps=10)
    with pytest.raises(InvalidRequestError, match=allowed) as refusal:
        engine.submit(prompt("p", request_))
    assert refusal.value.param == param
    assert not engine.has_work()


def test_a_pipelines_own_refusal_is_the_clients_mistake_and_fails_alone(
    sd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import StableDiffusionPipeline

    engine = load(sd)

    def refuse(*args: object, **kwargs: object) -> None:
        raise ValueError("`height` has to be divisible by 64")

    with monkeypatch.context() as patch:
        patch.setattr(StableDiffusionPipeline, "check_inputs", refuse)
        finished = run_all(engine, {"p": ImageRequest(text="x", steps=1)})["p"].finished
    assert finished is not None
    assert finished.error is not None
    assert finished.error.status == 400
    assert "divisible by 64" in finished.error.message
    assert run_all(engine, {"p": ImageRequest(text="x", steps=1)})["p"].data


def test_a_cancelled_image_leaves_the_others_as_they_were(sd: Path) -> None:
    engine = load(sd)
    asked = ImageRequest(text="a lake", steps=4, seed=3, guidance=4.0)
    engine.submit(prompt("gone", ImageRequest(text="a cat", steps=9, seed=8)))
    engine.step()
    results = {}
    engine.submit(prompt("stays", asked))
    engine.step()
    engine.step()
    engine.cancel("gone")
    engine.cancel("stays")
    results = run_all(engine, {"stays": asked})
    np.testing.assert_array_equal(pixels(results["stays"].data), plain_image(sd, asked))


def test_closing_midway_leaves_no_thread(sd: Path) -> None:
    engine = load(sd)
    engine.submit(prompt("p", ImageRequest(text="a cat", steps=9)))
    engine.step()
    engine.close()
    assert not engine.has_work()
