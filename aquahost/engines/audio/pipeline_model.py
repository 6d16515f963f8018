"""What may be asked of a diffusers text-to-audio pipeline, and one call of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from aquahost.config.settings import ModelSettings
from aquahost.engines.audio.sound import FORMATS, as_samples, encode_sound
from aquahost.engines.audio.text_to_audio import duration_parameter
from aquahost.engines.checks import check_duration, check_format, check_guidance, check_steps
from aquahost.engines.diffusion.load import LoadedPipeline
from aquahost.engines.diffusion.own_pipeline import count_steps, own_pipeline
from aquahost.engines.diffusion.pipeline_folder import call_parameters
from aquahost.engines.diffusion.step_callback import StepCallback, pipeline_refusals
from aquahost.engines.gate import Arrive
from aquahost.engines.gated import Job, Made
from aquahost.engines.random_state import choose_seed
from aquahost.errors import InvalidRequestError, LoadError
from aquahost.messages.prompts import AudioRequest, Request
from aquahost.messages.wire import Footprint


class AudioPipelineModel:
    """A text-to-audio pipeline on a GPU. Raises LoadError if it doesn't tell its sampling rate."""

    def __init__(self, loaded: LoadedPipeline, settings: ModelSettings, device: torch.device) -> None:
        self._template = loaded.pipeline
        self._settings = settings
        self._device = device
        self._parameters = call_parameters(type(loaded.pipeline))
        self._rate_hz = sampling_rate_hz(loaded.pipeline)
        self._duration_parameter = duration_parameter(self._parameters) or ""
        self._limit_s = min(settings.max_duration_s, longest_s(loaded.pipeline, self._rate_hz) or float("inf"))
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
        if not isinstance(request, AudioRequest):
            raise InvalidRequestError("this model makes sounds; send an audio request")
        seed = choose_seed(request.seed)
        arguments: dict[str, Any] = {"prompt": request.text}
        steps = check_steps(request.steps, self._settings)
        duration_s = check_duration(request.duration_s, limit_s=self._limit_s) or self._default_duration_s()
        for parameter, value, field, asked in (
            ("negative_prompt", request.negative_text, "negative_prompt", request.negative_text is not None),
            (
                "guidance_scale",
                check_guidance(request.guidance, self._settings),
                "guidance",
                request.guidance is not None,
            ),
            ("num_inference_steps", steps, "steps", request.steps is not None),
            (self._duration_parameter, duration_s, "duration", False),
        ):
            if asked and parameter not in self._parameters:
                raise InvalidRequestError(f"{type(self._template).__name__} has no {field}; leave it out", param=field)
            if value is not None and parameter in self._parameters:
                arguments[parameter] = value
        file_format = check_format(request.format, FORMATS, param="response_format")
        play = _Play(self._template, self._device, arguments, tuple(self._parameters), seed, self._rate_hz, file_format)
        return Job(work=play, seed=seed, steps=self._count_steps(steps))

    def _default_duration_s(self) -> float | None:
        default = self._parameters[self._duration_parameter].default
        if isinstance(default, int | float):
            return min(float(default), self._limit_s)
        # The pipeline's own default is then the longest sound it can make, where it has such a limit.
        return self._limit_s if longest_s(self._template, self._rate_hz) is not None else None

    def _count_steps(self, steps: int | None) -> int | None:
        parameter = self._parameters.get("num_inference_steps")
        asked = steps if steps is not None else parameter.default if parameter is not None else None
        if not isinstance(asked, int):
            return None
        count = count_steps(self._template, asked)
        legacy = "callback_on_step_end" not in self._parameters
        return asked if legacy and count is not None else count


@dataclass(frozen=True, slots=True)
class _Play:
    """One call of the pipeline."""

    template: Any
    device: torch.device
    arguments: dict[str, Any]
    parameters: tuple[str, ...]
    seed: int
    rate_hz: int
    file_format: str

    def __call__(self, arrive: Arrive) -> Made:
        pipeline = own_pipeline(self.template)
        callback = StepCallback(arrive)
        arguments = dict(self.arguments)
        if "callback_on_step_end" in self.parameters:
            arguments["callback_on_step_end"] = callback.on_step_end
        else:
            arguments |= {"callback": callback.legacy(pipeline), "callback_steps": 1}
        if "generator" in self.parameters:
            arguments["generator"] = torch.Generator(self.device).manual_seed(self.seed)
        if "output_type" in self.parameters:
            arguments["output_type"] = "np"
        with pipeline_refusals(callback):
            result = pipeline(**arguments)
        return encode_sound(as_samples(result.audios[0]), self.rate_hz, self.file_format)


def sampling_rate_hz(pipeline: Any) -> int:
    """Sampling rate of what the pipeline returns. Raises LoadError if neither it nor its parts tell."""
    parts = [getattr(pipeline, name, None) for name in ("vocoder", "vae")]
    configs = [getattr(part, "config", None) for part in parts]
    for holder in (*configs, pipeline, *parts):
        for name in ("sampling_rate", "sample_rate"):
            value = getattr(holder, name, None)
            if isinstance(value, int) and value > 0:
                return value
    raise LoadError(f"{type(pipeline).__name__} does not tell its sampling rate, so its sound can't be written")


def longest_s(pipeline: Any, rate_hz: int) -> float | None:
    """The longest sound in seconds, where the pipeline's transformer has a fixed number of frames (Stable Audio)."""
    frames = getattr(getattr(getattr(pipeline, "transformer", None), "config", None), "sample_size", None)
    hop = getattr(getattr(pipeline, "vae", None), "hop_length", None)
    return frames * hop / rate_hz if isinstance(frames, int) and isinstance(hop, int) else None
