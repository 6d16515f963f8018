"""What a MusicGen model's passes do: text, one token of every codebook a step, and the codec at the end."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import parametrize

from aquahost.config.settings import ModelSettings
from aquahost.engines.diffusion.load import load_errors
from aquahost.engines.dtypes import choose_dtype
from aquahost.engines.llm.weights import stored_dtype
from aquahost.engines.quiet import quiet_transformers
from aquahost.errors import LoadError
from aquahost.profiler.gated_costs import GatedShape, SizedWork, Work
from aquahost.profiler.operations import META, count_work
from aquahost.profiler.pipeline_parts import text_length

SIZES_S = (5.0, 10.0, 30.0)
_GUIDED_ROWS = 2
"""generate's own default guides."""


def read_musicgen_shape(folder: Path, settings: ModelSettings) -> GatedShape:
    """The passes of the model whose config.json lies in `folder`. Raises LoadError if it is no MusicGen."""
    from transformers import AutoConfig, AutoModel, MusicgenForConditionalGeneration

    quiet_transformers()
    with load_errors(folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type != "musicgen":
            raise LoadError(f"{folder} is a {config.model_type} model; of transformers' audio models only musicgen is")
        dtype = choose_dtype(settings, META, stored_dtype(config))
        build: Any = MusicgenForConditionalGeneration
        with META:
            model = build(config)
        model.audio_encoder = _codec(AutoModel, config.audio_encoder)
        model = model.to(dtype).eval()
        return _shape(model, settings, dtype)


def _codec(factory: Any, config: Any) -> Any:
    """The codec with weights on the meta device alone: its paddings are computed from tensors, which need values. Nor
    can weight norms be computed without; they are taken out, as their part is small."""
    codec = factory.from_config(config)
    for module in codec.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return codec._apply(lambda tensor: tensor.to(META) if tensor.is_floating_point() else tensor)


def _shape(model: Any, settings: ModelSettings, dtype: torch.dtype) -> GatedShape:
    decoder, codec = model.config.decoder, model.config.audio_encoder
    delay = decoder.num_codebooks // decoder.audio_channels - 1
    longest_s = (decoder.max_position_embeddings - 1 - delay) / codec.frame_rate
    most_s = min(settings.max_duration_s, longest_s)
    rows = 1 if settings.guidance is not None and settings.guidance <= 1 else _GUIDED_ROWS
    text = text_length(model.text_encoder)
    ids = torch.empty((1, text), dtype=torch.int64, device=META)
    begin = [count_work(partial(model.text_encoder, ids))]
    states = torch.empty((rows, text, decoder.hidden_size), dtype=dtype, device=META)
    tokens = torch.empty((rows * decoder.num_codebooks, 1), dtype=torch.int64, device=META)
    step = count_work(partial(model.decoder, input_ids=tokens, encoder_hidden_states=states, use_cache=False))
    decoded = _codec_work(model, round(codec.frame_rate), dtype)
    kv_token_bytes = 2 * decoder.num_hidden_layers * decoder.hidden_size * dtype.itemsize * rows
    return GatedShape(
        parameters=sum(p.numel() for p in model.parameters()),
        dtype=str(dtype).removeprefix("torch."),
        dtype_bytes=dtype.itemsize,
        sizes=tuple(
            SizedWork(
                size=seconds,
                begin=begin,
                step=_with_cache(step, kv_token_bytes * seconds * codec.frame_rate / 2),
                end=_times(decoded, seconds),
                held_bytes=round(kv_token_bytes * (text + seconds * codec.frame_rate)),
                steps_per_size=codec.frame_rate,
            )
            for seconds in sorted({one for one in SIZES_S if one < most_s} | {most_s})
        ),
        default_steps=round(most_s * codec.frame_rate),
        default_size=most_s,
    )


def _with_cache(step: Work, read_bytes: float) -> Work:
    """A step that reads so much of what earlier ones left: half of all of it, on average."""
    return replace(step, moved_bytes=step.moved_bytes + read_bytes)


def _codec_work(model: Any, frames: int, dtype: torch.dtype) -> Work:
    codec = model.audio_encoder
    latents = torch.empty((1, codec.config.hidden_size, frames), dtype=dtype, device=META)
    return count_work(partial(codec.decoder, latents))


def _times(second: Work, seconds: float) -> Work:
    """The codec's work for so many seconds; its operators are as many for each, but those that go frame by frame."""
    return replace(
        second,
        flops=second.flops * seconds,
        moved_bytes=second.moved_bytes * seconds,
        peak_bytes=round(second.peak_bytes * seconds),
    )
