"""What requests become for pipelines of different habits; the pipelines are stand-ins that record their call."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from aquahost.config.settings import Kind, ModelSettings
from aquahost.engines.diffusion.image_model import ImageModel, size_multiple
from aquahost.engines.diffusion.load import LoadedPipeline
from aquahost.engines.diffusion.own_pipeline import count_steps
from aquahost.errors import InvalidRequestError, LoadError
from aquahost.messages.prompts import ImageRequest


class _Recording:
    """A pipeline's outside: its scheduler's steps, and what it was called with."""

    def __init__(self, *, flagged: bool = False, stages: int = 1) -> None:
        self.calls: list[dict[str, Any]] = []
        self.num_timesteps = 2
        self._flagged = flagged
        self._stages = stages

    def _record(self, callback: Callable[..., Any], call: dict[str, Any]) -> Any:
        self.calls.append(call)
        for _ in range(self._stages):
            for index in range(2):
                callback(self, index, None, {})
        return SimpleNamespace(images=[Image.new("RGB", (8, 8))], nsfw_content_detected=[self._flagged])


class _Plain(_Recording):
    def __call__(
        self,
        prompt: str,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 2,
        guidance_scale: float = 5.0,
        negative_prompt: str | None = None,
        callback_on_step_end: Any = None,
    ) -> Any:
        return self._record(callback_on_step_end, {k: v for k, v in locals().items() if v is not None})


class _Distilled(_Recording):
    """As Flux: guidance is an input of the model, classifier-free guidance has another name."""

    def __call__(
        self,
        prompt: str,
        height: int | None = None,
        width: int | None = None,
        negative_prompt: str | None = None,
        true_cfg_scale: float = 1.0,
        guidance_scale: float = 3.5,
        callback_on_step_end: Any = None,
    ) -> Any:
        return self._record(callback_on_step_end, {k: v for k, v in locals().items() if v is not None})


class _Bare(_Recording):
    def __call__(self, prompt: str, height: int = 8, width: int = 8, callback_on_step_end: Any = None) -> Any:
        return self._record(callback_on_step_end, {"prompt": prompt, "height": height, "width": width})


def _model(pipeline: _Recording, **settings: Any) -> ImageModel:
    loaded = LoadedPipeline(pipeline=pipeline, dtype=torch.float32, weights_bytes=0)
    return ImageModel(loaded, ModelSettings(kind=Kind.IMAGE, source="x", **settings), torch.device("cpu"))


def _run(pipeline: _Recording, request: ImageRequest, **settings: Any) -> list[tuple[int, int]]:
    arrivals: list[tuple[int, int]] = []
    _model(pipeline, **settings).prepare(request).work(lambda step, steps: arrivals.append((step, steps)))
    return arrivals


def test_what_is_not_said_is_left_to_the_pipeline() -> None:
    pipeline = _Plain()
    _run(pipeline, ImageRequest(text="x"))
    assert not {"height", "width", "negative_prompt"} & pipeline.calls[0].keys()
    assert pipeline.calls[0]["num_inference_steps"] == 2


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ImageRequest(text="x", guidance=2.0), {"guidance_scale": 2.0, "true_cfg_scale": 1.0}),
        (ImageRequest(text="x", guidance=2.0, negative_text="y"), {"guidance_scale": 3.5, "true_cfg_scale": 2.0}),
    ],
)
def test_guidance_reaches_a_distilled_model_by_its_right_name(
    request_: ImageRequest, expected: dict[str, float]
) -> None:
    pipeline = _Distilled()
    _run(pipeline, request_)
    assert {name: pipeline.calls[0][name] for name in expected} == expected


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (ImageRequest(text="x", guidance=2.0), "guidance"),
        (ImageRequest(text="x", steps=2), "steps"),
        (ImageRequest(text="x", negative_text="y"), "negative_prompt"),
        (ImageRequest(text="x", width_px=8), "size"),
    ],
)
def test_what_a_pipeline_does_not_know_is_refused_by_name(request_: ImageRequest, param: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        _model(_Bare()).prepare(request_)
    assert refusal.value.param == param


def test_defaults_of_the_entry_that_a_pipeline_does_not_know_are_left_out() -> None:
    pipeline = _Bare()
    _run(pipeline, ImageRequest(text="x"), steps=3, guidance=2.0)
    assert len(pipeline.calls) == 1


def test_a_withheld_image_is_an_error_of_the_prompt() -> None:
    with pytest.raises(InvalidRequestError, match="safety checker") as refusal:
        _run(_Plain(flagged=True), ImageRequest(text="x"))
    assert (refusal.value.param, refusal.value.code) == ("prompt", "content_policy_violation")


def test_the_steps_of_stages_add_up() -> None:
    assert _run(_Plain(stages=2), ImageRequest(text="x")) == [(1, 2), (2, 2), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("parts", "multiple"),
    [
        ({}, 8),
        ({"vae_scale_factor": 2}, 8),
        ({"vae_scale_factor": 8, "patch_size": 2}, 16),
        ({"vae_scale_factor": 8, "image_processor": SimpleNamespace(config=SimpleNamespace(vae_scale_factor=16))}, 16),
        ({"vae_scale_factor": 32}, 32),
    ],
)
def test_sizes_are_multiples_of_what_latents_and_patches_need(parts: dict[str, Any], multiple: int) -> None:
    assert size_multiple(SimpleNamespace(**parts)) == multiple


class _Refusing(_Recording):
    """Refuses whatever it is asked, in words of its own."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def __call__(self, prompt: str, height: int = 8, width: int = 8, callback_on_step_end: Any = None) -> Any:
        raise ValueError(self._words)


@pytest.mark.parametrize(
    ("words", "param"),
    [
        ("`width` and `height` must be divisible by 16 but are 8 and 8.", "size"),
        ("`num_inference_steps` must be less than 50", "steps"),
        ("guidance_scale can't be 0 with this model", "guidance"),
        ("`negative_prompt` must be of the type of `prompt`", "negative_prompt"),
        ("no heights of this kind", "prompt"),
    ],
)
def test_a_pipelines_own_refusal_names_the_field_behind_its_parameter(words: str, param: str) -> None:
    with pytest.raises(InvalidRequestError, match="The model refuses this request") as refusal:
        _run(_Refusing(words), ImageRequest(text="x"))
    assert refusal.value.param == param


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), KeyError("sigmas"), AttributeError("no")])
def test_a_scheduler_that_fails_to_count_leaves_the_steps_unknown(error: Exception) -> None:
    class Scheduler:
        def set_timesteps(self, steps: int) -> None:
            raise error

    pipeline = _Plain()
    pipeline.scheduler = Scheduler()  # type: ignore[attr-defined]
    assert _model(pipeline).prepare(ImageRequest(text="x", steps=1)).steps is None


def test_unclips_scheduler_can_not_count_one_step() -> None:
    from diffusers import UnCLIPScheduler

    assert count_steps(SimpleNamespace(scheduler=UnCLIPScheduler()), 1) is None
    assert count_steps(SimpleNamespace(scheduler=UnCLIPScheduler()), 5) == 5


def test_the_entrys_size_must_be_one_of_the_models() -> None:
    with pytest.raises(LoadError, match=r"size_px: 100 is no multiple of 8, as the model needs; 96 is"):
        _model(_Plain(), size_px=100)
    pipeline = _Plain()
    pipeline.vae_scale_factor = 64  # type: ignore[attr-defined]
    with pytest.raises(LoadError, match=r"max_size_px: 32 is less than the model's smallest image; set at least 64"):
        _model(pipeline, max_size_px=32)
