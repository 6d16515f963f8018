"""Images of tiny pipelines, through the gate."""

from __future__ import annotations

import gc
import io
import threading
import weakref
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
from aquahost.engines.diffusion.own_pipeline import own_pipeline
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
    entry = ModelSettings(kind=Kind.IMAGE, source=str(folder), **{"size_px": 32, "max_size_px": 64, **settings})
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
    engine = load(folder, max_concurrent=3, policy="fair")
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
        (AudioRequest(text="x"), "model", "makes images"),
        (ImageRequest(text="a \ud800"), "prompt", r"half a surrogate pair \(character 3\)"),
        (ImageRequest(text="x", negative_text="\udfff"), "negative_prompt", "half a surrogate pair"),
        (ImageRequest(text="x" * 16_385), "prompt", "16385 bytes of UTF-8, of which the model takes at most 16384"),
        (ImageRequest(text="x", negative_text="ä" * 8_193), "negative_prompt", "has 16386 bytes"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(sd: Path, request_: Request, param: str, allowed: str) -> None:
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
    assert (finished.error.status, finished.error.param) == (400, "size")
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


def test_a_text_as_long_as_allowed_is_drawn(sd: Path) -> None:
    assert run_all(load(sd), {"p": ImageRequest(text="cat " * 4_096, steps=1)})["p"].data


@pytest.mark.parametrize("ending", ["returns", "raises", "is refused", "is cancelled"])
def test_nothing_of_a_prompt_outlives_its_last_step(sd: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    from diffusers import UNet2DConditionModel

    seen: list[weakref.ref[Any]] = []
    forward = UNet2DConditionModel.forward

    def watched(self: Any, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        result = forward(self, sample, *args, **kwargs)
        seen.extend([weakref.ref(sample), weakref.ref(result[0]), weakref.ref(kwargs["encoder_hidden_states"])])
        if ending == "is refused":
            raise ValueError("`prompt` is odd")
        if ending == "raises" and len(seen) > 5:
            raise RuntimeError("bad latents")
        return result

    def watched_pipeline(template: Any) -> Any:
        own = own_pipeline(template)
        seen.extend([weakref.ref(own), weakref.ref(own.scheduler)])
        return own

    engine = load(sd)
    monkeypatch.setattr(UNet2DConditionModel, "forward", watched)
    monkeypatch.setattr("aquahost.engines.diffusion.hosted_pipeline.own_pipeline", watched_pipeline)
    engine.submit(prompt("p", ImageRequest(text="a cat", steps=3, guidance=4.0)))
    gc.collect()
    gc.disable()
    try:
        if ending == "is cancelled":
            engine.step()
            engine.step()
            engine.cancel("p")
        while engine.has_work():
            engine.step()
        assert len(seen) >= 5
        assert [kept for kept in seen if kept() is not None] == []
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore:.upcast_vae. is deprecated:FutureWarning")
@pytest.mark.parametrize("fails", [False, True])
def test_a_half_precision_autoencoder_stays_where_it_was_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    from diffusers import AutoencoderKL

    vaes: list[torch.nn.Module] = []
    decode = AutoencoderKL.decode

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        vaes.append(self)
        if fails:
            raise MemoryError
        return decode(self, *args, **kwargs)

    device = _AddressedDevice()
    entry = ModelSettings(
        kind=Kind.IMAGE, source=str(make_tiny_sdxl(tmp_path)), size_px=32, max_size_px=32, dtype="float16"
    )
    engine = load_image("paint", entry, SchedulerSettings(), device, Reports())  # type: ignore[arg-type]
    monkeypatch.setattr(AutoencoderKL, "decode", watched)
    request = ImageRequest(text="a cat", steps=1)
    for result in run_all(engine, {"a": request, "b": request}).values():
        assert result.finished is not None
        error = result.finished.error
        assert (error.code if error is not None else None) == ("out_of_memory" if fails else None)
    assert {parameter.data_ptr() for parameter in vaes[-1].parameters()} <= device.addresses
    assert next(vaes[-1].parameters()).dtype == torch.float16


class _AddressedDevice(PlainDevice):
    """Remembers where it placed weights."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: set[int] = set()

    def place(self, *modules: torch.nn.Module) -> int:
        self.addresses |= {parameter.data_ptr() for module in modules for parameter in module.parameters()}
        return super().place(*modules)
