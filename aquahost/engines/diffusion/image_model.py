"""What may be asked of a text-to-image pipeline, and one call of it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from aquahost.config.settings import ModelSettings
from aquahost.engines.checks import check_format, check_guidance, check_length, check_steps
from aquahost.engines.diffusion.hosted_pipeline import SHARED_FIELDS, HostedPipeline
from aquahost.engines.diffusion.load import LoadedPipeline
from aquahost.engines.gate import Arrive
from aquahost.engines.gated_model import Job, Made, Trial, doubling
from aquahost.engines.random_state import choose_seed
from aquahost.errors import InvalidRequestError, LoadError
from aquahost.messages.prompts import ImageRequest, Request
from aquahost.messages.wire import Footprint

FORMATS = ("png", "jpeg", "webp")
FIELDS = {"prompt": "prompt", "height": "size", "width": "size", **SHARED_FIELDS}
"""The request's field behind each of the pipeline's parameters."""
SMALLEST_TRIAL_PX = 64


class ImageModel:
    """A text-to-image pipeline on a GPU. Raises LoadError if the entry's `size_px` is none of its sizes."""

    def __init__(self, loaded: LoadedPipeline, settings: ModelSettings, device: torch.device) -> None:
        self._pipeline = HostedPipeline(loaded, device, FIELDS)
        self._settings = settings
        self._multiple = size_multiple(loaded.pipeline)
        self._refuse_unless_sizes_fit()

    @property
    def footprint(self) -> Footprint:
        """The model's share of its GPU."""
        return self._pipeline.footprint

    @property
    def torch_device(self) -> torch.device:
        """Where it computes."""
        return self._pipeline.device

    def prepare(self, request: Request) -> Job:
        """Check a request. Raises errors.InvalidRequestError naming the field at fault."""
        if not isinstance(request, ImageRequest):
            raise InvalidRequestError("this model makes images; send an image request", param="model")
        seed = choose_seed(request.seed)
        size = self._size(request)
        arguments = self._pipeline.texts(request) | size | self._guidance(request)
        steps = check_steps(request.steps, self._settings)
        arguments |= self._pipeline.option("num_inference_steps", steps, asked=request.steps is not None)
        file_format = check_format(request.format, FORMATS, param="output_format")
        render = _Render(self._pipeline, arguments, seed, file_format)
        width_px, height_px = size.get("width", self._own_px), size.get("height", self._own_px)
        return Job(work=render, seed=seed, size=width_px * height_px, steps=self._pipeline.count_steps(steps))

    def trials(self) -> Sequence[Trial]:
        """Square images, each with twice the side of the one before, up to the entry's `max_size_px`."""
        multiple = self._multiple
        largest_px = self._settings.max_size_px // multiple * multiple
        smallest_px = min(largest_px, -(-SMALLEST_TRIAL_PX // multiple) * multiple)
        return [self._trial(int(px)) for px in doubling(smallest_px, largest_px)]

    def _trial(self, px: int) -> Trial:
        name = self._guidance_parameter(with_negative="negative_prompt" in self._pipeline.parameters)
        more = self._pipeline.trial_options(self._settings, guidance_parameter=name)
        request = ImageRequest(**more, width_px=px, height_px=px, format="jpeg")
        return Trial(f"{px} x {px} pixels", request)

    @property
    def _own_px(self) -> int:
        """The side of an image where neither request nor entry says: the pipeline's, else the largest."""
        return own_size_px(self._pipeline.template) or self._settings.max_size_px

    def _refuse_unless_sizes_fit(self) -> None:
        multiple, size_px, max_px = self._multiple, self._settings.size_px, self._settings.max_size_px
        if max_px < multiple:
            raise LoadError(f"max_size_px: {max_px} is less than the model's smallest image; set at least {multiple}")
        if size_px is not None and size_px % multiple:
            nearest_px = max(multiple, size_px // multiple * multiple)
            raise LoadError(f"size_px: {size_px} is no multiple of {multiple}, as the model needs; {nearest_px} is")

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
        guidance = check_guidance(request.guidance, self._settings)
        name = self._guidance_parameter(with_negative=request.negative_text is not None)
        return self._pipeline.option(name, guidance, asked=request.guidance is not None)

    def _guidance_parameter(self, *, with_negative: bool) -> str:
        """Models distilled for guidance keep classifier-free guidance, and negative prompts, under another name."""
        parameters = self._pipeline.parameters
        distilled = parameters.get("guidance_scale")
        if "true_cfg_scale" in parameters and (distilled is None or distilled.default is None or with_negative):
            return "true_cfg_scale"
        return "guidance_scale"


@dataclass(frozen=True, slots=True)
class _Render:
    """One call of the pipeline."""

    pipeline: HostedPipeline
    arguments: dict[str, Any]
    seed: int
    file_format: str

    def __call__(self, arrive: Arrive) -> Made:
        result = self.pipeline.call(self.arguments, seed=self.seed, arrive=arrive)
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


def own_size_px(pipeline: Any) -> int:
    """Width and height that the pipeline chooses by itself; 0 where it does not tell."""
    parts = [getattr(getattr(pipeline, name, None), "config", None) for name in ("unet", "transformer")]
    told = [getattr(pipeline, "default_sample_size", None), *(getattr(part, "sample_size", None) for part in parts)]
    latents = next((size for size in told if isinstance(size, int) and size > 0), 0)
    return latents * _positive(getattr(pipeline, "vae_scale_factor", 1))


def _positive(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 1
