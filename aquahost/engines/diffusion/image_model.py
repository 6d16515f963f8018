"""What may be asked of a text-to-image pipeline, and one call of it."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import torch

from aquahost.config.settings import ModelSettings
from aquahost.engines.checks import check_format, check_guidance, check_length, check_steps
from aquahost.engines.diffusion.load import LoadedPipeline
from aquahost.engines.diffusion.own_pipeline import count_steps, own_pipeline
from aquahost.engines.diffusion.pipeline_folder import call_parameters
from aquahost.engines.diffusion.step_callback import StepCallback, pipeline_refusals
from aquahost.engines.gate import Arrive
from aquahost.engines.gated import Job, Made
from aquahost.engines.random_state import choose_seed
from aquahost.errors import InvalidRequestError
from aquahost.messages.prompts import ImageRequest, Request
from aquahost.messages.wire import Footprint

FORMATS = ("png", "jpeg", "webp")
_CALLBACKS = ("callback_on_step_end", "prior_callback_on_step_end")


class ImageModel:
    """A text-to-image pipeline on a GPU."""

    def __init__(self, loaded: LoadedPipeline, settings: ModelSettings, device: torch.device) -> None:
        self._template = loaded.pipeline
        self._settings = settings
        self._device = device
        self._parameters = call_parameters(type(loaded.pipeline))
        self._multiple = size_multiple(loaded.pipeline)
        dtype = str(loaded.dtype).removeprefix("torch.")
        self._footprint = Footprint(
            weights_bytes=loaded.weights_bytes, detail=f"{type(loaded.pipeline).__name__} {dtype}"
        )

    @property
    def footprint(self) -> Footprint:
        """The model's share of its GPU."""
        return self._footprint

    @property
    def torch_device(self) -> torch.device:
        """Where it computes."""
        return self._device

    def prepare(self, request: Request) -> Job:
        """Check a request. Raises errors.InvalidRequestError naming the field at fault."""
        if not isinstance(request, ImageRequest):
            raise InvalidRequestError("this model makes images; send an image request")
        seed = choose_seed(request.seed)
        arguments: dict[str, Any] = {"prompt": request.text}
        arguments |= self._size(request)
        arguments |= self._guidance(request)
        steps = check_steps(request.steps, self._settings)
        if steps is not None:
            self._require("num_inference_steps", "steps", asked=request.steps is not None)
            if "num_inference_steps" in self._parameters:
                arguments["num_inference_steps"] = steps
        file_format = check_format(request.format, FORMATS, param="output_format")
        render = _Render(self._template, self._device, arguments, tuple(self._parameters), seed, file_format)
        return Job(work=render, seed=seed, steps=self._count_steps(steps))

    def _size(self, request: ImageRequest) -> dict[str, int]:
        default_px = self._settings.size_px
        sides = {"width": request.width_px or default_px, "height": request.height_px or default_px}
        for asked in (request.width_px, request.height_px):
            if asked is not None and asked < 1:
                raise InvalidRequestError(f"size must be positive, not {asked}", param="size")
        if None in sides.values():
            if any(sides.values()):
                raise InvalidRequestError("size needs both width and height", param="size")
            return {}
        max_px = self._settings.max_size_px
        return {
            side: check_length(asked, side=side, multiple=self._multiple, max_px=max_px)
            for side, asked in sides.items()
            if asked is not None
        }

    def _guidance(self, request: ImageRequest) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        guidance = check_guidance(request.guidance, self._settings)
        negative = request.negative_text
        if negative is not None:
            self._require("negative_prompt", "negative_prompt", asked=True)
            arguments["negative_prompt"] = negative
        if guidance is not None:
            name = self._guidance_parameter(with_negative=negative is not None)
            self._require(name, "guidance", asked=request.guidance is not None)
            if name in self._parameters:
                arguments[name] = guidance
        return arguments

    def _guidance_parameter(self, *, with_negative: bool) -> str:
        """Models distilled for guidance keep classifier-free guidance, and negative prompts, under another name."""
        distilled = self._parameters.get("guidance_scale")
        if "true_cfg_scale" in self._parameters and (distilled is None or distilled.default is None or with_negative):
            return "true_cfg_scale"
        return "guidance_scale"

    def _require(self, parameter: str, field: str, *, asked: bool) -> None:
        if asked and parameter not in self._parameters:
            raise InvalidRequestError(f"{type(self._template).__name__} has no {field}; leave it out", param=field)

    def _count_steps(self, steps: int | None) -> int | None:
        parameter = self._parameters.get("num_inference_steps")
        asked = steps if steps is not None else parameter.default if parameter is not None else None
        return count_steps(self._template, asked) if isinstance(asked, int) else None


@dataclass(frozen=True, slots=True)
class _Render:
    """One call of the pipeline."""

    template: Any
    device: torch.device
    arguments: dict[str, Any]
    parameters: tuple[str, ...]
    seed: int
    file_format: str

    def __call__(self, arrive: Arrive) -> Made:
        callback = StepCallback(arrive)
        arguments = dict(self.arguments)
        arguments |= {name: callback.on_step_end for name in _CALLBACKS if name in self.parameters}
        if "generator" in self.parameters:
            arguments["generator"] = torch.Generator(self.device).manual_seed(self.seed)
        with pipeline_refusals(callback):
            result = own_pipeline(self.template)(**arguments)
        if any(getattr(result, "nsfw_content_detected", None) or ()):
            raise InvalidRequestError(
                "The model's safety checker withheld the image.", param="prompt", code="content_policy_violation"
            )
        return Made(media_type=f"image/{self.file_format}", data=encode_image(result.images[0], self.file_format))


def encode_image(image: Any, file_format: str) -> bytes:
    """A PIL image as a file; `file_format` is one of FORMATS."""
    if file_format == "jpeg":
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, format=file_format.upper(), **({"quality": 95} if file_format != "png" else {}))
    return buffer.getvalue()


def size_multiple(pipeline: Any) -> int:
    """Width and height must be multiples of this: the latents' scale, times the patch where there are patches.

    At least 8, which most pipelines insist on whatever their autoencoder's scale.
    """
    scale = _positive(getattr(pipeline, "vae_scale_factor", 1))
    processor = getattr(pipeline, "image_processor", None)
    of_processor = _positive(getattr(getattr(processor, "config", None), "vae_scale_factor", 1))
    patch = _positive(getattr(pipeline, "patch_size", 1))
    return math.lcm(8, scale * patch, of_processor)


def _positive(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 1
