"""What may be asked of a diffusers text-to-audio pipeline, and one call of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from aquahost.config.settings import ModelSettings
from aquahost.engines.audio.sound import FORMATS, SMALLEST_TRIAL_S, as_samples, encode_sound
from aquahost.engines.audio.text_to_audio import DURATION_PARAMETERS, duration_parameter
from aquahost.engines.checks import check_duration, check_format, check_guidance, check_steps
from aquahost.engines.diffusion.hosted_pipeline import SHARED_FIELDS, HostedPipeline
from aquahost.engines.diffusion.load import LoadedPipeline
from aquahost.engines.gate import Arrive
from aquahost.engines.gated_model import Job, Made, Trial, doubling
from aquahost.engines.random_state import choose_seed
from aquahost.errors import InvalidRequestError, LoadError
from aquahost.messages.prompts import AudioRequest, Request
from aquahost.messages.wire import Footprint

FIELDS = {"prompt": "input", **dict.fromkeys(DURATION_PARAMETERS, "duration"), **SHARED_FIELDS}
"""The request's field behind each of the pipeline's parameters."""


class AudioPipelineModel:
    """A text-to-audio pipeline on a GPU. Raises LoadError if it doesn't tell its sampling rate."""

    def __init__(self, loaded: LoadedPipeline, settings: ModelSettings, device: torch.device) -> None:
        self._pipeline = HostedPipeline(loaded, device, FIELDS)
        self._settings = settings
        self._rate_hz = sampling_rate_hz(loaded.pipeline)
        self._duration_parameter = duration_parameter(self._pipeline.parameters) or ""
        self._longest_s = longest_s(loaded.pipeline, self._rate_hz)
        self._limit_s = min(settings.max_duration_s, self._longest_s or float("inf"))

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
        if not isinstance(request, AudioRequest):
            raise InvalidRequestError("this model makes sounds; send an audio request", param="model")
        seed = choose_seed(request.seed)
        steps = check_steps(request.steps, self._settings)
        duration_s = check_duration(request.duration_s, limit_s=self._limit_s) or self._default_duration_s()
        guidance = check_guidance(request.guidance, self._settings)
        file_format = check_format(request.format, FORMATS, param="response_format")
        option = self._pipeline.option
        arguments = self._pipeline.texts(request)
        arguments |= option("guidance_scale", guidance, asked=request.guidance is not None)
        arguments |= option("num_inference_steps", steps, asked=request.steps is not None)
        arguments |= option(self._duration_parameter, duration_s, asked=request.duration_s is not None)
        arguments |= option("output_type", "np", asked=False)
        play = _Play(self._pipeline, arguments, seed, self._rate_hz, file_format)
        size = self._longest_s or duration_s or self._limit_s  # with a fixed number of frames, all sounds take as much
        return Job(work=play, seed=seed, size=size, steps=self._pipeline.count_steps(steps))

    def trials(self) -> Sequence[Trial]:
        """Sounds, each twice as long as the one before, up to the longest; one alone where length does not matter."""
        more = self._pipeline.trial_options(self._settings, guidance_parameter="guidance_scale")
        shortest_s = self._limit_s if self._longest_s is not None else min(SMALLEST_TRIAL_S, self._limit_s)
        return [
            Trial(f"{seconds:g} s of sound", AudioRequest(**more, duration_s=seconds, format="pcm"))
            for seconds in doubling(shortest_s, self._limit_s)
        ]

    def _default_duration_s(self) -> float | None:
        default = self._pipeline.parameters[self._duration_parameter].default
        if isinstance(default, int | float):
            return min(float(default), self._limit_s)
        # The pipeline's own default is then the longest sound it can make, where it has such a limit.
        return self._limit_s if self._longest_s is not None else None


@dataclass(frozen=True, slots=True)
class _Play:
    """One call of the pipeline."""

    pipeline: HostedPipeline
    arguments: dict[str, Any]
    seed: int
    rate_hz: int
    file_format: str

    def __call__(self, arrive: Arrive) -> Made:
        result = self.pipeline.call(self.arguments, seed=self.seed, arrive=arrive)
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
