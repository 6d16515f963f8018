"""MusicGen of transformers: a language model over audio tokens, one token a step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from aquahost.config.settings import ModelSettings
from aquahost.engines.audio.sound import FORMATS, SMALLEST_TRIAL_S, as_samples, encode_sound
from aquahost.engines.checkpoint import find_weights
from aquahost.engines.checks import check_duration, check_format, check_guidance, check_text
from aquahost.engines.device import EngineDevice
from aquahost.engines.diffusion.load import load_errors, stored_dtype
from aquahost.engines.dtypes import choose_dtype
from aquahost.engines.engine import ReportProgress
from aquahost.engines.gate import Arrive
from aquahost.engines.gated_model import TRIAL_GUIDANCE, TRIAL_TEXT, Job, Made, Trial, doubling
from aquahost.engines.random_state import choose_seed
from aquahost.errors import InvalidRequestError, LoadError
from aquahost.messages.prompts import AudioRequest, Request
from aquahost.messages.wire import Footprint, LoadProgress

MODEL_TYPES = ("musicgen", "musicgen_melody")
TEXT_TOKENS = 512
"""Longest text where neither tokenizer nor encoder tells: what T5, the encoder of all of them, was trained on."""
MAX_TEXT_TOKENS = 4096
"""A larger number in a model's files is no limit; tokenizers without one say 1e30. The encoder's memory grows with the
square of the length."""


def load_musicgen(path: Path, settings: ModelSettings, device: EngineDevice, report: ReportProgress) -> MusicGenModel:
    """Raises LoadError if the model is of another type, doesn't fit (before weights are read), or can't be read."""
    from transformers import AutoConfig, AutoTokenizer, MusicgenForConditionalGeneration

    with load_errors(path):
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=settings.trust_remote_code)
    if config.model_type not in MODEL_TYPES:
        raise LoadError(
            f"{path} is a {config.model_type} model; of transformers' audio models only "
            f"{' and '.join(MODEL_TYPES)} can be paused between steps and so share a GPU"
        )
    weights = find_weights(path)
    if weights is None:
        raise LoadError(f"{path} has no weights: there is no model*.safetensors")
    dtype = choose_dtype(settings, device.torch_device, stored_dtype(weights.float_dtype))
    total_bytes = weights.loaded_bytes(dtype.itemsize)
    device.require(total_bytes, f"the weights of {config.model_type}")
    report(LoadProgress("loading weights", 0, total_bytes))
    model_class: Any = MusicgenForConditionalGeneration
    if config.model_type == "musicgen_melody":
        from transformers import MusicgenMelodyForConditionalGeneration

        model_class = MusicgenMelodyForConditionalGeneration
    with load_errors(path):
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = model_class.from_pretrained(
            path, dtype=dtype, use_safetensors=True, local_files_only=True, variant=weights.variant
        ).eval()
    placed_bytes = device.place(model)
    report(LoadProgress("loading weights", total_bytes, total_bytes))
    return MusicGenModel(model, tokenizer, settings, device.torch_device, placed_bytes)


class MusicGenModel:
    """A MusicGen model on a GPU."""

    def __init__(
        self, model: Any, tokenizer: Any, settings: ModelSettings, device: torch.device, weights_bytes: int
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._text_tokens = text_limit(tokenizer, model.config.text_encoder)
        self._settings = settings
        self._device = device
        codec = model.config.audio_encoder
        decoder = model.config.decoder
        self._rate_hz = int(codec.sampling_rate)
        self._frames_per_s = float(codec.frame_rate)
        # Each codebook but the first lags one token behind the one before it.
        self._delay = decoder.num_codebooks // decoder.audio_channels - 1
        positions = int(decoder.max_position_embeddings) - 1 - self._delay
        self._limit_s = min(settings.max_duration_s, positions / self._frames_per_s)
        dtype = str(model.dtype).removeprefix("torch.")
        self._footprint = Footprint(weights_bytes=weights_bytes, detail=f"{type(model).__name__} {dtype}")

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
            raise InvalidRequestError("this model makes sounds; send an audio request", param="model")
        if request.steps is not None:
            raise InvalidRequestError("this model has no denoising steps; leave steps out", param="steps")
        if request.negative_text is not None:
            raise InvalidRequestError("this model has no negative prompt; leave it out", param="negative_prompt")
        seed = choose_seed(request.seed)
        duration_s = check_duration(request.duration_s, limit_s=self._limit_s) or self._default_duration_s()
        frames = max(1, math.ceil(duration_s * self._frames_per_s - 1e-6))
        guidance = check_guidance(request.guidance, self._settings)
        file_format = check_format(request.format, FORMATS, param="response_format")
        generate = _Generate(
            model=self._model,
            inputs=self._tokenize(request.text),
            device=self._device,
            tokens=frames + self._delay,
            guidance=guidance,
            samples=max(1, round(duration_s * self._rate_hz)),
            rate_hz=self._rate_hz,
            file_format=file_format,
        )
        return Job(work=generate, seed=seed, size=generate.tokens, steps=generate.tokens)

    def trials(self) -> Sequence[Trial]:
        """Sounds, each twice as long as the one before, up to the longest: all tokens, and then the codec."""
        return [
            Trial(
                f"{seconds:g} s of sound",
                AudioRequest(text=TRIAL_TEXT, seed=0, duration_s=seconds, guidance=TRIAL_GUIDANCE, format="pcm"),
            )
            for seconds in doubling(min(SMALLEST_TRIAL_S, self._limit_s), self._limit_s)
        ]

    def _tokenize(self, text: str) -> Any:
        inputs = self._tokenizer([check_text(text, param="input")], return_tensors="pt", verbose=False)
        tokens = inputs["input_ids"].shape[1]
        if tokens > self._text_tokens:
            raise InvalidRequestError(
                f"the input has {tokens} tokens, of which the model takes at most {self._text_tokens}; shorten it",
                param="input",
                code="context_length_exceeded",
            )
        return inputs

    def _default_duration_s(self) -> float:
        tokens: int | None = self._model.generation_config.max_length
        default_s: float = (tokens - self._delay) / self._frames_per_s if tokens else self._limit_s
        limit_s: float = self._limit_s
        return min(default_s, limit_s) if default_s > 0 else limit_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Generate:
    """One call of `generate`."""

    model: Any
    inputs: Any
    device: torch.device
    tokens: int
    guidance: float | None
    samples: int
    rate_hz: int
    file_format: str

    def __call__(self, arrive: Arrive) -> Made:
        options = {} if self.guidance is None else {"guidance_scale": self.guidance}
        audio = self.model.generate(
            **{name: value.to(self.device) for name, value in self.inputs.items()},
            max_new_tokens=self.tokens,
            stopping_criteria=StoppingCriteriaList([_GateAtToken(arrive, self.tokens)]),
            **options,
        )
        return encode_sound(as_samples(audio[0])[: self.samples], self.rate_hz, self.file_format)


class _GateAtToken(StoppingCriteria):
    """Never stops generation; arrives at the gate each time transformers asks whether to."""

    def __init__(self, arrive: Arrive, tokens: int) -> None:
        self._arrive = arrive
        self._tokens = tokens
        self._done = 0

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._done += 1
        self._arrive(self._done, self._tokens)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def text_limit(tokenizer: Any, encoder_config: Any) -> int:
    """Most tokens of a text: as the tokenizer says, else the text encoder, else `TEXT_TOKENS`."""
    told = (
        getattr(tokenizer, "model_max_length", None),
        getattr(encoder_config, "max_position_embeddings", None),
        getattr(encoder_config, "n_positions", None),
    )
    return next((limit for limit in told if isinstance(limit, int) and 0 < limit <= MAX_TEXT_TOKENS), TEXT_TOKENS)
